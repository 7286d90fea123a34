"""The broker and what actors and senders use of it."""

from callboard.broker.backends.rate_limits import PostgresRateLimits
from callboard.broker.backends.results import PostgresResults
from callboard.broker.broker import PostgresBroker
from callboard.broker.completions import completion
from callboard.broker.context import current_delivery
from callboard.broker.ending.verdict import DeadReason, Decision, Outcome, Verdict
from callboard.broker.hooks import for_other_brokers
from callboard.broker.options import BrokerOptions
from callboard.broker.running.delivery import Delivery
from callboard.broker.schedules.declaration import schedule
from callboard.broker.service_broker import default_broker, send_in, send_many, set_default_broker
from callboard.broker.stages import set_result

__all__ = [
    "BrokerOptions",
    "DeadReason",
    "Decision",
    "Delivery",
    "Outcome",
    "PostgresBroker",
    "PostgresRateLimits",
    "PostgresResults",
    "Verdict",
    "completion",
    "current_delivery",
    "default_broker",
    "for_other_brokers",
    "schedule",
    "send_in",
    "send_many",
    "set_default_broker",
    "set_result",
]

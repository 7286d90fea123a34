"""The broker and what actors and senders use of it."""

from callboard.broker.broker import PostgresBroker
from callboard.broker.default import default_broker, send_in, send_many, set_default_broker
from callboard.broker.delivery import Delivery
from callboard.broker.hooks import for_other_brokers
from callboard.broker.options import BrokerOptions
from callboard.broker.rate_limits import PostgresRateLimits
from callboard.broker.results import PostgresResults
from callboard.broker.running import current_delivery
from callboard.broker.schedules import schedule
from callboard.broker.stages import set_result
from callboard.broker.transaction import completion
from callboard.broker.verdict import DeadReason, Decision, Outcome, Verdict

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

"""The broker, and what actors and senders use of it.

The road of a message, with the room of each step:

1. sending: send() makes a checked row and inserts it, once, within a deadline; the doorbell rings.
2. claiming: the intake hears it and claims what there is room for, under leases.
3. worker: leases hold what was claimed and hand it to the threads, or back.
4. running: a thread takes the delivery from the work queue and runs the actor; Dramatiq acks or nacks.
5. hooks: middleware decides what a failure means. A retry is an ack: the decision travels with the delivery.
6. ending: the delivery gives its verdict, and a thread writes verdicts in batches with all that belongs to them.
7. failures: what went wrong is kept with a fingerprint that all failures of one cause share.
8. liveness: a worker beats; the leader takes back what dead ones held, and sends the slots of schedules.
9. completions: completion() ends a message in its actor's own transaction, in place of 5 and 6.

Below all: context (which message the running code belongs to), options, outages. Which room may import which stands in
pyproject.toml, and lint-imports holds it.
"""

from callboard.broker.backends.rate_limits import PostgresRateLimits
from callboard.broker.backends.results import PostgresResults
from callboard.broker.broker import PostgresBroker
from callboard.broker.completions import completion, set_result
from callboard.broker.ending.verdict import Decision, Verdict
from callboard.broker.hooks import for_other_brokers
from callboard.broker.options import BrokerOptions
from callboard.broker.running.current import current_delivery
from callboard.broker.running.delivery import Delivery
from callboard.broker.schedules.declaration import schedule
from callboard.broker.service_broker import default_broker, send_in, send_many, set_default_broker
from callboard.terms import DeadReason, Outcome

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

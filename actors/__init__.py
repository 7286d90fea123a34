"""The service's actors. `dramatiq actors` runs them; a web service imports them to send.

The broker is wired first: an actor binds its broker when it is declared.
"""

import dramatiq.broker as _dramatiq_broker

from callboard.app import broker as _broker

if _dramatiq_broker.global_broker is None:
    # What `dramatiq actors` looks up, and a team's own actors use; a broker that a service set before stays.
    _dramatiq_broker.set_broker(_broker)

from actors.emails import send_email
from actors.maintenance import purge_expired, roll_up
from actors.payments import create_payment, process_payment_event
from actors.reports import close_failed_report, generate_report

__all__ = [
    "close_failed_report",
    "create_payment",
    "generate_report",
    "process_payment_event",
    "purge_expired",
    "roll_up",
    "send_email",
]

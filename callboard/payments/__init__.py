"""Payments through YooKassa: the gateway, the state machine, the inbox of webhooks, keys that charge only once.

The gateway loads at first use: with YooKassa's SDK it is more than a third of what the API imports, and a process
without a shop never asks for it.
"""

from typing import TYPE_CHECKING, Any

from callboard.payments.creation import (
    Begun,
    StoredResponse,
    begin,
    create,
    find_stalled,
    finish,
    record_rejection,
    release,
)
from callboard.payments.errors import (
    CredentialsRejected,
    ForeignAnswer,
    KeyInFlight,
    KeyReused,
    PaymentNotFound,
    PaymentRejected,
    RepeatWindowPassed,
    YooKassaRateLimited,
    YooKassaUnavailable,
)
from callboard.payments.inbox import (
    Announcement,
    Silence,
    close_announcement,
    find_announcement,
    record_announcement,
    webhook_silence,
)
from callboard.payments.payment import NewPayment, Payment, ProviderPayment, fingerprint
from callboard.payments.settlement import Outcome, Settled, settle, settle_absence
from callboard.payments.shop import Shop
from callboard.payments.status import Status, advance
from callboard.payments.store import find_payment

if TYPE_CHECKING:
    from callboard.payments.gateway import Gateway

__all__ = [
    "Announcement",
    "Begun",
    "CredentialsRejected",
    "ForeignAnswer",
    "Gateway",
    "KeyInFlight",
    "KeyReused",
    "NewPayment",
    "Outcome",
    "Payment",
    "PaymentNotFound",
    "PaymentRejected",
    "ProviderPayment",
    "RepeatWindowPassed",
    "Settled",
    "Shop",
    "Silence",
    "Status",
    "StoredResponse",
    "YooKassaRateLimited",
    "YooKassaUnavailable",
    "advance",
    "begin",
    "close_announcement",
    "create",
    "find_announcement",
    "find_payment",
    "find_stalled",
    "fingerprint",
    "finish",
    "record_announcement",
    "record_rejection",
    "release",
    "settle",
    "settle_absence",
    "webhook_silence",
]


def __getattr__(name: str) -> Any:
    if name == "Gateway":
        from callboard.payments.gateway import Gateway

        return Gateway
    raise AttributeError(f"module 'callboard.payments' has no attribute {name!r}")

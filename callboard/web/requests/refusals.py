"""What the API refuses: counted by reason, and one log line a minute with how many there were."""

from __future__ import annotations

import time
from dataclasses import dataclass
from http import HTTPStatus

from callboard.log import get_logger
from callboard.metrics import API_REFUSED, WEBHOOKS

log = get_logger(__name__)

#: Every reason; a refusal for another one is a fault of ours that a test finds.
REASONS = (
    "no_token",
    "wrong_token",
    "wrong_link",
    "foreign_address",
    "invalid_request",
    "body_too_slow",
    "body_too_large",
    "body_too_deep",
    "busy",
    "too_many_connections",
    "headers_too_slow",
    "answer_not_read",
)
WEBHOOK_OUTCOMES = ("accepted", "foreign_address", "invalid", "failed")
#: Between two lines about the same reason, s.
QUIET_S = 60.0

# An alert sees the first one only if there was a zero before it.
for _reason in REASONS:
    API_REFUSED.labels(_reason)
for _outcome in WEBHOOK_OUTCOMES:
    WEBHOOKS.labels(_outcome)


def count_webhook(status: int) -> None:
    """Count a webhook by the status that it was answered with."""
    match status:
        case HTTPStatus.OK:
            outcome = "accepted"
        case HTTPStatus.FORBIDDEN:
            outcome = "foreign_address"
        case _:
            outcome = "invalid" if status < HTTPStatus.INTERNAL_SERVER_ERROR else "failed"
    WEBHOOKS.labels(outcome).inc()


@dataclass
class _Told:
    """When a reason was last logged, and how many refusals came since."""

    at: float | None = None
    untold: int = 0


class Refusals:
    """Counts refusals, and logs the first of each reason and then one line a minute; used on the event loop."""

    def __init__(self, *, quiet_s: float = QUIET_S) -> None:
        self._quiet_s = quiet_s
        self._told: dict[str, _Told] = {}

    def note(self, reason: str, client: str) -> None:
        """Count a refusal. client is an address, never a token."""
        API_REFUSED.labels(reason).inc()
        told = self._told.setdefault(reason, _Told())
        told.untold += 1
        now = time.monotonic()
        if told.at is None or now - told.at >= self._quiet_s:
            # The last of them stands for all: whoever has to act looks at one.
            log.warning("requests refused", reason=reason, count=told.untold, client=client[:64])
            told.at, told.untold = now, 0

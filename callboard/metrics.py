"""The instruments of the service; docs/metrics.md lists them and is tested against this module.

Seconds and base units. Labels are queue, actor and fixed words only: no ids, addresses or messages.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter as Tally
from collections.abc import Sequence
from typing import Any

from prometheus_client import Counter, Gauge, Histogram

WAIT_BUCKETS = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600)
RUN_BUCKETS = (0.005, 0.01, 0.05, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 600)

ENQUEUED = Counter("callboard_messages_enqueued_total", "Messages this process sent.", ["queue", "actor"])
ENDED = Counter(
    "callboard_messages_total",
    "Attempts by outcome, counted at commit: done, retry, dead, postponed, released, discarded, lost.",
    ["queue", "actor", "outcome"],
)
RETRIES = Counter("callboard_retries_total", "Failed attempts that will be tried again.", ["queue", "actor"])
DEAD = Counter("callboard_dead_letters_total", "Messages that became dead letters.", ["queue", "actor", "reason"])
WAIT = Histogram(
    "callboard_wait_seconds", "From when a message could run to when it was claimed.", ["queue"], buckets=WAIT_BUCKETS
)
RUN = Histogram("callboard_run_seconds", "How long an attempt ran.", ["queue", "actor"], buckets=RUN_BUCKETS)
IN_PROGRESS = Gauge("callboard_in_progress", "Messages that run now.", ["queue"], multiprocess_mode="livesum")
LEASES_LOST = Counter(
    "callboard_leases_lost_total", "Verdicts that came after their lease had passed to another worker.", ["queue"]
)
#: How a worker was lost: its lock was free, its heartbeat was overdue, its row was gone.
RESCUE_CAUSES = ("died", "silent", "unknown")
RESCUED = Counter("callboard_rescued_total", "Messages taken back from workers that were lost.", ["queue", "cause"])
YOOKASSA = Counter(
    "callboard_yookassa_requests_total", "Requests to YooKassa by how they ended.", ["operation", "outcome"]
)
PAYMENT_EVENTS = Counter(
    "callboard_payment_events_total",
    "Announced payments that were checked at YooKassa, by what came of it.",
    ["outcome"],
)
STORAGE = Counter(
    "callboard_storage_requests_total",
    "Files written to, read from and removed from the storage, by how it ended.",
    ["operation", "outcome"],
)
API_REFUSED = Counter("callboard_api_refused_total", "Requests and connections that the API refused.", ["reason"])
WEBHOOKS = Counter("callboard_webhooks_total", "Webhooks by what became of them.", ["outcome"])
STORAGE_OPERATIONS = ("store", "fetch", "remove")
STORAGE_OUTCOMES = ("answered", "not_found", "differs", "rejected", "unavailable", "misconfigured")
YOOKASSA_OPERATIONS = ("create", "find", "shop")
YOOKASSA_OUTCOMES = (
    "answered",
    "rejected",
    "not_found",
    "rate_limited",
    "unknown",
    "credentials_refused",
    "foreign_answer",
)
PAYMENT_EVENT_OUTCOMES = ("moved", "unchanged", "unknown_payment", "mismatch", "unsupported")
# An alert sees the first one only if there was a zero before it.
for _operation in YOOKASSA_OPERATIONS:
    for _outcome in YOOKASSA_OUTCOMES:
        YOOKASSA.labels(_operation, _outcome)
for _operation in STORAGE_OPERATIONS:
    for _outcome in STORAGE_OUTCOMES:
        STORAGE.labels(_operation, _outcome)
for _outcome in PAYMENT_EVENT_OUTCOMES:
    PAYMENT_EVENTS.labels(_outcome)


def observe_all(histogram: Any, seconds: Sequence[float]) -> None:
    """Observe many values at once: one shared increment for each bucket that is hit instead of two a value."""
    # prometheus_client has no public way; a test compares this with its observe().
    bounds = histogram._upper_bounds  # noqa: SLF001 - see above
    for place, count in Tally(bisect_left(bounds, value) for value in seconds).items():
        histogram._buckets[place].inc(count)  # noqa: SLF001 - see above
    histogram._sum.inc(sum(seconds))  # noqa: SLF001 - see above

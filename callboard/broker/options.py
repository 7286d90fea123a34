"""Options: how a broker consumes; and those of actors and messages that are looked at before anything is stored.

Later, nobody would be there to tell what is wrong about them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeGuard

OneShotKind = Literal["once", "drain"]
#: Options that are spans of time, ms.
SPANS = ("retry_for", "time_limit_margin")


@dataclass(frozen=True, slots=True)
class BrokerOptions:
    """How a worker process of this broker consumes."""

    poll_interval_s: float = 5.0
    #: Most messages one claim takes; None: as many as there are free slots.
    claim_max: int | None = None
    #: False behind PgBouncer in transaction mode, where LISTEN does not work.
    listens: bool = True
    #: Queues in strict order: one gets a slot only while those before it have nothing ready. Empty: fair turns.
    queue_order: tuple[str, ...] = ()
    #: once: run one message; drain: run what is ready; both tell by WorkerSide.intake.one_shot when that is done.
    errand: OneShotKind | None = None


def is_span(value: Any) -> TypeGuard[float]:
    """Tell whether a value can be a span in ms."""
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= 0


def wrong_span(options: Mapping[str, Any]) -> str | None:
    """Return what is wrong about the spans among these options, as the end of a sentence; None if nothing is."""
    for name in SPANS:
        value = options.get(name)
        if value is not None and not is_span(value):
            return f"has {name} {value!r}. Give milliseconds, 0 or more, or leave it out."
    return None

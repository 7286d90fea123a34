"""What a check found, in words for whoever has to act on it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum

from callboard.errors import CallboardError


class State(StrEnum):
    """How a checked thing is: warning is for what works now and may not for long."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Finding:
    """One checked thing; advice says what to do unless it is well."""

    name: str
    state: State
    text: str
    advice: str = ""


def examine(name: str, look: Callable[[], Iterable[Finding]]) -> list[Finding]:
    """Return what look() finds; what it raises is a finding too, so that one broken part hides no other."""
    try:
        return list(look())
    except CallboardError as error:
        return [Finding(name, State.FAILED, str(error))]
    except Exception as error:  # noqa: BLE001 - a check of a broken system may meet anything, and goes on
        return [Finding(name, State.FAILED, f"{type(error).__name__}: {error}", "This is no known trouble; report it.")]

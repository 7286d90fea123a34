"""Cancelling messages: a waiting one never runs, a running one is asked to stop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from callboard.errors import CallboardError
from callboard.ops.audit import Operator


@dataclass(frozen=True, slots=True)
class Cancelled:
    """What became of the ids that were to be cancelled."""

    discarded: list[str]
    asked: list[str]
    ended: list[str]
    unknown: list[str]


def cancel(cursor: Any, message_ids: list[str], operator: Operator) -> Cancelled:  # noqa: ARG001 - to come
    """Discard waiting messages and ask running ones to stop."""
    raise CallboardError("Cancelling is not there yet.")


#: Removed by the real thing; the test of the command waits for that.
IS_STUB = True

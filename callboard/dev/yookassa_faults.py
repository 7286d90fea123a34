"""The ways in which the sandbox misbehaves on request."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any, Literal, get_args

#: timeout_after: does its work, then never answers · error_after: does its work, then answers 500
#: processing_after: does its work, then answers 202 · reset_after: does its work, then resets the connection
#: reset: resets before any work · rate_limited: 429 with retry_after · broken: 200 with half a body
FaultKind = Literal[
    "timeout_after", "error_after", "processing_after", "reset_after", "reset", "rate_limited", "broken", "unavailable"
]
Operation = Literal["create", "find"]


@dataclass
class Fault:
    """A misbehaviour that waits for its request; order_id "" takes the next one, whosever it is."""

    kind: FaultKind
    operation: Operation = "create"
    order_id: str = ""
    times: int = 1
    retry_after_ms: int = 1000

    @classmethod
    def from_json(cls, body: Any) -> Fault:
        """Read a fault from a request. Raises: ValueError."""
        try:
            fault = cls(**body)
        except TypeError as error:
            raise ValueError(f"A fault needs kind and may have operation, order_id, times: {error}.") from error
        if fault.kind not in get_args(FaultKind) or fault.operation not in get_args(Operation):
            raise ValueError(f"kind must be one of {get_args(FaultKind)}, operation one of {get_args(Operation)}.")
        return fault


class Faults:
    """The misbehaviours still to come, in the order they were asked for."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[Fault] = []

    def add(self, fault: Fault) -> None:
        """Have a later request go wrong."""
        with self._lock:
            self._waiting.append(fault)

    def take(self, operation: str, order_id: str) -> Fault | None:
        """Return the misbehaviour that this request gets, if any, and count it."""
        with self._lock:
            for fault in self._waiting:
                if fault.operation == operation and fault.order_id in ("", order_id):
                    fault.times -= 1
                    if fault.times <= 0:
                        self._waiting.remove(fault)
                    return fault
        return None

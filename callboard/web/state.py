"""What every request may need, kept on the app so that tests can give their own."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from threading import Lock
from typing import Annotated

from fastapi import Depends, Request

from callboard.db import Pool
from callboard.payments import Gateway
from callboard.settings import Settings


@dataclass
class State:
    """Settings and connections of one app."""

    settings: Settings
    pool: Pool
    #: Longest time POST /payments waits for YooKassa, s; then it answers 202 and a worker goes on.
    create_budget_s: float = 10.0
    started_at: float = field(default_factory=time.monotonic)
    _gateway: Gateway | None = None
    _lock: Lock = field(default_factory=Lock)

    @property
    def gateway(self) -> Gateway:
        """The shop at YooKassa. Raises: ConfigurationError when none is set."""
        with self._lock:
            if self._gateway is None:
                self._gateway = Gateway.from_settings(self.settings)
            return self._gateway


def _state(request: Request) -> State:
    state: State = request.app.state.callboard
    return state


CurrentState = Annotated[State, Depends(_state)]

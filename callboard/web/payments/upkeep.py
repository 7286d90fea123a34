"""What an API process does besides answering: it looks now and then for creations that a dead process left behind."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import psycopg2
from fastapi import FastAPI

from callboard.errors import BrokerUnavailable, DatabaseUnavailable
from callboard.log import get_logger
from callboard.web.limits.lanes import Busy, Lane
from callboard.web.payments.creations import resume_stalled
from callboard.web.state import State

log = get_logger(__name__)

#: After the start, and between two looks, s.
FIRST_LOOK_S = 2.0
LOOK_S = 30.0


def lifespan_of(state: State) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    """Return what runs from the app's start to its end."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        task = asyncio.create_task(_look_for_stalled(state))
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    return lifespan


async def _look_for_stalled(state: State) -> None:
    is_failing = False
    pause_s = FIRST_LOOK_S
    while True:
        await asyncio.sleep(pause_s)
        pause_s = LOOK_S
        try:
            await state.gates[Lane.CREATIONS].run("callboard", resume_stalled, state)
            is_failing = False
        except (DatabaseUnavailable, BrokerUnavailable, psycopg2.Error, Busy) as error:
            if not is_failing:
                log.warning("stalled payment creations not looked for", error=str(error).strip()[:200])
            is_failing = True

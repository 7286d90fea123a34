"""Actors that write an effect in each kind of context, in a worker that kills itself at a chosen point.

`dramatiq tests.acceptance.context_jobs` with CRASH_POINT=inside or after dies once all of WAYS have come there.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from dramatiq.middleware.asyncio import AsyncIO

import actors  # noqa: F401 - names the broker that Dramatiq looks up
from callboard import completion
from callboard.app import actor, broker
from callboard.errors import CallboardError

POINT = os.environ.get("CRASH_POINT", "")
WAYS = ("coroutine", "task", "to_thread", "thread", "executor")
LOOSE = ("bare_thread", "bare_executor", "run_in_executor")
HOLD_S = 60

_arrived: list[str] = []

if "NO_LOOP" not in os.environ:
    broker.add_middleware(AsyncIO())


def arrive(way: str, point: str) -> bool:
    """Tell whether to stay here until the process dies, which it does when everybody is here."""
    if point != POINT:
        return False
    _arrived.append(way)
    if len(_arrived) == len(WAYS):
        os.kill(os.getpid(), signal.SIGKILL)
    return True


@contextmanager
def effect(way: str) -> Iterator[None]:
    """Write one row in the transaction that ends the message."""
    with completion() as connection, connection.cursor() as cursor:
        cursor.execute("INSERT INTO effect VALUES (%s)", (way,))
        yield


def pay(way: str) -> None:
    with effect(way):
        if arrive(way, "inside"):
            time.sleep(HOLD_S)
    if arrive(way, "after"):
        time.sleep(HOLD_S)


async def pay_on_the_loop(way: str) -> None:
    with effect(way):
        if arrive(way, "inside"):
            await asyncio.sleep(HOLD_S)
    if arrive(way, "after"):
        await asyncio.sleep(HOLD_S)


@actor(queue_name="contexts", max_retries=0)
async def on_the_loop(way: str) -> None:
    """Pay in a coroutine, in a task of its own, or in a thread that asyncio gives the context, or none."""
    match way:
        case "coroutine":
            await pay_on_the_loop(way)
        case "task":
            await asyncio.create_task(pay_on_the_loop(way))
        case "to_thread":
            await asyncio.to_thread(pay, way)
        case "run_in_executor":
            await asyncio.get_running_loop().run_in_executor(None, pay, way)


@actor(queue_name="contexts", max_retries=0)
def in_threads(way: str) -> None:
    """Pay in a thread or an executor, with the actor's context or without."""
    context = contextvars.Context() if way.startswith("bare") else contextvars.copy_context()
    if way.endswith("executor"):
        with ThreadPoolExecutor() as executor:
            executor.submit(context.run, pay, way).result()
        return
    raised: list[BaseException] = []

    def run() -> None:
        try:
            context.run(pay, way)
        except CallboardError as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if raised:
        raise raised[0]


@actor(queue_name="contexts")
async def block_the_loop() -> None:
    """Keep every coroutine of the process from going on, for longer than any test."""
    time.sleep(HOLD_S)  # noqa: ASYNC251 - it is the fault

"""Processes that are forked while other threads are in the middle of something."""

from __future__ import annotations

import contextlib
import os
import signal
import threading

import dramatiq
import pytest

from callboard.broker import PostgresBroker
from callboard.watchdog import watchdog
from tests.conftest import wait_until

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


@contextlib.contextmanager
def held(lock):
    """Hold a lock in another thread."""
    is_held, may_end = threading.Event(), threading.Event()

    def hold():
        with lock:
            is_held.set()
            may_end.wait(20)

    thread = threading.Thread(target=hold)
    thread.start()
    assert is_held.wait(10)
    try:
        yield
    finally:
        may_end.set()
        thread.join(10)


def code_of_child(work) -> int:
    """Fork, let the child do its work, and return its exit code; it has 10 s."""
    child = os.fork()
    if child == 0:
        code = 1
        with contextlib.suppress(BaseException):
            work()
            code = 0
        os._exit(code)
    ended = []
    try:
        wait_until(lambda: ended.extend(os.waitpid(child, os.WNOHANG)) or ended[-2], what="the child's end")
    except BaseException:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        raise
    return os.waitstatus_to_exitcode(ended[-1])


@pytest.fixture
def broker(database_url):
    broker = PostgresBroker(url=database_url, middleware=[])
    yield broker
    broker.close()


def message(*args):
    return dramatiq.Message("emails", "mail", args, {}, {})


def test_a_child_sends_although_a_thread_of_its_parent_was_setting_a_deadline(broker, connection):
    broker.enqueue(message("parent"))
    with held(watchdog._lock):
        assert code_of_child(lambda: broker.enqueue(message("child"))) == 0
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM dramatiq.queue")
        assert cursor.fetchone() == (2,)


def test_a_child_sends_although_a_thread_of_its_parent_was_about_to_ring(broker, connection):
    broker.enqueue(message("parent"))
    with held(broker._sender.doorbell._lock):
        assert code_of_child(lambda: broker.enqueue(message("child"))) == 0
        # Nor does the end of the child wait for it.
        assert code_of_child(broker._sender.doorbell.flush) == 0
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM dramatiq.queue")
        assert cursor.fetchone() == (2,)

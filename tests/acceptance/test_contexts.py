"""Effects of async actors and of actors' threads are written exactly once, whenever the process dies."""

from __future__ import annotations

import dramatiq
import pytest

from callboard.broker import PostgresBroker
from tests.acceptance.context_jobs import LOOSE, WAYS
from tests.conftest import wait_until

JOBS = "tests.acceptance.context_jobs"
ON_THE_LOOP = {"coroutine", "task", "to_thread", "run_in_executor"}
EXIT_CONFIGURATION = 2


@pytest.fixture
def send(database_url, db):
    """Send messages that write their effect in these ways."""
    db("CREATE TABLE effect (way text)")
    broker = PostgresBroker(url=database_url, middleware=[])

    def send(*ways, actor=None):
        for way in ways:
            name = actor or ("on_the_loop" if way in ON_THE_LOOP else "in_threads")
            broker.enqueue(dramatiq.Message("contexts", name, () if actor else (way,), {}, {}))

    yield send
    broker.close()


@pytest.mark.parametrize("point", ["inside", "after"])
def test_a_killed_worker_leaves_each_effect_once(shell, db, send, wait_until_done, point):
    # Given a worker that is killed while every message is between its effect and its ack, before or after the commit
    send(*WAYS)
    dying = shell.dramatiq(JOBS, threads=len(WAYS), CRASH_POINT=point)
    wait_until(lambda: dying.popen.poll() is not None, 60, "the death of the worker")
    written = () if point == "inside" else sorted(WAYS)
    assert db("SELECT way FROM effect ORDER BY way") == [(way,) for way in written]
    # When another one takes over
    shell.dramatiq(JOBS, threads=2)
    wait_until_done(len(WAYS))
    # Then each has its effect once, and ran again only where that was not written
    assert db("SELECT way FROM effect ORDER BY way") == [(way,) for way in sorted(WAYS)]
    assert db("SELECT DISTINCT lost_workers FROM callboard.message_history") == [(0 if written else 1,)]


def test_a_thread_without_its_actors_context_is_refused_and_says_what_to_do(shell, db, send):
    send(*LOOSE)
    shell.dramatiq(JOBS)
    wait_until(lambda: db("SELECT count(*) FROM callboard.dead_letters") == [(len(LOOSE),)], 60, "the dead letters")
    texts = [text for (text,) in db("SELECT error_message FROM callboard.dead_letters")]
    assert all("contextvars.copy_context().run" in text for text in texts)
    assert db("SELECT way FROM effect") == []


@pytest.mark.parametrize("command", ["dramatiq", "work"])
def test_a_worker_without_an_event_loop_does_not_start(shell, command):
    run = shell.dramatiq if command == "dramatiq" else lambda *jobs, **env: shell.callboard("work", *jobs, **env)
    worker = run(JOBS, NO_LOOP="1")
    # Then it ends, with a sentence that names the actors and what they need
    assert worker.wait() == EXIT_CONFIGURATION
    assert "Actors 'block_the_loop', 'on_the_loop' cannot run: an async function needs an event loop" in worker.log
    assert "broker.add_middleware(AsyncIO())" in worker.log
    assert "Traceback" not in worker.log


def test_a_coroutine_that_blocks_the_loop_does_not_keep_its_process(shell, db, send):
    send("once", actor="block_the_loop")
    worker = shell.dramatiq(JOBS, shutdown_ms=500)
    wait_until(lambda: db("SELECT 1 FROM dramatiq.queue WHERE state = 'running'"), 60, "the run")
    worker.wait_for_event("worker started")
    worker.terminate()
    assert worker.wait() == 0
    assert db("SELECT state, attempt, lost_workers FROM dramatiq.queue") == [("queued", 0, 0)]

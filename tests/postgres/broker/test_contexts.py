"""Which message code runs for: in coroutines, tasks and threads of an actor it is fenced, or it says why it is not."""

from __future__ import annotations

import asyncio
import contextvars
import multiprocessing
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import dramatiq
import pytest
from dramatiq.middleware.asyncio import AsyncIO
from dramatiq.results import Results

from callboard.broker import PostgresResults, completion, current_delivery, send_in, set_default_broker, set_result
from callboard.errors import CallboardError
from callboard.log import _context
from middleware.log_context import LogContext
from tests.conftest import wait_until
from tests.postgres.broker.conftest import make_broker, running_worker
from tests.postgres.broker.test_verdicts import actor, dead, ended

#: Threads and tasks that an actor may use, each as a function that runs another one there and waits for it.
COUPLED = {}
LOOSE = {}


def way(group):
    def add(function):
        group[function.__name__] = function
        return function

    return add


@way(COUPLED)
async def coroutine(run):
    run()


@way(COUPLED)
async def task(run):
    async def inner():
        run()

    await asyncio.create_task(inner())


@way(COUPLED)
async def to_thread(run):
    await asyncio.to_thread(run)


@way(COUPLED)
def thread_with_the_context(run):
    in_thread(contextvars.copy_context().run, run)


@way(COUPLED)
def executor_with_the_context(run):
    with ThreadPoolExecutor() as executor:
        executor.submit(contextvars.copy_context().run, run).result()


@way(LOOSE)
def bare_thread(run):
    in_thread(run)


@way(LOOSE)
def bare_executor(run):
    with ThreadPoolExecutor() as executor:
        executor.submit(run).result()


@way(LOOSE)
async def run_in_executor(run):
    await asyncio.get_running_loop().run_in_executor(None, run)


def in_thread(run, *arguments):
    """Run a function in a thread, and raise here what it raises there."""
    raised = []

    def guarded():
        try:
            run(*arguments)
        except CallboardError as error:
            raised.append(error)

    thread = threading.Thread(target=guarded)
    thread.start()
    thread.join()
    if raised:
        raise raised[0]


def through(way, run):
    """Return an actor's function that runs another function in this way."""
    if asyncio.iscoroutinefunction(way):

        async def job():
            await way(run)

        return job
    return lambda: way(run)


@pytest.fixture
def url(database_url):
    """One kind of server: what runs here differs in Python only."""
    return database_url


@pytest.fixture
def broker(broker):
    broker.add_middleware(AsyncIO())
    return broker


@pytest.fixture
def effects(db):
    db("CREATE TABLE effect (n int)")
    return lambda: db("SELECT n FROM effect")


def write(connection):
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO effect VALUES (1)")


# Coupled: fenced


@pytest.mark.parametrize("way", COUPLED.values(), ids=COUPLED)
def test_completion_ends_the_message_it_runs_for(broker, db, work, effects, way):
    # Given an actor whose process is taken for dead between its effect and its end, at the first attempt
    runs = []
    after = actor(broker, lambda: None, actor_name="after")

    def pay():
        runs.append(current_delivery().attempt)
        with completion() as connection:
            write(connection)
            send_in(connection, after.message())
            if len(runs) == 1:
                db("UPDATE dramatiq.queue SET state = 'queued', lease_id = NULL, worker_id = NULL")

    with work():
        actor(broker, through(way, pay), actor_name="pay").send()
        # Then its effect, its follow-up and its end are there once
        wait_until(lambda: len(ended(db)) == 2, what="both ended")
    assert len(runs) == 2
    assert (effects(), ended(db)) == ([(1,)], [("done",)] * 2)


@pytest.mark.parametrize("way", COUPLED.values(), ids=COUPLED)
def test_a_second_completion_is_refused_wherever_it_is(broker, db, work, effects, way):
    errors = []

    def pay():
        with completion() as connection:
            write(connection)
        try:
            with completion() as connection:
                write(connection)
        except CallboardError as error:
            errors.append(str(error))

    with work():
        actor(broker, through(way, pay), actor_name="pay").send()
        wait_until(lambda: errors and ended(db))
    assert "Use completion() once" in errors[0]
    assert effects() == [(1,)]


def test_two_threads_of_one_actor_cannot_both_end_its_message(broker, db, work, effects):
    inside, errors = threading.Event(), []

    def first():
        with completion() as connection:
            inside.set()
            write(connection)
            wait_until(lambda: errors)

    def job():
        thread = threading.Thread(target=contextvars.copy_context().run, args=(first,))
        thread.start()
        assert inside.wait(10)
        try:
            with completion() as connection:
                write(connection)
        except CallboardError as error:
            errors.append(str(error))
        thread.join()

    with work():
        actor(broker, job).send()
        wait_until(lambda: ended(db))
    assert "Use completion() once" in errors[0]
    assert effects() == [(1,)]


def test_what_follows_goes_with_a_completion_in_a_coroutine(url, db, monkeypatch):
    # Given a pipeline whose first actor is async, says its result early and sends a message of its own
    backend, got = PostgresResults(), []
    broker = make_broker(url, AsyncIO(), Results(backend=backend))
    set_default_broker(broker)
    after = actor(broker, got.append, actor_name="after")
    other = actor(broker, got.append, actor_name="other")

    async def first():
        other.send("at once")
        with completion():
            set_result(42)
            await asyncio.sleep(0)
        return "ignored"

    one = actor(broker, first, actor_name="first", store_results=True)
    with running_worker(broker):
        dramatiq.pipeline([one.message(), after.message()], broker=broker).run()
        wait_until(lambda: len(got) == 2)
        wait_until(lambda: len(ended(db)) == 3)
    broker.close()
    assert sorted(map(str, got)) == ["42", "at once"]


@pytest.mark.parametrize("way", COUPLED.values(), ids=COUPLED)
def test_sending_the_running_message_again_is_its_retry(broker, db, work, way):
    runs = []

    def job():
        delivery = current_delivery()
        runs.append(delivery.attempt)
        if len(runs) == 1:
            broker.enqueue(dramatiq.Message(**delivery.asdict()), delay=10)

    with work():
        actor(broker, through(way, job), actor_name="job").send()
        wait_until(lambda: ended(db))
    assert runs == [1, 2]
    assert db("SELECT outcome FROM callboard.attempts") == [("retry",)]


def test_messages_that_share_the_event_loop_keep_apart(url, db):
    # Given as many messages on one loop as there are threads, all of them in the middle of it
    count, seen = 6, []
    broker = make_broker(url, LogContext(), AsyncIO())
    set_default_broker(broker)
    begun, all_begun = [], asyncio.Event()

    async def job(n):
        begun.append(n)
        if len(begun) == count:
            all_begun.set()
        await all_begun.wait()
        for _ in range(5):
            await asyncio.sleep(0)
            ids = {current_delivery().message_id, _context.get()()["message_id"]}
            ids.add(await asyncio.to_thread(lambda: current_delivery().message_id))
            seen.append((n, *ids))

    jobs = actor(broker, job)
    with running_worker(broker, threads=count):
        sent = {(n, jobs.send(n).message_id) for n in range(count)}
        wait_until(lambda: len(ended(db)) == count)
    broker.close()
    # Then each one and its threads know their own, and log it
    assert set(seen) == sent and len(seen) == 5 * count


# Loose: refused


def write_in_completion():
    with completion() as connection:
        write(connection)


CALLS = {"completion": write_in_completion, "set_result": lambda: set_result(1), "current_delivery": current_delivery}


def run_call(call):
    CALLS[call]()


@pytest.mark.parametrize("way", LOOSE.values(), ids=LOOSE)
@pytest.mark.parametrize("call", CALLS)
def test_a_thread_that_nothing_ties_to_a_message_is_refused(broker, db, effects, way, call):
    with running_worker(broker):
        actor(broker, through(way, CALLS[call]), actor_name="job", max_retries=0).send()
        wait_until(lambda: dead(db))
    # Then nothing is written, and the reason says what to do
    assert effects() == []
    [(text,)] = db("SELECT error_message FROM callboard.dead_letters")
    assert text.startswith(f"{call}() was called in a worker process by thread ")
    assert "contextvars.copy_context().run" in text


def test_a_thread_that_its_actor_left_behind_cannot_write_any_more(broker, db, work, effects):
    # Given an actor that returns before its thread
    may_go, told = threading.Event(), []

    def late():
        may_go.wait(10)
        told.append(current_delivery().message_id)
        # What it sends is sent like anybody's, and is nobody's retry
        broker.enqueue(dramatiq.Message("jobs", "after", (), {}, {}))
        try:
            with completion() as connection:
                write(connection)
        except CallboardError as error:
            told.append(str(error))

    def job():
        threads.append(threading.Thread(target=contextvars.copy_context().run, args=(late,)))
        threads[0].start()

    threads = []
    actor(broker, lambda: None, actor_name="after")
    with work():
        sent = actor(broker, job).send()
        wait_until(lambda: ended(db))
        # When the thread comes to its completion()
        may_go.set()
        threads[0].join(10)
        wait_until(lambda: len(ended(db)) == 2)
    # Then that is refused
    assert told[0] == sent.message_id
    assert "has returned, and completion() belongs inside of it" in told[1]
    assert effects() == []


def test_an_actor_that_returns_before_its_completion_has_ended_runs_again(broker, db, work, effects):
    inside, runs, threads = threading.Event(), [], []

    def pay():
        with completion() as connection:
            write(connection)
            inside.set()
            wait_until(lambda: db("SELECT 1 FROM callboard.attempts WHERE outcome = 'retry'"))

    def job():
        runs.append(1)
        if len(runs) == 1:
            threads.append(threading.Thread(target=contextvars.copy_context().run, args=(swallowing(pay),)))
            threads[0].start()
            assert inside.wait(10)
        else:
            threads[0].join(10)
            with completion() as connection:
                write(connection)

    with work():
        actor(broker, job).send()
        wait_until(lambda: ended(db))
    assert (len(runs), effects()) == (2, [(1,)])
    [(text,)] = db("SELECT error_message FROM callboard.attempts WHERE outcome = 'retry'")
    assert "returned while completion() was still open" in text


def swallowing(run):
    def guarded():
        try:
            run()
        except CallboardError:
            return

    return guarded


def test_threads_outlast_their_worker_and_still_cannot_write(broker, db, work, effects):
    # Given two threads of an actor, with its context and without, whose worker stops before them
    begun, may_go, told = threading.Event(), threading.Event(), []

    def late():
        may_go.wait(20)
        try:
            with completion() as connection:
                write(connection)
        except CallboardError as error:
            told.append(str(error))

    def job():
        for run in (contextvars.Context().run, contextvars.copy_context().run):
            threads.append(threading.Thread(target=run, args=(late,)))
            threads[-1].start()
        begun.set()
        may_go.wait(20)

    threads = []
    worker = dramatiq.Worker(broker, worker_timeout=50, worker_threads=1)
    worker.start()
    actor(broker, job).send()
    assert begun.wait(10)
    worker.stop(timeout=100)
    may_go.set()
    for thread in threads:
        thread.join(10)
    # Then neither writes, while the program itself is no worker any more
    assert len(told) == 2 and effects() == []
    assert any("worker has ended" in text for text in told)
    assert current_delivery() is None
    with completion() as connection:
        write(connection)
    assert effects() == [(1,)]


def test_the_main_thread_of_a_program_with_a_worker_is_no_actors(broker, db, work, effects):
    with work():
        assert current_delivery() is None
        with completion() as connection:
            write(connection)
    assert effects() == [(1,)]


@pytest.mark.parametrize("how", ["fork", "spawn"])
@pytest.mark.parametrize("call", CALLS)
def test_a_child_process_does_not_write_for_its_parents_message(broker, db, effects, how, call):
    # Given an actor that lets a child process do its work
    def job():
        with ProcessPoolExecutor(1, multiprocessing.get_context(how)) as executor:
            executor.submit(run_call, call).result()

    with running_worker(broker):
        actor(broker, job, max_retries=0).send()
        wait_until(lambda: dead(db), timeout_s=60)
    # Then it says that the actor has to write
    [(text,)] = db("SELECT error_message FROM callboard.dead_letters")
    assert text.startswith(f"{call}() was called in process ") and "Return to the actor" in text
    assert effects() == []

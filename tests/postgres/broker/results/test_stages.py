"""What follows an actor that ends its message by itself, with completion(), and stages with results."""

from __future__ import annotations

import dramatiq
import pytest
from dramatiq.results import ResultFailure

from callboard.broker import completion, set_result
from callboard.broker import completions as transaction
from callboard.errors import DatabaseUnavailable
from tests.conftest import wait_until


def test_completion_stores_the_result_that_was_set_inside(actor, broker, backend, db, work):
    def job():
        with completion():
            set_result("early")
        return "ignored"

    sent = actor(job).send()
    with work():
        assert sent.get_result(backend=backend, block=True) == "early"
        wait_until(lambda: not db("SELECT 1 FROM dramatiq.queue"))
    assert db("SELECT xmin::text FROM callboard.results") == db("SELECT xmin::text FROM callboard.message_history")


def test_completion_without_the_result_that_is_wanted_is_refused_before_it_commits(actor, backend, db, work):
    db("CREATE TABLE effect (n int)")

    def job():
        with completion() as connection, connection.cursor() as cursor:
            cursor.execute("INSERT INTO effect VALUES (1)")
        return "late"

    sent = actor(job, max_retries=0).send()
    with work(), pytest.raises(ResultFailure, match="set_result"):
        sent.get_result(backend=backend, block=True)
    assert db("SELECT n FROM effect") == []


def test_a_completion_that_rolled_back_leaves_no_result_behind(actor, backend, db, work):
    runs, found = [], []

    def job():
        runs.append(1)
        found.extend(db("SELECT value FROM callboard.results"))
        with completion() as connection, connection.cursor() as cursor:
            set_result(len(runs))
            if len(runs) == 1:
                cursor.execute("CREATE TABLE n (n int PRIMARY KEY INITIALLY DEFERRED); INSERT INTO n VALUES (1), (1)")

    sent = actor(job).send()
    with work():
        assert sent.get_result(backend=backend, block=True) == 2
    assert found == []


@pytest.mark.parametrize("ends_itself", [False, True], ids=["returns", "completion"])
def test_the_results_of_a_pipeline_and_a_group(broker, actor, work, monkeypatch, ends_itself):
    monkeypatch.setattr(dramatiq.broker, "global_broker", broker)  # Where a message alone looks for its backend.

    def add(a, b):
        if ends_itself:
            with completion():
                set_result(a + b)
        return a + b

    job = actor(add)
    with work(threads=4):
        pipe = dramatiq.pipeline([job.message(1, 2), job.message(3), job.message(4)], broker=broker).run()
        assert pipe.get_result(block=True) == 10
        assert list(pipe.get_results(block=True)) == [3, 6, 10]
        group = dramatiq.group([job.message(n, n) for n in range(5)], broker=broker).run()
        assert list(group.get_results(block=True, timeout=10_000)) == [0, 2, 4, 6, 8]
        assert group.completed and pipe.completed


def test_a_next_stage_follows_a_completion_whose_result_it_ignores(broker, actor, db, work):
    got = []

    def first():
        with completion():
            pass

    one, two = (
        actor(first, "one", store_results=False),
        actor(lambda *args: got.append(args), "two", store_results=False),
    )
    with work():
        dramatiq.pipeline([one.message(), two.message_with_options(pipe_ignore=True)], broker=broker).run()
        wait_until(lambda: got)
    assert got == [()]


def test_a_completion_whose_fate_is_unknown_leaves_no_next_stage_behind(broker, actor, db, work, monkeypatch):
    # Given a completion that loses its connection at its end, and a database that is away when it looks
    looks = []

    def look_in_vain(*_):
        looks.append(1)
        raise DatabaseUnavailable("away")

    monkeypatch.setattr(transaction, "_ended_after_all", look_in_vain)

    def first():
        with completion() as connection:
            set_result("from the first")
            if not looks:
                db("SELECT pg_terminate_backend(%s)", connection.info.backend_pid)

    one, two = actor(first, "one"), actor(lambda _: None, "two")
    with work():
        dramatiq.pipeline([one.message(), two.message()], broker=broker).run()
        wait_until(lambda: len(db("SELECT 1 FROM callboard.message_history")) == 2)
    # Then the retry alone has sent the next stage: it came after the retry was over
    assert len(looks) == 1
    assert db(
        "SELECT (SELECT enqueued_at FROM callboard.message_history WHERE actor_name = 'two') "
        "> (SELECT max(ended_at) FROM callboard.attempts)"
    ) == [(True,)]

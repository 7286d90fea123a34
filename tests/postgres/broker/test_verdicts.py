"""What becomes of a message after an attempt, with a real worker in this process and a real database."""

from __future__ import annotations

import contextlib
import threading
import time

import dramatiq
import psycopg2
import pytest
from dramatiq.middleware import SkipMessage

from callboard.broker import BrokerOptions, PostgresBroker, completion, current_delivery, send_in
from callboard.errors import CallboardError, PermanentError, Postponed
from tests.conftest import wait_until
from tests.postgres.broker.conftest import running_worker


def actor(broker, fn, **options):
    return dramatiq.actor(fn, broker=broker, queue_name="jobs", **options)


def ended(db):
    return db("SELECT outcome FROM callboard.message_history")


def dead(db):
    return db("SELECT reason, error_class FROM callboard.dead_letters")


def test_a_success_moves_to_the_history(broker, db, work):
    job = actor(broker, lambda: None, actor_name="job")
    with work():
        sent = job.send()
        wait_until(lambda: ended(db))
    rows = db("SELECT message_id::text, outcome, attempt, started_at <= ended_at FROM callboard.message_history")
    assert rows == [(sent.message_id, "done", 1, True)]
    assert db("SELECT count(*) FROM dramatiq.queue") == [(0,)]


def test_a_failure_is_retried_and_then_dead_with_every_attempt_kept(broker, db, work):
    def job():
        raise KeyError("boom")

    with work():
        actor(broker, job).send()
        wait_until(lambda: dead(db))
    assert dead(db) == [("max_retries", "KeyError")]
    assert db("SELECT attempt, outcome, error_class FROM callboard.attempts ORDER BY attempt") == [
        (1, "retry", "KeyError"),
        (2, "retry", "KeyError"),
        (3, "dead", "KeyError"),
    ]


@pytest.mark.parametrize(
    "options",
    [
        {"max_retries": "3"},
        {"max_retries": True},
        {"min_backoff": "1s"},
        {"throws": "KeyError"},
        {"retry_when": "never"},
    ],
    ids=lambda options: next(iter(options)),
)
def test_options_that_are_none_leave_a_message_the_limits_of_its_actor(broker, db, work, *, options):
    def job():
        raise KeyError("boom")

    with work():
        # As from a row that was written by hand
        broker.enqueue(actor(broker, job).message_with_options(args=(), **options))
        wait_until(lambda: dead(db))
    assert dead(db) == [("max_retries", "KeyError")]
    assert db("SELECT retries FROM callboard.dead_letters") == [(2,)]


def test_a_permanent_failure_dies_at_its_first_attempt(broker, db, work):
    def job():
        raise PermanentError("no such mailbox")

    with work():
        actor(broker, job).send()
        wait_until(lambda: dead(db))
    assert dead(db) == [("permanent", "PermanentError")]


def test_a_postponed_message_waits_without_losing_a_retry(broker, db, work):
    runs = []

    def job():
        runs.append(current_delivery().retries)
        if len(runs) < 5:
            raise Postponed("paused", wait_s=0.05)

    with work():
        actor(broker, job).send()
        wait_until(lambda: ended(db))
    assert runs == [0] * 5
    assert db("SELECT retries FROM callboard.message_history") == [(0,)]


def test_a_guard_in_middleware_can_postpone(broker, db, work):
    ran = []

    class Guard(dramatiq.Middleware):
        refuses = True

        def before_process_message(self, broker, message):
            if self.refuses:
                raise Postponed("rate limit", wait_s=0.1)

    guard = Guard()
    broker.add_middleware(guard)
    job = actor(broker, lambda: ran.append(1), actor_name="job")
    with work():
        job.send()
        wait_until(lambda: db("SELECT 1 FROM dramatiq.queue WHERE wait_reason = 'rate limit'"))
        guard.refuses = False
        wait_until(lambda: ended(db))
    assert ran == [1]


def test_an_unknown_actor_is_a_dead_letter_with_its_reason(broker, db, work):
    broker.declare_queue("jobs")
    with work():
        broker.enqueue(dramatiq.Message(queue_name="jobs", actor_name="gone", args=(), kwargs={}, options={}))
        wait_until(lambda: dead(db))
    assert dead(db) == [("unknown_actor", "ActorNotFound")]


def test_a_row_that_is_no_message_is_a_dead_letter(broker, db, work):
    broker.declare_queue("jobs")
    db("INSERT INTO dramatiq.queue (message_id, queue_name, message) VALUES (gen_random_uuid(), 'jobs', '[1]')")
    with work():
        wait_until(lambda: dead(db))
    assert dead(db)[0][0] == "invalid"


def test_a_message_too_old_is_a_dead_letter(broker, db, work):
    job = actor(broker, lambda: None, actor_name="job", max_age=1)
    job.send()
    time.sleep(0.01)
    with work():
        wait_until(lambda: dead(db))
    assert dead(db)[0][0] == "expired"


def test_the_next_stage_of_a_pipeline_runs_with_the_result(broker, db, work):
    got = []
    first = actor(broker, lambda n: n + 1, actor_name="first")
    second = actor(broker, got.append, actor_name="second")
    with work():
        dramatiq.pipeline([first.message(1), second.message()], broker=broker).run()
        wait_until(lambda: len(ended(db)) == 2)
    assert got == [2]


def test_a_next_stage_that_cannot_be_stored_is_never_lost_in_silence(broker, db, work):
    # Given a first stage whose result is too large to send on
    first = actor(broker, lambda: "x" * 1_000_000, actor_name="first")
    second = actor(broker, lambda _: None, actor_name="second")
    with work():
        dramatiq.pipeline([first.message(), second.message()], broker=broker).run()
        wait_until(lambda: dead(db))
    assert dead(db) == [("invalid", "InvalidMessage")]


def test_a_next_stage_that_postgres_refuses_is_never_lost_in_silence(broker, db, work):
    first = actor(broker, lambda: "\x00", actor_name="first")
    second = actor(broker, lambda _: None, actor_name="second")
    other = actor(broker, lambda: None, actor_name="other")
    with work():
        dramatiq.pipeline([first.message(), second.message()], broker=broker).run()
        other.send()
        wait_until(lambda: dead(db) and ended(db))
    assert dead(db) == [("invalid", "InvalidMessage")]


class Refuse(dramatiq.Middleware):
    """Refuses to send to one actor, as a guard does."""

    def __init__(self, actor_name, error):
        self.actor_name, self.error = actor_name, error

    def before_enqueue(self, broker, message, delay):
        if message.actor_name == self.actor_name and current_delivery() is not None:
            raise self.error


@pytest.mark.parametrize("error", [Postponed("rate limit", wait_s=1), SkipMessage("not today")])
def test_a_next_stage_that_middleware_refuses_is_never_lost_in_silence(broker, db, work, error):
    # Given middleware that lets nobody send the second stage
    broker.add_middleware(Refuse("second", error))
    first = actor(broker, lambda: None, actor_name="first")
    second = actor(broker, lambda _: None, actor_name="second")
    # When the first one is done
    with work():
        dramatiq.pipeline([first.message(), second.message()], broker=broker).run()
        wait_until(lambda: dead(db) or ended(db))
    # Then it is there for a person to see
    assert (dead(db), ended(db)) == ([("invalid", type(error).__name__)], [])
    [(reason, stage)] = db("SELECT reason, message #>> '{options,pipe_target,actor_name}' FROM callboard.dead_letters")
    assert (reason, stage) == ("invalid", "second")


def test_a_failure_whose_callback_middleware_refuses_stays_that_failure(broker, db, work):
    broker.add_middleware(Refuse("told", Postponed("rate limit", wait_s=1)))
    actor(broker, lambda *_: None, actor_name="told")

    def job():
        raise KeyError("boom")

    with work():
        actor(broker, job, on_failure="told", max_retries=1).send()
        wait_until(lambda: dead(db))
    assert dead(db) == [("max_retries", "KeyError")]
    assert db("SELECT outcome FROM callboard.attempts ORDER BY attempt") == [("retry",), ("dead",)]


def test_a_next_stage_whose_key_is_held_keeps_no_other_verdict_waiting(broker, url, db, work):
    # Given a pipeline whose next stage has a dedupe key that an open transaction holds
    first = actor(broker, lambda: None, actor_name="first")
    second = actor(broker, lambda *_: None, actor_name="second")
    other = actor(broker, lambda: None, actor_name="other")
    next_stage = second.message_with_options(dedupe_key="k")
    with contextlib.closing(psycopg2.connect(url)) as holder, work():
        send_in(holder, second.message_with_options(dedupe_key="k"))
        dramatiq.pipeline([first.message(), next_stage], broker=broker).run()
        wait_until(lambda: db("SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"), what="a wait for it")
        # When other messages end
        for _ in range(3):
            other.send()
        # Then they are done while it is still held, and the pipeline goes on when it is free
        wait_until(lambda: len(ended(db)) == 3)
        holder.rollback()
        wait_until(lambda: len(ended(db)) == 5)


@pytest.mark.parametrize("refusal", ["read_only_sql_transaction", "insufficient_privilege"])
def test_a_database_that_refuses_every_verdict_is_waited_for(broker, db, work, refusal):
    # Given a database that writes nothing for a while, as a standby after a failover
    db(
        f"CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE {refusal}; END $$; "
        "CREATE TRIGGER refuse BEFORE INSERT ON callboard.message_history FOR EACH ROW EXECUTE FUNCTION refuse()"
    )
    runs = []
    job = actor(broker, lambda: runs.append(1), actor_name="job")
    with work():
        job.send()
        wait_until(lambda: broker.worker.verdict_writer._outage.is_known or dead(db), what="the refusal")
        # When it writes again
        db("DROP TRIGGER refuse ON callboard.message_history")
        wait_until(lambda: ended(db) or dead(db))
    # Then the message is done, after one run
    assert (ended(db), dead(db), runs) == ([("done",)], [], [1])


def test_a_completion_inside_a_completion_writes_nothing(broker, db, work):
    db("CREATE TABLE effects (number integer)")

    def job():
        with completion() as outer:
            outer.cursor().execute("INSERT INTO effects VALUES (1)")
            with completion() as inner:
                inner.cursor().execute("INSERT INTO effects VALUES (2)")

    with work():
        actor(broker, job, max_retries=0).send()
        wait_until(lambda: dead(db) or ended(db))
    assert (dead(db), ended(db), db("SELECT number FROM effects")) == ([("max_retries", "CallboardError")], [], [])


def test_callbacks_and_the_exhaustion_actor_are_told_in_the_verdicts_transaction(broker, db, work):
    told = []

    def job():
        raise KeyError("boom")

    actor(broker, lambda message, facts: told.append(facts), actor_name="exhausted")
    with work():
        actor(broker, job, on_retry_exhausted="exhausted", max_retries=0).send()
        wait_until(lambda: told)
    assert told == [{"retries": 0, "max_retries": 0}]


def test_dramatiqs_own_retries_middleware_is_safe_too(url, db):
    broker = PostgresBroker(
        url=url, middleware=[dramatiq.middleware.Retries(max_retries=2, min_backoff=1, max_backoff=1)]
    )
    runs = []

    def job():
        runs.append(1)
        # Not a KeyError, whose text is a repr(): the NUL must reach the traceback that Retries keeps in the options.
        raise ValueError("bo\x00om \\\x00")

    with running_worker(broker):
        actor(broker, job).send()
        wait_until(lambda: dead(db))
    broker.close()
    assert len(runs) == 3 and dead(db) == [("permanent", "ValueError")]


def test_a_failure_without_any_retry_middleware_does_not_count_as_done(url, db):
    broker = PostgresBroker(url=url, middleware=[])

    def job():
        raise KeyError("boom")

    with running_worker(broker):
        actor(broker, job).send()
        wait_until(lambda: db("SELECT 1 FROM callboard.attempts WHERE outcome = 'retry'"))
    broker.close()
    assert ended(db) == []


def test_what_is_sent_to_another_broker_goes_there(broker, url, db, work):
    # Given an actor that hands its own message on to another broker, and a hook that sends to that one
    other = PostgresBroker(url=url, middleware=[])
    stored = []
    other._sender.store = lambda row: stored.append(row.queue_name) or row.message_id

    class Tell(dramatiq.Middleware):
        def after_process_message(self, broker, message, *, result=None, exception=None):
            other.enqueue(dramatiq.Message("far", "far", (), {}, {}))

    def job():
        other.enqueue(current_delivery()._message.copy(queue_name="far"))

    broker.add_middleware(Tell())
    # When it runs
    with work():
        actor(broker, job).send()
        wait_until(lambda: ended(db))
    other.close()
    # Then both went by the other broker, and the message itself is done
    assert stored == ["far", "far"]
    assert (ended(db), db("SELECT count(*) FROM dramatiq.queue")) == ([("done",)], [(0,)])


def test_a_late_verdict_of_a_lost_lease_changes_nothing(broker, db, work):
    # Given a message whose lease passes on while it runs
    may_end, running, outcomes = threading.Event(), threading.Event(), []

    class Listener(dramatiq.Middleware):
        def after_verdicts(self, broker, written):
            outcomes.extend(outcome.value for _, outcome in written)

    def job():
        running.set()
        may_end.wait(10)

    broker.add_middleware(Listener())
    with work(threads=1):
        actor(broker, job).send()
        assert running.wait(10)
        db("UPDATE dramatiq.queue SET lease_id = nextval('callboard.lease_id_seq')")
        # When the first holder is done
        may_end.set()
        wait_until(lambda: outcomes)
        # Then the row still belongs to the new lease, and the loss is counted
        assert db("SELECT state FROM dramatiq.queue") == [("running",)]
    assert outcomes == ["lost"] and ended(db) == []


def test_priority_and_age_decide_the_order(broker, db, work):
    order = []
    job = actor(broker, order.append, actor_name="job")
    for name, priority in (("late", 5), ("first", 0), ("second", 0), ("urgent", -1)):
        job.send_with_options(args=(name,), priority=priority)
    with work(threads=1):
        wait_until(lambda: len(ended(db)) == 4)
    assert order == ["urgent", "first", "second", "late"]


def test_a_paused_queue_starts_nothing(broker, db, work):
    db("INSERT INTO callboard.queue_controls (queue_name, is_paused) VALUES ('jobs', TRUE)")
    ran = []
    job = actor(broker, lambda: ran.append(1), actor_name="job")
    other = dramatiq.actor(lambda: None, actor_name="other", broker=broker, queue_name="others")
    with work():
        job.send()
        other.send()
        wait_until(lambda: ended(db))
        assert ran == []
        db("DELETE FROM callboard.queue_controls")
        wait_until(lambda: ran)


def test_a_message_that_becomes_ready_behind_the_last_claim_is_found_at_its_ring(url, db):
    # Given a worker that has claimed up to a moment, and looks by itself only once a minute
    broker = PostgresBroker(url=url, middleware=[], options=BrokerOptions(poll_interval_s=60))
    order = []
    job = actor(broker, order.append, actor_name="job")
    with running_worker(broker):
        for name in ("first", "second"):
            job.send(name)
            wait_until(lambda name=name: name in order)
        # When an older message comes back, as a rescued one does or one whose sender committed late
        job.send_with_options(args=("delayed",), delay=600_000)
        db("UPDATE dramatiq.queue SET available_at = now() - interval '1 hour'")
        db("NOTIFY callboard")
        # Then it starts
        wait_until(lambda: "delayed" in order, 15)
    broker.close()


def test_messages_claimed_ahead_go_to_another_process_when_they_wait(url, db):
    # Given a process that has claimed ahead of its one thread, which a long message then holds
    broker, other = (PostgresBroker(url=url, middleware=[]) for _ in range(2))
    held, ran = threading.Event(), []

    def job(n):
        if n == 0:
            held.wait(30)
        ran.append(n)

    jobs = actor(broker, job)
    actor(other, ran.append, actor_name="job")
    with running_worker(broker, threads=1):
        broker.worker.leases._slots._ahead = 50
        broker.worker.leases._slots._take_rate = lambda held: None
        for n in range(20):
            jobs.send(n)
        wait_until(lambda: db("SELECT count(*) FROM dramatiq.queue WHERE state = 'running'") == [(20,)])
        # When another process has nothing to do
        with running_worker(other):
            # Then it runs what waits
            wait_until(lambda: sorted(ran) == list(range(1, 20)), 15)
            held.set()
            wait_until(lambda: 0 in ran)
    assert db("SELECT DISTINCT attempt, lost_workers FROM callboard.message_history") == [(1, 0)]
    broker.close()
    other.close()


def test_a_stopping_worker_hands_back_what_has_not_started(broker, db, work):
    started = threading.Event()

    def job():
        started.set()
        time.sleep(0.3)

    slow = actor(broker, job)
    with work(threads=1):
        for _ in range(3):
            slow.send()
        started.wait(10)
    rows = db("SELECT state, attempt, lost_workers FROM dramatiq.queue")
    assert rows and all(row == ("queued", 0, 0) for row in rows)
    assert db("SELECT count(*) FROM callboard.workers") == [(0,)]


def test_completion_commits_effect_follow_up_and_end_together(broker, db, work):
    db("CREATE TABLE effect (n int)")
    got = []
    after = actor(broker, got.append, actor_name="after")

    def job():
        with completion() as connection:
            with connection.cursor() as cursor:
                cursor.execute("INSERT INTO effect VALUES (1)")
            send_in(connection, after.message("sent"))

    with work():
        actor(broker, job).send()
        wait_until(lambda: got)
    assert db("SELECT n FROM effect") == [(1,)]


def test_an_exception_after_completion_is_not_retried(broker, db, work):
    runs = []

    def job():
        runs.append(1)
        with completion():
            pass
        raise KeyError("late")

    with work():
        actor(broker, job).send()
        wait_until(lambda: ended(db))
        time.sleep(0.1)
    assert runs == [1] and dead(db) == []


def test_an_exception_inside_completion_rolls_its_effects_back(broker, db, work):
    db("CREATE TABLE effect (n int)")
    runs = []

    def job():
        runs.append(1)
        with completion() as connection, connection.cursor() as cursor:
            cursor.execute("INSERT INTO effect VALUES (1)")
            if len(runs) == 1:
                raise KeyError("first time")

    with work():
        actor(broker, job).send()
        wait_until(lambda: ended(db))
    assert len(runs) == 2 and db("SELECT n FROM effect") == [(1,)]


def test_completion_without_its_lease_writes_nothing(broker, db, work):
    db("CREATE TABLE effect (n int)")
    errors = []

    def job():
        try:
            with completion() as connection, connection.cursor() as cursor:
                cursor.execute("INSERT INTO effect VALUES (1)")
                db("UPDATE dramatiq.queue SET lease_id = nextval('callboard.lease_id_seq')")
        except CallboardError as error:
            errors.append(type(error).__name__)
            raise

    with work():
        actor(broker, job).send()
        wait_until(lambda: errors)
    assert errors == ["LeaseLost"] and db("SELECT n FROM effect") == []


def test_a_second_completion_is_refused(broker, db, work):
    errors = []

    def job():
        with completion():
            pass
        try:
            with completion():
                pass
        except CallboardError as error:
            errors.append(str(error))

    with work():
        actor(broker, job).send()
        wait_until(lambda: errors)
    assert "Use completion() once" in errors[0]


def test_completion_outside_of_a_worker_is_a_plain_transaction(broker, db):
    db("CREATE TABLE effect (n int)")
    with completion() as connection, connection.cursor() as cursor:
        cursor.execute("INSERT INTO effect VALUES (1)")
    assert db("SELECT n FROM effect") == [(1,)]


def test_a_commit_whose_answer_was_lost_is_settled_by_looking(broker, db, work, monkeypatch):
    # Given a completion whose commit reaches the database, but not its answer
    class Lossy:
        def __init__(self, connection):
            self._connection = connection

        def __getattr__(self, name):
            return getattr(self._connection, name)

        def commit(self):
            self._connection.commit()
            self._connection.close()
            raise psycopg2.OperationalError("server closed the connection unexpectedly")

    db("CREATE TABLE effect (n int)")
    runs = []

    def job():
        runs.append(1)
        real = broker.pool.getconn

        def lossy(timeout_s=5.0):
            broker.pool.getconn = real
            return Lossy(real(timeout_s))

        broker.pool.getconn = lossy
        with completion() as connection, connection.cursor() as cursor:
            cursor.execute("INSERT INTO effect VALUES (1)")

    with work():
        actor(broker, job).send()
        wait_until(lambda: ended(db))
        time.sleep(0.1)
    # Then it counts as done, once
    assert runs == [1] and db("SELECT n FROM effect") == [(1,)]


def test_join_waits_until_the_queue_is_empty(broker, db, work):
    job = actor(broker, lambda: time.sleep(0.05), actor_name="job")
    with work():
        for _ in range(5):
            job.send()
        broker.join("jobs", timeout=10_000)
        assert len(ended(db)) == 5
    job.send()
    with pytest.raises(dramatiq.errors.QueueJoinTimeout):
        broker.join("jobs", timeout=100)

"""Periodic messages in the database: what workers declare, who sends a slot, and that nobody sends it twice."""

from __future__ import annotations

import contextlib
import threading
import uuid
from datetime import UTC, datetime, timedelta

import dramatiq
import pytest

from callboard.broker import current_delivery, schedule
from callboard.broker.schedules.declaration import Schedule
from callboard.broker.schedules.scheduler import Scheduler
from callboard.db import connect, sql
from callboard.errors import ConfigurationError
from tests.conftest import wait_until
from tests.postgres.broker.conftest import make_broker, running_worker
from tests.postgres.broker.fake_workers import Workers, opened

DAILY = Schedule("daily", "job", "jobs", 0, "0 6 * * *", "Europe/Moscow", {"kind": "register"})
EACH_SECOND = Schedule("each-second", "job", "jobs", 3, "* * * * * *")


@pytest.fixture
def db(url):
    with opened(url) as query:
        query("DELETE FROM callboard.schedules")
        yield query


@pytest.fixture
def workers(db):
    return Workers(db)


@pytest.fixture
def clock_of(url):
    """Make the clock of a process that declares something, on a connection of its own."""
    with contextlib.ExitStack() as stack:

        def make(*declared, on_send=lambda _moment, _message: None):
            connection = connect(url, autocommit=True)
            stack.callback(connection.close)

            def execute(name, parameters, before):
                with connection.cursor() as cursor:
                    cursor.execute(before + sql(name), parameters)
                    return cursor.fetchall() if cursor.description else []

            return Scheduler(execute, declared, on_send)

        yield make


@pytest.fixture
def register(clock_of, workers):
    """Let a new worker process declare schedules; return its clock."""

    def declare(*declared, **options):
        clock = clock_of(*declared, **options)
        clock.register(workers.register())
        return clock

    return declare


def set_due(db, name, *, ago_s=0):
    """Let a schedule have waited for so long, from a whole second on."""
    db(
        "UPDATE callboard.schedules SET next_at = date_trunc('second', now()) - %s * interval '1 second' "
        "WHERE schedule_name = %s",
        ago_s,
        name,
    )


def schedules(db, columns):
    return db(f"SELECT {columns} FROM callboard.schedules ORDER BY schedule_name")


def slots_of(db, name):
    """Return the slots whose messages wait, in the order in which they run."""
    return db(
        "SELECT (message #>> '{options,slot_at}')::timestamptz FROM dramatiq.queue "
        "WHERE message #>> '{options,schedule}' = %s ORDER BY seq",
        name,
    )


# Declaring


def test_a_worker_stores_what_it_declares_with_its_next_slot(db, register):
    register(DAILY)
    assert schedules(db, "schedule_name, actor_name, queue_name, kwargs, cron, timezone, catch_up, is_paused") == [
        ("daily", "job", "jobs", {"kind": "register"}, "0 6 * * *", "Europe/Moscow", "latest", False)
    ]
    ((hour, is_next),) = schedules(
        db, "extract(hour FROM next_at AT TIME ZONE 'Europe/Moscow'), next_at - now() < '1 day'"
    )
    assert (hour, is_next) == (6, True)


def test_an_unchanged_declaration_leaves_slot_and_pause_as_they_are(db, register):
    register(DAILY)
    set_due(db, "daily", ago_s=900)
    db("UPDATE callboard.schedules SET is_paused = true")
    before = schedules(db, "next_at, is_paused, changed_at")
    register(DAILY)
    assert schedules(db, "next_at, is_paused, changed_at") == before


def test_a_changed_expression_counts_from_now_on_and_a_pause_survives(db, register):
    register(DAILY)
    set_due(db, "daily", ago_s=900)
    db("UPDATE callboard.schedules SET is_paused = true")
    register(Schedule("daily", "other", "more", 5, "0 7 * * *", "UTC", {}, "all", "key"))
    assert schedules(
        db, "actor_name, queue_name, priority, cron, timezone, kwargs, catch_up, dedupe_key, is_paused, next_at > now()"
    ) == [("other", "more", 5, "0 7 * * *", "UTC", {}, "all", "key", True, True)]


def test_changed_arguments_leave_a_slot_that_is_due(db, register):
    register(DAILY)
    set_due(db, "daily", ago_s=900)
    register(Schedule("daily", "job", "jobs", 0, "0 6 * * *", "Europe/Moscow", {"kind": "receipt"}))
    assert schedules(db, "kwargs, next_at < now()") == [({"kind": "receipt"}, True)]


def test_an_older_process_that_connects_again_takes_nothing_back(db, clock_of, workers):
    # Given two versions of the code side by side, the new one started last
    old, new = clock_of(DAILY), clock_of(Schedule("daily", "job", "jobs", 0, "0 7 * * *"))
    old_id, new_id = workers.register(), workers.register()
    old.register(old_id)
    new.register(new_id)
    after_new = schedules(db, "cron, timezone, next_at, changed_at")
    assert after_new[0][0] == "0 7 * * *"
    # When the old one loses its connection and registers again, and again
    old.register(old_id)
    old.register(old_id)
    # Then the schedule stays as the new one declared it
    assert schedules(db, "cron, timezone, next_at, changed_at") == after_new


def test_two_workers_that_declare_the_same_at_once_do_not_stop_each_other(db, clock_of, workers):
    many = [Schedule(f"s{number}", "job", "jobs", 0, "0 6 * * *") for number in range(50)]
    clocks = [(clock_of(*order), workers.register()) for order in (many, many[::-1], many, many[::-1])]
    _at_once([lambda clock=clock, worker_id=worker_id: clock.register(worker_id) for clock, worker_id in clocks])
    assert db("SELECT count(*) FROM callboard.schedule_declarations") == [(200,)]


def test_what_no_living_worker_declares_is_not_sent_until_one_does_again(db, register, clock_of, workers):
    # Given a schedule whose only worker is gone while another one leads
    register(DAILY)
    set_due(db, "daily")
    db("DELETE FROM callboard.workers")
    workers.register()
    leader = clock_of()
    # When its slot comes
    leader.send_when_due()
    # Then nothing is sent
    assert db("SELECT count(*) FROM dramatiq.queue") == [(0,)]
    # When a worker declares it again, the slot is caught up
    register(DAILY).send_when_due()
    assert len(slots_of(db, "daily")) == 1


# Sending


def test_a_due_slot_is_one_message_of_its_own_time(db, register):
    clock = register(DAILY)
    set_due(db, "daily", ago_s=5)
    # 5 s ago is no slot of this expression; what a row says is due is what counts for the look, the slots for sending.
    db("UPDATE callboard.schedules SET cron = '* * * * * *', timezone = 'UTC', catch_up = 'latest'")
    clock.send_when_due()
    slots = [slot for (slot,) in slots_of(db, "daily")]
    assert slots == sorted(set(slots)) and len(slots) in (6, 7)
    (row,) = db("SELECT last_slot_at, last_message_id, next_at FROM callboard.schedules")
    assert row[0] == slots[-1] and row[2] == slots[-1] + timedelta(seconds=1)
    own = Schedule("daily", "job", "jobs", 0, "* * * * * *")
    assert str(row[1]) == own.message(slots[-1]).message_id


def test_a_message_carries_arguments_priority_schedule_and_slot(db, register):
    clock = register(Schedule("s", "job", "jobs", 3, "* * * * * *", "UTC", {"kind": "register"}, dedupe_key="one"))
    set_due(db, "s")
    clock.send_when_due()
    ((message, priority, dedupe_key, queue_name, message_id),) = db(
        "SELECT message, priority, dedupe_key, queue_name, message_id FROM dramatiq.queue"
    )
    assert (priority, dedupe_key, queue_name) == (3, "one", "jobs")
    assert message["kwargs"] == {"kind": "register"} and message["args"] == []
    assert message["actor_name"] == "job" and message["message_id"] == str(message_id)
    assert message["options"]["schedule"] == "s"
    assert datetime.fromisoformat(message["options"]["slot_at"]).tzinfo is not None


def _at_once(actions):
    """Run actions at one moment, each in a thread, and raise what one of them raised."""
    barrier, errors = threading.Barrier(len(actions)), []

    def run(action):
        barrier.wait(10)
        try:
            action()
        except Exception as error:  # noqa: BLE001 - raised below, in the test's own thread
            errors.append(error)

    threads = [threading.Thread(target=run, args=(action,)) for action in actions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    if errors:
        raise errors[0]


def test_eight_leaders_at_once_send_one_message_a_slot(db, register):
    # Given eight processes that all believe they lead, and slots that are due, some of them late
    clocks = [register(EACH_SECOND) for _ in range(8)]
    set_due(db, "each-second", ago_s=30)
    (since,) = db("SELECT next_at FROM callboard.schedules")[0]
    # When they send at one moment, ten times
    for _ in range(10):
        for clock in clocks:
            clock._look_clock = float("-inf")
        _at_once([clock.send_when_due for clock in clocks])
    # Then each slot from the first to the last one was sent, and once
    slots = [slot for (slot,) in slots_of(db, "each-second")]
    assert slots[0] == since
    assert slots == [since + timedelta(seconds=number) for number in range(len(slots))]
    assert len(slots) >= 31


def test_a_leader_that_was_overtaken_sends_nothing(db, register):
    # Given a leader that has looked, and froze before it sent
    slow, quick = register(EACH_SECOND), register(EACH_SECOND)
    set_due(db, "each-second", ago_s=3)
    execute = slow._execute

    def overtaken(name, parameters, before):
        if name == "schedules/send":
            quick.send_when_due()
        return execute(name, parameters, before)

    slow._execute = overtaken
    slow.send_when_due()
    slots = slots_of(db, "each-second")
    assert len(slots) == len(set(slots)) >= 4
    assert schedules(db, "next_at > now() - interval '2 seconds'") == [(True,)]


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE callboard.schedules SET next_at = now() + interval '1 hour'",
        'UPDATE callboard.schedules SET kwargs = \'{"kind": "receipt"}\', changed_at = now()',
        "UPDATE callboard.schedules SET is_paused = true",
    ],
    ids=["sent by another leader", "declared anew", "paused"],
)
def test_what_changes_between_a_leaders_look_and_its_sending_counts(db, register, change):
    # Given a leader that has looked
    clock = register(EACH_SECOND)
    set_due(db, "each-second", ago_s=3)
    execute = clock._execute

    def changed(name, parameters, before):
        if name == "schedules/send":
            db(change)
            changed.row = schedules(db, "next_at, last_slot_at, last_message_id")
        return execute(name, parameters, before)

    clock._execute = changed
    # When the schedule changes before the leader sends
    clock.send_when_due()
    # Then nothing is sent, and the schedule stands as it was changed
    assert slots_of(db, "each-second") == []
    assert schedules(db, "next_at, last_slot_at, last_message_id") == changed.row


@pytest.mark.parametrize("fate", ["waits", "done", "dead"])
def test_a_schedule_that_was_set_back_by_hand_sends_no_slot_twice(db, register, fate):
    clock = register(EACH_SECOND)
    set_due(db, "each-second", ago_s=10)
    clock.send_when_due()
    first = {slot for (slot,) in slots_of(db, "each-second")}
    if fate == "done":
        db(
            "WITH ended AS (DELETE FROM dramatiq.queue RETURNING *) INSERT INTO callboard.message_history (message_id, "
            "outcome, queue_name, message, priority, attempt, retries, lost_workers, generation, enqueued_at, "
            "available_at) "
            "SELECT message_id, 'done', queue_name, message, priority, 1, 0, 0, 0, now(), now() FROM ended"
        )
    elif fate == "dead":
        db(
            "WITH ended AS (DELETE FROM dramatiq.queue RETURNING *) INSERT INTO callboard.dead_letters (message_id, "
            "reason, queue_name, message, priority, attempt, retries, lost_workers, generation, enqueued_at) "
            "SELECT message_id, 'permanent', queue_name, message, priority, 1, 0, 0, 0, now() FROM ended"
        )
    db("UPDATE callboard.schedules SET next_at = %s", min(first))
    clock._look_clock = float("-inf")
    clock.send_when_due()
    again = [slot for (slot,) in slots_of(db, "each-second")]
    assert len(again) == len(set(again))
    assert fate == "waits" or not first & set(again)
    assert schedules(db, "next_at > now() - interval '2 seconds'") == [(True,)]


def test_a_paused_schedule_sends_nothing_and_follows_its_rule_when_it_is_resumed(db, register):
    clock = register(Schedule("s", "job", "jobs", 0, "0 * * * *"))
    db("UPDATE callboard.schedules SET is_paused = true, next_at = date_trunc('hour', now()) - interval '5 hours'")
    clock.send_when_due()
    assert slots_of(db, "s") == []
    db("UPDATE callboard.schedules SET is_paused = false")
    clock._look_clock = float("-inf")
    clock.send_when_due()
    assert slots_of(db, "s") == db("SELECT date_trunc('hour', now())")


def test_every_missed_slot_is_caught_up_in_order_a_batch_at_a_time(db, register):
    clock = register(Schedule("s", "job", "jobs", 0, "* * * * *", catch_up="all"))
    db("UPDATE callboard.schedules SET next_at = date_trunc('minute', now()) - interval '3 hours'")
    for _ in range(10):
        clock.send_when_due()
    slots = [slot for (slot,) in slots_of(db, "s")]
    assert len(slots) in (181, 182)
    assert slots == [slots[0] + timedelta(minutes=number) for number in range(len(slots))]


def test_missed_slots_that_nobody_wants_are_passed_over(db, register):
    clock = register(Schedule("s", "job", "jobs", 0, "0 0 * * *", catch_up="none"))
    db("UPDATE callboard.schedules SET next_at = date_trunc('day', now()) - interval '3 days', last_message_id = NULL")
    # A run in the first minute of a day would send that day's slot.
    wait_until(lambda: db("SELECT now() - date_trunc('day', now()) > '61 seconds'") == [(True,)], 70)
    clock.send_when_due()
    assert slots_of(db, "s") == []
    assert schedules(db, "next_at > now(), last_slot_at, last_message_id") == [(True, None, None)]


def test_while_a_message_holds_the_dedupe_key_a_slot_adds_none(db, register):
    clock = register(Schedule("s", "job", "jobs", 0, "* * * * * *", dedupe_key="one"))
    set_due(db, "s", ago_s=20)
    clock.send_when_due()
    assert len(slots_of(db, "s")) == 1
    # And the one that holds it is what the last slot points to
    assert schedules(db, "last_message_id") == db("SELECT message_id FROM dramatiq.queue")


def test_a_schedule_that_cannot_be_sent_stops_no_other(db, register):
    # Given one whose row was broken by hand, and one whose messages the database refuses
    clock = register(
        Schedule("a-broken", "job", "jobs", 0, "* * * * * *"),
        Schedule("b-refused", "job", "refused", 0, "* * * * * *"),
        Schedule("c-good", "job", "jobs", 0, "* * * * * *"),
    )
    db("UPDATE callboard.schedules SET cron = 'often' WHERE schedule_name = 'a-broken'")
    db("ALTER TABLE dramatiq.queue ADD CONSTRAINT refuses CHECK (queue_name <> 'refused')")
    for name in ("a-broken", "b-refused", "c-good"):
        set_due(db, name, ago_s=2)
    # When the leader looks
    clock.send_when_due()
    # Then the third is sent, and the others are known and tried again later
    assert len(slots_of(db, "c-good")) >= 3
    assert sorted(clock._failing) == ["a-broken", "b-refused"]
    # When the second one's trouble is over
    db("ALTER TABLE dramatiq.queue DROP CONSTRAINT refuses")
    clock._failing = dict.fromkeys(clock._failing, 0.0)
    clock._look_clock = float("-inf")
    clock.send_when_due()
    # Then its slots are there, none of them lost
    assert len(slots_of(db, "b-refused")) >= 3
    assert sorted(clock._failing) == ["a-broken"]


def test_a_locked_table_keeps_the_leader_from_nothing_but_schedules(url, db, register):
    clock = register(EACH_SECOND)
    set_due(db, "each-second")
    with contextlib.closing(connect(url)) as other, other.cursor() as cursor:
        cursor.execute("LOCK TABLE callboard.schedules")
        clock.send_when_due()  # Raises nothing, and does not wait for the lock.
        assert slots_of(db, "each-second") == []
    clock._look_clock = float("-inf")
    clock.send_when_due()
    assert len(slots_of(db, "each-second")) >= 1


def test_a_look_costs_one_statement_and_then_nothing_until_it_is_time(db, register):
    clock = register(DAILY)
    names, execute = [], clock._execute
    clock._execute = lambda name, *rest: (names.append(name), execute(name, *rest))[1]
    for _ in range(20):
        clock.send_when_due()
    assert names == ["schedules/due"]
    assert 0 < clock.pause_s <= 5


def test_the_next_slot_is_known_to_the_moment(db, register):
    clock = register(Schedule("s", "job", "jobs", 0, "* * * * * *"))
    set_due(db, "s")
    clock.send_when_due()
    assert 0 <= clock.pause_s <= 1


def test_middleware_is_asked_before_a_message_is_stored_and_told_after(db, register):
    told = []

    def on_send(moment, message):
        told.append((moment, message.message_id))
        if moment == "before":
            message.options["trace"] = "t-1"

    clock = register(DAILY, on_send=on_send)
    db("UPDATE callboard.schedules SET cron = '* * * * * *', next_at = date_trunc('second', now())")
    clock.send_when_due()
    ids = [str(message_id) for (message_id,) in db("SELECT message_id FROM dramatiq.queue ORDER BY seq")]
    assert told == [("before", each) for each in ids] + [("after", each) for each in ids]
    assert db("SELECT DISTINCT message #>> '{options,trace}' FROM dramatiq.queue") == [("t-1",)]


# With workers


def test_a_worker_runs_its_slots_and_its_actor_knows_them(broker, db, work):
    ran = []
    actor = dramatiq.actor(lambda: ran.append(current_delivery().slot_at), actor_name="job", broker=broker)
    schedule("each-second", cron="* * * * * *")(actor)
    with work():
        wait_until(lambda: len(ran) >= 3, 15, "three slots")
    assert ran == [ran[0] + timedelta(seconds=number) for number in range(len(ran))]
    assert all(slot.tzinfo == UTC for slot in ran)
    # A message that no schedule sent has none.
    late = db(
        "SELECT max(available_at - (message #>> '{options,slot_at}')::timestamptz) FROM callboard.message_history"
    )
    assert late[0][0] < timedelta(seconds=5)


def test_any_other_message_has_no_slot(broker, db, work):
    ran = []
    actor = dramatiq.actor(lambda: ran.append(current_delivery().slot_at), actor_name="job", broker=broker)
    with work():
        actor.send()
        wait_until(lambda: ran)
    assert ran == [None]


def test_when_the_leader_goes_another_one_sends_on(url, db):
    # Given two workers
    with contextlib.ExitStack() as stack:
        brokers = []
        for _ in range(2):
            broker = make_broker(url)
            stack.callback(broker.close)
            actor = dramatiq.actor(lambda: None, actor_name="job", queue_name="jobs", broker=broker)
            schedule("each-second", cron="* * * * * *")(actor)
            stack.enter_context(running_worker(broker))
            brokers.append(broker)
        wait_until(lambda: db("SELECT count(*) FROM callboard.message_history")[0][0] >= 2, 15, "two slots")
        # When the leader's connection is ended, three times
        for _ in range(3):
            wait_until(lambda: any(broker.worker.heartbeat.leads for broker in brokers), what="the lead")
            before = db("SELECT count(*) FROM callboard.message_history")[0][0]
            db(
                "SELECT pg_terminate_backend(pg_locks.pid) FROM pg_locks "
                "JOIN callboard.workers ON workers.lock_key = objid::bigint "
                "JOIN callboard.duties USING (worker_id) WHERE duty_name = 'lead' AND locktype = 'advisory' "
                "AND classid::bigint = (hashtext('callboard.worker')::bigint & 4294967295) AND granted "
                "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
            )
            wait_until(
                lambda before=before: db("SELECT count(*) FROM callboard.message_history")[0][0] >= before + 3,
                20,
                "more slots",
            )
    # Then no slot is missing, and none came twice
    (row,) = db(
        "SELECT count(*), count(DISTINCT slot), extract(epoch FROM max(slot) - min(slot))::integer + 1 FROM ("
        "SELECT (message #>> '{options,slot_at}')::timestamptz AS slot FROM callboard.message_history UNION ALL "
        "SELECT (message #>> '{options,slot_at}')::timestamptz FROM dramatiq.queue) AS every"
    )
    assert row[0] == row[1] == row[2]


def test_a_broker_on_its_own_refuses_a_wrong_schedule_at_its_workers_start(broker):
    actor = dramatiq.actor(lambda: None, actor_name="job", broker=broker)
    schedule("daily", cron="0 25 * * *")(actor)
    with pytest.raises(ConfigurationError, match="Schedule 'daily' has cron"):
        dramatiq.Worker(broker, worker_threads=1).start()


def test_two_slots_never_share_an_id():
    ids = {EACH_SECOND.message(datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=n)).message_id for n in range(100)}
    assert len(ids) == 100 and all(uuid.UUID(each) for each in ids)

"""What a dead letter died of, as the database has it: whoever writes it, and whatever it was."""

from __future__ import annotations

import time

import dramatiq
import psycopg2

from callboard.broker.failures.causes import cause_of_reason
from callboard.ops.dead_letters.filter import DeadFilter
from callboard.ops.dead_letters.reading import group_dead
from tests.conftest import wait_until
from tests.postgres.broker.fake_workers import Workers, opened

DEAD = "SELECT reason, fingerprint, error_place FROM callboard.dead_letters"


def actor(broker, fn, **options):
    return dramatiq.actor(fn, broker=broker, queue_name="jobs", **options)


def price_of(order):
    return {}[f"order-{order}"]


def charge(order):
    if order % 3 == 0:
        raise ValueError(f"order {order} has no price")
    if order % 3 == 1:
        raise TypeError(f"order {order} is no order")
    price_of(order)


def test_five_thousand_failures_of_three_causes_are_three_groups(broker, db, work, url):
    job = actor(broker, charge, max_retries=0)
    broker.send_many(job.message(order) for order in range(5_000))
    with work(threads=4):
        wait_until(lambda: db("SELECT count(*) FROM callboard.dead_letters") == [(5_000,)], 60, "dead letters")
    connection = psycopg2.connect(url)
    with connection.cursor() as cursor:
        groups = group_dead(cursor, DeadFilter(), limit=10)
    connection.close()
    assert [(group.count, group.error_class) for group in groups][2] == (1_666, "KeyError")
    assert sorted(group.count for group in groups) == [1_666, 1_667, 1_667]
    assert [sum(group.counts) for group in groups] == [group.count for group in groups]
    assert {group.error_place for group in groups} == {
        "tests/postgres/broker/test_causes.py in charge",
        "tests/postgres/broker/test_causes.py in price_of",
    }


def test_every_attempt_keeps_its_own_cause(broker, db, work):
    runs = []

    def job():
        runs.append(1)
        charge(len(runs))

    with work():
        actor(broker, job).send()
        wait_until(lambda: db(DEAD))
    first, second, last = db("SELECT fingerprint FROM callboard.attempts ORDER BY attempt")
    assert len({first, second, last}) == 3
    assert db(DEAD) == [("max_retries", last[0], "tests/postgres/broker/test_causes.py in charge")]


def test_a_letter_of_an_id_that_was_sent_again_has_its_latest_cause(broker, db, work):
    runs = []

    def job():
        runs.append(1)
        charge(len(runs))

    message = actor(broker, job, max_retries=0).message()
    with work():
        for count in (1, 2):
            broker.enqueue(message)
            wait_until(lambda count=count: len(runs) == count and db("SELECT count(*) FROM dramatiq.queue") == [(0,)])
    # The first run's attempt is kept under the same number.
    assert db("SELECT fingerprint FROM callboard.attempts") != db("SELECT fingerprint FROM callboard.dead_letters")


def test_what_nobody_could_run_is_told_by_reason_and_actor(broker, db, work):
    old = actor(broker, lambda: None, actor_name="old", max_age=1)
    old.send()
    time.sleep(0.01)
    broker.enqueue(dramatiq.Message(queue_name="jobs", actor_name="gone", args=(), kwargs={}, options={}))
    db("INSERT INTO dramatiq.queue (message_id, queue_name, message) VALUES (gen_random_uuid(), 'jobs', '[1]')")
    with work():
        wait_until(lambda: len(db(DEAD)) == 3)
    assert sorted(db(DEAD)) == [
        ("expired", cause_of_reason("expired", "old").fingerprint, None),
        ("invalid", cause_of_reason("invalid", "unknown").fingerprint, None),
        ("unknown_actor", cause_of_reason("unknown_actor", "gone").fingerprint, None),
    ]


def test_a_lost_worker_is_a_cause_like_any_other(url):
    with opened(url) as db:
        workers = Workers(db)
        db(
            "INSERT INTO dramatiq.queue (message_id, queue_name, message) "
            """VALUES (gen_random_uuid(), 'jobs', '{"actor_name": "job"}')"""
        )
        for _ in range(3):
            workers.lose_row()
            workers.rescue()
        expected = cause_of_reason("lost_worker", "job").fingerprint
        assert db("SELECT fingerprint, count(*)::integer FROM callboard.attempts GROUP BY 1") == [(expected, 3)]
        assert db(DEAD) == [("lost_worker", expected, None)]


def test_a_failure_that_cannot_be_described_is_kept(broker, db, work):
    class Hostile(Exception):
        def __str__(self):
            raise SystemExit(3)

    def job():
        raise Hostile

    with work():
        actor(broker, job, max_retries=0).send()
        wait_until(lambda: db(DEAD))
    assert db("SELECT error_class, error_message, length(fingerprint) FROM callboard.dead_letters") == [
        ("Hostile", "<its text failed with SystemExit>", 12)
    ]


def test_actors_of_an_installed_package_are_ours(broker):
    from callboard.broker.failures import causes

    fn = type("Actor", (), {"__module__": "their_package.jobs", "__call__": lambda self: None})()
    fn.__name__ = "theirs"
    dramatiq.Actor(fn, broker=broker, actor_name="theirs", queue_name="jobs", priority=0, options={})
    try:
        assert "their_package" in causes._own_packages
    finally:
        causes._own_packages.discard("their_package")
        causes.is_ours.cache_clear()

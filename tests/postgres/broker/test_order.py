"""The order in which messages start: within a queue, over queues in fair turns, over queues in strict order."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import dramatiq
import psycopg2
import pytest

from callboard.broker import BrokerOptions, PostgresBroker
from callboard.broker.claiming.claim import Claim
from callboard.broker.claiming.claimer import Claimer
from callboard.broker.running.delivery import Delivery
from callboard.broker.running.work_queue import WorkItem, WorkQueue
from tests.conftest import wait_until
from tests.postgres.broker.conftest import running_worker
from tests.postgres.broker.fake_workers import Workers, opened

RANDOM = random.Random(7)  # noqa: S311 - a shuffle that is the same every time


def recorder(broker: PostgresBroker, queues: list[str], seconds: float = 0.0) -> tuple[list[str], dict]:
    """Return a list that fills with what started, in order, and an actor for each queue."""
    started: list[str] = []

    def actor_of(queue: str) -> dramatiq.Actor:
        def job(n: int) -> None:
            started.append(queue)
            time.sleep(seconds)

        return dramatiq.actor(job, broker=broker, queue_name=queue, actor_name=f"job_of_{queue}")

    return started, {queue: actor_of(queue) for queue in queues}


@pytest.fixture
def strict_broker(url) -> Iterator[PostgresBroker]:
    options = BrokerOptions(queue_order=("payments", "emails"))
    broker = PostgresBroker(url=url, middleware=[], options=options)
    yield broker
    broker.close()


def test_in_strict_order_a_queue_starts_only_when_those_before_it_are_empty(strict_broker):
    # Given 50 messages in each of two queues, those of the second one older
    started, actors = recorder(strict_broker, ["emails", "payments"])
    for queue in ("emails", "payments"):
        for n in range(50):
            actors[queue].send(n)
    # When one thread works
    with running_worker(strict_broker, threads=1):
        wait_until(lambda: len(started) == 100, 30)
    # Then all of the first queue start before any of the second
    assert started == ["payments"] * 50 + ["emails"] * 50


def test_in_strict_order_what_comes_into_the_first_queue_takes_the_next_slot(strict_broker):
    # Given a long row of messages in the second queue, which one thread works off
    started, actors = recorder(strict_broker, ["emails", "payments"], seconds=0.005)
    for n in range(100):
        actors["emails"].send(n)
    with running_worker(strict_broker, threads=1):
        wait_until(lambda: len(started) >= 20, 30)
        # When one comes into the first
        actors["payments"].send(0)
        stored_at = len(started)
        wait_until(lambda: "payments" in started, 30)
        # Then it does not wait for what was there before
        assert started.index("payments") - stored_at <= 3


def test_in_fair_turns_a_deep_backlog_does_not_keep_the_others_waiting(broker):
    # Given three queues, one with an old and deep backlog
    started, actors = recorder(broker, ["deep", "second", "third"], seconds=0.005)
    for n in range(300):
        actors["deep"].send(n)
    for n in range(10):
        actors["second"].send(n)
        actors["third"].send(n)
    # When one thread works
    with running_worker(broker, threads=1):
        wait_until(lambda: started.count("second") + started.count("third") == 20, 30)
    # Then the short queues were through long before the deep one
    assert started.count("deep") < 150


def test_one_thread_runs_by_priority_over_all_actors_then_in_the_order_of_sending(broker):
    # Given messages of three actors of one queue, with priorities of the actors' and of their own
    started: list[tuple[int, int]] = []

    def job(priority: int, n: int) -> None:
        started.append((priority, n))

    actors = [
        dramatiq.actor(job, broker=broker, queue_name="jobs", actor_name=f"job{p}", priority=p) for p in (0, 5, 10)
    ]
    for n in range(120):
        actor = RANDOM.choice(actors)
        if RANDOM.random() < 0.2:
            actor.send_with_options(args=(7, n), priority=7)
        else:
            actor.send(actor.priority, n)
    # When one thread works
    with running_worker(broker, threads=1):
        wait_until(lambda: len(started) == 120, 30)
    # Then the order is exactly that
    assert started == sorted(started)


def test_many_threads_take_messages_in_the_order_of_sending(broker):
    # Given 8 threads
    taken: list[int] = []
    lock = threading.Lock()

    def job(n: int) -> None:
        with lock:
            taken.append(n)
        time.sleep(0.002)

    jobs = dramatiq.actor(job, broker=broker, queue_name="jobs")
    for n in range(400):
        jobs.send(n)
    with running_worker(broker, threads=8):
        wait_until(lambda: len(taken) == 400, 30)
    # Then each starts at its place, give or take what the threads may overtake between taking up and noting it
    assert max(abs(place - n) for place, n in enumerate(taken)) <= 16


def place_of(queue_name: str, seq: int, priority: int = 0) -> WorkItem:
    moment = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=seq // 20)
    claim = Claim(f"m{seq}", queue_name, "", priority, moment, seq, seq, 1, 0, 0, 0, moment, moment)
    message = dramatiq.Message(queue_name=queue_name, actor_name="job", args=(), kwargs={}, options={})
    return WorkItem(claim.order, Delivery(message, claim))


def given_out(work_queue: WorkQueue) -> list[WorkItem]:
    return [work_queue.get_nowait() for _ in range(work_queue.qsize())]


def test_the_work_queue_gives_out_a_queue_by_priority_and_age():
    places = [place_of("jobs", seq, seq % 3) for seq in range(200)]
    work_queue = WorkQueue()
    for place in RANDOM.sample(places, len(places)):
        work_queue.put(place)
    assert given_out(work_queue) == sorted(places, key=lambda place: place.order)


def test_the_work_queue_serves_the_queues_in_turns_whatever_their_priorities_and_depth():
    work_queue = WorkQueue()
    for place in [place_of("deep", seq, -1) for seq in range(4)] + [place_of("other", seq) for seq in (10, 11)]:
        work_queue.put(place)
    assert [place.message.queue_name for place in given_out(work_queue)] == ["deep", "other"] * 2 + ["deep"] * 2


def test_the_work_queue_serves_the_queues_in_strict_order_where_one_is_set():
    work_queue = WorkQueue(["b", "a"])
    for place in [place_of("c", 1), place_of("a", 2), place_of("b", 3), place_of("a", 4), place_of("b", 5)]:
        work_queue.put(place)
    assert "".join(place.message.queue_name for place in given_out(work_queue)) == "bbaac"


def fill(db, queue: str, count: int) -> None:
    row = "INSERT INTO dramatiq.queue (message_id, queue_name, message) VALUES (gen_random_uuid(), %s, %s)"
    for n in range(count):
        db(row, queue, f'{{"queue_name": "{queue}", "actor_name": "job", "args": [{n}]}}')


def claimer_of(connection, queue_names: list[str], db, *, count: int = 6, **options) -> Claimer:
    """A claimer of these queues, each of which holds count messages."""
    for queue in queue_names:
        fill(db, queue, count)
    return Claimer(Workers(db).register(), queue_names, is_prepared=False, **options)


def names_of(claims) -> str:
    return "".join(sorted(claim.queue_name for claim in claims))


@pytest.fixture
def raw_connection(url):
    connection = psycopg2.connect(url)
    connection.autocommit = True
    yield connection
    connection.close()


def test_the_next_free_slot_goes_to_the_queue_that_waited_longest(url, raw_connection):
    with opened(url) as db:
        claimer = claimer_of(raw_connection, ["a", "b", "c"], db)
        served = [claimer.claim(raw_connection, 1).claims[0].queue_name for _ in range(9)]
        # A queue that was empty for a while has waited longest.
        db("DELETE FROM dramatiq.queue WHERE queue_name = 'b' AND state = 'queued'")
        served += [claimer.claim(raw_connection, 1).claims[0].queue_name for _ in range(4)]
        db(
            "INSERT INTO dramatiq.queue (message_id, queue_name, message) "
            """VALUES (gen_random_uuid(), 'b', '{"queue_name": "b"}')"""
        )
        served += [claimer.claim(raw_connection, 1).claims[0].queue_name]
    assert "".join(served) == "abcabcabc" + "acac" + "b"


def test_a_claim_shares_its_slots_out_over_the_queues(url, raw_connection):
    with opened(url) as db:
        claimer = claimer_of(raw_connection, ["a", "b", "c"], db)
        claims = claimer.claim(raw_connection, 6).claims
    assert names_of(claims) == "aabbcc"


def test_a_queue_alone_gets_whole_claims_until_another_one_fills_up(url, raw_connection):
    with opened(url) as db:
        claimer = claimer_of(raw_connection, ["a", "b", "c"], db, count=0)

        def served() -> str:
            return names_of(claimer.claim(raw_connection, 6).claims)

        # Nothing is known at first; then only one queue has more than its share
        fill(db, "a", 26)
        assert [served() for _ in range(3)] == ["aa", "aaaaaa", "aaaaaa"]
        # One that fills up comes first, and from the next claim on they share
        fill(db, "c", 12)
        assert [served() for _ in range(3)] == ["cccccc", "aaaccc", "aaaccc"]
        # What it does not need any more goes to the other, a claim later
        assert [served() for _ in range(2)] == ["aaa", "aaa"]
        assert served() == ""


def test_long_jobs_that_come_to_all_queues_of_an_idle_process_share_its_threads(url, raw_connection):
    with opened(url) as db:
        claimer = claimer_of(raw_connection, ["a", "b", "c"], db, count=0)
        for _ in range(2):
            assert claimer.claim(raw_connection, 6).claims == []
        for queue in ("a", "b", "c"):
            fill(db, queue, 6)
        assert names_of(claimer.claim(raw_connection, 6).claims) == "aabbcc"


def test_a_claim_that_its_limit_cut_off_says_that_there_may_be_more(url, raw_connection):
    with opened(url) as db:
        claimer = claimer_of(raw_connection, ["a", "b"], db, count=0)
        claimer._deep = set()
        fill(db, "a", 2)
        fill(db, "b", 6)
        found = claimer.claim(raw_connection, 4)
        assert (names_of(found.claims), found.may_be_more) == ("aabb", True)


def test_a_strict_claim_takes_from_the_first_queue_while_it_has_any(url, raw_connection):
    with opened(url) as db:
        claimer = claimer_of(raw_connection, ["c", "a", "b"], db, is_strict=True)
        served = [names_of(claimer.claim(raw_connection, 4).claims) for _ in range(3)]
    assert served == ["cccc", "aacc", "aaaa"]

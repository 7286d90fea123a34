"""Counters: right under concurrency, by the database's clock, for all of Dramatiq's limiters."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import dramatiq
import pytest
from dramatiq.rate_limits import Barrier, BucketRateLimiter, ConcurrentRateLimiter, WindowRateLimiter

from callboard.broker import PostgresRateLimits
from callboard.db import Pool, sql
from callboard.errors import ConfigurationError
from tests.conftest import wait_until
from tests.postgres.broker.conftest import make_broker, running_worker

#: Racing processes: each tries so often to pass a window of 20 and says how often it could.
RACER = """
import sys
from dramatiq.rate_limits import WindowRateLimiter
from callboard.broker import PostgresRateLimits

limiter, passed = WindowRateLimiter(PostgresRateLimits(url=sys.argv[1]), "race", limit=20, window=600), 0
for _ in range(30):
    with limiter.acquire(raise_on_failure=False) as acquired:
        passed += acquired
print(passed)
"""


@pytest.fixture
def backend(url):
    pool = Pool(url, size=16)
    yield PostgresRateLimits(pool=pool)
    pool.close()


def race(call, count=16):
    """Call it in so many threads at once and return the answers."""
    ready = threading.Barrier(count)

    def run(_):
        ready.wait()
        return call()

    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(run, range(count)))


def test_a_key_is_added_once_until_it_expires(backend):
    assert backend.add("k", 1, 60_000) is True
    assert backend.add("k", 1, 60_000) is False
    assert backend.add("short", 1, 1) is True
    time.sleep(0.01)
    assert backend.add("short", 1, 60_000) is True


def test_counting_stops_at_maximum_and_minimum(backend, db):
    assert [backend.incr("k", 2, 5, 60_000) for _ in range(3)] == [True, True, False]
    assert [backend.decr("k", 3, 0, 60_000) for _ in range(2)] == [True, False]
    assert db("SELECT value FROM callboard.rate_limits") == [(1,)]
    assert backend.incr("new", 2, 1, 60_000) is False and backend.decr("none", 1, 0, 60_000) is False


def test_an_expired_counter_counts_from_zero(backend, db):
    backend.incr("k", 5, 5, 60_000)
    db("UPDATE callboard.rate_limits SET expires_at = now()")
    assert backend.decr("k", 1, 0, 60_000) is False
    assert backend.incr("k", 5, 5, 60_000) is True


def test_the_clock_of_the_process_counts_for_nothing(backend, monkeypatch):
    backend.add("k", 1, 60_000)
    monkeypatch.setattr(time, "time", lambda: 4e9)
    assert backend.add("k", 1, 60_000) is False


def test_racing_adds_have_one_winner(backend):
    assert sum(race(lambda: backend.add("k", 1, 60_000))) == 1


def test_racing_increments_stop_at_the_maximum(backend):
    assert sum(race(lambda: sum(backend.incr("k", 1, 40, 60_000) for _ in range(5)))) == 40


def test_racing_sums_over_keys_of_their_own_stop_at_the_maximum(backend):
    # Given limiters whose moments differ, so that each raises another key of the same window
    keys = [f"limiter@{number}" for number in range(16)]
    numbers = iter(range(16))
    lock = threading.Lock()

    def call():
        with lock:
            own = keys[next(numbers)]
        return backend.incr_and_sum(own, lambda: keys, 1, 5, 60_000)

    # Then no more than five pass
    assert sum(race(call)) == 5


def test_keys_may_be_a_list_as_before_dramatiq_2(backend):
    assert [backend.incr_and_sum("a@1", ["a@1", "a@0"], 1, 2, 60_000) for _ in range(3)] == [True, True, False]


def test_racing_processes_stop_at_the_maximum(url):
    racers = [subprocess.Popen([sys.executable, "-c", RACER, url], stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert sum(int(racer.communicate(timeout=60)[0]) for racer in racers) == 20


def test_a_concurrent_limiter_lets_so_many_in_at_a_time(backend):
    limiter = ConcurrentRateLimiter(backend, "mutex", limit=3, ttl=60_000)
    inside, most, lock = 0, 0, threading.Lock()

    def call():
        nonlocal inside, most
        with limiter.acquire(raise_on_failure=False) as acquired:
            if acquired:
                with lock:
                    inside += 1
                    most = max(most, inside)
                time.sleep(0.01)
                with lock:
                    inside -= 1
        return acquired

    assert sum(race(call)) >= 3 and most <= 3
    # All have left: three may enter again.
    with limiter.acquire(), limiter.acquire(), limiter.acquire(), pytest.raises(dramatiq.RateLimitExceeded):
        limiter.acquire().__enter__()


@pytest.mark.parametrize("limiter", [BucketRateLimiter, WindowRateLimiter])
def test_limiters_of_time_let_so_many_pass(backend, limiter):
    period = {"bucket": 600_000} if limiter is BucketRateLimiter else {"window": 600}
    limiter = limiter(backend, "k", limit=4, **period)

    def call():
        with limiter.acquire(raise_on_failure=False) as acquired:
            return acquired

    assert sum(race(call)) == 4


def test_a_barrier_lets_all_go_when_the_last_one_comes(backend):
    barrier = Barrier(backend, "b", ttl=60_000)
    assert barrier.create(3) and not barrier.create(3)
    waiting = [threading.Thread(target=lambda: answers.append(barrier.wait(timeout=10_000))) for _ in range(2)]
    answers: list[bool] = []
    for thread in waiting:
        thread.start()
    time.sleep(0.05)
    assert answers == []
    assert barrier.wait(block=False) is True
    for thread in waiting:
        thread.join()
    assert answers == [True, True]


def test_waiting_ends_at_its_timeout(backend):
    begun = time.monotonic()
    assert backend.wait("nobody", 100) is False
    assert time.monotonic() - begun >= 0.1


def test_an_actor_uses_a_limiter_and_waits_for_its_turn(url, backend, db):
    # Given an actor of which one may run at a time
    broker, most, running = make_broker(url), 0, []
    limiter = ConcurrentRateLimiter(backend, "one", limit=1, ttl=60_000)

    def job(_number):
        nonlocal most
        with limiter.acquire():
            running.append(1)
            most = max(most, len(running))
            time.sleep(0.01)
            running.pop()

    actor = dramatiq.actor(job, broker=broker, queue_name="jobs", max_retries=None)
    for number in range(6):
        actor.send(number)
    with running_worker(broker, threads=4):
        wait_until(lambda: db("SELECT count(*) FROM callboard.message_history") == [(6,)], 30)
    broker.close()
    assert most == 1


def test_expired_counters_are_purged_and_the_others_stay(backend, db):
    backend.add("old", 1, 1)
    backend.add("kept", 1, 60_000)
    time.sleep(0.01)
    assert db(sql("rate_limits/purge") % {"limit": 10}) == [(1,)]
    assert db("SELECT key FROM callboard.rate_limits") == [("kept",)]


def test_a_backend_says_what_it_lacks():
    with pytest.raises(ConfigurationError, match="PostgresRateLimits knows no database"):
        PostgresRateLimits().add("k", 1, 1)

"""C-28: sixteen claimers at once on one queue, and no message is claimed twice, and none is left."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import NamedTuple

import psycopg2
import pytest
from dramatiq import Message

from callboard.broker import PostgresBroker
from callboard.broker.claiming.claim import Claim
from callboard.broker.claiming.claimer import SESSION_SETTINGS, Claimer
from callboard.broker.ending.verdict import Verdict
from callboard.broker.ending.verdict_writer import VerdictWriter
from callboard.db import connect
from callboard.terms import Outcome
from tests.postgres.broker.fake_workers import Workers, opened

CLAIMERS = 16
MESSAGES = {"short": 5_000, "long": 100_000}
SENDERS = 2
#: Messages of one transaction of a sender.
CHUNK = 250
#: A message is claimed this often at the most: three unlucky verdicts come before its last.
ATTEMPTS_MAX = 4
TIMEOUT_S = 600.0


class Run(NamedTuple):
    """What makes a claim the only one of its kind."""

    message_id: str
    attempt: int
    lease_id: int


class Hammer:
    """Claimers with a connection and a worker row each, all at once."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.runs: list[list[Run]] = [[] for _ in range(CLAIMERS)]
        self.written: Counter[Outcome] = Counter()
        self.failures: list[BaseException] = []
        self._lock = threading.Lock()

    @contextmanager
    def at_once(self, *jobs: Callable[[], None]) -> Iterator[None]:
        """Run each job in a thread, all from the same moment on, and wait for them after the block."""
        gate = threading.Barrier(len(jobs))

        def run(job: Callable[[], None]) -> None:
            try:
                gate.wait(30)
                job()
            except BaseException as error:  # noqa: BLE001 - shown by the test
                self.failures.append(error)

        threads = [threading.Thread(target=run, args=(job,)) for job in jobs]
        for thread in threads:
            thread.start()
        yield
        for thread in threads:
            thread.join(TIMEOUT_S)
        assert self.failures == []

    def claim_until(self, number: int, is_over: Callable[[], bool], decide: Callable[[Claim], Outcome] | None) -> None:
        """Claim as a worker does and, if decide is given, write a batch of verdicts after each claim."""
        dice = random.Random(number)  # noqa: S311 - sizes of batches, not cryptography
        with opened(self.url) as db:
            worker_id = Workers(db).register()
        completions = VerdictWriter(lambda: self.url, worker_id, self._count, is_prepared=True)
        with closing(connect(self.url, autocommit=True, settings=SESSION_SETTINGS)) as connection:
            claimer = Claimer(worker_id, ["jobs"], is_prepared=True)
            while True:
                found = claimer.claim(connection, dice.randint(1, 100))
                self.runs[number] += [Run(c.message_id, c.attempt, c.lease_id) for c in found.claims]
                if found.claims and decide is not None:
                    completions._write_until_done([_verdict(claim, decide(claim)) for claim in found.claims])
                elif not found.claims and found.was_full_look and is_over():
                    break
                elif not found.claims:
                    time.sleep(0.05)
        completions._drop_connection()

    def _count(self, written: list[tuple[Verdict, Outcome]]) -> None:
        with self._lock:
            self.written.update(outcome for _, outcome in written)

    def check(self) -> list[Run]:
        """Check that no claim was made twice, and return all."""
        runs = [run for of_one in self.runs for run in of_one]
        twice = [key for key, times in Counter((run.message_id, run.lease_id) for run in runs).items() if times > 1]
        assert twice == []
        assert len({run.lease_id for run in runs}) == len(runs)
        return runs


def _verdict(claim: Claim, outcome: Outcome) -> Verdict:
    retries = claim.retries + 1 if outcome is Outcome.RETRY else None
    return Verdict(
        claim.message_id, claim.queue_name, "job", claim.lease_id, outcome, claim.claimed_at, retries=retries
    )


def send(url: str, count: int) -> None:
    broker = PostgresBroker(url=url, middleware=[])
    with closing(psycopg2.connect(url)) as connection:
        for first in range(0, count, CHUNK):
            broker.send_in(
                connection,
                *(
                    Message(queue_name="jobs", actor_name="job", args=(n,), kwargs={}, options={"priority": n % 3})
                    for n in range(first, min(first + CHUNK, count))
                ),
            )
            connection.commit()
    broker.close()


@pytest.fixture
def hammer(chaos_database_url: str) -> Hammer:
    return Hammer(chaos_database_url)


def test_sixteen_claimers_share_a_backlog_without_a_double_claim(hammer, chaos_form, say):
    # Given a backlog
    count = MESSAGES[chaos_form]
    send(hammer.url, count)
    begun_clock = time.monotonic()
    # When sixteen workers claim all of it at once, and end nothing
    claimers = [lambda n=n: hammer.claim_until(n, lambda: True, None) for n in range(CLAIMERS)]
    with hammer.at_once(*claimers):
        pass
    # Then each message was claimed exactly once
    runs = hammer.check()
    say(f"hammer: {len(runs)} claims by {CLAIMERS} workers, {time.monotonic() - begun_clock:.1f} s")
    assert len(runs) == len({run.message_id for run in runs}) == count
    with opened(hammer.url) as db:
        assert db("SELECT count(*), count(DISTINCT lease_id) FROM dramatiq.queue WHERE state = 'running'") == [
            (count, count)
        ]
        shares = db("SELECT count(*) FROM dramatiq.queue GROUP BY worker_id")
    assert len(shares) > CLAIMERS / 2, f"most of the workers got nothing: {shares}"


def test_claims_verdicts_and_senders_at_once_lose_nothing(hammer, chaos_form, say):
    # Given senders that go on, and workers that end some messages and put others back
    count = MESSAGES[chaos_form]
    begun_clock = time.monotonic()
    dice = random.Random(28)  # noqa: S311 - outcomes, not cryptography

    def decide(claim: Claim) -> Outcome:
        if claim.attempt >= ATTEMPTS_MAX:
            return Outcome.DONE
        return dice.choices((Outcome.DONE, Outcome.RETRY, Outcome.POSTPONED, Outcome.RELEASED), (85, 5, 5, 5))[0]

    def is_over() -> bool:
        return hammer.written[Outcome.DONE] >= count or bool(hammer.failures)

    claimers = [lambda n=n: hammer.claim_until(n, is_over, decide) for n in range(CLAIMERS)]
    senders = [lambda: send(hammer.url, count // SENDERS)] * SENDERS
    with hammer.at_once(*claimers, *senders):
        pass
    # Then every claim was the only one under its lease, every verdict counted, and all is done
    runs, written = hammer.check(), hammer.written
    say(f"hammer: {dict(sorted(written.items()))}, {time.monotonic() - begun_clock:.1f} s")
    assert written[Outcome.LOST] == 0 and written.total() == len(runs)
    # A release takes its attempt back, so that only such a number may come again.
    again = Counter((run.message_id, run.attempt) for run in runs)
    assert again.total() - len(again) == written[Outcome.RELEASED]
    with opened(hammer.url) as db:
        assert db("SELECT count(*) FROM dramatiq.queue") == [(0,)]
        assert db("SELECT count(*), count(DISTINCT message_id) FROM callboard.message_history") == [(count, count)]
        kept = db("SELECT outcome, count(*) FROM callboard.attempts GROUP BY outcome ORDER BY outcome")
    assert kept == [("postponed", written[Outcome.POSTPONED]), ("retry", written[Outcome.RETRY])]

"""Results: with the verdict or not at all, for a time, for whoever waits."""

from __future__ import annotations

import threading
import time

import dramatiq
import psycopg2
import pytest
from dramatiq.results import ResultFailure, ResultMissing, ResultTimeout

from callboard.broker import PostgresBroker, PostgresResults, current_delivery
from callboard.broker.backends.results import RESULT_BYTES_MAX
from callboard.broker.liveness.expiry import Expiry
from callboard.db import Pool, sql
from callboard.errors import ConfigurationError, InvalidMessage, PermanentError, SchemaOutdated
from tests.conftest import wait_until
from tests.postgres.broker.conftest import running_worker


def test_a_result_is_waited_for_by_another_process_with_a_backend_of_its_own(actor, url, work):
    elsewhere = PostgresResults(url=url)
    sent = actor(lambda n: {"sum": n + 1, "text": "ä\x00"}).send(1)
    with pytest.raises(ResultMissing):
        sent.get_result(backend=elsewhere)
    with work():
        assert sent.get_result(backend=elsewhere, block=True, timeout=10_000) == {"sum": 2, "text": "ä\x00"}
    assert sent.get_result(backend=elsewhere) == {"sum": 2, "text": "ä\x00"}
    elsewhere.attachment.pool.close()


@pytest.mark.parametrize("size", [0, 9_000, 300_000])
def test_a_result_may_be_larger_than_a_notification(actor, backend, work, size):
    sent = actor(lambda n: "x" * n).send(size)
    with work():
        assert sent.get_result(backend=backend, block=True) == "x" * size


def test_none_is_a_result(actor, backend, work):
    sent = actor(lambda: None).send()
    with work():
        assert sent.get_result(backend=backend, block=True) is None


def test_an_actor_that_does_not_ask_for_it_stores_nothing(actor, db, work):
    actor(lambda: None, store_results=False).send()
    with work():
        wait_until(lambda: db("SELECT 1 FROM callboard.message_history"))
    assert db("SELECT count(*) FROM callboard.results") == [(0,)]


def test_waiting_ends_at_its_timeout_and_holds_no_connection_meanwhile(actor, url):
    # Given a backend with a single connection, and eight that wait on it
    pool = Pool(url, size=1)
    backend, sent, ends = PostgresResults(pool=pool), actor(lambda: None).send(), []

    def wait():
        with pytest.raises(ResultTimeout):
            sent.get_result(backend=backend, block=True, timeout=800)
        ends.append(time.monotonic())

    begun = time.monotonic()
    threads = [threading.Thread(target=wait) for _ in range(8)]
    for thread in threads:
        thread.start()
    # When somebody else needs the connection
    with pool.cursor(5) as cursor:
        cursor.execute("SELECT 1")
    for thread in threads:
        thread.join()
    # Then it could be had, and each waited its time
    assert len(ends) == 8 and min(ends) - begun >= 0.8
    pool.close()


def test_the_result_of_a_retried_message_is_that_of_its_last_attempt(actor, backend, work):
    def job():
        if current_delivery().retries < 2:
            raise KeyError("not yet")
        return "third time"

    sent = actor(job).send()
    with work():
        assert sent.get_result(backend=backend, block=True) == "third time"


@pytest.mark.parametrize("failure", [KeyError("boom"), PermanentError("boom")])
def test_a_dead_letter_is_told_as_a_failure(actor, backend, db, work, failure):
    def job():
        raise failure

    sent = actor(job).send()
    with work(), pytest.raises(ResultFailure, match="boom") as caught:
        sent.get_result(backend=backend, block=True)
    assert caught.value.orig_exc_type == type(failure).__name__
    # The failure and the dead letter are one transaction's.
    assert db("SELECT xmin::text FROM callboard.results") == db("SELECT xmin::text FROM callboard.dead_letters")


def test_a_message_too_old_is_told_as_a_failure(actor, backend, work):
    sent = actor(lambda: None, max_age=1).send()
    time.sleep(0.01)
    with work(), pytest.raises(ResultFailure):
        sent.get_result(backend=backend, block=True)


def test_a_result_is_written_in_the_verdicts_transaction(actor, backend, db, work):
    sent = actor(lambda: 1).send()
    with work():
        sent.get_result(backend=backend, block=True)
    assert db("SELECT xmin::text FROM callboard.results") == db("SELECT xmin::text FROM callboard.message_history")


def test_a_lost_lease_leaves_no_result(broker, actor, db, work):
    outcomes = []

    class Listener(dramatiq.Middleware):
        def after_verdicts(self, broker, written):
            outcomes.extend(outcome.value for _, outcome in written)

    def job():
        db("UPDATE dramatiq.queue SET lease_id = nextval('callboard.lease_id_seq')")
        return "of a lease that is lost"

    broker.add_middleware(Listener())
    actor(job).send()
    with work():
        wait_until(lambda: outcomes)
    assert outcomes == ["lost"] and db("SELECT count(*) FROM callboard.results") == [(0,)]


@pytest.mark.parametrize("returned", [object(), "x" * RESULT_BYTES_MAX], ids=["no JSON", "too large"])
def test_a_result_that_cannot_be_stored_is_told_as_a_failure(actor, backend, db, work, returned):
    sent = actor(lambda: returned).send()
    with work(), pytest.raises(ResultFailure, match=r"cannot be encoded|the limit is"):
        sent.get_result(backend=backend, block=True)
    assert db("SELECT outcome FROM callboard.message_history") == [("done",)]


def test_storing_by_hand_is_a_transaction_of_its_own(actor, backend, broker):
    sent = actor(lambda: None).message()
    backend.store_result(sent, [1], 60_000)
    assert sent.get_result(backend=backend) == [1]
    with pytest.raises(InvalidMessage, match=sent.message_id):
        backend.store_result(sent, object(), 60_000)


def test_a_result_expires_and_is_deleted(actor, backend, db, work):
    # Given a result that lives for a moment, and one that lives on
    job = actor(lambda: 1)
    short = job.send_with_options(result_ttl=1)
    kept = job.send()
    with work():
        kept.get_result(backend=backend, block=True)
        wait_until(lambda: db("SELECT count(*) FROM callboard.message_history") == [(2,)])
    # Then it is not found, and the leader's purge deletes it alone
    time.sleep(0.01)
    with pytest.raises(ResultMissing):
        short.get_result(backend=backend)
    assert db(sql("results/purge") % {"limit": 10}) == [(1,)]
    assert kept.get_result(backend=backend) == 1


def test_the_purge_goes_on_while_a_batch_comes_out_full_and_rests_after():
    # Given a statement that finds two full batches and a rest
    left, calls = [1000, 1000, 3], []

    def execute(name, _parameters, _before):
        calls.append(name)
        return [(left.pop(0) if name == "results/purge" and left else 0,)]

    expiry = Expiry(execute)
    # When the leader ticks more often than that
    for _ in range(6):
        expiry.purge_when_due()
    # Then it stopped after the rest
    assert calls.count("results/purge") == 3 and calls.count("rate_limits/purge") == 3


def test_a_locked_table_does_not_cost_the_leader_its_connection(broker, url, db, work):
    # Given somebody who keeps the whole table to himself
    broker.declare_queue("jobs")
    db("INSERT INTO callboard.rate_limits VALUES ('old', 1, now() - interval '1 second')")
    other = psycopg2.connect(url)
    other.cursor().execute("LOCK TABLE callboard.results")
    sessions = "SELECT pid FROM pg_stat_activity WHERE application_name = 'callboard liveness'"
    with work():
        wait_until(lambda: broker.worker.heartbeat.leads)
        before = db(sessions)
        # When the leader has purged what it could
        wait_until(lambda: not db("SELECT 1 FROM callboard.rate_limits"))
        # Then it goes on leading on the same connection
        assert broker.worker.heartbeat.leads and db(sessions) == before
    other.close()


def test_the_leader_deletes_what_has_expired(broker, db, work):
    broker.declare_queue("jobs")
    db(
        "INSERT INTO callboard.results (key, message_id, value, expires_at) "
        "VALUES ('old', gen_random_uuid(), '1', now() - interval '1 second')"
    )
    db("INSERT INTO callboard.rate_limits VALUES ('old', 1, now() - interval '1 second')")
    with work():
        wait_until(lambda: not db("SELECT 1 FROM callboard.results UNION ALL SELECT 1 FROM callboard.rate_limits"))


def test_a_backend_says_what_it_lacks(url, embedded_server):
    with pytest.raises(ConfigurationError, match="knows no database"):
        PostgresResults().get_result(dramatiq.Message("jobs", "job", (), {}, {}))
    with pytest.raises(ConfigurationError, match="both url and pool"):
        PostgresResults(url=url, pool=Pool(url))
    bare = PostgresResults(url=embedded_server.recreate_database("without_schema"))
    with pytest.raises(SchemaOutdated, match="callboard db upgrade"):
        bare.get_result(dramatiq.Message("jobs", "job", (), {}, {}), block=True)
    bare.attachment.pool.close()


def test_stock_results_option_brings_a_backend(url):
    broker = PostgresBroker(url=url, results=True)
    job = dramatiq.actor(lambda: "got", actor_name="job", broker=broker, queue_name="jobs", store_results=True)
    with running_worker(broker):
        assert job.send().get_result(backend=broker.get_results_backend(), block=True) == "got"
    broker.close()


def test_many_large_results_are_written_in_transactions_that_end_in_time(broker, actor, backend, db, work):
    # Given more results at once than one transaction takes
    job = actor(lambda: "x" * 900_000)
    sent = [job.send() for _ in range(12)]
    with work(threads=12):
        for message in sent:
            assert len(message.get_result(backend=backend, block=True, timeout=30_000)) == 900_000
    # Then none was written with more than it can hold: 4 MiB
    assert max(count for (count,) in db("SELECT count(*) FROM callboard.results GROUP BY xmin::text")) <= 4

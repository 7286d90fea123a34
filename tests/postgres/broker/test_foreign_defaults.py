"""Defaults that somebody else gave the database or the role: what runs here is the same, or says what is in its way."""

from __future__ import annotations

import pytest

from callboard.broker import send_many
from callboard.broker.service_broker import default_broker
from callboard.errors import BrokerUnavailable
from callboard.ops.health import doctor
from callboard.ops.health.findings import State
from tests.conftest import wait_until
from tests.postgres.broker.conftest import running_worker
from tests.postgres.broker.fake_workers import opened
from tests.postgres.broker.test_verdicts import actor, dead, ended

FOREIGN = {
    "isolation": {"default_transaction_isolation": "serializable", "default_transaction_deferrable": "on"},
    "patience": {"statement_timeout": "60ms", "lock_timeout": "1ms", "idle_in_transaction_session_timeout": "1ms"},
    "idleness": {"idle_session_timeout": "300ms"},
    "arrays": {"array_nulls": "off", "transform_null_equals": "on"},
    "quotes": {"standard_conforming_strings": "off", "backslash_quote": "off", "quote_all_identifiers": "on"},
    "styles": {
        "bytea_output": "escape",
        "datestyle": "SQL, DMY",
        "intervalstyle": "postgres_verbose",
        "timezone": "Asia/Kolkata",
        "extra_float_digits": "-15",
    },
    "plans": {
        "enable_indexscan": "off",
        "enable_nestloop": "off",
        "work_mem": "64kB",
        "jit": "on",
        "jit_above_cost": "0",
    },
    "rows": {"row_security": "off", "search_path": "nowhere"},
    "noise": {"client_min_messages": "debug1", "synchronous_commit": "off", "default_toast_compression": "pglz"},
}


@pytest.fixture
def url(database_url):
    return database_url


@pytest.fixture
def db(url):
    with opened(url) as query:
        yield query


def set_defaults(db, defaults):
    [(name,)] = db("SELECT current_database()")
    for setting, value in defaults.items():
        db(f"ALTER DATABASE \"{name}\" SET {setting} = '{value}'")


@pytest.mark.parametrize("defaults", FOREIGN.values(), ids=FOREIGN)
def test_messages_are_sent_run_retried_and_kept_whatever_the_defaults_are(broker, db, defaults):
    set_defaults(db, defaults)
    ran = []

    def fail():
        ran.append("fail")
        raise ValueError("x\\y'")

    # Given messages sent in each way: alone, with a key, delayed, few, many
    job = actor(broker, ran.append, actor_name="job")
    failing = actor(broker, fail, actor_name="fail")
    job.send("a\\'bЖ")
    job.send_with_options(args=("keyed",), dedupe_key="k\\'", delay=100)
    send_many([job.message(number) for number in range(3)])
    send_many([job.message(number) for number in range(3, 63)])
    failing.send()
    # When a worker runs
    with running_worker(broker):
        wait_until(lambda: len(ended(db)) == 65 and dead(db))
    # Then each has run, and the one that fails as often as it may
    assert sorted(map(str, ran)) == sorted([*map(str, range(63)), "a\\'bЖ", "keyed", *["fail"] * 3])
    assert dead(db) == [("max_retries", "ValueError")]


def test_a_claim_that_takes_longer_than_the_roles_limit_buries_nothing(broker, db):
    # Given a role whose statements end after 60 ms, and a claim that takes longer
    set_defaults(db, {"statement_timeout": "60ms"})
    db("SET statement_timeout = 0")
    db(
        "CREATE FUNCTION public.wait() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN PERFORM pg_sleep(0.2); RETURN NEW; END $$"
    )
    db(
        "CREATE TRIGGER zz_wait BEFORE UPDATE ON dramatiq.queue FOR EACH ROW WHEN (NEW.state = 'running') "
        "EXECUTE FUNCTION public.wait()"
    )
    job = actor(broker, lambda: None, actor_name="job")
    for _ in range(3):
        job.send()
    with running_worker(broker):
        wait_until(lambda: len(ended(db)) == 3)
    assert dead(db) == []


def test_a_database_that_takes_no_writes_is_named_by_senders_and_the_doctor(broker, db, url, monkeypatch):
    monkeypatch.setattr("callboard.broker.sending.sender.SEND_TIMEOUT_S", 2.0)
    set_defaults(db, {"default_transaction_read_only": "on"})
    job = actor(broker, lambda: None, actor_name="job")
    for send in (job.send, lambda: default_broker().send_many([job.message()])):
        with pytest.raises(
            BrokerUnavailable, match="takes no writes: it is a replica, or default_transaction_read_only"
        ):
            send()
    findings = doctor.examine_database(url, pool_size=2, listens=True)
    [finding] = [finding for finding in findings if finding.name == "durability"]
    assert finding.state is State.FAILED and "default_transaction_read_only is on" in finding.text


def test_a_fault_that_stays_is_logged_once_and_makes_the_worker_unready(broker, db, work, caplog):
    # Given a heartbeat that the table refuses each time
    db("ALTER TABLE callboard.workers ADD CONSTRAINT no CHECK (rss_bytes IS NULL) NOT VALID")
    with work():
        [side] = broker.workers
        wait_until(side.heartbeat.failing.reason, timeout_s=20)
        # Then it is said once, and to whoever asks
        assert [record.message for record in caplog.records].count("liveness failed and starts anew") == 1
        assert "heartbeats have failed for" in side.failing()
        # And when it passes, the worker goes on
        db("ALTER TABLE callboard.workers DROP CONSTRAINT no")
        wait_until(lambda: side.failing() is None and side.heartbeat.may_claim)

"""The doorbell's test of itself: a connection that hears nothing is replaced, and named when that does not help."""

from __future__ import annotations

import logging
import select

import psycopg2
import pytest

from callboard.broker import BrokerOptions, PostgresBroker
from callboard.broker.claiming import listening as hearing
from callboard.broker.claiming.intake import Intake
from callboard.broker.claiming.listening import Listening
from callboard.broker.liveness import heartbeat as liveness
from tests.conftest import wait_until
from tests.postgres.broker.conftest import running_worker
from tests.postgres.broker.deaf_proxy import DeafProxy
from tests.postgres.broker.test_verdicts import actor


@pytest.fixture(autouse=True)
def _tests_itself_often(monkeypatch):
    monkeypatch.setattr(hearing, "SILENCE_S", 0.3)
    monkeypatch.setattr(hearing, "HEARING_TIMEOUT_S", 1.0)
    for tick in ("LEADER_TICK_S", "FOLLOWER_TICK_S"):
        monkeypatch.setattr(liveness, tick, 0.1)


def broker_on(url, **options):
    broker = PostgresBroker(url=url, middleware=[], options=BrokerOptions(**{"poll_interval_s": 60.0, **options}))
    ran = []
    return broker, actor(broker, ran.append, actor_name="job"), ran


def intake_pid(db):
    rows = db(
        "SELECT pid FROM pg_stat_activity WHERE application_name = 'callboard intake' AND datname = current_database()"
    )
    return rows[0][0] if len(rows) == 1 else None


def test_a_connection_that_hears_nothing_is_made_anew(database_url, connection, caplog):
    # Given a worker whose connection gets no notifications, although its claims are answered
    caplog.set_level(logging.INFO)
    with DeafProxy(database_url) as proxy, connection.cursor() as cursor:
        broker, job, ran = broker_on(proxy.url)
        with running_worker(broker):

            def look(statement):
                cursor.execute(statement)
                return cursor.fetchall()

            first = wait_until(lambda: intake_pid(look))
            # Then it notices, and takes a new one
            second = wait_until(lambda: intake_pid(look) not in (None, first) and intake_pid(look), 20)
            assert "its connection is made anew" in caplog.text
            # And when that one hears nothing either, it says once what may be the cause
            wait_until(lambda: "QUEUE_LISTEN=off" in caplog.text, 20)
            wait_until(lambda: intake_pid(look) not in (None, second), 20)
            assert caplog.text.count("QUEUE_LISTEN=off") == 1
            # When the notifications come through
            proxy.is_deaf = False
            wait_until(lambda: "doorbell is heard again" in caplog.text, 20)
            # Then a message starts at its ring, long before the poll
            job.send("at last")
            wait_until(lambda: ran == ["at last"])
        broker.close()


def test_a_process_rings_for_itself_alone_and_keeps_a_connection_that_hears(broker, url, db, work, caplog):
    # Given a listener to everybody's bell and to the worker's own
    with work():
        own = broker.worker.intake.listening.channel
        pid = wait_until(lambda: intake_pid(db))
        listener = psycopg2.connect(url)
        listener.autocommit = True
        listener.cursor().execute(f'LISTEN callboard; LISTEN "{own}"')
        # When the worker is idle for several of its tests
        heard = []
        while len(heard) < 4:
            assert select.select([listener], [], [], 20)[0]
            listener.poll()
            heard += listener.notifies
            listener.notifies.clear()
        listener.close()
        # Then it rang only its own, and its connection is the one from the beginning
        assert {notification.channel for notification in heard} == {own}
        assert intake_pid(db) == pid
    assert "doorbell" not in caplog.text


def test_without_listening_it_polls_with_jitter_and_rings_nothing(url, monkeypatch):
    # Given a worker that may not listen
    pauses = []
    stock_sleep = Intake._sleep
    monkeypatch.setattr(Intake, "_sleep", lambda self, pause_s: (pauses.append(pause_s), stock_sleep(self, pause_s)))
    broker, job, ran = broker_on(url, listens=False, poll_interval_s=0.3)
    with running_worker(broker):
        wait_until(lambda: broker.worker.heartbeat.may_claim)
        pauses.clear()
        wait_until(lambda: len(pauses) > 8)
        polled = pauses[:8]
        # When a message comes
        job.send("polled")
        wait_until(lambda: ran == ["polled"])
        # Then it was found by polling, at moments that no two workers share
        assert all(0.3 * 0.8 <= pause_s <= 0.3 for pause_s in polled)
        assert len(set(polled)) > 1
        assert broker.worker.intake.listening.channel_to_ring() is None
    broker.close()


def test_a_ring_that_is_heard_before_its_commit_is_noted_is_no_deafness():
    woken = []
    ear = Listening("w", lambda: woken.append(1))
    ear.begin()
    assert ear.channel_to_ring() == "callboard_w"
    ear.note_ring()
    ear.rung()
    assert not ear.is_deaf()
    assert ear.channel_to_ring() is None


def test_a_ring_that_nobody_hears_wakes_the_intake_once_it_is_overdue(monkeypatch):
    monkeypatch.setattr(hearing, "HEARING_TIMEOUT_S", 0.0)
    woken = []
    ear = Listening("w", lambda: woken.append(1))
    ear.begin()
    assert ear.channel_to_ring()
    ear.rung()
    wait_until(lambda: ear.channel_to_ring() is None and woken)
    assert ear.is_deaf()
    # A connection that is gone owes nothing.
    ear.end()
    assert not ear.is_deaf()

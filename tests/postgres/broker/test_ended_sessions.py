"""Sessions that the server ends on purpose, and what a worker's start waits for."""

from __future__ import annotations

import time

import dramatiq
import pytest

from callboard.broker.claiming import intake as intake_module
from callboard.broker.outages import outage
from tests.conftest import wait_until
from tests.postgres.broker.conftest import running_worker

LOOPS = ("callboard intake", "callboard liveness", "callboard completions")


def warnings_of(caplog):
    return [record.message for record in caplog.records if record.levelname in ("WARNING", "ERROR")]


@pytest.mark.parametrize("name", LOOPS)
def test_a_session_that_an_administrator_ends_is_replaced_without_a_word(broker, db, name, caplog, monkeypatch):
    # Given a worker that would wait for ever, if it took this for an outage
    monkeypatch.setattr(outage, "RECONNECT_WAIT_S", 3600.0)
    actor = dramatiq.actor(lambda: None, actor_name="job", queue_name="jobs", broker=broker)
    ended = "SELECT count(*) FROM callboard.message_history"
    with running_worker(broker):
        actor.send()
        wait_until(lambda: db(ended) == [(1,)], 20, "the first")
        for count in range(2, 5):
            # When its session is ended
            db("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = %s", name)
            # Then it goes on with another one
            actor.send()
            wait_until(lambda count=count: db(ended) == [(count,)], 20, "the next")
            wait_until(lambda: broker.worker.heartbeat.may_claim, 20, "registered")
    assert warnings_of(caplog) == []


def test_sessions_that_end_for_being_idle_are_replaced_without_a_word(broker, db, caplog, monkeypatch):
    monkeypatch.setattr(outage, "RECONNECT_WAIT_S", 3600.0)
    # Given a server that lets no session be idle for long
    [(name,)] = db("SELECT current_database()")
    db(f"ALTER DATABASE \"{name}\" SET idle_session_timeout = '300ms'")
    actor = dramatiq.actor(lambda: None, actor_name="job", queue_name="jobs", broker=broker)
    with running_worker(broker):
        for count in range(1, 4):
            actor.send()
            wait_until(
                lambda count=count: db("SELECT count(*) FROM callboard.message_history") == [(count,)], 20, "the end"
            )
            time.sleep(1)  # Idle, which is what this is about.
    assert warnings_of(caplog) == []


def test_the_first_message_does_not_wait_for_a_look(broker, db, monkeypatch):
    # Given an intake that looks whether it may claim once an hour, unless it is woken
    monkeypatch.setattr(intake_module, "PERMISSION_LOOK_S", 3600.0)
    actor = dramatiq.actor(lambda: None, actor_name="job", queue_name="jobs", broker=broker)
    actor.send()
    with running_worker(broker):
        wait_until(lambda: db("SELECT count(*) FROM callboard.message_history") == [(1,)], 20, "the end")

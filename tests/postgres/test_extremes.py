"""No row that anybody may write stops the service: every column of every table of ours at the ends of its type."""

from __future__ import annotations

import contextlib
import json
import re
import sys
import uuid
from typing import Any

import dramatiq
import psycopg2
import pytest
import requests
from fastapi.routing import APIRoute

import callboard.app
from callboard.broker import service_broker as default
from callboard.broker import set_default_broker
from callboard.cli.main import main
from callboard.db import Pool
from callboard.ops.upkeep import retention, throughput
from callboard.settings import Settings
from callboard.web import create_app
from middleware.worker_boot import worker_health
from tests.conftest import wait_until
from tests.postgres.broker.conftest import make_broker, running_worker
from tests.postgres.extremes import PRODUCER_COLUMNS, Extremes
from tests.postgres.web_service import served

TOKEN = "an-api-token"
DAYS = retention.Days(history=30, dead_letters=30, emails=30, reports=30, payment_events=30, idempotency_keys=30)
PRODUCER = "extremes_producer"
LISTS = [
    *(["status"], ["stats"], ["queues", "list"], ["messages", "list"], ["messages", "list", "--oldest"], ["size"]),
    *(["dead", "list"], ["dead", "groups"], ["workers"], ["schedules", "list"], ["audit"]),
]


@pytest.fixture
def owner(database_url):
    connection = psycopg2.connect(database_url)
    connection.autocommit = True
    yield connection
    connection.close()


@pytest.fixture
def producer(owner, database_url):
    """A session of a role that may insert, into the columns that producers are granted, and nothing else."""
    with owner.cursor() as cursor:
        cursor.execute(
            f"DROP ROLE IF EXISTS {PRODUCER}; CREATE ROLE {PRODUCER}; GRANT USAGE ON SCHEMA dramatiq TO {PRODUCER}"
        )
        cursor.execute(f"GRANT INSERT ({', '.join(PRODUCER_COLUMNS)}) ON dramatiq.queue TO {PRODUCER}")
    connection = psycopg2.connect(database_url)
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(f"SET ROLE {PRODUCER}")
    yield connection
    connection.close()
    with owner.cursor() as cursor:
        cursor.execute(f"DROP OWNED BY {PRODUCER}; DROP ROLE {PRODUCER}")


@pytest.fixture
def broker(database_url, monkeypatch):
    broker = make_broker(database_url)
    monkeypatch.setattr(default, "_default_broker", None)
    set_default_broker(broker)
    yield broker
    broker.close()


def query(connection: Any, statement: str) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return list(cursor.fetchall())


def require_service(owner: Any, broker: Any) -> None:
    """Run a healthy message of every queue beside the rows that are there, and see that none stays in the middle."""
    ran: list[str] = []
    queues = ["jobs", "others", "more"]

    def run(*args: Any, **_kwargs: Any) -> None:
        ran.extend(str(item) for item in args)

    names = {"jobs": "job", "others": "other_job", "more": "more_jobs"}
    actors = [dramatiq.actor(run, actor_name=names[name], queue_name=name, broker=broker) for name in queues]
    with running_worker(broker, threads=4) as worker:
        for actor in actors:
            actor.send(f"healthy {actor.queue_name}")
        wait_until(lambda: {f"healthy {name}" for name in queues} <= {*ran}, 30)
        running = "SELECT message_id, worker_id, lease_id, claimed_at FROM dramatiq.queue WHERE state = 'running'"
        wait_until(lambda: not query(owner, running), 30, "the end of what was written as running")
        for actor in actors:
            actor.send(f"last {actor.queue_name}")
        wait_until(lambda: {f"last {name}" for name in queues} <= {*ran}, 30)
        assert worker_health(broker, worker) == {"dead": None, "unready": None}


def require_answers(owner: Any, database_url: str, monkeypatch: Any, capsys: Any) -> None:
    """Ask every list of the API and of the command."""
    ids = query(owner, "SELECT message_id FROM callboard.dead_letters UNION SELECT message_id FROM dramatiq.queue")
    ids = [str(message_id) for (message_id,) in ids][:60] or [str(uuid.uuid4())]
    pool = Pool(database_url)
    app = create_app(Settings(database_url=database_url, api_token=TOKEN), pool)
    headers = {"Authorization": f"Bearer {TOKEN}"}
    with served(app) as url:
        for path in sorted(
            {route.path for route in app.routes if isinstance(route, APIRoute) and "GET" in route.methods}
        ):
            for message_id in ids if path.startswith("/api/v1/messages") or "dead" in path else ids[:1]:
                answer = requests.get(
                    url + path.format_map(_Filled(message_id)), headers=headers, timeout=20, allow_redirects=False
                )
                assert answer.status_code < 500 or path == "/health/queue", (path, message_id, answer.text[:500])
                if "{" not in path:
                    break
    pool.close()
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setattr(callboard.app, "get_pool", lambda: command_pool)
    command_pool = Pool(database_url)
    shown = [["messages", "show", ids[0]], ["messages", "explain", ids[0]], ["dead", "show", ids[0]]]
    for words in [*LISTS, *shown]:
        for output in ("table", "json"):
            _run(monkeypatch, capsys, [*words, "-o", output])
    command_pool.close()


class _Filled(dict[str, str]):
    def __missing__(self, key: str) -> str:
        return self.message_id

    def __init__(self, message_id: str) -> None:
        super().__init__()
        self.message_id = message_id


def _run(monkeypatch: Any, capsys: Any, words: list[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["callboard", *words])
    with contextlib.suppress(SystemExit):
        main()
    out, err = capsys.readouterr()
    assert "Traceback" not in err, (words, err)
    if words[-1] == "json" and out:
        json.loads(out)


@pytest.fixture
def require(owner, broker, database_url, monkeypatch, capsys):
    """Return what fails unless the service works beside the rows that are there."""

    def check() -> None:
        require_service(owner, broker)
        require_answers(owner, database_url, monkeypatch, capsys)

    return check


def test_no_extreme_that_a_producer_writes_stops_the_service(owner, producer, require):
    extremes = Extremes(owner, writer=producer)
    for table, row in extremes.rows({"dramatiq.queue"}, PRODUCER_COLUMNS):
        extremes.write(table, row)
    assert extremes.written > 20
    assert extremes.refused > 10
    require()


def test_no_extreme_that_the_owner_writes_stops_the_service(owner, database_url, require):
    extremes = Extremes(owner)
    for table, row in extremes.rows({table for table, *_ in extremes.columns}):
        extremes.write(table, row)
    assert extremes.written > 200
    require()
    # And what keeps the tables small goes on
    pool = Pool(database_url)
    assert retention.purge_expired(pool, DAYS, remove_files=lambda _id: None, time_s=30).is_finished
    assert throughput.roll_up(pool, time_s=30).is_finished
    pool.close()
    old = "SELECT count(*) FROM callboard.message_history WHERE ended_at < now() - interval '31 days'"
    assert query(owner, old) == [(0,)]


def test_every_moment_and_count_of_ours_has_limits(owner):
    """A new column of these types comes with its limits, or one row may break a list."""
    limits = {}
    for table, text in query(owner, "SELECT conrelid::regclass::text, pg_get_constraintdef(oid) FROM pg_constraint"):
        limits[table] = limits.get(table, "") + text
    bounded = r"\({0} >= '1900-01-01|LEAST\([^()]*\b{0}\b[^()]*\) >= '1900-01-01"
    missing = [
        f"{table}.{name}"
        for table, name, kind, _ in Extremes(owner).columns
        if kind == "timestamp with time zone" and not re.search(bounded.format(name), limits.get(table, ""))
    ]
    assert missing == []
    assert query(owner, "SELECT conname FROM pg_constraint WHERE NOT convalidated") == []

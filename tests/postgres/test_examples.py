"""The examples, executed as they stand, against a real database."""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import subprocess
import sys
from email import message_from_bytes, policy
from pathlib import Path

import httpx
import psycopg2
import pytest
import uvicorn
from sqlalchemy.orm import Session

from callboard import app
from tests.conftest import wait_until
from tests.postgres.web_service import served

EXAMPLES = Path(__file__).parents[2] / "examples"


def load(path):
    spec = importlib.util.spec_from_file_location(f"example_{Path(path).stem}", EXAMPLES / path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def query(connection):
    def query(statement, *parameters):
        with connection.cursor() as cursor:
            cursor.execute(statement, parameters)
            return cursor.fetchall() if cursor.description else []

    query((EXAMPLES / "accounts.sql").read_text())
    return query


@pytest.fixture
def their_actors():
    """The example's actor, known to the service's broker while a test runs."""
    yield load("own_actor/their_actors.py")
    del app.broker.actors["activate_account"], app.broker.queues["accounts"]


@pytest.fixture(autouse=True)
def _service(database_url, monkeypatch):
    """Point the service's own broker, which the examples use, at the test's database."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    app.get_settings.cache_clear()
    app.get_pool().close()
    yield
    app.get_pool().close()
    app.get_settings.cache_clear()


def served_alone(app):
    """Serve an app that knows nothing of our API, as `uvicorn main:app` does."""
    return served(app, uvicorn.Config(app, log_config=None))


def queued_mails(query):
    return [kwargs for (kwargs,) in query("SELECT message -> 'kwargs' FROM dramatiq.queue WHERE queue_name = 'emails'")]


WELCOME = {"to": "ann@shop.test", "template": "welcome", "context": {"name": "Ann"}}


def test_the_producer_service_queues_one_mail_for_two_clicks(query):
    with served_alone(load("producer_service/main.py").app) as url:
        answers = [httpx.post(f"{url}/accounts", json={"email": "ann@shop.test", "name": "Ann"}) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [202, 202]
    assert answers[0].json() == answers[1].json()
    assert queued_mails(query) == [WELCOME]


def test_the_producer_service_answers_503_while_the_database_is_away(monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody@127.0.0.1:1/away")
    app.get_settings.cache_clear()
    with served_alone(load("producer_service/main.py").app) as url:
        answer = httpx.post(f"{url}/accounts", json={"email": "ann@shop.test", "name": "Ann"}, timeout=20)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")


def test_with_psycopg2_account_and_mail_are_stored_both_or_neither(query, database_url):
    example = load("transactional_send/with_psycopg2.py")
    connection = psycopg2.connect(database_url)
    example.open_account(connection, "ann@shop.test", "Ann")
    connection.rollback()
    assert (query("SELECT email FROM accounts"), queued_mails(query)) == ([], [])
    example.open_account(connection, "ann@shop.test", "Ann")
    connection.commit()
    connection.close()
    assert (query("SELECT email FROM accounts"), queued_mails(query)) == ([("ann@shop.test",)], [WELCOME])


def test_with_sqlalchemy_account_and_mail_are_stored_both_or_neither(query, database_url):
    example = load("transactional_send/with_sqlalchemy.py")
    engine = example.engine_of(database_url)
    with Session(engine) as session:
        example.open_account(session, "ann@shop.test", "Ann")
        session.flush()
        session.rollback()
    assert (query("SELECT email FROM accounts"), queued_mails(query)) == ([], [])
    with Session(engine) as session, session.begin():
        example.open_account(session, "ann@shop.test", "Ann")
    engine.dispose()
    assert (query("SELECT email FROM accounts"), queued_mails(query)) == ([("ann@shop.test",)], [WELCOME])


@pytest.mark.parametrize("name", ["with_psycopg2", "with_sqlalchemy"])
def test_the_transactional_examples_run_as_scripts(query, name):
    command = [sys.executable, EXAMPLES / f"transactional_send/{name}.py", "ann@shop.test", "Ann"]
    subprocess.run(command, check=True, timeout=60, cwd=EXAMPLES.parent)
    assert (query("SELECT email FROM accounts"), queued_mails(query)) == ([("ann@shop.test",)], [WELCOME])


def test_every_statement_on_the_pages_runs(query):
    query("INSERT INTO callboard.queue_controls (queue_name) VALUES ('emails')")
    query("INSERT INTO callboard.actors (actor_name, queue_name) VALUES ('send_email', 'emails')")
    query("DO $$ BEGIN CREATE ROLE shop; EXCEPTION WHEN duplicate_object THEN NULL; END $$")
    count = 0
    for page in sorted((EXAMPLES.parent / "docs").glob("*.md")):
        text = page.read_text(encoding="utf-8")
        blocks = re.findall(r"```sql\n(.*?)```", text, re.DOTALL)
        for statement in [*blocks, *re.findall(r"`(SELECT [^`]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))]:
            query(statement)
            count += 1
    assert count > 8


def test_the_pause_on_the_page_pauses_and_its_end_ends_it(query):
    text = (EXAMPLES.parent / "docs/operations.md").read_text(encoding="utf-8")
    pause, resume = re.findall(r"```sql\n((?:INSERT INTO|UPDATE) callboard.queue_controls.*?)```", text, re.DOTALL)
    is_paused = "SELECT is_paused AND paused_until > now() FROM callboard.queue_controls WHERE queue_name = 'emails'"
    query(pause)
    assert query(is_paused) == [(True,)]
    query(resume)
    assert query(is_paused) == [(False,)]


def test_an_actor_of_your_own_runs_beside_ours(query, their_actors, tmp_path):
    query("INSERT INTO accounts VALUES ('ann@shop.test', 'Ann')")
    known = their_actors.activate_account.send("ann@shop.test")
    unknown = their_actors.activate_account.send("nobody@shop.test")
    environment = {
        **os.environ,
        "PYTHONPATH": str(EXAMPLES / "own_actor"),
        "METRICS_PORT": "off",
        "EMAIL_PROVIDER": "file",
        "EMAIL_FILE_DIR": str(tmp_path / "mail"),
    }
    command = [sys.executable, "-m", "dramatiq", "actors", "their_actors", "--processes", "1", "--threads", "2"]
    with (tmp_path / "log").open("wb") as log:
        worker = subprocess.Popen(
            command, env=environment, cwd=EXAMPLES.parent, stdout=log, stderr=log, start_new_session=True
        )
    try:
        (mail,) = wait_until(lambda: list((tmp_path / "mail").glob("*.eml")), 30, "the welcome mail")
        dead = wait_until(lambda: query("SELECT message_id::text, reason FROM callboard.dead_letters"), 30, "the death")
    finally:
        worker.send_signal(signal.SIGTERM)
        try:
            worker.wait(20)
        finally:
            if worker.poll() is None:
                os.killpg(worker.pid, signal.SIGKILL)
                worker.wait(20)
    assert message_from_bytes(mail.read_bytes(), policy=policy.default)["To"] == "ann@shop.test"
    assert query("SELECT state FROM accounts") == [("active",)]
    history = query("SELECT outcome FROM callboard.message_history WHERE message_id = %s", known.message_id)
    assert (history, dead) == ([("done",)], [(unknown.message_id, "permanent")])

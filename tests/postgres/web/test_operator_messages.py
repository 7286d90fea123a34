"""/api/v1/messages: pages while messages move, the story of one, explanations, cancelling, hostile paths."""

from __future__ import annotations

import json
import time
import uuid

import pytest

from callboard.ops.messages import listing as messages
from callboard.web.operators import transactions
from callboard.web.operators.requests import encode_cursor
from tests.conftest import wait_until


def ids(items):
    return [item["message_id"] for item in items]


def test_lists_show_no_arguments_and_no_addresses(desk):
    desk.scene.queued(kwargs={"to": "ann@secret.example"})
    desk.scene.queued(due_s=60, reason="ann@secret.example is greylisted")
    items = desk.get("/messages")["items"]
    assert len(items) == 2
    assert "ann@" not in json.dumps(items)
    assert {item["note"] for item in items} == {None, "***@secret.example is greylisted"}


def test_a_list_is_narrowed_down(desk):
    email, report = desk.scene.queued("emails"), desk.scene.queued("reports", actor="make_report", age_s=500)
    dead = desk.scene.dead("reports", kwargs={"to": "b@example.org"})
    assert ids(desk.get("/messages", queue="emails")["items"]) == [email]
    assert ids(desk.get("/messages", actor="make_report")["items"]) == [report]
    assert ids(desk.get("/messages", state=["queued", "delayed"])["items"]) == [email, report]
    assert ids(desk.get("/messages", oldest=True)["items"]) == [report, email]
    assert ids(desk.get("/messages", where='$.to == "b@example.org"')["items"]) == [dead]
    assert ids(desk.get("/messages", since="30s")["items"]) == [email]
    assert ids(desk.get("/messages", until="400s")["items"]) == [report]
    assert "Known queues" in desk.get("/messages", 404, queue="emalis")["message"]
    assert "Exchange the two" in desk.get("/messages", 422, since="1h", until="2h")["message"]


MOVE = (
    "WITH gone AS (DELETE FROM dramatiq.queue WHERE message_id IN ("
    "SELECT message_id FROM dramatiq.queue ORDER BY message_id LIMIT %s) RETURNING *) "
    "INSERT INTO callboard.message_history (message_id, outcome, queue_name, actor_name, message, priority, "
    "attempt, retries, lost_workers, generation, enqueued_at, available_at, ended_at) "
    "SELECT message_id, 'done', queue_name, 'send_email', message, 0, 1, 0, 0, 0, enqueued_at, available_at, "
    "now() FROM gone"
)


def test_a_message_that_ends_while_it_is_looked_for_is_found_once(desk, monkeypatch):
    # Given one that goes to the history after the queue was read and before the history is
    message_id, read = desk.scene.queued(), messages.sql

    def moving(name):
        if name == "messages/list_ended":
            desk.sql(MOVE, 1)
        return read(name)

    monkeypatch.setattr(messages, "sql", moving)
    assert [(item["message_id"], item["state"]) for item in desk.get("/messages")["items"]] == [(message_id, "queued")]
    assert [item["state"] for item in desk.get("/messages")["items"]] == ["done"]


@pytest.mark.parametrize("oldest", [False, True])
def test_pages_hold_each_message_once_while_messages_move(desk, oldest):
    # Given 30 messages, five to a moment, which a page may end in the middle of
    given = [desk.scene.queued(id=str(uuid.uuid4())) for _ in range(30)]
    desk.sql(
        "UPDATE dramatiq.queue SET enqueued_at = now() - make_interval(mins => numbered.place / 5) FROM ("
        "SELECT message_id, row_number() OVER ()::integer AS place FROM dramatiq.queue) AS numbered "
        "WHERE numbered.message_id = queue.message_id"
    )

    def move():
        # Four end, and a new one comes.
        desk.sql(MOVE, 4)
        desk.scene.queued(age_s=0)

    query = {"oldest": True, "state": ["queued", "done"]} if oldest else {}
    found = ids(desk.pages("/messages", move, limit=4, **query))
    assert len(found) == len(set(found))
    assert set(given) <= set(found)


@pytest.mark.parametrize(
    "cursor",
    [
        encode_cursor("2026-11-24T12:00:00+00:00", "no id"),
        encode_cursor("2026-11-24T12:00:00+00:00", 7),
        encode_cursor("0001-01-01T00:00:00+10:00", str(uuid.UUID(int=0))),
        encode_cursor(7, str(uuid.UUID(int=0))),
        encode_cursor("2026-11-24T12:00:00+00:00"),
    ],
)
def test_a_place_that_is_none_is_refused(desk, cursor):
    for path in ("/messages", "/dead"):
        assert "none of ours" in desk.get(path, 422, cursor=cursor)["message"]


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00", "9999-12-31T23:59:59"])
def test_the_first_place_that_there_can_be_is_one(desk, moment):
    desk.scene.queued()
    desk.get("/messages", cursor=encode_cursor(f"{moment}+00:00", str(uuid.UUID(int=0))))


@pytest.mark.parametrize("since", ["2020-01-01T00:00+23:59", "0001-01-01T00:00+10:00", "99999999d", "-1h", "0s"])
def test_a_moment_that_postgres_may_not_know_is_no_failure(desk, since):
    for path in ("/messages", "/dead", "/dead/groups", "/audit"):
        assert desk.api.get(f"/api/v1{path}", params={"since": since}).status_code in (200, 422)


def test_the_story_of_one_has_its_arguments_and_attempts(desk):
    message_id = desk.scene.done(kwargs={"to": "ann@example.org"})
    desk.scene.attempt(message_id)
    story = desk.get(f"/messages/{message_id}")
    assert story["record"]["message"]["kwargs"] == {"to": "ann@example.org"}
    assert "MailServerDown" in [run["error_class"] for run in story["runs"]]
    assert desk.get(f"/messages/{uuid.uuid4()}", 404)["code"] == "not_found"
    assert desk.get("/messages/cancel", 422)["code"] == "invalid_request"


@pytest.mark.parametrize("stored", ['"text"', "[1]", "null", "7", '{"options": [1]}'])
def test_what_a_stranger_wrote_into_the_table_is_shown_too(desk, stored):
    message_id = desk.scene.queued(due_s=60, retries=1)
    desk.scene.attempt(message_id)
    desk.sql("UPDATE dramatiq.queue SET message = %s WHERE message_id = %s", stored, message_id)
    assert desk.get(f"/messages/{message_id}")["record"]["message"] == json.loads(stored)
    assert desk.get(f"/messages/{message_id}/explain")["code"] == "retry"
    assert len(desk.get("/messages")["items"]) == 1


def test_an_explanation_says_why_and_what_to_do(desk):
    message_id = desk.scene.queued("emails")
    found = desk.get(f"/messages/{message_id}/explain")
    assert (found["code"], set(found)) == ("unserved", {"code", "sentence", "advice"})
    assert "never stored" in desk.get(f"/messages/{uuid.uuid4()}/explain", 404)["message"]


def test_cancelling_says_what_became_of_each_and_may_be_repeated(desk):
    waits, runs, ended = desk.scene.queued(), desk.scene.running(desk.scene.worker("emails")), desk.scene.done()
    unknown = str(uuid.uuid4())
    body = {"ids": [waits, runs, ended, unknown, waits], "reason": "wrong campaign"}
    assert desk.post("/messages/cancel", **body) == {
        "discarded": [waits],
        "asked": [runs],
        "ended": [ended],
        "unknown": [unknown],
    }
    assert desk.audit() == [("messages cancel", 2, "ann", "api", "wrong campaign")]
    again = desk.post("/messages/cancel", **body)
    assert (again["discarded"], set(again["ended"])) == ([], {waits, ended})
    assert desk.get(f"/messages/{runs}/explain")["code"] == "stopping"


@pytest.mark.parametrize("given", [[], ["x"], [7], None, "6f2c1c1e-8f0a-4c55-9d0e-0b2a7b1f3c11", [None]])
def test_what_is_no_list_of_ids_cancels_nothing(desk, given):
    assert desk.post("/messages/cancel", 422, ids=given)["code"] == "invalid_request"


HOSTILE = [
    "$.",
    "(" * 900,
    "-" * 990 + "1",
    "!(" * 300 + "$.a" + ")" * 300,
    "$" + ".*" * 400,
    "$" + ".a" * 450 + " == 1",
    "$" + ".**" * 300,
    "$ ? (" * 150 + "@.a" + ")" * 150,
    "exists(" * 120 + "$.a" + ")" * 120,
    "$.a == 1e999999999",
    "$.a[" + "9" * 400 + "]",
    '$.a like_regex "(a+)+$" flag "z"',
    '$.a like_regex "("',
    '$.a like_regex "((a{1,200}){1,200}){1,200}"',
    '$.a like_regex "' + "(a*)*" * 100 + '"',
    "$.a.datetime()",
    "$missing == 1",
    "$.a ? (@ == $missing) == 1",
    "$.a.b[*] ? (@.c == $missing)",
    "$.a\u0000",
    '$.a == "\\u0000"',
    '$.a == "\\ud800"',
    "$.a" + " + 1" * 200 + " == 1",
]


@pytest.mark.parametrize("where", HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_path_is_a_refusal_or_an_answer(desk, where):
    # As deep as a row has room for: each two levels hold two and a half times as much as those below.
    nested = {"a": "a" * 60 + "!"}
    for _ in range(19):
        nested = {"a": nested, "b": [nested["a"]]}
    desk.scene.queued(kwargs=nested | {"a": "a" * 60 + "!"})
    desk.scene.dead(kwargs=nested)
    for path in ("/messages", "/dead", "/dead/groups"):
        answer = desk.api.get(f"/api/v1{path}", params={"where": where})
        assert answer.status_code in (200, 422), answer.text
    answer = desk.api.post("/api/v1/dead/discard", {"where": where, "dry_run": True})
    assert answer.status_code in (200, 422), answer.text


def test_a_path_that_takes_too_long_ends_in_the_database_too(desk, monkeypatch):
    # Given a limit of a moment, and arguments in which the path has millions of ways
    monkeypatch.setattr(transactions, "_LOOK", transactions._LOOK.replace("'5s'", "'300ms'"))
    nested = {}
    for _ in range(14):
        nested = {"a": nested, "b": nested}
    desk.scene.queued(kwargs=nested)
    began = time.monotonic()
    error = desk.get("/messages", 422, where="$.** ? (exists(@.**.** ? (@ == 1)))")
    # Then the question is refused, and no backend goes on with it
    assert (error["code"], time.monotonic() - began < 5) == ("too_slow", True)
    assert "Narrow it down" in error["message"]
    busy = "SELECT 1 FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%%exists(@.**%%' AND pid <> %s"
    wait_until(lambda: not desk.sql(busy, desk.sql("SELECT pg_backend_pid()")[0][0]), timeout_s=2)

"""/api/v1: closed without the token, one shape of pages and errors, every change with its name and reason."""

from __future__ import annotations

import psycopg2
import pytest
import requests

from callboard.db import Pool
from callboard.errors import InvalidRequest
from callboard.ops.audit import Operator, record
from callboard.web.operators.requests import decode_cursor, encode_cursor
from tests.postgres.web.conftest import NO_DATABASE, error_of


@pytest.fixture
def schedule(api):
    with api.service.pool.cursor() as cursor:
        cursor.execute(
            "INSERT INTO callboard.schedules "
            "(schedule_name, actor_name, queue_name, cron, timezone, catch_up, next_at) "
            "VALUES ('nightly', 'send_email', 'emails', '0 3 * * *', 'UTC', 'latest', now() + interval '1 hour')"
        )
    return "nightly"


def changes(api, **query):
    answer = api.get("/api/v1/audit", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_without_the_token_nothing_is_told_or_done(shared_api):
    routes = [(path, method) for path, item in shared_api.app.openapi()["paths"].items() for method in item]
    ours = [(path, method) for path, method in routes if path.startswith("/api/v1")]
    assert len(ours) > 20
    for path, method in ours:
        address = path.replace("{message_id}", "00000000-0000-0000-0000-000000000000").replace("{name}", "emails")
        for token in (None, "wrong"):
            answer = requests.request(
                method, shared_api.url + address, json={}, headers=shared_api._headers(token, {}), timeout=10
            )
            assert answer.status_code == 401, (method, path)


def test_while_the_database_is_away_every_address_says_so(make_api):
    api = make_api(Pool(NO_DATABASE))
    message_id = "00000000-0000-0000-0000-000000000000"
    for path in ("queues", "messages", f"messages/{message_id}", "dead", "dead/groups", "workers", "status"):
        answer = api.get(f"/api/v1/{path}")
        assert error_of(answer) == (503, "database_unavailable"), path
    for path, body in (("queues/emails/pause", {}), ("queues/emails/discard", {}), ("dead/purge", {"all": True})):
        assert error_of(api.post(f"/api/v1/{path}", body)) == (503, "database_unavailable"), path
    assert error_of(api.post("/api/v1/messages/cancel", {"ids": [message_id]})) == (503, "database_unavailable")


def test_a_change_is_kept_with_who_asked_and_why(api, schedule):
    # When a schedule is paused, twice, and resumed by somebody unnamed
    body = {"reason": "the mail server moves"}
    for changed in ([schedule], []):
        answer = api.post(f"/api/v1/schedules/{schedule}/pause", body, headers={"X-Operator": "ann"})
        assert (answer.status_code, answer.json()) == (200, {"changed": changed})
    [item] = [each for each in api.get("/api/v1/schedules").json()["items"] if each["name"] == schedule]
    assert item["is_paused"] is True
    assert api.post(f"/api/v1/schedules/{schedule}/resume", {}).json() == {"changed": [schedule]}
    # Then each change is one row
    rows = changes(api)["items"]
    assert [(row["action"], row["operator"], row["via"], row["reason"]) for row in rows] == [
        ("schedules resume", "api", "api", None),
        ("schedules pause", "ann", "api", "the mail server moves"),
    ]


def test_a_schedule_is_run_now(api, schedule):
    sent = api.post(f"/api/v1/schedules/{schedule}/run", {}).json()["message_id"]
    with api.service.pool.cursor() as cursor:
        cursor.execute("SELECT queue_name, actor_name FROM dramatiq.queue WHERE message_id = %s", (sent,))
        assert cursor.fetchall() == [("emails", "send_email")]


def test_an_unknown_name_lists_the_known_ones(api, schedule):
    answer = api.post("/api/v1/schedules/nightlyy/run", {})
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")
    assert "'nightlyy'" in answer.json()["error"]["message"] and "nightly" in answer.json()["error"]["message"]


@pytest.mark.parametrize("body", [{"reason": "\0"}, {"reason": "x" * 1001}, {"reasn": "typo"}, [], None])
def test_a_body_with_a_typo_changes_nothing(api, schedule, body):
    answer = api.post(f"/api/v1/schedules/{schedule}/pause", body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "invalid_request")
    assert changes(api)["items"] == []


def test_pages_hold_every_change_once(api, database_url):
    with psycopg2.connect(database_url) as connection, connection.cursor() as cursor:
        for number in range(5):
            record(cursor, Operator("ann", "cli"), "dead retry", filter={}, count=number)
    connection.close()
    counts, cursor = [], None
    for _ in range(3):
        page = changes(api, limit=2, **({"cursor": cursor} if cursor else {}))
        counts += [row["count"] for row in page["items"]]
        cursor = page["next_cursor"]
    assert (counts, cursor) == ([4, 3, 2, 1, 0], None)
    assert len(changes(api, action="dead", since="1h")["items"]) == 5
    assert changes(api, action="queues")["items"] == []


@pytest.mark.parametrize(
    "query", [{"cursor": "x"}, {"cursor": encode_cursor("a")}, {"since": "tomorrow"}, {"limit": 0}, {"limit": 1001}]
)
def test_a_question_that_cannot_be_meant_is_named(api, query):
    answer = api.get("/api/v1/audit", params=query)
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "invalid_request")


@pytest.mark.parametrize(
    "text", ["", "=", "ä", "W10", encode_cursor(1, 2), encode_cursor(-1), encode_cursor(2**63), encode_cursor(True)]
)
def test_a_cursor_of_others_is_refused(text):
    with pytest.raises(InvalidRequest, match="none of ours"):
        decode_cursor(text, int)


@pytest.mark.parametrize(
    "unfit",
    [
        "ALTER TABLE callboard.workers RENAME TO workers_of_old",
        "ALTER DATABASE {database} SET default_transaction_read_only = on",
    ],
    ids=["no table", "read-only"],
)
def test_a_database_that_is_to_be_put_right_is_no_fault_of_the_request(api, connection, unfit):
    # Given a database that answers and refuses
    connection.cursor().execute(unfit.format(database=connection.info.dbname))
    api.service.pool.close()
    # When an operator looks and changes something
    answers = [api.get("/api/v1/workers"), api.post("/api/v1/queues/emails/pause", {"force": True})]
    # Then what could not be done is to be tried later, and no name of ours is told
    refused = [answer for answer in answers if answer.status_code != 200]
    assert refused
    for answer in refused:
        assert error_of(answer) == (503, "database_unavailable")
        assert "Retry-After" in answer.headers and "workers" not in answer.json()["error"]["message"]

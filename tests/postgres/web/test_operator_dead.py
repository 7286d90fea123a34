"""/api/v1/dead: what failed, and putting it right by ids, by a filter or all, as often as one likes."""

from __future__ import annotations

import json
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

from callboard.web.operators import transactions


def ids(items):
    return [item["message_id"] for item in items]


def put_key(desk, message_id, key, table="callboard.dead_letters"):
    desk.sql(f"UPDATE {table} SET dedupe_key = %s WHERE message_id = %s", key, message_id)


def bury_many(desk, count):
    desk.sql(
        "INSERT INTO callboard.dead_letters (message_id, reason, queue_name, actor_name, message, priority, attempt, "
        "retries, lost_workers, generation, fingerprint, enqueued_at, died_at) "
        "SELECT gen_random_uuid(), 'permanent', 'emails', 'send_email', "
        """'{"actor_name": "send_email", "args": [], "kwargs": {}, "options": {}}', 0, 1, 0, 0, 0, '0123456789ab', """
        "now(), now() - make_interval(secs => number / 10) FROM generate_series(1, %s) AS number",
        count,
    )


def test_lists_and_groups_show_no_addresses_and_one_letter_shows_all(desk):
    letter = desk.scene.dead(kwargs={"to": "ann@secret.example"})
    desk.sql(
        "UPDATE callboard.dead_letters SET error_message = 'ann@secret.example refused', fingerprint = %s", "a" * 12
    )
    items, groups = desk.get("/dead")["items"], desk.get("/dead/groups")["items"]
    assert ids(items) == [letter]
    assert [(group["fingerprint"], group["count"], len(group["counts"])) for group in groups] == [("a" * 12, 1, 24)]
    assert "ann@" not in json.dumps([items, groups])
    assert desk.get(f"/dead/{letter}")["message"]["kwargs"] == {"to": "ann@secret.example"}
    assert desk.get(f"/dead/{uuid.uuid4()}", 404)["code"] == "not_found"


def test_every_filter_narrows_down(desk):
    email = desk.scene.dead("emails", reason="expired", kwargs={"order": 17})
    report = desk.scene.dead("reports", actor="make_report", ended_s=7200, age_s=8000)
    for query in ({"queue": "emails"}, {"actor": "send_email"}, {"died_of": "expired"}, {"since": "1h"}):
        assert ids(desk.get("/dead", **query)["items"]) == [email], query
    assert ids(desk.get("/dead", where="$.order == 17")["items"]) == [email]
    assert ids(desk.get("/dead", until="1h")["items"]) == [report]
    assert len(desk.get("/dead", group="unknown")["items"]) == 2
    assert [group["count"] for group in desk.get("/dead/groups", queue="emails")["items"]] == [1]
    assert "Did you mean 'emails'?" in desk.get("/dead", 404, queue="emalis")["message"]
    for query in ({"died_of": "boredom"}, {"group": "F"}, {"queue": " "}, {"since": "1h", "until": "2h"}):
        assert desk.get("/dead", 422, **query)["code"] == "invalid_request", query


def test_pages_hold_each_letter_once_while_others_come_and_go(desk):
    bury_many(desk, 40)
    given = set(ids(desk.get("/dead", limit=1000)["items"]))
    gone = []

    def move():
        gone.append(desk.sql("SELECT message_id::text FROM callboard.dead_letters ORDER BY died_at LIMIT 1")[0][0])
        desk.sql("DELETE FROM callboard.dead_letters WHERE message_id = %s", gone[-1])
        desk.scene.dead(ended_s=0)

    found = ids(desk.pages("/dead", move, limit=7))
    assert len(found) == len(set(found))
    assert given - set(gone) <= set(found) <= given


@pytest.mark.parametrize("verb", ["retry", "discard", "purge"])
def test_a_change_needs_ids_a_filter_or_all(desk, verb):
    desk.scene.dead()
    assert "Which dead letters?" in desk.post(f"/dead/{verb}", 422)["message"]
    assert "died_of" in desk.post(f"/dead/{verb}", 422, reason="permanent", all=True)["message"]
    for body in ({"ids": []}, {"ids": [], "queue": "emails"}, {"all": True, "que": "emails"}, {"ids": ["x"]}):
        assert desk.post(f"/dead/{verb}", 422, **body)["code"] == "invalid_request", body
    desk.post(f"/dead/{verb}", 404, queue="emalis")
    assert (desk.sql("SELECT count(*) FROM callboard.dead_letters"), desk.audit()) == ([(1,)], [])


@pytest.mark.parametrize("verb", ["retry", "discard", "purge"])
def test_a_change_counts_first_and_may_be_repeated(desk, verb):
    desk.scene.actor("send_email", "emails")
    wanted = {desk.scene.dead("emails"), desk.scene.dead("emails")}
    other, body = desk.scene.dead("reports"), {"queue": "emails", "reason": "the server is back"}
    counted = desk.post(f"/dead/{verb}", dry_run=True, **body)
    assert (counted["count"], counted["dry_run"], counted["message_ids"], desk.audit()) == (2, True, [], [])
    changed = desk.post(f"/dead/{verb}", **body)
    assert (changed["count"], set(changed["message_ids"]), changed["dry_run"]) == (2, wanted, False)
    assert desk.post(f"/dead/{verb}", **body)["count"] == 0
    missing = desk.post(f"/dead/{verb}", ids=sorted(wanted))
    assert (missing["count"], missing["missing"]) == (0, sorted(wanted))
    assert desk.audit() == [(f"dead {verb}", 2, "ann", "api", "the server is back")]
    assert desk.post(f"/dead/{verb}", all=True)["message_ids"] == [other]


def test_a_letter_whose_key_is_held_names_the_holder(desk):
    letter, holder = desk.scene.dead(), desk.scene.queued(key="order-17")
    put_key(desk, letter, "order-17")
    changed = desk.post("/dead/retry", ids=[letter])
    assert (changed["count"], changed["message_ids"], changed["missing"]) == (0, [], [])
    held = {"message_id": letter, "holder_id": holder, "queue_name": "emails", "dedupe_key": "order-17"}
    assert changed["held"] == [held]


def test_the_arguments_of_one_letter_are_changed(desk):
    letter, other = desk.scene.dead(kwargs={"to": "an@example.org", "order": 1}), desk.scene.dead()
    kwargs = {"to": "ann@example.org"}
    for body in ({"ids": [letter, other]}, {"all": True}, {"queue": "emails"}, {"ids": [letter], "queue": "emails"}):
        assert "one dead letter at a time" in desk.post("/dead/retry", 422, kwargs=kwargs, **body)["message"]
    assert "Give kwargs" in desk.post("/dead/retry", 422, ids=[letter], kwargs={}, replace_kwargs={})["message"]
    assert desk.post("/dead/retry", ids=[letter], kwargs=kwargs, dry_run=True)["count"] == 1
    assert desk.post("/dead/retry", ids=[letter], kwargs=kwargs, args=[3])["message_ids"] == [letter]
    [(message,)] = desk.sql("SELECT message FROM dramatiq.queue")
    assert (message["kwargs"], message["args"]) == ({"to": "ann@example.org", "order": 1}, [3])
    again = desk.post("/dead/retry", ids=[letter], kwargs=kwargs)
    assert (again["count"], again["missing"]) == (0, [letter])
    assert desk.post("/dead/retry", ids=[other], replace_kwargs={"x": 1})["count"] == 1


@pytest.mark.parametrize(
    "kwargs", ['{"a": NaN}', '{"a": 1e999}', '{"a": "\\u0000"}', '{"a": "\\ud800"}', '{"\\ud800": 1}', "[]"]
)
def test_arguments_that_cannot_be_stored_change_nothing(desk, kwargs):
    letter = desk.scene.dead()
    body = f'{{"ids": ["{letter}"], "kwargs": {kwargs}}}'
    answer = desk.api.post("/api/v1/dead/retry", None, data=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "invalid_request")
    assert desk.sql("SELECT count(*) FROM callboard.dead_letters") == [(1,)]


def test_two_who_retry_the_same_at_once_put_each_letter_back_once(desk):
    bury_many(desk, 1200)
    start = threading.Barrier(2)

    def retry():
        start.wait(5)
        return desk.api.post("/api/v1/dead/retry", {"all": True}).json()["message_ids"]

    with ThreadPoolExecutor(2) as threads:
        first, second = [turn.result() for turn in [threads.submit(retry), threads.submit(retry)]]
    assert len(first) + len(second) == len({*first, *second})
    assert len(first) + len(second) + len(desk.get("/dead", limit=1000)["items"]) == 1200
    assert desk.sql("SELECT count(*) FROM dramatiq.queue") == [(len(first) + len(second),)]


def test_a_change_that_takes_too_long_says_how_far_it_came(desk, monkeypatch):
    bury_many(desk, 2000)
    monkeypatch.setattr(transactions, "_LIMIT", "SET LOCAL statement_timeout = '1ms'")
    error = desk.post("/dead/retry", 422, all=True)
    assert error["code"] == "too_slow"
    assert error["message"].endswith("Nothing was changed.")
    assert (desk.sql("SELECT count(*) FROM callboard.dead_letters"), desk.audit()) == ([(2000,)], [])

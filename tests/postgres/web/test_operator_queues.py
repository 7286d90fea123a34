"""/api/v1/queues, workers and status: the figures of the commands, pauses, and a discard that may be repeated."""

from __future__ import annotations

import pytest
import requests

from callboard.ops.queues import controls as queue_controls
from tests.conftest import wait_until
from tests.postgres.web.conftest import TOKEN


def test_queues_tell_their_figures_and_pauses(desk):
    desk.scene.worker("emails", threads=4)
    desk.scene.queued("emails")
    desk.scene.queued("emails", due_s=60)
    desk.post("/queues/emails/pause", reason="the mail server moves", until="2h")
    [queue] = [queue for queue in desk.get("/queues")["items"] if queue["queue_name"] == "emails"]
    assert (queue["ready"], queue["delayed"], queue["threads"]) == (1, 1, 4)
    assert (queue["pause"]["by"], queue["pause"]["reason"]) == ("ann", "the mail server moves")


def test_a_pause_and_its_end_may_be_given_twice(desk):
    desk.scene.queued("emails")
    for _ in range(2):
        assert desk.post("/queues/emails/pause", reason="moves") == {"changed": ["emails"], "until": None}
    assert desk.post("/queues/emails/resume", reason="back") == {"changed": ["emails"]}
    assert desk.post("/queues/emails/resume", reason="back") == {"changed": []}
    assert desk.audit() == [
        ("queues pause", 1, "ann", "api", "moves"),
        ("queues pause", 1, "ann", "api", "moves"),
        ("queues resume", 1, "ann", "api", "back"),
    ]


def test_a_name_that_is_unknown_is_paused_only_by_force(desk):
    desk.scene.queued("emails")
    for path in ("pause", "resume", "discard"):
        assert "Known queues: emails" in desk.post(f"/queues/emalis/{path}", 404)["message"]
    assert desk.post("/queues/orders/pause", force=True)["changed"] == ["orders"]


@pytest.mark.parametrize("until", ["yesterday", "2020-01-01", "0001-01-01T00:00+10:00", "9" * 60, "", "\0"])
def test_an_end_that_cannot_be_meant_pauses_nothing(desk, until):
    desk.scene.queued("emails")
    assert desk.post("/queues/emails/pause", 422, until=until)["code"] == "invalid_request"
    assert desk.audit() == []


def test_a_discard_tells_the_count_first_and_may_be_repeated(desk):
    ready, worker = [desk.scene.queued("emails") for _ in range(3)], desk.scene.worker("emails")
    desk.scene.running(worker)
    assert desk.post("/queues/emails/discard", dry_run=True) == {"count": 3, "dry_run": True}
    assert desk.sql("SELECT count(*) FROM dramatiq.queue") == [(4,)]
    assert desk.post("/queues/emails/discard", reason="wrong campaign") == {"count": 3, "dry_run": False}
    assert desk.post("/queues/emails/discard", reason="wrong campaign") == {"count": 0, "dry_run": False}
    assert desk.audit() == [("queues discard", 3, "ann", "api", "wrong campaign")]
    gone = desk.sql("SELECT message_id::text FROM callboard.message_history WHERE outcome = 'discarded'")
    assert {id_ for (id_,) in gone} == set(ready)


def test_a_client_that_goes_away_leaves_no_half_batch(desk, monkeypatch):
    # Given batches of 50, and a client that does not wait for them
    monkeypatch.setattr(queue_controls.discard_batch, "__kwdefaults__", {"limit": 50})
    desk.sql(
        "INSERT INTO dramatiq.queue (message_id, queue_name, message) "
        "SELECT gen_random_uuid(), 'emails', '{}' FROM generate_series(1, 1000)"
    )
    with pytest.raises(requests.ReadTimeout):
        requests.post(
            f"{desk.api.url}/api/v1/queues/emails/discard",
            json={},
            headers={"Authorization": f"Bearer {TOKEN}"},
            timeout=(5, 0.01),
        )
    # Then the change goes on to its end, and the audit log has each batch
    wait_until(lambda: desk.sql("SELECT count(*) FROM dramatiq.queue") == [(0,)])
    wait_until(lambda: sum(row[1] for row in desk.audit()) == 1000)
    assert {row[1] for row in desk.audit()} == {50}


def test_workers_tell_what_they_run(desk):
    running = desk.scene.running(desk.scene.worker("emails", pid=18))
    [worker] = desk.get("/workers")["items"]
    assert (worker["hostname"], worker["pid"], worker["running"]) == ("node-1", 18, 1)
    assert [job["message_id"] for job in worker["jobs"]] == [running]


def test_the_status_has_a_word_with_its_reasons(desk):
    assert (desk.get("/status")["level"], desk.get("/status")["reasons"]) == ("healthy", [])
    desk.scene.queued("emails", age_s=100)
    status = desk.get("/status")
    assert status["level"] == "unhealthy"
    assert [(reason["level"], reason["command"]) for reason in status["reasons"]] == [("unhealthy", "callboard work")]

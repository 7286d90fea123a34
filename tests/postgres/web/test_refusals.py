"""What the API refuses is counted and logged; never with a token, and never a line for each."""

from __future__ import annotations

import re

import pytest
import requests

from callboard.metrics import API_REFUSED, WEBHOOKS
from callboard.web.limits.lanes import Gate, Lane, Limit
from callboard.web.requests.refusals import REASONS, WEBHOOK_OUTCOMES, Refusals
from tests.postgres.web.conftest import GENUINE


def refused(reason):
    return API_REFUSED.labels(reason)._value.get()


def webhooks(outcome):
    return WEBHOOKS.labels(outcome)._value.get()


REFUSALS = {
    "no_token": lambda api: api.get("/payments/x", token=None),
    "wrong_token": lambda api: api.get("/api/v1/queues", token="guessed-token"),
    "wrong_link": lambda api: api.get(
        "/reports/00000000-0000-4000-8000-000000000001?format=pdf&expires=1&signature=ab", token=None
    ),
    "foreign_address": lambda api: api.hook("x", address="203.0.113.9"),
    "invalid_request": lambda api: api.pay(surprise=1),
    "body_too_large": lambda api: api.post("/payments", data=b" " * 300_000),
    "body_too_deep": lambda api: api.post("/payments", data=b"[" * 99),
}


@pytest.mark.parametrize("reason", REFUSALS)
def test_every_refusal_is_counted_and_its_first_one_logged(api, caplog, reason):
    before = refused(reason)
    answers = [REFUSALS[reason](api) for _ in range(3)]
    assert all(400 <= answer.status_code < 500 for answer in answers)
    assert refused(reason) == before + 3
    lines = [record for record in caplog.records if record.getMessage() == "requests refused"]
    assert [(line.callboard_fields["reason"], line.callboard_fields["count"]) for line in lines] == [(reason, 1)]
    assert "guessed-token" not in caplog.text + str([line.callboard_fields for line in lines])


def test_a_lane_that_is_full_is_counted(api):
    api.app.state.callboard.gates[Lane.READS] = Gate("reads", Limit(0, 0, None))
    before = refused("busy")
    assert api.get("/payments/00000000-0000-4000-8000-000000000001").status_code == 503
    assert refused("busy") == before + 1


def test_the_next_line_tells_how_many_there_were_since(caplog):
    refusals = Refusals(quiet_s=3600)
    for _ in range(5):
        refusals.note("no_token", "203.0.113.9")
    refusals.note("wrong_token", "203.0.113.9")
    refusals._quiet_s = 0
    refusals.note("no_token", "203.0.113.10")
    lines = [record.callboard_fields for record in caplog.records]
    assert [(line["reason"], line["count"]) for line in lines] == [("no_token", 1), ("wrong_token", 1), ("no_token", 5)]
    assert lines[-1]["client"] == "203.0.113.10"


def test_webhooks_are_counted_by_what_became_of_them(api, monkeypatch):
    before = {outcome: webhooks(outcome) for outcome in WEBHOOK_OUTCOMES}
    api.hook("x"), api.hook("x", address="203.0.113.9")
    api.post("/webhooks/yookassa", {}, token=None, headers={"X-Forwarded-For": GENUINE})
    requests.get(f"{api.url}/webhooks/yookassa", timeout=5)
    with monkeypatch.context() as broken:
        broken.setattr("callboard.web.payments.webhooks.send_in", lambda *_: 1 / 0)
        api.hook("y")
    assert {outcome: webhooks(outcome) - before[outcome] for outcome in WEBHOOK_OUTCOMES} == {
        "accepted": 1,
        "foreign_address": 1,
        "invalid": 1,
        "failed": 1,
    }


def test_every_reason_stands_at_zero_before_its_first(shared_api):
    page = shared_api.get("/metrics").text
    assert set(re.findall(r'callboard_api_refused_total{reason="(\w+)"}', page)) == set(REASONS)
    assert set(re.findall(r'callboard_webhooks_total{outcome="(\w+)"}', page)) == set(WEBHOOK_OUTCOMES)

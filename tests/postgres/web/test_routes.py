"""What holds for every route, walked over all of them."""

from __future__ import annotations

import json

import pytest
import requests

from callboard.db import Pool
from callboard.web.limits.lanes import Gate, Lane, Limit
from tests.postgres.web.conftest import BODY, GENUINE, NO_DATABASE, error_of
from tests.postgres.web.conftest import TOKEN as API_TOKEN

#: These share one look among all who ask, or look at nothing.
SHARE_A_LOOK = {"/health", "/health/live", "/health/ready", "/health/queue", "/api/health/queue", "/metrics"}
#: A value for each parameter of a path.
VALUES = {
    "{payment_id}": "00000000-0000-4000-8000-000000000001",
    "{report_id}": "00000000-0000-4000-8000-000000000001",
    "{message_id}": "00000000-0000-4000-8000-000000000001",
    "{name}": "emails",
}
#: They differ from one answer to the next, and so does the length where figures move on.
CHANGING = {"x-request-id", "date"}
MOVING = {"/health", "/metrics", "/api/v1/status", "/api/v1/queues"}


def get_paths(app):
    described = [path for path, methods in app.openapi()["paths"].items() if "get" in methods]
    return [*described, "/openapi.json", "/api/health/queue"]


def filled(path):
    for name, value in VALUES.items():
        path = path.replace(name, value)
    assert "{" not in path, f"give {path} a value"
    return path


@pytest.mark.parametrize("token", [API_TOKEN, None], ids=["with token", "without"])
def test_every_get_route_answers_head_as_it_answers_get_but_without_a_body(shared_api, token):
    paths = get_paths(shared_api.app)
    assert len(paths) > 15
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    for path in map(filled, paths):
        got = requests.get(shared_api.url + path, headers=headers, timeout=10)
        head = requests.head(shared_api.url + path, headers=headers, timeout=10)
        assert (head.status_code, head.content) == (got.status_code, b""), path
        lengths = {"content-length"} if path in MOVING else set()
        kept = [{n: v for n, v in a.headers.lower_items() if n not in CHANGING | lengths} for a in (got, head)]
        assert kept[0] == kept[1], path


def test_the_methods_of_other_routes_are_not_widened(shared_api):
    for path in ("/payments", "/webhooks/yookassa"):
        answer = requests.head(shared_api.url + path, timeout=10)
        assert (answer.status_code, answer.content) == (405, b"")
    assert requests.head(shared_api.url + "/nowhere", timeout=10).status_code == 404


def test_no_address_reflects_the_host_of_the_request(shared_api):
    for path in map(filled, shared_api.app.openapi()["paths"]):
        for method, spelled in [("GET", path + "/"), ("POST", path + "/"), ("GET", "/" + path), ("GET", path)]:
            headers = {"Host": "evil.example", "Authorization": f"Bearer {API_TOKEN}"}
            answer = requests.request(
                method, shared_api.url + spelled, headers=headers, timeout=10, allow_redirects=False
            )
            assert not 300 <= answer.status_code < 400, spelled
            assert "evil.example" not in answer.text + json.dumps(dict(answer.headers)), spelled


@pytest.mark.parametrize("address", ["fe80::1%eth0", "[fe80::1%eth0]:1", "%", "::%x", ",".join(["127.0.0.1"] * 1_000)])
def test_no_forwarded_address_makes_a_request_fail(make_api, address):
    api = make_api(yukassa_webhook_ips="fe80::/10,127.0.0.0/8,::/0")
    assert api.hook("x", address=address).status_code in (200, 403)
    assert api.get("/payments/x", headers={"X-Forwarded-For": address}).status_code == 422


@pytest.fixture
def closed_api(make_api):
    """An API whose lanes are full."""
    api = make_api()
    gates = api.app.state.callboard.gates
    for lane in gates.keys() - {Lane.PROBES, Lane.METRICS}:
        gates[lane] = Gate(lane, Limit(0, 0, None))
    return api


def test_no_route_works_outside_of_the_lanes(closed_api, monkeypatch):
    """A plain function as route or dependency would take one of the threads that every route shares."""
    threads = []

    async def note(work, *arguments, **options):
        threads.append(work)
        return work(*arguments, **options)

    monkeypatch.setattr("fastapi.dependencies.utils.run_in_threadpool", note)
    monkeypatch.setattr("fastapi.routing.run_in_threadpool", note)
    for path, methods in {**closed_api.app.openapi()["paths"], "/openapi.json": {"get": {}}}.items():
        for method in methods:
            if path in SHARE_A_LOOK:
                continue
            answer = requests.request(
                method,
                closed_api.url + filled(path),
                json=BODY if path == "/payments" else {"event": "payment.succeeded", "object": {"id": "x"}},
                headers={"Authorization": f"Bearer {API_TOKEN}", "X-Forwarded-For": GENUINE, "Idempotency-Key": "k"},
                timeout=10,
            )
            assert error_of(answer) == (503, "busy"), f"{path} is in no lane; give it dependencies=[through(Lane.…)]"
            assert answer.headers["Retry-After"] == "1"
    assert threads == []


def test_full_lanes_make_no_probe_and_no_scrape_fail(closed_api):
    assert {path: closed_api.get(path).status_code for path in SHARE_A_LOOK} == dict.fromkeys(SHARE_A_LOOK, 200)


def test_who_may_not_come_in_takes_no_slot(closed_api):
    for path in ("/payments/x", "/api/v1/queues", "/openapi.json"):
        assert error_of(closed_api.get(path, token="wrong")) == (401, "unauthorized")
    assert error_of(closed_api.hook("x", address="203.0.113.9")) == (403, "forbidden")


@pytest.mark.parametrize("path", ["/health/queue", "/api/health/queue"])
def test_the_health_of_queues_names_its_driver_as_the_old_worker_did(make_api, path):
    health = make_api().get(path, token=None).json()
    assert (health["driver"], health["status"]) == ("database", "healthy")
    assert {"pending", "failed", "stuck"} <= health.keys()
    away = make_api(used_pool=Pool(NO_DATABASE)).get(path, token=None)
    assert (away.status_code, away.json()["driver"], away.json()["status"]) == (503, "database", "unhealthy")

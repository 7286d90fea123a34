"""Who may call what, and what an answer may show."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest
import requests

from tests.postgres.web.conftest import error_of


@pytest.mark.parametrize("token", [None, "wrong", "", "тайна".encode()])
@pytest.mark.parametrize("path", ["/payments/x", "/openapi.json", f"/reports/{UUID(int=1)}"])
def test_a_closed_address_needs_the_token(shared_api, path, token):
    headers = (
        {} if token is None else {"Authorization": b"Bearer " + (token.encode() if isinstance(token, str) else token)}
    )
    answer = shared_api.get(path, token=None, headers=headers)
    assert error_of(answer) == (401, "unauthorized")
    assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_without_a_token_set_everything_but_webhook_and_health_is_closed(make_api):
    api = make_api(api_token=None)
    closed = [api.get(path) for path in ("/payments/x", "/openapi.json", "/metrics")]
    closed[2] = api.get("/metrics", headers={"X-Forwarded-For": "203.0.113.9"})
    assert [answer.status_code for answer in closed] == [401] * 3
    assert all("API_TOKEN is not set" in answer.text for answer in closed)
    open_ones = [api.get(path).status_code for path in ("/health", "/health/live", "/health/ready", "/health/queue")]
    assert [*open_ones, api.hook("x").status_code] == [200] * 5


def test_metrics_are_open_to_this_machine_but_not_to_what_a_proxy_forwards(shared_api):
    assert shared_api.get("/metrics", token=None).status_code == 200
    assert shared_api.get("/metrics", token=None, headers={"X-Forwarded-For": "127.0.0.1"}).status_code == 401
    assert shared_api.get("/metrics", headers={"X-Forwarded-For": "127.0.0.1"}).status_code == 200


def test_only_the_frontend_may_call_from_a_browser(make_api):
    api = make_api(frontend_url="https://shop.example")
    ours = api.get("/health", headers={"Origin": "https://shop.example"})
    theirs = api.get("/health", headers={"Origin": "https://evil.example"})
    assert ours.headers["Access-Control-Allow-Origin"] == "https://shop.example"
    assert "Access-Control-Allow-Origin" not in theirs.headers
    refused = api.post("/payments", data=b"[" * 99, headers={"Origin": "https://shop.example"})
    assert (refused.status_code, refused.headers["Access-Control-Allow-Origin"]) == (422, "https://shop.example")


@pytest.mark.parametrize("path", ["/health", "/nowhere", "/payments/x"])
def test_every_answer_carries_security_headers_and_an_id(shared_api, path):
    headers = shared_api.get(path, headers={"X-Request-ID": "my-id"}).headers
    assert (headers["X-Content-Type-Options"], headers["X-Request-ID"]) == ("nosniff", "my-id")
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "Server" not in headers
    assert len(shared_api.get(path, headers={"X-Request-ID": "a<b>"}).headers["X-Request-ID"]) == 32


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [("GET", "/nowhere", (404, "not_found")), ("PUT", "/payments", (405, "method_not_allowed"))],
)
def test_every_error_has_the_one_shape(shared_api, method, path, expected):
    assert error_of(requests.request(method, shared_api.url + path, timeout=5)) == expected


def test_a_fault_of_ours_shows_no_trace(api, monkeypatch):
    def fail(*_):
        raise RuntimeError("a secret detail")

    monkeypatch.setattr("callboard.web.payments.routes.payments.find_payment", fail)
    answer = api.get(f"/payments/{uuid4()}")
    assert error_of(answer) == (500, "internal_error")
    assert "secret" not in answer.text
    assert answer.headers["X-Request-ID"]

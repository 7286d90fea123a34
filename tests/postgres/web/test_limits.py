"""Limits: what is too large, too deep, or none at all."""

from __future__ import annotations

import socket

import pytest

from tests.postgres.web.conftest import error_of


@pytest.mark.parametrize(("path", "size"), [("/payments", 256 * 1024 + 1), ("/webhooks/yookassa", 64 * 1024 + 1)])
def test_a_body_over_the_limit_is_refused(shared_api, path, size):
    assert error_of(shared_api.post(path, data=b" " * size)) == (413, "body_too_large")
    in_pieces = (b" " * 8192 for _ in range(size // 8192 + 1))
    assert shared_api.post(path, data=in_pieces).status_code == 413


@pytest.mark.parametrize("path", ["/payments", "/webhooks/yookassa"])
def test_a_body_that_nests_too_deep_is_refused(shared_api, path):
    assert error_of(shared_api.post(path, data=b'{"a":' * 9000)) == (422, "body_too_deep")


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b"null", b"NaN", b'{"order_id": 1e999}'])
def test_a_body_that_is_no_json_is_refused(shared_api, body):
    headers = {"Content-Type": "application/json", "Idempotency-Key": "k"}
    assert error_of(shared_api.post("/payments", data=body, headers=headers)) == (422, "invalid_request")


def test_a_client_that_leaves_in_the_middle_of_its_body_disturbs_nobody(shared_api):
    host, port = shared_api.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as client:
        client.sendall(b"POST /payments HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
    assert shared_api.get("/health/live").status_code == 200

"""Requests that the guard lets through, and those that end before."""

from __future__ import annotations

import asyncio

import pytest

from callboard.web.requests.guard import Guard


def serve(received, **changes):
    """Send a request to an app behind the guard; return what the app was given and what was answered."""
    seen, answered = [], []

    async def app(scope, receive, send):
        seen.append((scope["method"], (await receive()).get("body")))
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
        await send({"type": "http.response.body", "body": b"text"})

    messages = iter(received)

    async def receive():
        return next(messages)

    async def send(message):
        answered.append(message)

    scope = {"type": "http", "method": "POST", "path": "/payments", "headers": [], **changes}
    asyncio.run(Guard(app)(scope, receive, send))
    return seen, answered


@pytest.mark.parametrize("body", [b"{", b"{}", b""])
def test_a_body_whose_client_left_reaches_nobody(body):
    parts = [{"type": "http.request", "body": body, "more_body": True}, {"type": "http.disconnect"}]
    assert serve(parts) == ([], [])


def test_a_whole_body_reaches_the_app():
    parts = [
        {"type": "http.request", "body": b"{", "more_body": True},
        {"type": "http.request", "body": b"}", "more_body": False},
    ]
    assert serve(parts)[0] == [("POST", b"{}")]


def test_a_head_is_asked_as_a_get_and_answered_without_its_body():
    seen, (start, body) = serve([{"type": "http.request"}], method="HEAD")
    assert seen == [("GET", b"")]
    assert dict(start["headers"])[b"content-length"] == b"4"
    assert body["body"] == b""

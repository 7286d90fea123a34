"""What surrounds every request: its id, limits of its body, headers that keep browsers careful."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from typing import Any
from uuid import uuid4

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from callboard.log import get_logger, log_context
from callboard.web.requests.errors import error_body
from callboard.web.requests.refusals import count_webhook

log = get_logger(__name__)

WEBHOOK_PATH = "/webhooks/yookassa"
#: In the scope of a GET that came as a HEAD: whose body is costly may leave it out.
HEAD_KEY = "callboard.is_head"
BODY_MAX_BYTES = 256 * 1024
WEBHOOK_MAX_BYTES = 64 * 1024
#: Deepest nesting of JSON that is looked at.
DEPTH_MAX = 32
#: A body that takes longer is somebody holding a slot, s.
BODY_TIMEOUT_S = 10.0
REQUEST_ID = re.compile(r"[0-9A-Za-z._-]{1,64}")
SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
# Possessive, and with the end of the body as another way out: any body is scanned once, never again from each quote.
_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)', re.DOTALL)
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


class Guard:
    """Reads the body within its limits before anything else sees the request."""

    def __init__(self, app: ASGIApp, *, note: Callable[[Scope, str], None] = lambda _scope, _reason: None) -> None:
        self._app = app
        #: Told of every refusal, with its reason.
        self._note = note

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if scope["method"] == "HEAD":
            # FastAPI gives a GET route no HEAD. What a GET would answer is made, and all but its body sent.
            scope, send = {**scope, "method": "GET", HEAD_KEY: True}, _without_body(send)
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if REQUEST_ID.fullmatch(given) else uuid4().hex
        has_started = False

        async def send_with_headers(message: Message) -> None:
            nonlocal has_started
            if message["type"] == "http.response.start":
                has_started = True
                if scope["path"] == WEBHOOK_PATH and scope["method"] == "POST":
                    count_webhook(message["status"])
                headers = MutableHeaders(scope=message)
                headers["X-Request-ID"] = request_id
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        with log_context(request_id=request_id):
            try:
                await self._serve(scope, receive, send_with_headers)
            except Exception as error:
                log.exception("request failed", method=scope["method"], path=scope["path"], error=type(error).__name__)
                if has_started:
                    raise
                message = "Something went wrong here. The log has it under the id in the header X-Request-ID."
                await _answer(send_with_headers, 500, "internal_error", message)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        limit = WEBHOOK_MAX_BYTES if scope["path"] == WEBHOOK_PATH else BODY_MAX_BYTES
        try:
            async with asyncio.timeout(BODY_TIMEOUT_S):
                body = await _read(scope, receive, limit)
        except TimeoutError:
            message = f"The body did not end within {BODY_TIMEOUT_S:g} s."
            await self._refuse(send, 408, "body_too_slow", message, scope)
            return
        except ClientDisconnect:
            # Half a body may look like a whole one.
            return
        if body is None:
            await self._refuse(send, 413, "body_too_large", f"The body may have {limit} bytes at most.", scope)
        elif _is_too_deep(body):
            message = f"The JSON may be nested {DEPTH_MAX} levels deep at most."
            await self._refuse(send, 422, "body_too_deep", message, scope)
        else:
            await self._app(scope, _replay(body, receive), send)

    async def _refuse(self, send: Send, status: int, code: str, message: str, scope: Scope) -> None:
        self._note(scope, code)
        await _answer(send, status, code, message)


async def _read(scope: Scope, receive: Receive, limit: int) -> bytes | None:
    """Return the whole body, or None when it is over the limit. Raises: ClientDisconnect."""
    announced = Headers(scope=scope).get("content-length", "0")
    if announced.isdigit() and int(announced[:20]) > limit:
        return None
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        body += message.get("body", b"")
        if len(body) > limit:
            return None
        if not message.get("more_body", False):
            return bytes(body)


def _is_too_deep(body: bytes) -> bool:
    """Say whether brackets nest too deep outside of strings, counted without recursion."""
    depth = 0
    for byte in _STRINGS.sub(b"", body).translate(None, _NO_BRACKETS):
        depth += 1 if byte in b"[{" else -1
        if depth > DEPTH_MAX:
            return True
    return False


def _replay(body: bytes, receive: Receive) -> Receive:
    is_given = False

    async def replayed() -> Message:
        nonlocal is_given
        if is_given:
            return await receive()
        is_given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replayed


def _without_body(send: Send) -> Send:
    async def send_head(message: Message) -> None:
        await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

    return send_head


async def _answer(send: Send, status: int, code: str, message: str) -> None:
    body = json.dumps(error_body(code, message)).encode()
    headers: list[tuple[bytes, Any]] = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        # The rest of the body is still on its way; nobody will read it.
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})

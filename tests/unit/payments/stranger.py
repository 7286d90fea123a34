"""Whoever answers in YooKassa's place: an HTTP server that gives each request the answer it was told to."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


class Stranger:
    """Answers every request with `answer`: status, headers, body, and how many bytes of it to announce."""

    def __init__(self) -> None:
        self.answer: tuple[int, dict[str, str], bytes, int] = (500, {}, b"", 0)
        self.requests: list[tuple[str, str, dict[str, str], bytes]] = []
        stranger = self

        class Handler(BaseHTTPRequestHandler):
            def _serve(self) -> None:
                content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                stranger.requests.append((self.command, self.path, dict(self.headers), content))
                status, headers, body, announced = stranger.answer
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(announced))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = _serve  # noqa: N815 - names of http.server

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/v3"

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def say(
        self, status: int, body: Any = b"", kind: str | None = "application/json", *, missing: int = 0, **headers: str
    ) -> None:
        """Answer so from now on; `missing` bytes of the body never come."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        if kind is not None:
            given["Content-Type"] = kind
        self.answer = (status, given, content, len(content) + missing)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


HTML = b"<html><head><title>Error</title></head><body><h1>Not here</h1><hr>nginx</body></html>"


def own_error(status: int, code: str | None = None, **more: Any) -> dict[str, Any]:
    """Return a refusal as YooKassa writes it."""
    codes = {400: "invalid_request", 401: "invalid_credentials", 403: "forbidden", 404: "not_found"}
    codes |= {429: "too_many_requests", 500: "internal_server_error"}
    word = code or codes.get(status, "unsupported")
    return {"type": "error", "id": "ab5a11cd", "code": word, "description": "No.", **more}

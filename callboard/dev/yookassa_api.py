"""The sandbox's HTTP: YooKassa's API, the customer's side and what a test may ask for."""

from __future__ import annotations

import base64
import binascii
import html
import json
import socket
import struct
from http.server import BaseHTTPRequestHandler
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

from callboard.dev.yookassa_books import FINAL, Refused, check_creation
from callboard.dev.yookassa_faults import Fault

PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Pay {amount}</title>
<style>
body{{font:16px/1.5 system-ui,sans-serif;background:#f4f4f7;color:#1c1c28;margin:0}}
body{{display:grid;place-items:center;min-height:96vh}}
main{{background:#fff;border-radius:16px;padding:32px 40px;width:320px;box-shadow:0 8px 32px #1c1c2814}}
small{{color:#71717f}} h1{{font-size:34px;margin:4px 0 2px;font-variant-numeric:tabular-nums}}
form{{margin:12px 0 0}} button{{font:inherit;width:100%;padding:12px;border-radius:10px;cursor:pointer}}
button{{border:1px solid #d8d8e0;background:#fff}}
.pay{{background:#5b3df5;border-color:#5b3df5;color:#fff;margin-top:12px}} b{{display:inline-block;margin-top:16px}}
</style><main><small>YooKassa sandbox · no real money</small>
<h1>{amount}</h1><div>{description}</div>{actions}</main></html>"""
BUTTONS = (
    '<form method="post" action="/customer/{id}/confirm"><button class="pay">Pay</button></form>'
    '<form method="post" action="/customer/{id}/cancel"><button>Cancel</button></form>'
)


class Handler(BaseHTTPRequestHandler):
    """One connection; the sandbox is set on a subclass of its own."""

    #: The YooKassaSandbox; that module imports this one.
    sandbox: ClassVar[Any]
    protocol_version = "HTTP/1.1"
    server_version = "Sandbox"
    # One small packet an answer, sent at once: else Nagle's algorithm adds 40 ms.
    wbufsize = -1
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        """Answer a question."""
        self._serve("GET")

    def do_POST(self) -> None:
        """Do what is asked."""
        self._serve("POST")

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the parent's signature
        """Say nothing: the books say it better."""

    def _serve(self, method: str) -> None:
        try:
            size = min(int(self.headers.get("Content-Length") or 0), 1_000_000)
            content = self.rfile.read(size)
            self._route(method, content)
        except Refused as refusal:
            self._answer(refusal.status, refusal.body)
        except (json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
            description = f"Request cannot be understood: {error}"
            self._answer(400, {"type": "error", "code": "invalid_request", "description": description})
        except (ConnectionError, TimeoutError):
            self.close_connection = True

    def _route(self, method: str, content: bytes) -> None:
        parts = urlsplit(self.path).path.strip("/").split("/")
        match (method, *parts):
            case (_, "v3", *rest):
                self._check_login()
                self._api(method, rest, content)
            case ("GET", "customer", provider_id):
                self._page(provider_id)
            case ("POST", "customer", provider_id, "confirm" | "cancel" as act):
                self._answer(
                    200, self.sandbox.confirm(provider_id) if act == "confirm" else self.sandbox.cancel(provider_id)
                )
            case ("GET", "sandbox", "books"):
                self._answer(200, self.sandbox.books.as_json())
            case ("POST", "sandbox", "faults"):
                self.sandbox.misbehave(Fault.from_json(json.loads(content)))
                self._answer(200, {})
            case ("POST", "sandbox", "plans"):
                plan = json.loads(content)
                self.sandbox.plan_webhooks(plan["order_id"], plan["manner"])
                self._answer(200, {})
            case ("POST", "sandbox", "announce"):
                self.sandbox.announce(**json.loads(content))
                self._answer(200, {})
            case _:
                raise Refused(404, "not_found", f"There is nothing at {method} {self.path}")

    def _api(self, method: str, rest: list[str], content: bytes) -> None:
        match (method, *rest):
            case ("GET", "me"):
                self._answer(200, self.sandbox.books.shop())
            case ("POST", "payments"):
                self._create(self._key(), check_creation(json.loads(content)))
            case ("GET", "payments"):
                query = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
                limit = min(max(int(query.get("limit", 10)), 1), 100)
                page = self.sandbox.books.page(
                    limit=limit, cursor=query.get("cursor"), created_since=query.get("created_at.gte")
                )
                self._answer(200, page)
            case ("GET", "payments", provider_id):
                payment = self.sandbox.books.find(provider_id)
                self._answer_or_misbehave("find", payment)
            case ("POST", "payments", provider_id, "capture" | "cancel" as act):
                self._key()
                sandbox = self.sandbox
                self._answer(
                    200, sandbox.capture(provider_id) if act == "capture" else sandbox.cancel_by_shop(provider_id)
                )
            case _:
                raise Refused(404, "not_found", "There is no such method")

    def _create(self, key: str, body: dict[str, Any]) -> None:
        order_id = str((body.get("metadata") or {}).get("order_id", ""))
        fault = self.sandbox.faults.take("create", order_id)
        if fault is not None and self._failed_before(fault):
            return
        payment = self.sandbox.books.create(key, body)
        self._answer(200, payment) if fault is None else self._fail_after(fault, payment)

    def _answer_or_misbehave(self, operation: str, payment: dict[str, Any]) -> None:
        fault = self.sandbox.faults.take(operation, str(payment["metadata"].get("order_id", "")))
        if fault is None:
            self._answer(200, payment)
        elif not self._failed_before(fault):
            self._fail_after(fault, payment)

    def _failed_before(self, fault: Fault) -> bool:
        match fault.kind:
            case "reset":
                self._reset()
            case "rate_limited":
                body = {"type": "error", "code": "too_many_requests", "description": "Too many requests"}
                self._answer(429, {**body, "retry_after": fault.retry_after_ms})
            case "unavailable":
                self._send(503, b"<html>Service Unavailable</html>", "text/html")
            case _:
                return False
        return True

    def _fail_after(self, fault: Fault, payment: dict[str, Any]) -> None:
        match fault.kind:
            case "timeout_after":
                self._hang()
            case "error_after":
                self._answer(500, {"type": "error", "code": "internal_server_error", "description": "Internal error"})
            case "processing_after":
                self._answer(
                    202, {"type": "processing", "description": "In progress", "retry_after": fault.retry_after_ms}
                )
            case "reset_after":
                self._reset()
            case _:
                self._send(200, json.dumps(payment).encode()[:40], "application/json")

    def _hang(self) -> None:
        """Say nothing until the client gives up."""
        self.close_connection = True
        self.connection.settimeout(None)
        self.connection.recv(1)

    def _reset(self) -> None:
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def _key(self) -> str:
        key = self.headers.get("Idempotence-Key", "")
        if not 1 <= len(key) <= 64:  # noqa: PLR2004 - the API's limit
            raise Refused(400, "invalid_request", "Idempotence key is missing or too long", parameter="Idempotence-Key")
        return key

    def _check_login(self) -> None:
        kind, _, token = self.headers.get("Authorization", "").partition(" ")
        try:
            login = base64.b64decode(token, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            login = ""
        if kind != "Basic" or login != self.sandbox.login:
            raise Refused(401, "invalid_credentials", "Error in shopId or secret key. Check their validity.")

    def _page(self, provider_id: str) -> None:
        payment = self.sandbox.books.find(provider_id)
        is_open = payment["status"] not in FINAL and payment["status"] != "waiting_for_capture"
        actions = BUTTONS.format(id=payment["id"]) if is_open else f"<b>This payment is {payment['status']}.</b>"
        amount = f"{payment['amount']['value']} {payment['amount']['currency']}"
        text = PAGE.format(amount=html.escape(amount), description=html.escape(payment["description"]), actions=actions)
        self._send(200, text.encode(), "text/html; charset=utf-8")

    def _answer(self, status: int, body: Any) -> None:
        self._send(status, json.dumps(body).encode(), "application/json")

    def _send(self, status: int, content: bytes, content_type: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
        self.wfile.flush()

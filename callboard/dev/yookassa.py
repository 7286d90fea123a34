"""The YooKassa sandbox: an HTTP server that speaks YooKassa's API, plays its customers and sends its webhooks.

    python -m callboard.dev.yookassa --port 8011 --webhook-url http://127.0.0.1:3001/webhooks/yookassa

The API is at <url> (ending in /v3), the customer at /customer/<id>/confirm|cancel, the books at /sandbox/books.
POST /sandbox/faults asks for a misbehaviour, /sandbox/plans chooses how an order's webhooks leave,
/sandbox/announce sends any webhook from any address, forged ones included.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import socket
import threading
from collections.abc import Callable, Sequence
from datetime import datetime
from http.server import ThreadingHTTPServer
from typing import Any, Self

from callboard.dev.yookassa_api import Handler
from callboard.dev.yookassa_books import Books
from callboard.dev.yookassa_faults import Fault, Faults
from callboard.dev.yookassa_webhooks import GENUINE_ADDRESS, Courier, Webhook, announcements

MANNERS = ("once", "twice", "out_of_order", "never")


class YooKassaSandbox:
    """One shop with its payments in memory; start() listens, stop() ends it."""

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        shop_id: str = "100500",
        secret_key: str = "sandbox",  # noqa: S107 - a sandbox has no secret
        webhook_url: str | None = None,
        source_address: str = GENUINE_ADDRESS,
        redelivery_wait_s: float = 1.0,
        now: Callable[[], datetime] | None = None,
    ) -> None:
        self.login = f"{shop_id}:{secret_key}"
        self.faults = Faults()
        self.books = Books(lambda: self.base_url, shop_id=shop_id, now=now)
        self._source_address = source_address
        self._manners: dict[str, str] = {}
        self._courier = Courier(self.books, url=webhook_url, redelivery_wait_s=redelivery_wait_s)
        self._server = _Server((host, port), type("SandboxHandler", (Handler,), {"sandbox": self}))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="yookassa", daemon=True)

    @property
    def base_url(self) -> str:
        """Where the customer's side and the books are."""
        host, port = self._server.server_address[:2]
        return f"http://{host!s}:{port}"

    @property
    def url(self) -> str:
        """Where YUKASSA_API_URL must point."""
        return f"{self.base_url}/v3"

    @property
    def webhook_url(self) -> str | None:
        """Where webhooks go; without it none are sent."""
        return self._courier.url

    @webhook_url.setter
    def webhook_url(self, url: str) -> None:
        self._courier.url = url

    def start(self) -> None:
        """Answer requests and send webhooks from threads of its own."""
        self._courier.start()
        self._thread.start()

    def stop(self) -> None:
        """Stop both, ending every connection."""
        self._courier.stop()
        self._server.shutdown()
        self._server.end_connections()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def misbehave(self, fault: Fault) -> None:
        """Answer a later request wrongly."""
        self.faults.add(fault)

    def plan_webhooks(self, order_id: str, manner: str) -> None:
        """Choose how the webhooks of an order leave: once, twice, out_of_order or never."""
        if manner not in MANNERS:
            raise ValueError(f"manner must be one of {', '.join(MANNERS)}, got {manner!r}.")
        self._manners[order_id] = manner

    def confirm(self, provider_id: str) -> dict[str, Any]:
        """Pay as the customer, and announce it."""
        return self._announced(self.books.confirm(provider_id))

    def cancel(self, provider_id: str) -> dict[str, Any]:
        """Give up as the customer, and announce it."""
        reason = {"party": "yoo_money", "reason": "expired_on_confirmation"}
        return self._announced(self.books.cancel(provider_id, **reason, states=("pending",)))

    def capture(self, provider_id: str) -> dict[str, Any]:
        """Take the money that waits, and announce it."""
        return self._announced(self.books.capture(provider_id))

    def cancel_by_shop(self, provider_id: str) -> dict[str, Any]:
        """Release the money that waits, and announce it."""
        reason = {"party": "merchant", "reason": "canceled_by_merchant"}
        return self._announced(self.books.cancel(provider_id, **reason, states=("waiting_for_capture",)))

    def announce(
        self, payment_id: str, *, status: str | None = None, from_address: str | None = None, event: str | None = None
    ) -> None:
        """Send one webhook about a payment, as it is or as a forger would have it; it is not repeated."""
        payment = self.books.find(payment_id)
        if status is not None:
            payment = {**payment, "status": status, "paid": status == "succeeded"}
        name = event or f"payment.{payment['status']}"
        self._courier.send(Webhook(payment, name, from_address or self._source_address, is_redelivered=False))

    def _announced(self, payment: dict[str, Any]) -> dict[str, Any]:
        manner = self._manners.get(str(payment["metadata"].get("order_id")), "once")
        for event, shown in announcements(payment, manner):
            self._courier.send(Webhook(shown, event, self._source_address))
        return payment


class _Server(ThreadingHTTPServer):
    """Knows its connections, so that stopping leaves none open."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], handler: type[Handler]) -> None:
        self._open: set[socket.socket] = set()
        self._open_lock = threading.Lock()
        super().__init__(address, handler)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        with self._open_lock:
            self._open.add(request)
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._open_lock:
                self._open.discard(request)

    def end_connections(self) -> None:
        with self._open_lock:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore a client that left in the middle of an answer."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the sandbox until SIGTERM or Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m callboard.dev.yookassa", description="The YooKassa sandbox.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8011)
    parser.add_argument("--shop-id", default="100500")
    parser.add_argument("--secret-key", default="sandbox")
    parser.add_argument("--webhook-url", help="where webhooks go; without it none are sent")
    parser.add_argument("--source-address", default=GENUINE_ADDRESS, help="address that webhooks come from")
    parser.add_argument("--redelivery-wait", type=float, default=1.0, help="seconds before a webhook is sent again")
    options = parser.parse_args(arguments)
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    sandbox = YooKassaSandbox(
        options.host,
        options.port,
        shop_id=options.shop_id,
        secret_key=options.secret_key,
        webhook_url=options.webhook_url,
        source_address=options.source_address,
        redelivery_wait_s=options.redelivery_wait,
    )
    with sandbox:
        print(f"YooKassa sandbox listens on {sandbox.url}", flush=True)  # noqa: T201 - the line its starter waits for
        ended.wait()


if __name__ == "__main__":
    main()

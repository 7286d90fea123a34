"""The sandbox's webhooks: sent over HTTP as YooKassa sends them, in the ways they go wrong."""

from __future__ import annotations

import http.client
import json
import queue
import threading
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from callboard.dev.yookassa_books import Books
from callboard.log import get_logger

log = get_logger(__name__)

#: One of YooKassa's published addresses, and one that is nobody's.
GENUINE_ADDRESS = "185.71.76.5"
TIMEOUT_S = 10
MAX_DELIVERIES = 50


@dataclass(frozen=True)
class Webhook:
    """One announcement on its way."""

    payment: dict[str, Any]
    event: str
    from_address: str
    delivery: int = 1
    #: Forged ones and those from outside are not repeated: nobody stands behind them.
    is_redelivered: bool = True


def announcements(payment: dict[str, Any], manner: str) -> list[tuple[str, dict[str, Any]]]:
    """Return event names and the object each shows, in the order they are sent.

    manner: once, twice, out_of_order (a late waiting_for_capture follows the final state), never.
    """
    event = f"payment.{payment['status']}"
    match manner:
        case "never":
            return []
        case "twice":
            return [(event, payment), (event, payment)]
        case "out_of_order":
            earlier = {**payment, "status": "waiting_for_capture", "paid": True}
            earlier.pop("captured_at", None)
            return [(event, payment), ("payment.waiting_for_capture", earlier)]
        case _:
            return [(event, payment)]


class Courier:
    """Delivers webhooks from one thread; what is not answered with 200 goes out again later."""

    def __init__(self, books: Books, *, url: str | None, redelivery_wait_s: float) -> None:
        self._books = books
        self.url = url
        self._redelivery_wait_s = redelivery_wait_s
        self._waiting: queue.PriorityQueue[tuple[float, int, Webhook | None]] = queue.PriorityQueue()
        self._numbers = iter(range(1 << 62))
        self._numbers_lock = threading.Lock()
        self._is_stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="yookassa-courier", daemon=True)

    def start(self) -> None:
        """Deliver from now on."""
        self._thread.start()

    def stop(self) -> None:
        """End after the delivery under way; what still waits is dropped."""
        self._is_stopped.set()
        self._waiting.put((0, -1, None))
        self._thread.join(TIMEOUT_S + 1)

    def send(self, webhook: Webhook, *, wait_s: float = 0) -> None:
        """Deliver a webhook after wait_s."""
        if self.url is not None:
            with self._numbers_lock:
                number = next(self._numbers)
            self._waiting.put((time.monotonic() + wait_s, number, webhook))

    def _run(self) -> None:
        while not self._is_stopped.is_set():
            due_at, number, webhook = self._waiting.get()
            if webhook is None:
                return
            wait_s = due_at - time.monotonic()
            if wait_s > 0:
                # Back in line, so that one that waits holds up none that is due.
                self._waiting.put((due_at, number, webhook))
                self._is_stopped.wait(min(wait_s, 0.02))
                continue
            self._deliver(webhook)

    def _deliver(self, webhook: Webhook) -> None:
        answer = self._post(webhook)
        self._books.note_webhook(
            str(webhook.payment.get("id")),
            {
                "event": webhook.event,
                "from": webhook.from_address,
                "delivery": webhook.delivery,
                "answer": answer,
            },
        )
        log.debug("webhook delivered", webhook_event=webhook.event, answer=answer)
        if answer != 200 and webhook.is_redelivered and webhook.delivery < MAX_DELIVERIES:  # noqa: PLR2004 - HTTP's own name
            again = Webhook(webhook.payment, webhook.event, webhook.from_address, webhook.delivery + 1)
            self.send(again, wait_s=self._redelivery_wait_s)

    def _post(self, webhook: Webhook) -> int | None:
        """Send one webhook and return the status of its answer, or None without one."""
        target = urlsplit(str(self.url))
        body = json.dumps({"type": "notification", "event": webhook.event, "object": webhook.payment})
        kind = http.client.HTTPSConnection if target.scheme == "https" else http.client.HTTPConnection
        connection = kind(str(target.hostname), target.port, timeout=TIMEOUT_S)
        try:
            connection.request(
                "POST",
                target.path or "/",
                body.encode(),
                # The sandbox plays the trusted proxy too, which notes where the customer of it came from.
                {"Content-Type": "application/json", "X-Forwarded-For": webhook.from_address},
            )
            response = connection.getresponse()
            response.read()
        except (OSError, http.client.HTTPException) as error:
            log.info("webhook not answered", webhook_event=webhook.event, error=type(error).__name__)
            return None
        finally:
            connection.close()
        return response.status

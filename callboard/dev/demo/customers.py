"""The customers: they order at the shop's API, then pay or give up at YooKassa."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx

from callboard.dev.demo import plan
from callboard.dev.stack import Stack, StackFailed

#: Customers at the same time.
CROWD = 6
TIMEOUT_S = 30


class Customers:
    """Plays the orders of the morning against a running stack."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._shop = httpx.Client(
            base_url=stack.api_url, timeout=TIMEOUT_S, headers={"Authorization": f"Bearer {stack.api_token}"}
        )
        self._yookassa = httpx.Client(base_url=stack.yookassa_url, timeout=TIMEOUT_S)

    def arrange_trouble(self, morning: list[plan.Order]) -> None:
        """Tell the sandbox which orders go wrong, and how."""
        for order in morning:
            self._post("/sandbox/plans", {"order_id": order.order_id, "manner": order.webhook_manner})
            if order.number == plan.CREATION_TIMES_OUT:
                self._post(
                    "/sandbox/faults", {"kind": "timeout_after", "operation": "create", "order_id": order.order_id}
                )

    def serve(self, morning: list[plan.Order]) -> None:
        """Let the customers order and pay, several at once."""
        with ThreadPoolExecutor(CROWD) as crowd:
            for done in [crowd.submit(self._serve_one, order) for order in morning]:
                done.result()

    def _serve_one(self, order: plan.Order) -> None:
        page = self._order(order)
        if order.number == plan.ANNOUNCED_FROM_OUTSIDE:
            self._announce(page, from_address=plan.OUTSIDE_ADDRESS)
        elif order.number == plan.FORGED:
            self._announce(page)
        else:
            self._yookassa.post(f"{page}/{'confirm' if order.is_paid else 'cancel'}").raise_for_status()

    def _announce(self, page: str, **more: str) -> None:
        self._post("/sandbox/announce", {"payment_id": page.rsplit("/", 1)[1], "status": "succeeded", **more})

    def _order(self, order: plan.Order) -> str:
        """Order at the shop and return the address of YooKassa's payment page."""
        answer = self._shop.post(
            "/payments",
            headers={"Idempotency-Key": f"order-{order.order_id}"},
            json={
                "order_id": order.order_id,
                "amount": {"value": str(order.amount), "currency": "RUB"},
                "description": f"Order {order.order_id}",
                "customer_email": order.email,
                "return_url": "https://shop.example/thanks",
            },
        )
        answer.raise_for_status()
        payment: dict[str, Any] = answer.json()
        until = time.monotonic() + TIMEOUT_S
        while not payment.get("confirmation_url"):
            if time.monotonic() > until:
                raise StackFailed(f"Order {order.order_id} got no payment page within {TIMEOUT_S} s.")
            time.sleep(0.2)
            payment = self._shop.get(f"/payments/{payment['id']}").raise_for_status().json()
        return str(payment["confirmation_url"])

    def books(self) -> list[dict[str, Any]]:
        """Return every payment as the sandbox has it."""
        payments: list[dict[str, Any]] = self._yookassa.get("/sandbox/books").raise_for_status().json()["payments"]
        return payments

    def fetch(self, url: str) -> httpx.Response:
        """Open a link as its reader would, without the shop's token."""
        return httpx.get(url, timeout=TIMEOUT_S)

    def _post(self, path: str, body: dict[str, Any]) -> None:
        self._yookassa.post(path, json=body).raise_for_status()

    def close(self) -> None:
        self._shop.close()
        self._yookassa.close()

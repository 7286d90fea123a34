"""What tests of payments share: the actors on a fresh database and a sandbox, as a worker would run them."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from actors import payments as payment_actors
from callboard import payments
from callboard.broker import PostgresBroker
from callboard.broker import service_broker as default
from callboard.db import Pool
from callboard.dev.yookassa import YooKassaSandbox
from callboard.settings import Settings, load_settings

NEW = payments.NewPayment(
    order_id="A-17",
    amount=Decimal("100.00"),
    currency="RUB",
    customer_email="anna@shop.example",
    return_url="https://shop.example/thanks",
)


@dataclass
class Service:
    """The parts of one service under test."""

    pool: Pool
    sandbox: YooKassaSandbox
    settings: Settings
    gateway: payments.Gateway

    def begin(self, key: str = "key-1", new: payments.NewPayment = NEW) -> payments.Payment:
        """Store a payment that YooKassa has not heard of."""
        with self.pool.cursor() as cursor:
            return payments.begin(cursor, new, key).payment

    def create(self, key: str = "key-1") -> payments.Payment:
        """Store a payment and create it at YooKassa."""
        payment = self.begin(key)
        payment_actors.create_payment.fn(payment.payment_id)
        return self.find(payment.payment_id)

    def find(self, payment_id: str) -> Any:
        with self.pool.cursor() as cursor:
            return payments.find_payment(cursor, payment_id)

    def announce(self, provider_id: str, event: str = "payment.succeeded") -> int:
        """Store a webhook and return its event_id."""
        with self.pool.cursor() as cursor:
            return payments.record_announcement(
                cursor, provider_object_id=provider_id, event=event, received_from="185.71.76.5"
            ).event_id

    def process(self, event_id: int) -> str:
        """Process an event as a worker does and return its outcome."""
        payment_actors.process_payment_event.fn(event_id)
        return str(self.value("SELECT outcome FROM callboard.payment_events WHERE event_id = %s", event_id))

    def receipts(self) -> list[dict[str, Any]]:
        """Return the arguments of the receipts that were enqueued."""
        with self.pool.cursor() as cursor:
            cursor.execute("SELECT message -> 'kwargs' FROM dramatiq.queue WHERE actor_name = 'send_email'")
            return [row[0] for row in cursor.fetchall()]

    def value(self, statement: str, *parameters: Any) -> Any:
        """Return the first column of the first row."""
        with self.pool.cursor() as cursor:
            cursor.execute(statement, parameters)
            return cursor.fetchone()[0]


def make_service(pool: Pool, sandbox: YooKassaSandbox, monkeypatch: Any, **changes: Any) -> Service:
    """Point the actors at this database and this sandbox."""
    settings = load_settings(
        **{
            "yukassa_shop_id": "100500",
            "yukassa_secret_key": "sandbox",
            "yukassa_api_url": sandbox.url,
            "yukassa_timeout_s": 0.5,
            **changes,
        }
    )
    gateway = payments.Gateway.from_settings(settings)
    broker = PostgresBroker(url="unused", pool=pool, middleware=[])
    monkeypatch.setattr(default, "_default_broker", broker)
    monkeypatch.setattr(payment_actors, "get_pool", lambda: pool)
    monkeypatch.setattr(payment_actors, "get_settings", lambda: settings)
    monkeypatch.setattr(payment_actors, "_gateway", lambda: gateway)
    return Service(pool, sandbox, settings, gateway)

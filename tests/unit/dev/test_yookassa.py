"""The sandbox speaks YooKassa's API, plays its customers, and goes wrong when asked to."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests

from callboard.dev.yookassa import YooKassaSandbox
from tests.conftest import wait_until

LOGIN = ("100500", "sandbox")
BODY = {
    "amount": {"value": "100.00", "currency": "RUB"},
    "capture": True,
    "confirmation": {"type": "redirect", "return_url": "https://shop.example"},
    "description": "<b>Order</b>",
    "metadata": {"order_id": "A-17"},
}


class Shop:
    """A webhook receiver that notes what comes and answers as told."""

    def __init__(self):
        self.received = []
        self.answers = []
        shop = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                shop.received.append((self.headers["X-Forwarded-For"], body))
                self.send_response(shop.answers.pop(0) if shop.answers else 200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/hook"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,))
        self.thread.start()

    def stop(self):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

    def events(self):
        return [body["event"] for _, body in self.received]


@pytest.fixture
def shop():
    shop = Shop()
    yield shop
    shop.stop()


@pytest.fixture
def sandbox(shop):
    with YooKassaSandbox(webhook_url=shop.url, redelivery_wait_s=0.05) as sandbox:
        yield sandbox


def create(sandbox, key="k", **changes):
    return requests.post(
        f"{sandbox.url}/payments", json=BODY | changes, auth=LOGIN, headers={"Idempotence-Key": key}, timeout=5
    )


def test_the_same_key_returns_the_same_payment(sandbox):
    assert create(sandbox).json()["id"] == create(sandbox).json()["id"]
    assert sandbox.books.as_json()["payments"][0]["posts"] == 2


def test_the_same_key_with_another_body_is_refused(sandbox):
    create(sandbox)
    refused = create(sandbox, amount={"value": "1.00", "currency": "RUB"})
    assert (refused.status_code, refused.json()["parameter"]) == (400, "Idempotence-Key")


def test_a_key_is_forgotten_after_a_day():
    moment = [datetime(2026, 1, 1, tzinfo=UTC)]
    with YooKassaSandbox(now=lambda: moment[0]) as sandbox:
        first = create(sandbox).json()["id"]
        moment[0] += timedelta(hours=24)
        assert create(sandbox).json()["id"] != first


def test_a_hundred_requests_at_once_with_one_key_make_one_payment(sandbox):
    ids = []
    threads = [threading.Thread(target=lambda: ids.append(create(sandbox).json()["id"])) for _ in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(ids), len(set(ids))) == (40, 1)


@pytest.mark.parametrize(
    "changes",
    [
        {"amount": {"value": "100", "currency": "RUB"}},
        {"amount": {"value": "-1.00", "currency": "RUB"}},
        {"amount": {"value": "1.00", "currency": "XXX"}},
        {"confirmation": {}},
        {"description": "x" * 129},
        {"metadata": {str(n): "" for n in range(17)}},
    ],
)
def test_a_body_over_the_limits_is_refused(sandbox, changes):
    assert create(sandbox, **changes).status_code == 400


def test_the_login_is_checked(sandbox):
    answer = requests.get(f"{sandbox.url}/payments/x", auth=("100500", "wrong"), timeout=5)
    assert (answer.status_code, answer.json()["code"]) == (401, "invalid_credentials")


def test_the_list_comes_in_pages(sandbox):
    ids = [create(sandbox, key=str(number)).json()["id"] for number in range(5)]
    seen, cursor = [], None
    while True:
        query = {"limit": 2} | ({"cursor": cursor} if cursor else {})
        page = requests.get(f"{sandbox.url}/payments", params=query, auth=LOGIN, timeout=5).json()
        seen += [item["id"] for item in page["items"]]
        cursor = page.get("next_cursor")
        if cursor is None:
            break
    assert seen == ids[::-1]


def test_a_confirmed_payment_is_announced(sandbox, shop):
    payment_id = create(sandbox).json()["id"]
    requests.post(f"{sandbox.base_url}/customer/{payment_id}/confirm", timeout=5)
    wait_until(lambda: shop.received)
    address, body = shop.received[0]
    assert (address, body["event"], body["object"]["status"]) == ("185.71.76.5", "payment.succeeded", "succeeded")


def test_two_step_payments_wait_for_capture(sandbox, shop):
    payment_id = create(sandbox, capture=False).json()["id"]
    sandbox.confirm(payment_id)
    headers = {"Idempotence-Key": "c"}
    captured = requests.post(f"{sandbox.url}/payments/{payment_id}/capture", auth=LOGIN, headers=headers, timeout=5)
    assert captured.json()["status"] == "succeeded"
    wait_until(lambda: shop.events() == ["payment.waiting_for_capture", "payment.succeeded"])


def test_a_payment_is_not_paid_after_it_was_canceled(sandbox):
    payment_id = create(sandbox).json()["id"]
    sandbox.cancel(payment_id)
    assert requests.post(f"{sandbox.base_url}/customer/{payment_id}/confirm", timeout=5).status_code == 400


@pytest.mark.parametrize(
    ("manner", "events"),
    [
        ("once", ["payment.succeeded"]),
        ("twice", ["payment.succeeded"] * 2),
        ("out_of_order", ["payment.succeeded", "payment.waiting_for_capture"]),
        ("never", []),
    ],
)
def test_webhooks_leave_in_the_manner_planned(sandbox, shop, manner, events):
    requests.post(f"{sandbox.base_url}/sandbox/plans", json={"order_id": "A-17", "manner": manner}, timeout=5)
    payment_id = create(sandbox).json()["id"]
    sandbox.confirm(payment_id)
    sandbox.announce(payment_id, event="test.last")
    wait_until(lambda: "test.last" in shop.events())
    assert shop.events()[:-1] == events


def test_a_webhook_that_is_not_answered_with_200_comes_again(sandbox, shop):
    shop.answers = [503, 500, 200]
    payment_id = create(sandbox).json()["id"]
    sandbox.confirm(payment_id)
    wait_until(lambda: len(sandbox.books.as_json()["payments"][0]["webhooks"]) == 3)
    notes = sandbox.books.as_json()["payments"][0]["webhooks"]
    assert [(note["delivery"], note["answer"]) for note in notes] == [(1, 503), (2, 500), (3, 200)]


def test_a_forged_webhook_does_not_change_the_books(sandbox, shop):
    payment_id = create(sandbox).json()["id"]
    forged = {"payment_id": payment_id, "status": "succeeded", "from_address": "203.0.113.9"}
    requests.post(f"{sandbox.base_url}/sandbox/announce", json=forged, timeout=5)
    wait_until(lambda: shop.received)
    assert (shop.received[0][0], shop.events()) == ("203.0.113.9", ["payment.succeeded"])
    assert sandbox.books.as_json()["payments"][0]["status"] == "pending"


def test_an_unknown_fault_is_refused(sandbox):
    assert requests.post(f"{sandbox.base_url}/sandbox/faults", json={"kind": "explode"}, timeout=5).status_code == 400


def test_the_payment_page_escapes_what_the_shop_wrote(sandbox):
    page = requests.get(create(sandbox).json()["confirmation"]["confirmation_url"], timeout=5)
    assert "&lt;b&gt;Order" in page.text
    assert "<b>Order" not in page.text


def test_the_program_says_where_it_listens_and_ends_on_sigterm():
    process = subprocess.Popen(
        [sys.executable, "-m", "callboard.dev.yookassa", "--port", "0"], stdout=subprocess.PIPE, text=True
    )
    with process:
        line = process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    assert line.startswith("YooKassa sandbox listens on http://127.0.0.1:")

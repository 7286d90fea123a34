"""A provider that hangs costs only the creations that wait for it; an API that is full of idlers still answers."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack
from socket import create_connection
from urllib.parse import quote

import pytest

from callboard.dev.yookassa import YooKassaSandbox
from callboard.dev.yookassa_faults import Fault
from tests.acceptance.processes import START_TIMEOUT_S, free_port, get
from tests.conftest import wait_until

TOKEN = "an-api-token"
GENUINE = "185.71.76.5"
#: Far less than the provider hangs for, and far more than an answer takes on a machine that does much else.
PATIENCE_S = 5.0
#: Rows over which a search is slow.
MANY_ROWS = """
    INSERT INTO dramatiq.queue (message_id, queue_name, state, message, available_at)
    SELECT gen_random_uuid(), 'emails', 'queued',
        jsonb_build_object('actor_name', 'send_email', 'args', '[]'::jsonb, 'kwargs',
            jsonb_build_object('to', repeat('x', 4000))), now() + interval '1 day'
    FROM generate_series(1, 30000)
"""


@pytest.fixture
def sandbox() -> Iterator[YooKassaSandbox]:
    with YooKassaSandbox() as sandbox:
        yield sandbox


@pytest.fixture
def port(shell, sandbox) -> int:
    return serve(shell, sandbox)[1]


def serve(shell, sandbox):
    """Start an API that asks the sandbox."""
    port = free_port()
    api = shell.callboard(
        "api",
        API_PORT=str(port),
        API_HOST="127.0.0.1",
        API_TOKEN=TOKEN,
        TRUSTED_PROXIES="127.0.0.0/8",
        **shop_of(sandbox),
    )
    wait_until(lambda: get(port, "/health/ready")[0] == 200, START_TIMEOUT_S, "an answer")
    return api, port


def shop_of(sandbox) -> dict[str, str]:
    return {"YUKASSA_SHOP_ID": "100500", "YUKASSA_SECRET_KEY": "sandbox", "YUKASSA_API_URL": sandbox.url}


def ask(port: int, method: str, path: str, body: object = None, timeout_s: float = 60, **headers: str):
    """Return status, headers and JSON of one answer on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    try:
        content = None if body is None else json.dumps(body)
        given = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
        connection.request(method, path, content, given | {name.replace("_", "-"): headers[name] for name in headers})
        answer = connection.getresponse()
        text = answer.read()
        return answer.status, answer.headers, json.loads(text) if text.startswith(b"{") else text
    finally:
        connection.close()


def pay(port: int, number: int):
    body = {
        "order_id": f"A-{number}",
        "amount": {"value": "100.00", "currency": "RUB"},
        "customer_email": "anna@shop.example",
        "return_url": "https://shop.example/thanks",
    }
    return ask(port, "POST", "/payments", body, Idempotency_Key=f"key-{number}")


def hook(port: int):
    body = {"type": "notification", "event": "payment.succeeded", "object": {"id": "x"}}
    return ask(port, "POST", "/webhooks/yookassa", body, timeout_s=PATIENCE_S, X_Forwarded_For=GENUINE)


def look_around(port: int, payment_id: str) -> dict[str, tuple[int, float]]:
    """Return how each kind of request that needs no provider is answered, and how fast."""
    asked: dict[str, Callable[[], int]] = {
        "live": lambda: ask(port, "GET", "/health/live", timeout_s=PATIENCE_S)[0],
        "ready": lambda: ask(port, "GET", "/health/ready", timeout_s=PATIENCE_S)[0],
        "queue": lambda: ask(port, "GET", "/health/queue", timeout_s=PATIENCE_S)[0],
        "webhook": lambda: hook(port)[0],
        "read": lambda: ask(port, "GET", f"/payments/{payment_id}", timeout_s=PATIENCE_S)[0],
        "metrics": lambda: ask(port, "GET", "/metrics", timeout_s=PATIENCE_S)[0],
        "status": lambda: ask(port, "GET", "/api/v1/status", timeout_s=PATIENCE_S)[0],
    }
    answers = {}
    for name, call in asked.items():
        began = time.monotonic()
        try:
            status = call()
        except TimeoutError:
            status = 0
        answers[name] = (status, round(time.monotonic() - began, 3))
    return answers


@pytest.mark.parametrize("count", [60, 200])
def test_creations_that_hang_hold_up_nothing_else(port, sandbox, count):
    # Given a payment, and a provider that hangs from now on
    payment_id = pay(port, 0)[2]["id"]
    sandbox.misbehave(Fault("timeout_after", times=1_000_000))
    with ThreadPoolExecutor(count) as threads:
        # When many creations come at once
        creations = [threads.submit(pay, port, number) for number in range(1, count + 1)]
        wait_until(lambda: len(sandbox.books.as_json()["payments"]) > 1, what="a creation that hangs")
        answers = look_around(port, payment_id)
        print(f"\n{count} hang: {answers}", end="")  # noqa: T201 - the figures, for whoever wants them
        # Then everything else is answered meanwhile
        assert {name: status for name, (status, _) in answers.items()} == dict.fromkeys(answers, 200)
        # And what is beyond the limit is accepted at once, with the address where the rest can be seen
        done, _ = wait(creations, PATIENCE_S)
        assert len(done) >= count - 20
        for status, headers, view in (creation.result() for creation in creations):
            assert (status, headers["Location"]) == (202, f"/payments/{view['id']}")


def test_a_creation_whose_process_died_is_picked_up(shell, sandbox, db):
    # Given an API process that dies while YooKassa hangs
    api, port = serve(shell, sandbox)
    sandbox.misbehave(Fault("timeout_after", times=1))
    with ThreadPoolExecutor(1) as threads:
        creation = threads.submit(pay, port, 1)
        wait_until(lambda: sandbox.books.as_json()["payments"], what="the creation that hangs")
        api.popen.kill()
        assert isinstance(creation.exception(), (ConnectionError, http.client.HTTPException))
    # When the time of that request is over, and another process starts
    db("UPDATE callboard.payments SET created_at = created_at - interval '2 minutes'")
    _, port = serve(shell, sandbox)
    find = "SELECT message -> 'args' ->> 0 FROM dramatiq.queue WHERE actor_name = 'create_payment'"
    [(payment_id,)] = wait_until(lambda: db(find), START_TIMEOUT_S, "the message")
    # Then a worker finds the payment that was made
    shell.dramatiq("actors", **shop_of(sandbox))
    wait_until(lambda: db("SELECT 1 FROM callboard.payments WHERE status = 'pending'"), START_TIMEOUT_S, "the payment")
    assert ask(port, "GET", f"/payments/{payment_id}")[2]["confirmation_url"].startswith(sandbox.base_url)
    assert len(sandbox.books.as_json()["payments"]) == 1


def test_idle_connections_take_nothing_from_those_who_ask(port):
    # Given more connections than requests may be in flight, none of which asks for anything
    payment_id = pay(port, 0)[2]["id"]
    with ExitStack() as stack:
        for _ in range(520):
            stack.enter_context(create_connection(("127.0.0.1", port)))
        # When others ask, each on a new connection
        answers = look_around(port, payment_id)
    # Then all are answered
    assert {name: status for name, (status, _) in answers.items()} == dict.fromkeys(answers, 200)


def test_slow_searches_of_operators_take_nothing_from_webhooks(port, connection):
    # Given messages that a search by a regular expression looks through for as long as it may
    payment_id = pay(port, 0)[2]["id"]
    connection.cursor().execute(MANY_ROWS)
    search = quote('$.to like_regex "(x+x+)+y"')
    with ThreadPoolExecutor(45) as threads:
        # When many such searches come at once
        path = f"/api/v1/messages?where={search}"
        searches = [threads.submit(ask, port, "GET", path) for _ in range(45)]
        wait_until(lambda: busy_backends(connection) >= 2, what="the searches")
        answers = look_around(port, payment_id)
        # Then others are answered meanwhile; other questions of operators may be asked to come again
        assert busy_backends(connection) > 0
        del answers["status"]
        assert {name: status for name, (status, _) in answers.items()} == dict.fromkeys(answers, 200)
        # And each search is answered, with what was found or with what to do
        assert {search.result()[0] for search in searches} <= {200, 422, 503}


def busy_backends(connection) -> int:
    cursor = connection.cursor()
    cursor.execute(
        "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND application_name = 'callboard' "
        "AND datname = current_database() AND now() - query_start > interval '0.3 s'"
    )
    return cursor.fetchone()[0]

"""One running API with a client, for all tests of the web."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
import requests

from actors import payments as payment_actors
from callboard.db import Pool
from callboard.dev.yookassa import YooKassaSandbox
from callboard.settings import Settings
from callboard.web import create_app
from tests.postgres.payments_service import make_service
from tests.postgres.web.operators import Desk
from tests.postgres.web_service import served

TOKEN = "an-api-token"
BODY = {
    "order_id": "A-17",
    "amount": {"value": "100.00", "currency": "RUB"},
    "customer_email": "anna@shop.example",
    "return_url": "https://shop.example/thanks",
}
GENUINE = "185.71.76.5"
#: Nothing listens there.
NO_DATABASE = "postgresql://nobody@127.0.0.1:1/none"


class Api:
    """A client of one running API."""

    def __init__(self, url, service, app):
        self.url, self.service, self.app = url, service, app

    def get(self, path, *, token=TOKEN, **more):
        return requests.get(self.url + path, headers=self._headers(token, more), timeout=10, **more)

    def post(self, path, body=None, *, token=TOKEN, **more):
        headers = self._headers(token, more)
        return requests.post(self.url + path, json=body, headers=headers, timeout=10, **more)

    def pay(self, key="key-1", **changes):
        return self.post("/payments", BODY | changes, headers={"Idempotency-Key": key})

    def hook(self, object_id, event="payment.succeeded", address=GENUINE):
        body = {"type": "notification", "event": event, "object": {"id": object_id, "status": "succeeded"}}
        return self.post("/webhooks/yookassa", body, token=None, headers={"X-Forwarded-For": address})

    def work(self):
        """Run every waiting message of the payments queue, as a worker would."""
        with self.service.pool.cursor() as cursor:
            cursor.execute("DELETE FROM dramatiq.queue WHERE queue_name = 'payments' RETURNING message")
            messages = [row[0] for row in cursor.fetchall()]
        for message in messages:
            getattr(payment_actors, message["actor_name"]).fn(*message["args"], **message["kwargs"])
        return len(messages)

    @staticmethod
    def _headers(token, more):
        return ({"Authorization": f"Bearer {token}"} if token else {}) | more.pop("headers", {})


@pytest.fixture
def make_api(pool, monkeypatch):
    with ExitStack() as stack:

        def make(used_pool=None, **changes):
            sandbox = stack.enter_context(YooKassaSandbox())
            changes = {"api_token": TOKEN, "trusted_proxies": "127.0.0.0/8"} | changes
            service = make_service(pool, sandbox, monkeypatch, **changes)
            app = create_app(service.settings, used_pool or pool)
            return Api(stack.enter_context(served(app)), service, app)

        yield make


@pytest.fixture
def api(make_api):
    return make_api()


@pytest.fixture
def desk(api, connection):
    return Desk(api, connection)


@pytest.fixture(scope="module")
def shared_api(embedded_server, _embedded_template):
    """One API for all tests that are refused before anything is stored."""
    pool = Pool(embedded_server.recreate_database("test_web_shared", _embedded_template))
    with pytest.MonkeyPatch.context() as monkeypatch, YooKassaSandbox() as sandbox:
        monkeypatch.setitem(Settings.model_config, "env_file", None)
        changes = {"api_token": TOKEN, "trusted_proxies": "127.0.0.0/8"}
        service = make_service(pool, sandbox, monkeypatch, **changes)
        app = create_app(service.settings, pool)
        with served(app) as url:
            yield Api(url, service, app)
    pool.close()


def error_of(answer):
    body = answer.json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"code", "message", "details"}
    return answer.status_code, body["error"]["code"]

"""The API over real HTTP, on real Postgres and the sandbox: what it answers, whom it believes, what it survives."""

from __future__ import annotations

import json
import socket
import threading
import time
from contextlib import ExitStack
from datetime import UTC, datetime
from uuid import uuid4

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from actors import payments as payment_actors
from callboard.db import Pool
from callboard.dev.yookassa import YooKassaSandbox
from callboard.dev.yookassa_faults import Fault
from callboard.settings import Settings
from callboard.web import create_app
from tests.conftest import wait_until
from tests.postgres.payments_service import make_service
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


# Payments


def test_a_payment_is_created_paid_and_shown(api):
    created = api.pay()
    assert created.status_code == 201
    view = created.json()
    assert (view["status"], view["amount"]) == ("pending", {"value": "100.00", "currency": "RUB"})
    provider_id = view["confirmation_url"].rsplit("/", 1)[1]
    api.service.sandbox.confirm(provider_id)
    assert api.hook(provider_id).status_code == 200
    assert api.work() == 1
    paid = api.get(f"/payments/{view['id']}").json()
    assert paid["status"] == "succeeded"
    assert datetime.fromisoformat(paid["paid_at"]).tzinfo is not None
    assert [receipt["to"] for receipt in api.service.receipts()] == ["anna@shop.example"]


def test_the_same_request_again_gets_the_same_answer(api):
    first, second = api.pay(), api.pay()
    assert (second.status_code, second.json()) == (201, first.json())
    assert second.headers["Idempotent-Replayed"] == "true"
    assert "Idempotent-Replayed" not in first.headers
    assert api.service.sandbox.books.as_json()["payments"][0]["posts"] == 1


def test_the_same_key_with_another_body_is_refused(api):
    api.pay()
    assert error_of(api.pay(order_id="A-18")) == (422, "idempotency_key_reused")


def test_a_request_in_flight_makes_its_twin_wait(api):
    api.service.sandbox.misbehave(Fault("timeout_after", times=2))
    api.service.begin()
    twin = api.pay()
    assert error_of(twin) == (409, "idempotency_key_in_flight")
    assert int(twin.headers["Retry-After"]) >= 1


def test_many_twins_at_once_charge_once(api):
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(api.pay().status_code)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(answers) <= {201, 409}
    assert 201 in answers
    assert len(api.service.sandbox.books.as_json()["payments"]) == 1


@pytest.mark.parametrize("key", [None, "", "x" * 65, "a b", "ключ".encode(), "a/b"])
def test_a_payment_needs_a_key_of_the_right_form(shared_api, key):
    headers = {} if key is None else {"Idempotency-Key": key}
    assert error_of(shared_api.post("/payments", BODY, headers=headers)) == (422, "invalid_request")


def test_a_timeout_after_the_creation_is_settled_within_the_request(api):
    api.service.sandbox.misbehave(Fault("timeout_after"))
    assert api.pay().status_code == 201
    [booked] = api.service.sandbox.books.as_json()["payments"]
    assert (booked["posts"], len(booked["idempotence_keys"])) == (2, 1)


def test_a_payment_whose_outcome_stays_unknown_goes_on_in_the_background(api):
    api.service.sandbox.misbehave(Fault("error_after", times=2))
    answer = api.pay()
    assert (answer.status_code, answer.json()["status"]) == (202, "created")
    assert api.work() == 1
    shown = api.get(f"/payments/{answer.json()['id']}").json()
    assert (shown["status"], len(api.service.sandbox.books.as_json()["payments"])) == ("pending", 1)
    again = api.pay()
    assert (again.status_code, again.json()["confirmation_url"]) == (201, shown["confirmation_url"])
    assert again.headers["Idempotent-Replayed"] == "true"


def test_sending_again_after_an_unknown_outcome_goes_on_where_it_stopped(api):
    api.service.sandbox.misbehave(Fault("reset_after", times=2))
    first, second = api.pay(), api.pay()
    assert (first.status_code, second.status_code) == (202, 201)
    assert first.json()["id"] == second.json()["id"]
    assert len(api.service.sandbox.books.as_json()["payments"]) == 1


def test_a_payment_that_yookassa_rejects_names_the_parameter_and_stays_rejected(api):
    rejected = api.pay(amount={"value": "1.00", "currency": "XXX"})
    assert error_of(rejected) == (422, "payment_rejected")
    assert rejected.json()["error"]["details"][0]["field"] == "amount.currency"
    again = api.pay(amount={"value": "1.00", "currency": "XXX"})
    assert (again.json(), again.headers["Idempotent-Replayed"]) == (rejected.json(), "true")


def test_wrong_credentials_are_the_shops_problem_and_can_be_corrected(make_api, monkeypatch):
    api = make_api(yukassa_secret_key="wrong")
    assert error_of(api.pay()) == (502, "yookassa_refused")
    monkeypatch.setattr(api.service.sandbox, "login", "100500:wrong")
    assert api.pay().status_code == 201


def test_without_a_shop_the_answer_names_the_variables(make_api):
    api = make_api()
    object.__setattr__(api.app.state.callboard.settings, "yukassa_shop_id", None)
    answer = api.pay()
    assert error_of(answer) == (503, "payments_not_configured")
    assert "YUKASSA_SHOP_ID" in answer.text


@pytest.mark.parametrize(
    "changes",
    [
        {"order_id": ""},
        {"order_id": "a\x00b"},
        {"description": "x" * 129},
        {"amount": {"value": "0.00", "currency": "RUB"}},
        {"amount": {"value": "1.001", "currency": "RUB"}},
        {"amount": {"value": "1e3", "currency": "RUB"}},
        {"amount": {"value": 100, "currency": "RUB"}},
        {"amount": {"value": "1.00", "currency": "rub"}},
        {"customer_email": "nobody"},
        {"customer_email": "a@b.example\r\nBcc: c@d.example"},
        {"return_url": "javascript:alert(1)"},
        {"return_url": "https://"},
        {"return_url": "https://[::1"},
        {"metadata": {"payment_id": "forged"}},
        {"metadata": {"a": "\x00"}},
        {"metadata": {"\x00": "a"}},
        {"metadata": {str(number): "" for number in range(14)}},
        {"surprise": 1},
    ],
)
def test_a_request_that_makes_no_sense_is_refused(shared_api, changes):
    assert error_of(shared_api.pay(**changes)) == (422, "invalid_request")


@pytest.mark.parametrize(
    "place", ['"order_id": "A-17', '"customer_email": "', '"return_url": "https://', '"order', '"RUB']
)
def test_half_a_surrogate_pair_is_refused_wherever_it_stands(shared_api, place):
    body = json.dumps(BODY).replace(place, place + "\\ud800")
    assert "ud800" in body
    answer = shared_api.post(
        "/payments", None, data=body, headers={"Idempotency-Key": "k", "Content-Type": "application/json"}
    )
    assert error_of(answer) == (422, "invalid_request")


@pytest.mark.parametrize("text", ["'); DROP TABLE callboard.payments; --", "<script>alert(1)</script>", "%s {0} ${x}"])
def test_hostile_text_comes_back_as_it_was(api, text):
    created = api.pay(order_id=text, description=text, metadata={"note": text}).json()
    shown = api.get(f"/payments/{created['id']}").json()
    assert (shown["order_id"], shown["description"], shown["metadata"]) == (text, text, {"note": text})


@pytest.mark.parametrize("payment_id", [str(uuid4()), "none", "%00", "'; --"])
def test_an_unknown_payment_is_refused(shared_api, payment_id):
    assert shared_api.get(f"/payments/{payment_id}").status_code in (404, 422)


# Webhooks


def test_a_webhook_from_outside_is_refused_and_not_stored(api):
    assert error_of(api.hook("x", address="203.0.113.9")) == (403, "forbidden")
    assert api.service.value("SELECT count(*) FROM callboard.payment_events") == 0


@pytest.mark.parametrize("address", ["185.71.76.5, 203.0.113.9", "unknown", "", "203.0.113.9, nonsense"])
def test_a_claim_left_of_the_real_sender_does_not_count(shared_api, address):
    assert shared_api.hook("x", address=address).status_code == 403


def test_without_trusted_proxies_the_header_is_not_believed(make_api):
    assert make_api(trusted_proxies="").hook("x").status_code == 403


def test_a_mapped_address_counts_as_itself(api):
    assert api.hook("x", address=f"::ffff:{GENUINE}").status_code == 200


def test_the_same_webhook_twice_is_one_event_and_one_message(api):
    assert [api.hook("x").status_code, api.hook("x").status_code] == [200, 200]
    assert api.service.value("SELECT times_received FROM callboard.payment_events") == 2
    assert api.service.value("SELECT count(*) FROM dramatiq.queue") == 1


def test_an_event_and_its_message_are_stored_both_or_neither(api, monkeypatch):
    def die(*_):
        raise ConnectionError("the process dies here")

    with monkeypatch.context() as broken:
        broken.setattr("callboard.web.webhooks.send_in", die)
        assert error_of(api.hook("x")) == (500, "internal_error")
    assert api.service.value("SELECT count(*) FROM callboard.payment_events") == 0
    assert api.hook("x").status_code == 200


def test_a_webhook_that_cannot_be_stored_asks_to_come_again(make_api):
    api = make_api(used_pool=Pool(NO_DATABASE))
    answer = api.hook("x")
    assert error_of(answer) == (503, "database_unavailable")
    assert "nobody" not in answer.text


@pytest.mark.parametrize(
    "body",
    [
        {},
        [],
        {"event": "payment.succeeded"},
        {"event": "payment.succeeded", "object": {"id": "../x"}},
        {"event": "payment.succeeded", "object": {"id": "a\x00"}},
        {"event": "PAYMENT\x00", "object": {"id": "x"}},
        {"event": "payment.succeeded", "object": {"id": 5}},
    ],
)
def test_a_webhook_that_is_none_is_refused(shared_api, body):
    answer = shared_api.post("/webhooks/yookassa", body, token=None, headers={"X-Forwarded-For": GENUINE})
    assert error_of(answer) == (422, "invalid_request")
    assert shared_api.service.value("SELECT count(*) FROM callboard.payment_events") == 0


def test_the_sandbox_delivers_duplicates_and_latecomers_to_one_receipt(api):
    sandbox = api.service.sandbox
    sandbox.webhook_url = f"{api.url}/webhooks/yookassa"
    sandbox.plan_webhooks("A-17", "out_of_order")
    provider_id = api.pay().json()["confirmation_url"].rsplit("/", 1)[1]
    sandbox.announce(provider_id, status="succeeded")
    sandbox.announce(provider_id, status="succeeded", from_address="203.0.113.9")
    sandbox.confirm(provider_id)

    def answers():
        return [note["answer"] for note in sandbox.books.as_json()["payments"][0]["webhooks"]]

    wait_until(lambda: answers() == [200, 403, 200, 200])
    api.work()
    assert len(api.service.receipts()) == 1


# Limits


@pytest.mark.parametrize(("path", "size"), [("/payments", 256 * 1024 + 1), ("/webhooks/yookassa", 64 * 1024 + 1)])
def test_a_body_over_the_limit_is_refused(shared_api, path, size):
    assert error_of(shared_api.post(path, data=b" " * size)) == (413, "body_too_large")
    in_pieces = (b" " * 8192 for _ in range(size // 8192 + 1))
    assert shared_api.post(path, data=in_pieces).status_code == 413


@pytest.mark.parametrize("path", ["/payments", "/webhooks/yookassa"])
def test_a_body_that_nests_too_deep_is_refused(shared_api, path):
    assert error_of(shared_api.post(path, data=b'{"a":' * 9000)) == (422, "body_too_deep")


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b"null", b"NaN", b'{"order_id": 1e999}'])
def test_a_body_that_is_no_json_is_refused(shared_api, body):
    headers = {"Content-Type": "application/json", "Idempotency-Key": "k"}
    assert error_of(shared_api.post("/payments", data=body, headers=headers)) == (422, "invalid_request")


def test_a_client_that_leaves_in_the_middle_of_its_body_disturbs_nobody(shared_api):
    host, port = shared_api.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as client:
        client.sendall(b"POST /payments HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
    assert shared_api.get("/health/live").status_code == 200


# Access


@pytest.mark.parametrize("token", [None, "wrong", "", "тайна".encode()])
@pytest.mark.parametrize("path", ["/payments/x", "/openapi.json", f"/reports/{uuid4()}"])
def test_a_closed_address_needs_the_token(shared_api, path, token):
    headers = (
        {} if token is None else {"Authorization": b"Bearer " + (token.encode() if isinstance(token, str) else token)}
    )
    answer = shared_api.get(path, token=None, headers=headers)
    assert error_of(answer) == (401, "unauthorized")
    assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_without_a_token_set_everything_but_webhook_and_health_is_closed(make_api):
    api = make_api(api_token=None)
    closed = [api.get(path) for path in ("/payments/x", "/openapi.json", "/metrics")]
    closed[2] = api.get("/metrics", headers={"X-Forwarded-For": "203.0.113.9"})
    assert [answer.status_code for answer in closed] == [401] * 3
    assert all("API_TOKEN is not set" in answer.text for answer in closed)
    open_ones = [api.get(path).status_code for path in ("/health", "/health/live", "/health/ready", "/health/queue")]
    assert [*open_ones, api.hook("x").status_code] == [200] * 5


def test_metrics_are_open_to_this_machine_but_not_to_what_a_proxy_forwards(shared_api):
    assert shared_api.get("/metrics", token=None).status_code == 200
    assert shared_api.get("/metrics", token=None, headers={"X-Forwarded-For": "127.0.0.1"}).status_code == 401
    assert shared_api.get("/metrics", headers={"X-Forwarded-For": "127.0.0.1"}).status_code == 200


def test_only_the_frontend_may_call_from_a_browser(make_api):
    api = make_api(frontend_url="https://shop.example")
    ours = api.get("/health", headers={"Origin": "https://shop.example"})
    theirs = api.get("/health", headers={"Origin": "https://evil.example"})
    assert ours.headers["Access-Control-Allow-Origin"] == "https://shop.example"
    assert "Access-Control-Allow-Origin" not in theirs.headers
    refused = api.post("/payments", data=b"[" * 99, headers={"Origin": "https://shop.example"})
    assert (refused.status_code, refused.headers["Access-Control-Allow-Origin"]) == (422, "https://shop.example")


@pytest.mark.parametrize("path", ["/health", "/nowhere", "/payments/x"])
def test_every_answer_carries_security_headers_and_an_id(shared_api, path):
    headers = shared_api.get(path, headers={"X-Request-ID": "my-id"}).headers
    assert (headers["X-Content-Type-Options"], headers["X-Request-ID"]) == ("nosniff", "my-id")
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "Server" not in headers
    assert len(shared_api.get(path, headers={"X-Request-ID": "a<b>"}).headers["X-Request-ID"]) == 32


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [("GET", "/nowhere", (404, "not_found")), ("PUT", "/payments", (405, "method_not_allowed"))],
)
def test_every_error_has_the_one_shape(shared_api, method, path, expected):
    assert error_of(requests.request(method, shared_api.url + path, timeout=5)) == expected


def test_a_fault_of_ours_shows_no_trace(api, monkeypatch):
    def fail(*_):
        raise RuntimeError("a secret detail")

    monkeypatch.setattr("callboard.web.payments.payments.find_payment", fail)
    answer = api.get(f"/payments/{uuid4()}")
    assert error_of(answer) == (500, "internal_error")
    assert "secret" not in answer.text
    assert answer.headers["X-Request-ID"]


# Health and metrics


def test_health_has_the_fields_the_old_worker_had(shared_api):
    health = shared_api.get("/health", token=None).json()
    assert set(health) == {"status", "service", "timestamp", "uptime"}
    assert (health["status"], health["service"]) == ("ok", "api")
    assert datetime.fromisoformat(health["timestamp"]).tzinfo is not None
    assert isinstance(health["uptime"], float)


def test_a_lost_database_makes_the_api_unready_but_not_dead(make_api):
    api = make_api(used_pool=Pool(NO_DATABASE))
    assert [api.get(f"/health{path}").status_code for path in ("", "/live", "/ready", "/queue")] == [200, 200, 503, 503]
    assert api.get("/health/queue").json()["status"] == "unhealthy"
    assert "nobody" not in api.get("/health/ready").text


def test_a_database_that_never_answers_makes_the_api_unready(make_api):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        api = make_api(used_pool=Pool(f"postgresql://x@127.0.0.1:{silent.getsockname()[1]}/x"))
        assert api.get("/health/ready").status_code == 503
        assert api.get("/health/live").status_code == 200


def test_an_older_schema_makes_the_api_unready_and_names_the_command(make_api, connection):
    connection.cursor().execute("UPDATE callboard.schema_version SET version_num = '0001'")
    answer = make_api().get("/health/ready")
    assert (answer.status_code, "callboard db upgrade" in answer.json()["error"]) == (503, True)


QUEUE = """
    INSERT INTO callboard.workers (worker_id, hostname, pid, queues, threads, version, beat_at) VALUES
        ('00000000-0000-4000-8000-000000000001', 'h', 1, '{emails,payments}', 8, '1', now()),
        ('00000000-0000-4000-8000-000000000002', 'h', 2, '{emails}', 8, '1', now() - interval '1 minute');
    INSERT INTO dramatiq.queue (message_id, queue_name, state, message, available_at, lease_id, worker_id, claimed_at)
    SELECT gen_random_uuid(), queue_name, state::dramatiq.state, '{}', now() + available, lease, worker::uuid,
        now() - ran
    FROM (VALUES
        ('emails', 'queued', interval '-90 s', NULL::bigint, NULL, NULL::interval),
        ('emails', 'queued', '1 hour', NULL, NULL, NULL),
        ('emails', 'running', '0', 1, '00000000-0000-4000-8000-000000000001', '1 minute'),
        ('emails', 'running', '0', 2, '00000000-0000-4000-8000-000000000001', '2 hours'),
        ('emails', 'running', '0', 3, '00000000-0000-4000-8000-000000000002', '1 minute'),
        ('reports', 'running', '0', 4, '00000000-0000-4000-8000-000000000003', '1 minute')
    ) AS given (queue_name, state, available, lease, worker, ran);
    INSERT INTO callboard.dead_letters (
        message_id, reason, queue_name, message, priority, attempt, retries, lost_workers, generation, enqueued_at)
    VALUES (gen_random_uuid(), 'permanent', 'payments', '{}', 0, 1, 0, 0, 0, now());
"""


def test_the_health_of_queues_counts_what_waits_failed_and_is_stuck(api, connection):
    connection.cursor().execute(QUEUE)
    health = api.get("/health/queue", token=None).json()
    assert (health["status"], health["pending"], health["failed"], health["stuck"]) == ("healthy", 2, 1, 3)
    emails = health["queues"]["emails"]
    assert (emails["ready"], emails["delayed"], emails["running"], emails["stuck"]) == (1, 1, 3, 2)
    assert 89 < emails["oldest_ready_s"] < 300
    assert health["queues"]["payments"]["failed"] == 1


def test_more_than_ten_stuck_messages_are_a_warning(api, connection):
    for _ in range(4):
        connection.cursor().execute(
            QUEUE.partition("INSERT INTO dramatiq")[1] + QUEUE.partition("INSERT INTO dramatiq")[2]
        )
    assert api.get("/health/queue").json()["status"] == "warning"


def samples(api):
    families = text_string_to_metric_families(api.get("/metrics").text)
    return {(item.name, *sorted(item.labels.values())): item.value for family in families for item in family.samples}


def test_metrics_show_the_queues(api, connection):
    connection.cursor().execute(QUEUE)
    shown = samples(api)
    assert shown["callboard_queue_depth", "emails", "ready"] == 1
    assert shown["callboard_queue_depth", "emails", "stuck"] == 2
    assert shown["callboard_oldest_ready_seconds", "emails"] > 89
    assert shown["callboard_dead_letters_kept", "payments"] == 1
    assert (shown["callboard_workers_alive", "emails"], shown["callboard_workers_alive", "reports"]) == (1, 0)
    assert shown["callboard_scrape_errors_total",] == 0


def test_with_the_database_away_the_gauges_are_absent_and_the_error_counted(make_api):
    shown = samples(make_api(used_pool=Pool(NO_DATABASE)))
    assert shown["callboard_scrape_errors_total",] == 1
    assert not [name for name in shown if name[0].startswith("callboard_queue_depth")]


def test_scrapers_share_one_look_at_the_database(api, connection):
    samples(api)
    connection.cursor().execute(QUEUE)
    assert not [name for name in samples(api) if "emails" in name and name[0] == "callboard_queue_depth"]


# Reports


def test_a_report_is_shown_to_the_bearer_of_the_token(api, connection):
    report_id = str(uuid4())
    connection.cursor().execute(
        "INSERT INTO callboard.reports (report_id, kind, formats) VALUES (%s, 'payments_register', '{pdf}')",
        (report_id,),
    )
    view = api.get(f"/reports/{report_id}").json()
    assert (view["state"], view["kind"], view["files"]) == ("requested", "payments_register", {})
    assert error_of(api.get(f"/reports/{report_id}?format=pdf")) == (409, "not_ready")
    assert error_of(api.get(f"/reports/{report_id}?format=csv")) == (409, "not_ready")


def test_a_report_that_is_not_there_is_not_found(shared_api):
    assert error_of(shared_api.get(f"/reports/{uuid4()}")) == (404, "not_found")


def test_a_signed_link_opens_its_file_and_no_other(make_api, connection, tmp_path):
    from callboard import reports

    api = make_api(encryption_key="A" * 43 + "=", report_storage_url=tmp_path.as_uri(), api_base_url="http://x")
    report_id = str(uuid4())
    stored = reports.store(api.service.settings.report_storage_url, f"{report_id}/register.pdf", b"%PDF-1.7 test")
    files = json.dumps({"pdf": {"path": stored.path, "size_bytes": stored.size_bytes, "sha256": stored.sha256}})
    connection.cursor().execute(
        "INSERT INTO callboard.reports (report_id, state, kind, formats, files, finished_at)"
        " VALUES (%s, 'ready', 'register', '{pdf}', %s, now())",
        (report_id, files),
    )
    link = reports.report_link(api.service.settings, report_id, "pdf", datetime.now(UTC)).removeprefix("http://x")
    file = api.get(link, token=None)
    assert (file.content, file.headers["Content-Type"]) == (b"%PDF-1.7 test", "application/pdf")
    assert file.headers["Content-Disposition"].startswith("attachment")
    assert api.get(link.replace("format=pdf", "format=csv"), token=None).status_code == 401
    assert api.get(link[:-1] + ("0" if link[-1] != "0" else "1"), token=None).status_code == 401
    assert api.get(link.split("?")[0], token=None).status_code == 401


def test_a_page_is_answered_while_other_requests_wait_for_the_database(make_api):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        api = make_api(used_pool=Pool(f"postgresql://x@127.0.0.1:{silent.getsockname()[1]}/x"))
        waiting = [threading.Thread(target=api.get, args=(f"/payments/{uuid4()}",)) for _ in range(5)]
        for thread in waiting:
            thread.start()
        started = time.monotonic()
        assert api.get("/health/live").status_code == 200
        # Only that it does not wait for the five: they end after seconds.
        assert time.monotonic() - started < 2
        for thread in waiting:
            thread.join()

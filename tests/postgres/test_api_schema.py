"""The API's own OpenAPI against the API: whatever the description allows or forbids, nothing answers 500."""

from __future__ import annotations

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance

from callboard.dev.yookassa import YooKassaSandbox
from callboard.web import create_app
from tests.postgres.ops.scene import Scene
from tests.postgres.payments_service import make_service
from tests.postgres.web_service import served

TOKEN = "an-api-token"
#: Requests an operation gets in each mode: a new operation costs the whole run as many more.
EXAMPLES = 10
TAKES_INPUT = {"parameters", "requestBody"}


@pytest.fixture
def described(pool, connection, monkeypatch):
    """The API's description of itself and its address."""
    furnish(connection)
    with YooKassaSandbox() as sandbox:
        networks = {"trusted_proxies": "127.0.0.0/8", "yukassa_webhook_ips": "185.71.76.0/27"}
        service = make_service(pool, sandbox, monkeypatch, api_token=TOKEN, **networks)
        app = create_app(service.settings, pool)
        with served(app) as url:
            yield schemathesis.openapi.from_dict(app.openapi()), url


def furnish(connection):
    """Give the lists something to show, and the paths over the arguments something to look through."""
    scene = Scene(connection.cursor())
    worker = scene.worker("emails")
    scene.actor()
    for _ in range(5):
        scene.queued(), scene.queued(due_s=600), scene.running(worker), scene.done(), scene.discarded()
        scene.attempt(scene.dead(), outcome="dead")


@pytest.mark.parametrize("mode", list(GenerationMode), ids=["allowed", "forbidden"])
def test_no_request_makes_the_api_fail(described, mode):
    schema, url = described
    # The address of a webhook's sender; without it every webhook would end at the door.
    headers = {"Authorization": f"Bearer {TOKEN}", "X-Forwarded-For": "185.71.76.5"}
    statuses = set()
    for result in schema.get_all_operations():
        operation = result.ok()
        if mode is GenerationMode.NEGATIVE and not TAKES_INPUT & operation.definition.raw.keys():
            continue  # Nothing to get wrong.

        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            derandomize=True,
            database=None,
            # Without the search for a smaller example, which asks a slow API a thousand times more.
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=mode))
        def ask(case):
            if mode is GenerationMode.POSITIVE and isinstance(case.body, dict) and "amount" in case.body:
                case.body["amount"]["currency"] = "RUB"  # Of all currencies the description allows, the shop has few.
            answer = case.call(base_url=url, headers=headers)
            statuses.add((operation.label, answer.status_code))  # noqa: B023 - called in its own turn of the loop
            assert answer.status_code < 500, (case.as_curl_command(), answer.text)
            case.validate_response(answer, checks=[content_type_conformance, response_schema_conformance])

        ask()
    expected = 201 if mode is GenerationMode.POSITIVE else 422
    assert ("POST /payments", expected) in statuses

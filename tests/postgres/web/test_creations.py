"""Creations beyond those that may wait for YooKassa: stored, answered at once, finished by a worker."""

from __future__ import annotations

import pytest

from callboard.dev.yookassa_faults import Fault
from callboard.web.limits.lanes import Gate, Lane, Limit
from callboard.web.payments.creations import resume_stalled
from tests.postgres.web.conftest import error_of
from tests.unit.payments.stranger import HTML, Stranger


def full(api):
    """Have as many creations wait for YooKassa as may."""
    api.app.state.callboard.gates[Lane.YOOKASSA] = Gate("yookassa", Limit(0, 0, None))


def messages(api):
    return api.service.value("SELECT count(*) FROM dramatiq.queue WHERE actor_name = 'create_payment'")


def test_what_is_beyond_the_limit_is_stored_and_created_by_a_worker(api):
    full(api)
    # When a creation finds no slot
    accepted = api.pay()
    # Then it is answered at once, with where to look
    view = accepted.json()
    assert (accepted.status_code, view["status"], view["confirmation_url"]) == (202, "created", None)
    assert (accepted.headers["Location"], accepted.headers["Retry-After"]) == (f"/payments/{view['id']}", "5")
    assert api.service.sandbox.books.as_json()["payments"] == []
    # And a worker does the rest
    assert api.work() == 1
    shown = api.get(accepted.headers["Location"]).json()
    assert (shown["status"], shown["confirmation_url"][:7]) == ("pending", "http://")
    # And the same request again has the answer of the first one
    again = api.pay()
    assert (again.status_code, again.json(), again.headers["Idempotent-Replayed"]) == (201, shown, "true")


def test_the_same_request_again_while_it_waits_is_one_payment_and_one_message(api):
    full(api)
    answers = [api.pay() for _ in range(3)]
    assert [answer.status_code for answer in answers] == [202] * 3
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert messages(api) == 1
    assert error_of(api.pay(order_id="A-18")) == (422, "idempotency_key_reused")


def test_an_answer_that_is_known_needs_no_slot(api):
    created = api.pay()
    full(api)
    again = api.pay()
    assert (again.status_code, again.json()) == (201, created.json())


def test_a_payment_and_its_errand_are_stored_both_or_neither(api, monkeypatch):
    def die(*_):
        raise ConnectionError("the process dies here")

    full(api)
    with monkeypatch.context() as broken:
        broken.setattr("callboard.web.payments.creations.send_in", die)
        assert error_of(api.pay()) == (500, "internal_error")
    assert api.service.value("SELECT count(*) FROM callboard.payments") == 0
    assert api.pay().status_code == 202


@pytest.mark.parametrize("status", [400, 401, 403, 404])
def test_a_proxys_refusal_is_an_unknown_outcome(api, status, monkeypatch):
    with Stranger() as stranger:
        stranger.say(status, HTML, "text/html")
        with monkeypatch.context() as elsewhere:
            elsewhere.setattr(api.app.state.callboard.gateway._client, "endpoint", stranger.url)
            accepted = api.pay()
    assert (accepted.status_code, accepted.json()["status"]) == (202, "created")
    assert accepted.headers["Location"] == f"/payments/{accepted.json()['id']}"
    assert api.work() == 1
    assert api.pay().status_code == 201


def test_what_a_dead_process_left_behind_is_handed_to_a_worker_once(api):
    # Given a payment whose process died before it asked YooKassa
    payment = api.service.begin()
    state = api.app.state.callboard
    assert resume_stalled(state) == 0
    with api.service.pool.cursor() as cursor:
        cursor.execute("UPDATE callboard.payments SET created_at = created_at - interval '2 minutes'")
    # When several processes look
    assert [resume_stalled(state), resume_stalled(state)] == [1, 1]
    # Then a worker creates it, once
    assert messages(api) == 1
    assert api.work() == 1
    assert api.get(f"/payments/{payment.payment_id}").json()["status"] == "pending"
    assert resume_stalled(state) == 0


def test_a_creation_that_hangs_and_a_worker_that_has_it_too_make_one_payment(api):
    api.service.sandbox.misbehave(Fault("timeout_after", times=2))
    assert api.pay().status_code == 202
    assert api.work() == 1
    assert len(api.service.sandbox.books.as_json()["payments"]) == 1

"""Every answer there can be to every operation: what it means is judged by who gave it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from callboard.metrics import YOOKASSA, YOOKASSA_OPERATIONS, YOOKASSA_OUTCOMES
from callboard.payments import (
    CredentialsRejected,
    ForeignAnswer,
    Gateway,
    PaymentNotFound,
    PaymentRejected,
    Shop,
    YooKassaRateLimited,
    YooKassaUnavailable,
)
from tests.unit.payments.stranger import HTML, Stranger, own_error
from tests.unit.payments.test_payment import REPLY, ROW

OPERATIONS = {
    "create": lambda gateway: gateway.create_payment(ROW),
    "find": lambda gateway: gateway.find_payment(REPLY["id"]),
    "shop": lambda gateway: gateway.find_shop(),
}
STATUSES = (
    *(201, 202, 203, 206, 300, 301, 302, 303, 307, 308),
    *(400, 401, 402, 403, 404, 405, 406, 407, 408, 409, 410, 411, 413, 414, 415, 418, 421, 422, 423, 425, 426, 428),
    *(429, 431, 451, 499, 500, 501, 502, 503, 504, 511, 520, 522, 599),
)
#: What says that YooKassa itself refuses.
OWN = {
    "its own error": lambda say, status: say(status, own_error(status)),
    "its own error in a charset": lambda say, status: say(status, own_error(status), "application/json;charset=UTF-8"),
    "its own error without a type": lambda say, status: say(status, own_error(status), None),
}
#: What anybody may have said.
STRANGE = {
    "HTML": lambda say, status: say(status, HTML, "text/html"),
    "HTML that is called JSON": lambda say, status: say(status, HTML),
    "nothing": lambda say, status: say(status),
    "nothing of no type": lambda say, status: say(status, b"", None),
    "half of its own error": lambda say, status: say(status, b'{"type": "error", "code": "inv'),
    "its own error that breaks off": lambda say, status: say(status, own_error(status), missing=10),
    "its own error as HTML": lambda say, status: say(status, own_error(status), "text/html"),
    "another JSON": lambda say, status: say(status, {"message": "forbidden", "code": "not_found"}),
    "an error without a code": lambda say, status: say(status, {"type": "error", "description": "x"}),
    "an error whose code is no text": lambda say, status: say(status, own_error(status) | {"code": 404}),
    "a list": lambda say, status: say(status, [own_error(status)]),
    "a text": lambda say, status: say(status, b'"error"'),
    "a payment": lambda say, status: say(status, REPLY),
    "too deep": lambda say, status: say(status, b"[" * 5_000),
    "a redirect": lambda say, status: say(status, HTML, "text/html", Location="http://127.0.0.1:1/elsewhere"),
}


@pytest.fixture(scope="module")
def stranger():
    with Stranger() as stranger:
        yield stranger


@pytest.fixture
def gateway(stranger):
    return Gateway(shop_id="100500", secret_key="sandbox", api_url=stranger.url, timeout_s=5)


def meaning_of_own(status):
    match status:
        case 400 | 405 | 410 | 415:
            return PaymentRejected
        case 401 | 403:
            return CredentialsRejected
        case 404:
            return PaymentNotFound
        case 429:
            return YooKassaRateLimited
        case _:
            return YooKassaUnavailable


@pytest.mark.parametrize("kind", OWN)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_refusal_of_yookassas_own_is_believed(stranger, gateway, operation, kind):
    for status in STATUSES:
        OWN[kind](stranger.say, status)
        with pytest.raises(Exception, match=r"\w") as refused:
            OPERATIONS[operation](gateway)
        assert refused.type is meaning_of_own(status), status
        if refused.type is PaymentRejected:
            assert refused.value.proves_no_payment == (status == 400)


@pytest.mark.parametrize("kind", STRANGE)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_what_anybody_may_have_said_leaves_the_outcome_unknown(stranger, gateway, operation, kind):
    for status in [200, *STATUSES]:
        if status == 200 and kind in ("a payment", "another JSON"):
            continue  # Below.
        STRANGE[kind](stranger.say, status)
        with pytest.raises(Exception, match=r"\w") as failed:
            OPERATIONS[operation](gateway)
        broken = kind == "its own error that breaks off"
        assert failed.type is (YooKassaRateLimited if status == 429 and not broken else YooKassaUnavailable), status


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize(
    ("status", "code"), [(400, "not_found"), (401, "forbidden"), (403, "blocked"), (404, "route_not_found"), (404, "")]
)
def test_an_error_whose_code_is_not_that_of_its_status_is_a_strangers(stranger, gateway, operation, status, code):
    stranger.say(status, own_error(status) | {"code": code})
    with pytest.raises(YooKassaUnavailable, match="proxy"):
        OPERATIONS[operation](gateway)


def test_what_is_sent_again_after_a_stranger_has_the_same_key_and_body(stranger, gateway):
    stranger.requests.clear()
    for status in (403, 404, 400):
        stranger.say(status, HTML, "text/html")
        with pytest.raises(YooKassaUnavailable):
            gateway.create_payment(ROW)
    keys_and_bodies = {(headers["Idempotence-Key"], body) for _, _, headers, body in stranger.requests}
    assert len(stranger.requests) == 3
    assert len(keys_and_bodies) == 1


def reply(**changes):
    return REPLY | {"recipient": {"account_id": "100500"}} | changes


FOREIGN = {
    "another payment of ours": reply(metadata={"payment_id": "7d5f3c1e-0000-4000-8000-00000000ffff"}),
    "a payment without our id": reply(metadata={}),
    "another amount": reply(amount={"value": "1.00", "currency": "RUB"}),
    "another currency": reply(amount={"value": "100.00", "currency": "USD"}),
    "another shop": reply(recipient={"account_id": "42"}),
}


@pytest.mark.parametrize("answer", FOREIGN.values(), ids=FOREIGN)
def test_a_creation_that_is_answered_with_something_else_is_of_unknown_outcome(stranger, gateway, answer):
    stranger.say(200, answer)
    with pytest.raises(ForeignAnswer):
        gateway.create_payment(ROW)


@pytest.mark.parametrize("answer", [reply(id="another"), reply(recipient={"account_id": "42"})])
def test_a_question_that_is_answered_with_something_else_moves_nothing(stranger, gateway, answer):
    stranger.say(200, answer)
    with pytest.raises(ForeignAnswer):
        gateway.find_payment(REPLY["id"])


MALFORMED = [
    {},
    {"id": REPLY["id"]},
    reply(status="refunded_by_magic"),
    reply(amount={"value": "NaN", "currency": "RUB"}),
    reply(amount="100"),
    reply(id="a\x00b"),
    reply(captured_at="yesterday"),
    reply(metadata=[1]),
]


@pytest.mark.parametrize("answer", MALFORMED)
@pytest.mark.parametrize("operation", ["create", "find"])
def test_a_payment_that_makes_no_sense_is_no_answer(stranger, gateway, operation, answer):
    stranger.say(200, answer)
    with pytest.raises(YooKassaUnavailable):
        OPERATIONS[operation](gateway)


def test_what_another_system_put_into_a_payment_is_no_reason_to_refuse_it(stranger, gateway):
    for metadata in ({"payment_id": ""}, {"payment_id": 5}, {"payment_id": "a\x00"}, None):
        stranger.say(200, reply(metadata=metadata, confirmation={"confirmation_url": 1}))
        found = gateway.find_payment(REPLY["id"])
        assert (found.payment_id, found.confirmation_url) == (None, None)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_server_that_speaks_no_tls_is_an_unknown_outcome(stranger, operation):
    stranger.say(200, REPLY)
    gateway = Gateway(shop_id="1", secret_key="x", api_url=f"https://127.0.0.1:{stranger.port}/v3", timeout_s=2)
    with pytest.raises(YooKassaUnavailable, match=r"SSLError|ConnectionError"):
        OPERATIONS[operation](gateway)


# What somebody hears of it


def counted(operation, outcome):
    return YOOKASSA.labels(operation, outcome)._value.get()


def test_every_outcome_is_counted_and_stands_at_zero_before_its_first(stranger, gateway):
    shown = {tuple(sample.labels.values()) for metric in YOOKASSA.collect() for sample in metric.samples}
    assert {(operation, outcome) for operation in YOOKASSA_OPERATIONS for outcome in YOOKASSA_OUTCOMES} <= shown
    answers = {
        "answered": lambda: stranger.say(200, reply()),
        "rejected": lambda: stranger.say(400, own_error(400)),
        "not_found": lambda: stranger.say(404, own_error(404)),
        "rate_limited": lambda: stranger.say(429, own_error(429)),
        "unknown": lambda: stranger.say(404, HTML, "text/html"),
        "credentials_refused": lambda: stranger.say(401, own_error(401)),
        "foreign_answer": lambda: stranger.say(200, reply(id="another")),
    }
    assert answers.keys() == set(YOOKASSA_OUTCOMES)
    for outcome, say in answers.items():
        say()
        before = counted("find", outcome)
        try:
            gateway.find_payment(REPLY["id"])
        except Exception:  # noqa: BLE001 - each in its own way
            assert outcome != "answered"
        assert counted("find", outcome) == before + 1


def test_refused_credentials_are_one_line_until_they_are_taken_again(stranger, gateway, caplog):
    caplog.set_level("INFO", "callboard.payments.gateway")
    for status, body in [(401, own_error(401))] * 3 + [(404, own_error(404))] + [(401, own_error(401))] * 2:
        stranger.say(status, body)
        with pytest.raises((CredentialsRejected, PaymentNotFound)):
            gateway.find_payment("x")
    lines = [record.getMessage() for record in caplog.records]
    assert lines == ["yookassa needs a look", "yookassa answers again", "yookassa needs a look"]


# The shop


def test_the_shop_says_who_it_is_and_what_it_can_do(stranger, gateway):
    stranger.say(
        200,
        {
            "account_id": "100500",
            "test": True,
            "status": "enabled",
            "fiscalization": {"enabled": True, "provider": "avanpost"},
            "payment_methods": ["bank_card", "sbp"],
        },
    )
    shop = gateway.find_shop()
    assert shop == Shop("100500", is_enabled=True, is_test=True, has_fiscalization=True, methods=("bank_card", "sbp"))
    assert str(shop) == ("shop 100500, a test shop in which no money moves; fiscalisation is on; takes bank_card, sbp")


@pytest.mark.parametrize("answer", [{}, {"account_id": None}, {"account_id": True}, {"message": "ok"}, REPLY])
def test_whatever_names_no_shop_is_none(stranger, gateway, answer):
    stranger.say(200, answer)
    with pytest.raises(YooKassaUnavailable):
        gateway.find_shop()


def test_a_shop_with_little_to_say_is_read_all_the_same(stranger, gateway):
    stranger.say(200, {"account_id": 100500, "fiscalization_enabled": True, "payment_methods": "none"})
    shop = gateway.find_shop()
    assert (shop.shop_id, shop.is_test, shop.has_fiscalization, shop.methods) == ("100500", False, True, ())


def test_a_row_of_another_key_is_another_creation(stranger, gateway):
    stranger.say(200, reply())
    assert gateway.create_payment(replace(ROW, idempotence_key="other")).provider_id == REPLY["id"]

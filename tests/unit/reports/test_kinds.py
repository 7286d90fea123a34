"""What can be asked for, and what a wrong request is told."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callboard.reports import InvalidReport, render
from callboard.reports.formats.figures import Money, read_money
from callboard.reports.formats.plain_text import breakable, clean
from callboard.reports.kinds.catalogue import check_formats, check_parameters, report_kind
from callboard.reports.kinds.register import mask_customer, register_table
from tests.unit.reports.samples import payment, receipt, register

NOW = datetime(2026, 11, 23, 1, 30, tzinfo=UTC)
REGISTER = report_kind("payments_register")


def window(**parameters):
    checked = check_parameters(REGISTER, parameters, NOW)
    return checked["from"], checked["to"]


def test_without_parameters_the_register_is_of_today_in_utc():
    assert window() == ("2026-11-23T00:00:00+00:00", "2026-11-24T00:00:00+00:00")


def test_a_date_is_a_whole_day_at_both_ends():
    assert window(**{"from": "2026-11-01", "to": "2026-11-30"}) == (
        "2026-11-01T00:00:00+00:00",
        "2026-12-01T00:00:00+00:00",
    )


def test_a_moment_is_taken_to_the_second_in_its_zone():
    given_window = {"from": "2026-11-22T09:00:00+03:00", "to": "2026-11-22T12:00:00+03:00"}
    assert window(**given_window) == ("2026-11-22T06:00:00+00:00", "2026-11-22T09:00:00+00:00")


def test_an_end_alone_means_its_last_day():
    assert window(to="2026-11-20") == ("2026-11-20T00:00:00+00:00", "2026-11-21T00:00:00+00:00")


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"from": "yesterday"}, "from must be an ISO moment with its zone .* got 'yesterday'"),
        ({"from": "2026-11-22T09:00:00"}, "from must be an ISO moment with its zone"),
        ({"to": "2026-02-30"}, "to names no day of the calendar, got '2026-02-30'"),
        ({"to": "9999-12-31"}, "to names no day of the calendar"),
        ({"to": 5}, "to must be an ISO moment"),
        ({"from": "2026-11-23", "to": "2026-11-01"}, "from .* must be before to"),
        ({"since": "2026-11-23"}, "no parameter since. It knows: from, to"),
        ("2026-11-23", "parameters must be an object"),
    ],
)
def test_a_wrong_parameter_is_named_with_its_value(parameters, sentence):
    with pytest.raises(InvalidReport, match=sentence):
        check_parameters(REGISTER, parameters, NOW)


def test_an_unknown_kind_is_told_the_known_ones():
    with pytest.raises(InvalidReport, match=r"'sales'\. Use one of: payments_register, receipt"):
        render("sales", "pdf", {})


@pytest.mark.parametrize("formats", [["docx"], ["pdf", "exe"], [None], "pdf"])
def test_an_unknown_format_is_refused(formats):
    with pytest.raises(InvalidReport, match="format"):
        check_formats(REGISTER, formats)


def test_a_receipt_is_no_spreadsheet():
    with pytest.raises(InvalidReport, match=r"receipt has no format 'csv'\. Use one of: pdf, html"):
        render("receipt", "csv", receipt())


def test_formats_come_once_and_pdf_is_the_default():
    assert check_formats(REGISTER, ["csv", "pdf", "csv"]) == ["csv", "pdf"]
    assert check_formats(REGISTER, None) == ["pdf"]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"order_id": ""}, "missing: order_id"),
        ({"amount": 12.5}, "amount must be a decimal text"),
        ({"amount": "12.505"}, "at most two decimals"),
        ({"amount": "NaN"}, "amount must be"),
        ({"amount": "1e400"}, "amount must be"),
        ({"currency": "roubles"}, "currency must be an ISO code"),
        ({"paid_at": "2026-11-22 09:15"}, "paid_at must be an ISO moment with its zone"),
        ({"items": "many"}, "items must be a list"),
        ({"items": [{"name": "x"}]}, "needs name and amount"),
        ({"items": [{"name": "x", "amount": "1", "quantity": "2"}]}, "quantity of an item must be a whole number"),
    ],
)
def test_a_receipt_says_what_is_wrong_with_its_context(changes, sentence):
    with pytest.raises(InvalidReport, match=sentence):
        render("receipt", "html", receipt(**changes))


def test_keys_that_only_the_mail_needs_are_ignored():
    assert render("receipt", "html", receipt(unsubscribe_link="x")) == render("receipt", "html", receipt())


def test_each_currency_has_its_own_sum():
    totals = register_table(register(payment(), payment(amount="5.00", currency="USD"), payment(amount="0.50"))).totals
    assert totals[-1].amounts == (Money(Decimal("100.50"), "RUB"), Money(Decimal("5.00"), "USD"))


@given(
    st.lists(
        st.tuples(st.decimals(0, 10**9, places=2), st.sampled_from(["succeeded", "canceled", "pending"])), max_size=30
    )
)
def test_the_summary_adds_up_to_the_cent(payments):
    rows = [payment(amount=str(amount), status=status) for amount, status in payments]
    *lines, grand = register_table(register(*rows)).totals
    assert sum(line.count for line in lines) == len(rows)
    assert sum(line.amounts[0].amount for line in lines) == sum((amount for amount, _ in payments), Decimal())
    assert grand.amounts[0].amount == sum((amount for amount, status in payments if status == "succeeded"), Decimal())


@pytest.mark.parametrize(
    ("address", "masked"),
    [
        ("anna@shop.example", "a***@shop.example"),
        ("и@почта.example", "и***@почта.example"),
        (None, ""),
        ("nobody", "***"),
    ],
)
def test_a_customer_is_masked(address, masked):
    assert mask_customer(address) == masked


def test_money_shows_its_currency():
    assert str(read_money("1234567.5", "RUB")) == "1,234,567.50\u00a0₽"
    assert str(read_money("-5", "CHF")) == "-5.00\u00a0CHF"


@given(st.text(st.characters()))
def test_clean_text_can_always_be_written(text):
    cleaned = clean(text)
    cleaned.encode()
    assert not set(cleaned) & {"\x00", "\x1b", "\u202e"}
    assert len(cleaned) == len(text)


@given(st.text())
def test_breaking_long_words_loses_no_letter(text):
    assert breakable(text).replace("\u200b", "") == text.replace("\u200b", "")

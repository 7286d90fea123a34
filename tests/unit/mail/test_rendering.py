"""The templates: what they show, what they refuse to show."""

from __future__ import annotations

from decimal import Decimal
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callboard.mail import MailInvalid, template_names
from callboard.mail.rendering import moment, money, render_mail, web_link

CONTEXTS = {
    "welcome": {"name": "Ann"},
    "receipt": {
        "order_id": "A-1042",
        "amount": "1490.00",
        "currency": "RUB",
        "paid_at": "2026-11-23T09:12:00+03:00",
        "payment_id": "2f0c1b7e",
    },
    "report_ready": {"title": "Payments of 23 November", "link": "https://shop.test/reports/1?a=1&b=2"},
    "password_reset": {"name": "Ann", "link": "https://shop.test/reset/1"},
    "account_activation": {"name": "Ann", "link": "https://shop.test/activate/1"},
    "test": {"sent_at": "2026-11-23T09:12:00Z"},
}
HOSTILE = "<script>alert(1)</script>\"'&{{ 7*7 }}{% raw %}"


def render(template, **changes):
    return render_mail(template, CONTEXTS[template] | changes, sender_name="Shop")


class Elements(HTMLParser):
    def __init__(self, html):
        super().__init__()
        self.found = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


def test_every_template_has_an_example_here():
    assert set(template_names()) == set(CONTEXTS)


@pytest.mark.parametrize("template", CONTEXTS)
def test_each_template_fills_all_three_parts(template):
    mail = render(template)
    assert mail.subject
    assert mail.text
    assert max(map(len, mail.text.splitlines())) <= 80
    for value in ("Shop", "sent automatically"):
        assert value in mail.text
        assert value in mail.html
    assert "{{" not in mail.html + mail.text + mail.subject


@pytest.mark.parametrize("template", CONTEXTS)
def test_each_template_shows_its_links_and_names_in_both_bodies(template):
    mail = render(template)
    links = [attributes.get("href") for tag, attributes in Elements(mail.html).found if tag == "a"]
    for name in CONTEXTS[template].keys() & {"link", "order_id", "payment_id", "title"}:
        value = CONTEXTS[template][name]
        assert value in mail.text
        assert value in links if name == "link" else value in mail.html


@pytest.mark.parametrize("template", CONTEXTS)
def test_the_html_is_inlined_adapts_to_dark_mode_and_fetches_nothing(template):
    html = render(template).html
    elements = Elements(html).found
    assert not {tag for tag, _ in elements} & {"img", "link", "script", "iframe"}
    assert "url(" not in html
    assert "@import" not in html
    assert "prefers-color-scheme: dark" in html
    assert all(attributes.get("style") for tag, attributes in elements if tag in {"h1", "p", "td", "th", "a"})
    assert ("sheet", "600") in {(attributes.get("class"), attributes.get("width")) for _, attributes in elements}
    assert len(html.encode()) < 100_000, "Gmail cuts a mail at 102 kB"


@pytest.mark.parametrize("template", CONTEXTS)
def test_a_missing_variable_is_named_with_what_there_is(template):
    for missing in CONTEXTS[template]:
        context = {name: value for name, value in CONTEXTS[template].items() if name != missing} | {"other": 1}
        with pytest.raises(MailInvalid, match=f"'{missing}' is undefined.*other"):
            render_mail(template, context, sender_name="Shop")


@pytest.mark.parametrize("name", ["", "invoice", "../welcome", "welcome/../test", "/etc", "layout.html", "welcome\0"])
def test_an_unknown_template_is_refused_with_the_list_of_known_ones(name):
    with pytest.raises(MailInvalid, match=r"Use one of: account_activation, .*welcome"):
        render_mail(name, {}, sender_name="Shop")


@pytest.mark.parametrize("context", [None, [], "name", 7])
def test_a_context_that_is_no_object_is_refused(context):
    with pytest.raises(MailInvalid, match="context"):
        render_mail("welcome", context, sender_name="Shop")


@pytest.mark.parametrize(
    ("template", "name"),
    [
        ("welcome", "name"),
        ("receipt", "order_id"),
        ("receipt", "customer_name"),
        ("receipt", "payment_id"),
        ("report_ready", "title"),
    ],
)
def test_values_are_text_never_markup_or_template(template, name):
    mail = render(template, **{name: HOSTILE})
    assert "<script" not in mail.html
    assert "{{ 7*7 }}" in mail.text + mail.html
    assert (
        "49"
        not in render("welcome", name="{{ 7*7 }}").html.split("<body")[1].replace("1490", "").split("Welcome, ")[1][:20]
    )


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs", "Cc", "Zl", "Zp"))))
@settings(deadline=None, max_examples=60)
def test_no_name_adds_an_element_to_the_mail(name):
    plain = Elements(render("welcome").html).found
    assert Elements(render("welcome", name=name).html).found == plain


@pytest.mark.parametrize("value", ["A\r\nBcc: all@x.test", "A\nB", "A\rB", "A\0B", "A\x85B", "A\u2028B"])
@pytest.mark.parametrize(
    ("template", "name"), [("welcome", "name"), ("receipt", "order_id"), ("report_ready", "title")]
)
def test_a_line_break_on_its_way_into_the_subject_is_refused(template, name, value):
    with pytest.raises(MailInvalid, match="subject"):
        render(template, **{name: value})


def test_a_nul_or_a_lone_surrogate_anywhere_is_refused():
    for value in ("A\0B", "A\ud800B"):
        with pytest.raises(MailInvalid):
            render("receipt", customer_name=value)


def test_an_endless_subject_is_cut():
    assert len(render("report_ready", title="x" * 5000).subject) == 200


@pytest.mark.parametrize(
    "link",
    [
        "javascript:alert(1)",
        "data:text/html,x",
        "ftp://x.test/",
        "//x.test/",
        "https://",
        "",
        "https://x.test/a b",
        "https://x.test/\n",
        "http://[",
        None,
    ],
)
@pytest.mark.parametrize("template", ["report_ready", "password_reset", "account_activation"])
def test_a_link_that_is_no_web_address_is_refused(template, link):
    with pytest.raises(MailInvalid, match="link"):
        render(template, link=link)


def test_a_web_link_stays_as_it_is():
    assert web_link("https://shop.test/r?a=1&b=%20") == "https://shop.test/r?a=1&b=%20"


def test_optional_values_may_be_missing_none_or_given():
    for name in ({}, {"customer_name": None}, {"customer_name": ""}):
        assert "Hello" not in render("receipt", **name).text
    assert "Hello Ann," in render("receipt", customer_name="Ann").text
    assert "works until" not in render("report_ready", expires_at=None).text
    assert "works until 1 December 2026, 00:00 UTC." in render("report_ready", expires_at="2026-12-01T00:00:00Z").text


def test_a_receipt_shows_amount_and_moment():
    mail = render("receipt")
    for body in (mail.text, mail.html):
        assert "RUB 1,490.00" in body
        assert "23 November 2026, 06:12 UTC" in body


@pytest.mark.parametrize(
    ("amount", "shown"),
    [("0.1", "0.10"), ("1234567.8", "1,234,567.80"), (7, "7.00"), (Decimal("5.50"), "5.50"), ("-3", "-3.00")],
)
def test_amounts_are_shown_with_two_decimals(amount, shown):
    assert money(amount, "RUB") == f"RUB {shown}"


@pytest.mark.parametrize("amount", [1490.0, True, None, "", "abc", "NaN", "Infinity", "1.005", "1e40", "1,5", []])
def test_an_amount_that_is_no_money_is_refused(amount):
    with pytest.raises(MailInvalid, match="amount"):
        money(amount, "RUB")


@pytest.mark.parametrize("currency", ["rub", "", "RUBLE", None, "<b>"])
def test_a_currency_that_is_no_iso_code_is_refused(currency):
    with pytest.raises(MailInvalid, match="currency"):
        money("1.00", currency)


@pytest.mark.parametrize("value", ["2026-11-23T14:05:00", "yesterday", "", None, 7, "0001-01-01T00:00:00+14:00"])
def test_a_moment_without_zone_or_sense_is_refused(value):
    with pytest.raises(MailInvalid, match="moment"):
        moment(value)

"""Which addresses are taken, and that none of them can start a header of its own."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callboard.mail.addresses import CONTROL_CHARACTERS, parse_address
from callboard.mail.errors import MailInvalid


@pytest.mark.parametrize(
    ("given_text", "mailbox", "name"),
    [
        ("ann@example.org", "ann@example.org", ""),
        (" Ann@Example.ORG ", "Ann@example.org", ""),
        ("Ann Lee <ann@example.org>", "ann@example.org", "Ann Lee"),
        ('"Lee, Ann" <ann@example.org>', "ann@example.org", "Lee, Ann"),
        (r'"Ann \"A\" Lee" <ann@example.org>', "ann@example.org", 'Ann "A" Lee'),
        ("Анна <anna@пример.рф>", "anna@xn--e1afmkfd.xn--p1ai", "Анна"),
        ("анна@пример.рф", "анна@xn--e1afmkfd.xn--p1ai", ""),
        ("<ann@example.org>", "ann@example.org", ""),
        ("noreply@localhost", "noreply@localhost", ""),
        ("ann@mail.corp.local", "ann@mail.corp.local", ""),
        ("ann@intranet", "ann@intranet", ""),
        ("ann@shop.test", "ann@shop.test", ""),
        ("ann+tag@example.org", "ann+tag@example.org", ""),
    ],
)
def test_usual_addresses_are_taken(given_text, mailbox, name):
    address = parse_address(given_text, "recipient")
    assert (address.mailbox, address.name) == (mailbox, name)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ann",
        "ann@",
        "@example.org",
        "ann@@example.org",
        "ann@example..org",
        "ann@exa mple.org",
        "a@example.org, b@example.org",
        "a@example.org b@example.org",
        "Ann <a@example.org> <b@example.org>",
        "Ann <a@example.org>, b@example.org",
        '"a b"@example.org',
        "ann@[127.0.0.1]",
        "ann@-bad.local",
        "x" * 300 + "@example.org",
        "ann@" + "x" * 250 + ".org",
        "ann@example.org\r\nBcc: all@example.org",
        "ann@example.org\n",
        "Ann\nBcc: all@example.org <ann@example.org>",
        "ann\0@example.org",
        "ann\u2028@example.org",
        None,
        ["ann@example.org"],
        7,
    ],
)
def test_anything_else_is_refused_for_good(text):
    with pytest.raises(MailInvalid, match="recipient"):
        parse_address(text, "recipient")


def test_the_error_shows_the_domain_but_not_the_person():
    with pytest.raises(MailInvalid, match=r"\*\*\*@exa") as error:
        parse_address("ann.lee@exa_mple.org", "recipient")
    assert "ann.lee" not in str(error.value)


@given(st.text(max_size=80) | st.from_regex(r'"?\w*[\r\n]?\w*"? ?<?\w{1,5}@\w{1,5}\.\w{2}>?', fullmatch=True))
@settings(deadline=None, max_examples=60)
def test_no_text_becomes_an_address_with_a_line_break(text):
    try:
        address = parse_address(text, "recipient")
    except MailInvalid:
        return
    assert not CONTROL_CHARACTERS.search(address.name + address.mailbox)
    assert address.domain.isascii()

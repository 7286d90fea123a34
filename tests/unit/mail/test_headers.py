"""Headers on the wire: whatever a name holds, every reader finds that one name and that one address."""

from __future__ import annotations

import re
from email import message_from_bytes, message_from_string, policy
from email.header import decode_header, make_header

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from callboard.errors import ConfigurationError
from callboard.mail import Attachment, MailInvalid, build_email
from callboard.settings import load_settings
from tests.unit.mail.conftest import MESSAGE_ID

#: Text with much of what has a meaning of its own in a header.
TRICKY = st.text(
    st.sampled_from([*"abcABCЖЩя€😀é ,;:.\"\\'<>()[]@=?_%*\u00a0\u200b\u202e"])
    | st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp")),
    min_size=1,
    max_size=160,
) | st.lists(
    st.sampled_from(
        ['"', ",", "<eve@evil.test>", "=?utf-8?q?x?=", "=?utf-8?b?PGE=?=", "x" * 70, "Lee,", "Ж" * 30, "\\"]
    ),
    min_size=1,
    max_size=12,
).map(" ".join)

LONG_ENOUGH_TO_FOLD = 'Lee, "Ann" <eve@evil.test>, of the Very Long Company Name Holding (International)'


def build(*, to="ann@x.test", attachments=(), context=None, template="welcome", **changed):
    return build_email(
        load_settings(**({"smtp_from": "shop@shop.test", "smtp_from_name": "Shop"} | changed)),
        message_id=MESSAGE_ID,
        to=to,
        template=template,
        context={"name": "Ann"} if context is None else context,
        attachments=attachments,
    )


def quoted(name):
    return '"' + re.sub(r'(["\\])', r"\\\1", name) + '"'


def one_line(name):
    """The name as it is sent: one space between two words."""
    return re.sub(r"\s{2,}", " ", name).strip()


def check_one_mailbox(content, header, name, mailbox):
    """Read the header as Python does, and its name also by the letter of RFC 2047."""
    raw = re.search(rf"(?m)^{header}: ((?:.*\r\n)(?: .*\r\n)*)", content.decode())[1].replace("\r\n ", " ").strip()
    (address,) = message_from_bytes(content, policy=policy.default)[header].addresses
    assert address.addr_spec == mailbox
    if "=?" not in raw:
        assert address.display_name == name
        return
    assert raw.endswith(f" <{mailbox}>")
    words = raw.removesuffix(f" <{mailbox}>")
    assert str(make_header(decode_header(words))) == name
    assert max(map(len, words.split(" "))) <= 75
    # Between two encoded words Python's newer reader keeps the space that RFC 2047 takes out.
    assert address.display_name.replace(" ", "") == name.replace(" ", "")


@given(name=TRICKY)
@example(name=LONG_ENOUGH_TO_FOLD)
@example(name="Ж" * 23)
@example(name="x" * 300)
@settings(deadline=None, max_examples=150)
def test_any_name_of_a_sender_or_recipient_reads_back_as_that_name_with_that_one_address(name):
    given_name, name = name, one_line(name)
    content = build(
        to=f"{quoted(given_name)} <ann@x.test>",
        smtp_from_name=given_name,
        smtp_reply_to=f"{quoted(name)} <desk@x.test>",
    ).as_bytes()
    assert content.isascii()
    for header, shown, mailbox in (
        ("From", name, "shop@shop.test"),
        ("To", name, "ann@x.test"),
        ("Reply-To", name, "desk@x.test"),
    ):
        if shown:
            check_one_mailbox(content, header, shown, mailbox)
    head = content.split(b"\r\n\r\n")[0]
    assert [line.split(b":")[0] for line in head.split(b"\r\n") if not line.startswith(b" ")].count(b"From") == 1


@given(name=TRICKY.filter(lambda name: not set(name) & {"/", "\\"}))
@example(name=LONG_ENOUGH_TO_FOLD)
@example(name="счёт, «март» " * 8 + ".pdf")
@example(name="x" * 300 + ".pdf")
@settings(deadline=None, max_examples=150)
def test_any_name_of_a_file_reads_back_and_has_one_whole_and_one_ascii_form(name):
    content = build(attachments=[Attachment(name, b"%PDF", "application/pdf")]).as_bytes()
    (part,) = message_from_bytes(content, policy=policy.default).iter_attachments()
    assert part["Content-Disposition"].params["filename"] == name
    assert part.get_content_type() == "application/pdf"
    assert part.get_content() == b"%PDF"
    header = re.search(rb"Content-Disposition: (attachment.*\r\n(?: .*\r\n)*)", content)[1].decode()
    assert header.count('filename="') == 1
    assert header.count("filename*") <= 1 or len(name.encode()) > 255
    assert max(map(len, header.split("\r\n"))) <= 998


def test_a_plain_file_name_needs_no_second_form():
    content = build(attachments=[Attachment("receipt-A 1.pdf", b"%PDF", "application/pdf")]).as_bytes()
    assert b'Content-Disposition: attachment;\r\n filename="receipt-A 1.pdf"\r\n' in content


def test_a_file_name_stands_whole_beside_its_ascii_form():
    email = build(attachments=[Attachment("чек №1.pdf", b"%PDF", "application/pdf")])
    lines = b"".join(part.as_bytes() for part in email.iter_attachments()).split(b"\r\n")
    assert b" filename*=utf-8''%D1%87%D0%B5%D0%BA%20%E2%84%961.pdf;" in lines
    assert b' filename="___ _1.pdf"' in lines
    assert [part.get_filename() for part in email.iter_attachments()] == ["чек №1.pdf"]


@given(title=TRICKY)
@example(title="=?utf-8?q?Bcc=3A?= all")
@example(title="x" * 180)
@settings(deadline=None, max_examples=100)
def test_any_subject_reads_back_as_it_was(title):
    content = build(template="report_ready", context={"title": title, "link": "https://x.test/"}).as_bytes()
    # Readers take spaces off the ends, and RFC 5322 lets them take one for several.
    words = str(message_from_bytes(content, policy=policy.default)["Subject"]).split()
    assert words == f"Report ready: {title}"[:200].split() or len(f"Report ready: {title}") > 200


@pytest.mark.parametrize("local_part", ["a" * 64, "a.b+c-d_e", "o'hara", "анна"])
@pytest.mark.parametrize("domain", ["x.test", ".".join(["d" * 60] * 3) + ".test", "пример.рф"])
def test_a_mailbox_stands_whole_on_one_line(local_part, domain):
    email = build(to=f"{local_part}@{domain}")
    mailbox = email["To"].addresses[0].addr_spec
    content = email.as_bytes(policy=email.policy.clone(utf8=True))
    assert f"\r\nTo: {mailbox}\r\n" in content.decode()
    (read,) = message_from_string(content.decode(), policy=policy.SMTPUTF8)["To"].addresses
    assert read.addr_spec == mailbox
    assert email.as_bytes().isascii()


@pytest.mark.parametrize("character", ["\r", "\n", "\0", "\x1b", "\x85", "\u2028", "\ud800"])
@pytest.mark.parametrize("variable", ["smtp_from", "smtp_from_name", "smtp_reply_to"])
def test_a_control_character_in_a_name_of_ours_is_a_matter_of_configuration(variable, character):
    value = f"Shop{character}Bcc" if variable == "smtp_from_name" else f"Shop{character}Bcc <a@x.test>"
    with pytest.raises(ConfigurationError, match=variable.upper()):
        build(**{variable: value})


@pytest.mark.parametrize("character", ["\r", "\n", "\0", "\x1b", "\x85", "\u2028", "\ud800"])
def test_a_control_character_in_a_name_of_others_is_refused(character):
    with pytest.raises(MailInvalid):
        build(to=f"Ann{character}Lee <ann@x.test>")
    with pytest.raises(MailInvalid):
        build(attachments=[Attachment(f"a{character}.pdf", b"", "application/pdf")])


def test_answers_go_to_reply_to_and_the_mail_says_so():
    silent, open_ = build(), build(smtp_reply_to="Desk <desk@shop.test>")
    assert "Reply-To" not in silent
    assert open_["Reply-To"] == "Desk <desk@shop.test>"
    for kind in ("plain", "html"):
        assert "Replies to it are not read" in silent.get_body((kind,)).get_content()
        assert "Replies to it are not read" not in open_.get_body((kind,)).get_content()


def test_the_preview_is_hidden_without_tricks_of_colour_and_size():
    html = build().get_body(("html",)).get_content()
    style = re.search(r'<div class="preview"[^>]*style="([^"]*)"', html)[1]
    declared = {part.partition(":")[0].strip() for part in style.split(";") if part.strip()}
    assert {"display", "mso-hide", "max-height", "overflow"} <= declared
    assert not declared & {"color", "background-color", "font-size", "line-height", "opacity"}
    assert ".preview" not in html

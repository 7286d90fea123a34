"""A built mail: its headers, its parts, what it refuses to carry."""

from __future__ import annotations

from email import message_from_bytes, policy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callboard.errors import ConfigurationError
from callboard.mail import Attachment, MailInvalid, build_email
from callboard.settings import load_settings
from tests.unit.mail.conftest import MESSAGE_ID

SHOP = {"smtp_from": "shop@shop.test", "smtp_from_name": "The Shop"}


def build(*, to="ann@x.test", template="welcome", context=None, attachments=(), message_id=MESSAGE_ID, **settings):
    return build_email(
        load_settings(**(SHOP | settings)),
        message_id=message_id,
        to=to,
        template=template,
        context={"name": "Ann"} if context is None else context,
        attachments=attachments,
    )


def parsed(email):
    return message_from_bytes(email.as_bytes(), policy=policy.default)


def test_the_headers_say_who_what_and_that_a_robot_writes():
    email = parsed(build(to="Ann Lee <ann@x.test>"))
    assert email["From"] == "The Shop <shop@shop.test>"
    assert email["To"] == "Ann Lee <ann@x.test>"
    assert email["Subject"] == "Welcome to The Shop, Ann"
    assert email["Auto-Submitted"] == "auto-generated"
    assert email["Date"].datetime.tzinfo is not None


def test_every_attempt_has_the_same_message_id():
    first, second = build(), build()
    assert first["Message-ID"] == second["Message-ID"] == f"<{MESSAGE_ID}@shop.test>"


@pytest.mark.parametrize("domain", ["shop.test", "m.магазин.рф", "mail." + "long-name." * 8 + "test"])
def test_the_message_id_stands_on_one_line_whatever_the_domain(domain):
    email = build(smtp_from=f"shop@{domain}")
    (line,) = [line for line in email.as_bytes().split(b"\r\n") if line.startswith(b"Message-ID:")]
    assert line == f"Message-ID: {email['Message-ID']}".encode()
    assert line.isascii()


def test_the_name_in_smtp_from_wins_over_smtp_from_name():
    assert build(smtp_from="Магазин <shop@shop.test>")["From"].addresses[0].display_name == "Магазин"


@pytest.mark.parametrize("message_id", ["", "x", "1\r\nBcc: all@x.test", None, "<a@b>"])
def test_a_message_id_that_is_no_uuid_is_refused(message_id):
    with pytest.raises(MailInvalid, match="UUID"):
        build(message_id=message_id)


@pytest.mark.parametrize(
    "wrong",
    [{"smtp_from": "nobody"}, {"smtp_from": "a@x.test\r\nBcc: b@x.test"}, {"smtp_from_name": "Shop\nBcc: b@x.test"}],
)
def test_a_wrong_sender_is_a_matter_of_configuration(wrong):
    with pytest.raises(ConfigurationError, match="SMTP_FROM"):
        build(**wrong)


def test_text_html_and_attachments_have_their_places():
    email = parsed(build(attachments=[Attachment("чек №1.pdf", b"%PDF-1", "application/pdf")]))
    (attached,) = email.iter_attachments()
    assert attached.get_filename() == "чек №1.pdf"
    assert attached.get_content() == b"%PDF-1"
    assert attached.get_content_type() == "application/pdf"
    assert "Welcome, Ann!" in email.get_body(("plain",)).get_content()
    assert "Welcome, Ann!" in email.get_body(("html",)).get_content()


def test_an_attached_text_keeps_its_bytes():
    content = "a;ж\r\n\n.\n".encode()
    (attached,) = parsed(build(attachments=[Attachment("a.csv", content, "text/csv")])).iter_attachments()
    assert attached.get_payload(decode=True) == content


@pytest.mark.parametrize("filename", ["", "a\r\nb.pdf", "a\0.pdf", "../a.pdf", "a\\b.pdf"])
def test_an_attachment_name_that_is_no_file_name_is_refused(filename):
    with pytest.raises(MailInvalid, match="attachment"):
        build(attachments=[Attachment(filename, b"", "application/pdf")])


@pytest.mark.parametrize("media_type", ["pdf", "", "a/b/c", "application/pdf\r\nX: y", "text/html; charset=x"])
def test_an_attachment_of_no_media_type_is_refused(media_type):
    with pytest.raises(MailInvalid, match="media type"):
        build(attachments=[Attachment("a.pdf", b"", media_type)])


VISIBLE = st.text(st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp")), min_size=1, max_size=120)


@given(name=VISIBLE)
@settings(deadline=None, max_examples=60)
def test_every_built_mail_is_seven_bit_with_whole_lines_and_reads_back(name):
    email = build(context={"name": name})
    content = email.as_bytes()
    assert content.isascii()
    assert content.replace(b"\r\n", b"").count(b"\r") == content.replace(b"\r\n", b"").count(b"\n") == 0
    assert max(map(len, content.split(b"\r\n"))) <= 998
    back = message_from_bytes(content, policy=policy.default)
    assert set(back.keys()) == set(email.keys())
    assert f"Welcome, {name}!" in back.get_body(("plain",)).get_content().replace("\r\n", "\n")


@given(title=st.text(st.sampled_from("abcЖЩя €😀.,-  "), min_size=1, max_size=150))
@settings(deadline=None, max_examples=60)
def test_a_subject_in_any_script_reads_back_as_it_was(title):
    email = build(template="report_ready", context={"title": title, "link": "https://x.test/"})
    assert parsed(email)["Subject"].rstrip() == f"Report ready: {title}".rstrip()

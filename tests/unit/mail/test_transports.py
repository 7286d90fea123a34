"""Console and file: mail that stays on the machine."""

from __future__ import annotations

import io
import os
from email import message_from_bytes, policy

import pytest

from callboard.errors import Postponed
from callboard.mail import Attachment, build_email, transport_for
from callboard.mail.smtp.transport import SmtpTransport
from callboard.mail.transports import ConsoleTransport, FileTransport
from tests.unit.mail.conftest import MESSAGE_ID


def test_email_provider_names_the_transport(settings_for):
    kinds = {"smtp": SmtpTransport, "console": ConsoleTransport, "file": FileTransport}
    for provider, kind in kinds.items():
        assert type(transport_for(settings_for(email_provider=provider))) is kind


def test_the_console_shows_headers_text_and_attachments(settings):
    stream = io.StringIO()
    email = build_email(
        settings,
        message_id=MESSAGE_ID,
        to="ann@x.test",
        template="welcome",
        context={"name": "Анна"},
        attachments=[Attachment("a.pdf", b"%PDF", "application/pdf")],
    )
    assert ConsoleTransport(stream).send(email).startswith("250")
    for line in (
        "To: ann@x.test",
        "Subject: Welcome to Callboard, Анна",
        "Attached: a.pdf (application/pdf)",
        "Welcome, Анна!",
    ):
        assert line in stream.getvalue()


def test_a_mail_becomes_one_file_also_when_it_is_sent_twice(settings_for, email, tmp_path):
    folder = tmp_path / "new" / "folder"
    transport = transport_for(settings_for(email_provider="file", email_file_dir=folder))
    for _ in range(2):
        assert transport.send(email) == f"250 kept as {MESSAGE_ID}.eml"
    (path,) = folder.iterdir()
    assert message_from_bytes(path.read_bytes(), policy=policy.default)["Subject"] == email["Subject"]


def test_a_process_that_dies_while_writing_leaves_no_half_mail(settings_for, email, tmp_path, monkeypatch):
    def die(_descriptor):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", die)
    with pytest.raises(KeyboardInterrupt):
        FileTransport(tmp_path, wait_s=1).send(email)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_postpones_and_is_named_in_the_log(email, tmp_path, caplog):
    (tmp_path / "file").write_text("")
    transport = FileTransport(tmp_path / "file", wait_s=7)
    for _ in range(2):
        with pytest.raises(Postponed, match="folder") as postponed:
            transport.send(email)
        assert postponed.value.wait_s == 7
    assert len(caplog.records) == 1
    assert "EMAIL_FILE_DIR" in str(caplog.records[0].callboard_fields)

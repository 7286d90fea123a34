"""Trying the mail settings without sending anything."""

from __future__ import annotations

import pytest

from callboard.dev.mail_server import MailServer
from callboard.errors import ConfigurationError
from callboard.mail import ServerUnreachable, probe, rehearse
from callboard.mail.smtp import connection
from tests.unit.mail.scripted_server import ScriptedServer


def test_a_server_that_answers_is_named_and_no_connection_is_left(settings_for, tmp_path):
    with MailServer(tmp_path) as server:
        assert probe(settings_for(server.port)) == f"127.0.0.1:{server.port} is reached, without a login (none)."
        assert getattr(connection._thread, "connection", None) is None
        assert server.mails() == []


def test_a_server_that_is_away_or_wrong_says_so(settings_for, tmp_path):
    with pytest.raises(ServerUnreachable):
        probe(settings_for(1))
    with MailServer(tmp_path) as server, pytest.raises(ConfigurationError, match="STARTTLS"):
        probe(settings_for(server.port, smtp_security="starttls"))


def test_a_folder_is_looked_at_without_making_it(settings_for, tmp_path):
    folder = tmp_path / "new" / "mail"
    assert str(folder) in probe(settings_for(email_provider="file", email_file_dir=folder))
    assert not folder.parent.exists()
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="EMAIL_FILE_DIR"):
        probe(settings_for(email_provider="file", email_file_dir=tmp_path / "file" / "mail"))
    assert "console" in probe(settings_for(email_provider="console"))


def test_a_rehearsal_says_mail_and_rcpt_and_takes_both_back(settings_for):
    with ScriptedServer({"RCPT": "250 2.1.5 fine"}) as server:
        found = rehearse(settings_for(server.port))
        assert found.is_taken
        assert "250 2.1.5 fine" in found.text
        assert server.verbs == [["EHLO", "MAIL", "RCPT", "RSET", "QUIT"]]
        assert "rcpt to:<shop@shop.test>" in map(str.lower, server.lines)
        assert server.contents == []


@pytest.mark.parametrize(
    ("step", "answer", "advice"),
    [
        ("RCPT", "553 5.7.1 Sender address rejected: not owned by user", "SMTP_FROM"),
        ("RCPT", "530 5.7.0 Authentication required", "SMTP_USER"),
        ("RCPT", "554 5.7.1 Relay access denied", "SMTP_USER"),
        ("MAIL", "550 5.7.1 not you", "SMTP_FROM"),
        ("RCPT", "550 5.4.5 Daily limit exceeded", "limit"),
        ("RCPT", "451 4.3.0 lookup failure", "waits"),
    ],
)
def test_a_rehearsal_shows_the_servers_answer_and_what_to_do(settings_for, step, answer, advice):
    with ScriptedServer({step: answer}) as server:
        found = rehearse(settings_for(server.port))
    assert not found.is_taken
    assert answer in found.text
    assert advice in found.advice


def test_a_sender_without_a_mailbox_is_tried_with_its_postmaster(settings_for):
    with ScriptedServer({"RCPT <shop@shop.test>": "550 5.1.1 unknown"}) as server:
        assert rehearse(settings_for(server.port)).is_taken
        assert "rcpt to:<postmaster@shop.test>" in map(str.lower, server.lines)
    with ScriptedServer({"RCPT": "550 5.1.1 unknown"}) as server:
        found = rehearse(settings_for(server.port))
    assert (found.is_taken, found.advice) == (False, "")
    assert "550 5.1.1 unknown" in found.text


def test_a_rehearsal_of_the_bounce_address_and_without_a_server(settings_for):
    with ScriptedServer() as server:
        assert rehearse(settings_for(server.port, smtp_envelope_from="bounces@shop.test")).is_taken
        assert "mail from:<bounces@shop.test>" in map(str.lower, server.lines)
    assert rehearse(settings_for(email_provider="console")) is None
    with pytest.raises(ServerUnreachable):
        rehearse(settings_for(1))

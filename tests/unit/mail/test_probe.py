"""Trying the mail settings without sending anything."""

from __future__ import annotations

import pytest

from callboard.dev.mail_server import MailServer
from callboard.errors import ConfigurationError
from callboard.mail import ServerUnreachable, connection, probe


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

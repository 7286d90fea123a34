"""TLS, STARTTLS and login, against a server of aiosmtpd with a certificate of the test's own."""

from __future__ import annotations

import asyncio
import logging
import ssl

import pytest
from aiosmtpd.smtp import SMTP, AuthResult

from callboard.dev.mail_server import MailServer
from callboard.errors import Postponed
from callboard.mail.smtp.transport import SmtpTransport
from tests.unit.mail.certificates import write_certificate
from tests.unit.mail.scripted_server import HANG_UP, ScriptedServer


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    return write_certificate(tmp_path_factory.mktemp("certificate") / "server.pem")


@pytest.fixture
def trusted(certificate, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))


@pytest.fixture
def context(certificate):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    return context


class SecureServer(MailServer):
    """The dev mail server behind TLS, remembering how each mail came."""

    def __init__(self, directory, *, implicit=None, **options):
        super().__init__(directory)
        self._implicit = implicit
        self._options = options
        self.came = []

    def _session(self):
        session = SMTP(self, **self._options)
        self._sessions.add(session)
        return session

    async def _listen(self, listener):
        loop = asyncio.get_running_loop()
        return await loop.create_server(self._session, sock=listener, ssl=self._implicit)

    async def handle_DATA(self, server, session, envelope):  # noqa: N802 - aiosmtpd's signature
        self.came.append((session.ssl is not None, session.authenticated))
        return "250 kept"


def server_with_login(directory, context):
    def authenticate(server, session, envelope, mechanism, data):
        return AuthResult(success=(data.login, data.password) == (b"shop", b"open sesame"), handled=False)

    return SecureServer(
        directory, tls_context=context, require_starttls=True, auth_required=True, authenticator=authenticate
    )


def send(settings_for, email, port, **others):
    return SmtpTransport(settings_for(port, **others)).send(email)


@pytest.mark.usefixtures("trusted")
def test_starttls_secures_the_conversation(settings_for, email, context, tmp_path):
    with SecureServer(tmp_path, tls_context=context, require_starttls=True) as server:
        send(settings_for, email, server.port, smtp_security="starttls")
        ((is_secure, _),) = server.came
    assert is_secure


@pytest.mark.usefixtures("trusted")
def test_tls_from_the_first_byte_works(settings_for, email, context, tmp_path):
    with SecureServer(tmp_path, implicit=context) as server:
        send(settings_for, email, server.port, smtp_security="tls")
        assert len(server.came) == 1


@pytest.mark.usefixtures("trusted")
def test_login_goes_over_the_secured_connection(settings_for, email, context, tmp_path):
    with server_with_login(tmp_path, context) as server:
        send(settings_for, email, server.port, smtp_security="starttls", smtp_user="shop", smtp_pass="open sesame")
        ((is_secure, is_authenticated),) = server.came
    assert is_secure
    assert is_authenticated


@pytest.mark.usefixtures("trusted")
def test_a_wrong_password_postpones_every_mail_with_one_error_line(settings_for, email, context, caplog, tmp_path):
    with server_with_login(tmp_path, context) as server:
        for _ in range(3):
            with pytest.raises(Postponed, match="mail settings do not work"):
                send(
                    settings_for, email, server.port, smtp_security="starttls", smtp_user="shop", smtp_pass="wrong pass"
                )
        assert server.came == []
    (error,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert "SMTP_USER" in error.callboard_fields["problem"]
    assert "535" in error.callboard_fields["problem"]
    assert "wrong pass" not in str(vars(error))


@pytest.mark.usefixtures("trusted")
def test_a_password_that_smtp_cannot_carry_postpones(settings_for, email, context, tmp_path):
    with server_with_login(tmp_path, context) as server, pytest.raises(Postponed, match="settings"):
        send(settings_for, email, server.port, smtp_security="starttls", smtp_user="shop", smtp_pass="пароль")


def test_a_login_that_cannot_be_checked_now_is_an_outage(settings_for, email):
    with (
        ScriptedServer({"EHLO": "250-scripted\n250 AUTH PLAIN", "AUTH": "454 later"}) as server,
        pytest.raises(Postponed, match="cannot be reached"),
    ):
        send(settings_for, email, server.port, smtp_user="shop", smtp_pass="open sesame")


def test_a_server_without_login_postpones_and_says_so(settings_for, email, caplog):
    with ScriptedServer() as server, pytest.raises(Postponed, match="settings"):
        send(settings_for, email, server.port, smtp_user="shop", smtp_pass="open sesame")
    assert "Unset SMTP_USER" in caplog.records[-1].callboard_fields["problem"]


def test_a_certificate_that_nobody_trusts_carries_no_mail(settings_for, email, context, caplog, tmp_path):
    for security, options in (("starttls", {"tls_context": context}), ("tls", {"implicit": context})):
        with SecureServer(tmp_path, **options) as server, pytest.raises(Postponed, match="settings"):
            send(settings_for, email, server.port, smtp_security=security)
        assert server.came == []
    problems = [str(getattr(record, "callboard_fields", "")) for record in caplog.records]
    assert sum("is not trusted" in problem for problem in problems) == 2


def test_starttls_never_falls_back_to_plain_text(settings_for, email, caplog):
    with ScriptedServer() as server:
        with pytest.raises(Postponed, match="settings"):
            send(settings_for, email, server.port, smtp_security="starttls")
        assert server.contents == []
    assert "offers no STARTTLS" in caplog.records[-1].callboard_fields["problem"]


def test_tls_on_a_plain_port_names_the_setting(settings_for, email, caplog):
    with ScriptedServer() as server, pytest.raises(Postponed, match="settings"):
        send(settings_for, email, server.port, smtp_security="tls")
    assert "SMTP_SECURITY=tls" in caplog.records[-1].callboard_fields["problem"]


def test_a_server_that_hangs_up_during_the_handshake_is_an_outage(settings_for, email):
    with (
        ScriptedServer({"EHLO": "250-scripted\n250 STARTTLS", "STARTTLS": HANG_UP}) as server,
        pytest.raises(Postponed, match="cannot be reached"),
    ):
        send(settings_for, email, server.port, smtp_security="starttls")

"""One SMTP connection a thread: opened, secured, logged in, checked before each reuse, renewed in time."""

from __future__ import annotations

import binascii
import contextlib
import smtplib
import socket
import ssl
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from callboard.errors import ConfigurationError
from callboard.log import mask_addresses
from callboard.mail.answers.answer import AUTH, CONNECT, EHLO, STARTTLS, Fate, Reply
from callboard.mail.answers.rules import rule_for
from callboard.mail.smtp.patience import PatientSMTP, PatientSMTPOverTLS

if TYPE_CHECKING:
    from callboard.mail.answers.answer import Rule
    from callboard.settings import Settings

#: A connection idle for longer is not trusted: servers and firewalls drop such ones silently.
IDLE_MAX_S = 60.0
#: Mails over one connection; many servers end a session after about as many.
MAILS_MAX = 100
OK = 250

_thread = threading.local()


class ServerUnreachable(Exception):
    """The server did not answer, hung up, or serves nobody now; the text says what happened.

    rule is the one that its answer came under, where it gave one.
    """

    def __init__(self, text: str, *, rule: Rule | None = None) -> None:
        super().__init__(text)
        self.rule = rule


class OpeningRefused(ConfigurationError):
    """The server refused us by an answer that somebody must act on; rule is the one it came under."""

    def __init__(self, text: str, rule: Rule) -> None:
        super().__init__(text)
        self.rule = rule


@dataclass
class Connection:
    """A logged-in connection of this thread and what decides about its reuse."""

    smtp: smtplib.SMTP
    settings: Settings
    used_at_s: float
    mails: int = 0

    @property
    def is_fresh(self) -> bool:
        """Return whether no mail has gone over it yet, so that a failure is the server's and not its age."""
        return self.mails == 0


def borrow_connection(settings: Settings) -> Connection:
    """Return this thread's connection, after a NOOP that proves it alive, or a new one.

    Raises: ServerUnreachable, or ConfigurationError where host, security or login cannot work.
    """
    held: Connection | None = getattr(_thread, "connection", None)
    if held is not None and _is_reusable(held, settings):
        return held
    close_connection()
    held = Connection(_open(settings), settings, time.monotonic())
    _thread.connection = held
    return held


def close_connection() -> None:
    """Close this thread's connection, politely where the server still listens; call it when a thread ends."""
    held: Connection | None = getattr(_thread, "connection", None)
    _thread.connection = None
    if held is None:
        return
    with contextlib.suppress(OSError, smtplib.SMTPException):
        if held.smtp.sock is not None:
            # A goodbye is worth no wait: the mails of this connection are settled.
            held.smtp.sock.settimeout(1)
            held.smtp.quit()
    held.smtp.close()


def reset_connection() -> None:
    """End the transaction that was refused, so that this thread's connection can carry the next mail."""
    held: Connection | None = getattr(_thread, "connection", None)
    if held is None:
        return
    held.mails += 1
    held.used_at_s = time.monotonic()
    try:
        held.smtp.rset()
    except (OSError, smtplib.SMTPException):
        # The refusal stands either way; the next mail opens a connection of its own.
        drop_connection()


def drop_connection() -> None:
    """Close this thread's connection without a word, after it failed."""
    held: Connection | None = getattr(_thread, "connection", None)
    _thread.connection = None
    if held is not None:
        held.smtp.close()


def _is_reusable(held: Connection, settings: Settings) -> bool:
    if held.settings != settings or held.mails >= MAILS_MAX or time.monotonic() - held.used_at_s > IDLE_MAX_S:
        return False
    try:
        return held.smtp.noop()[0] == OK
    except (OSError, smtplib.SMTPException):
        return False


def _open(settings: Settings) -> PatientSMTP:
    try:
        smtp = _connect(settings)
    except ssl.SSLEOFError as error:
        raise ServerUnreachable(f"hung up during the TLS handshake: {error}") from error
    except ssl.SSLError as error:
        raise _tls_trouble(settings, error) from error
    except smtplib.SMTPResponseException as error:
        raise _refusal(settings, CONNECT, error) from error
    except (OSError, smtplib.SMTPException) as error:
        raise ServerUnreachable(str(error)) from error
    try:
        _secure(smtp, settings)
        _log_in(smtp, settings)
    except BaseException:
        smtp.close()
        raise
    return smtp


def _connect(settings: Settings) -> PatientSMTP:
    host, port, name, timeout_s = (
        settings.smtp_host,
        settings.smtp_port,
        _local_hostname(settings),
        settings.smtp_timeout_s,
    )
    if settings.smtp_security_mode == "tls":
        context = ssl.create_default_context()
        return PatientSMTPOverTLS(host, port, local_hostname=name, timeout=timeout_s, context=context)
    return PatientSMTP(host, port, local_hostname=name, timeout=timeout_s)


def _local_hostname(settings: Settings) -> str:
    """Return the name for EHLO; smtplib's own way asks DNS for it, without any time limit."""
    sender_domain = settings.smtp_from.rpartition("@")[2].rstrip("> ")
    names = (socket.gethostname(), sender_domain)
    return next((name for name in names if "." in name and name.isascii()), "[127.0.0.1]")


def _secure(smtp: PatientSMTP, settings: Settings) -> None:
    where = f"{settings.smtp_host}:{settings.smtp_port}"
    phase = EHLO
    try:
        smtp.ehlo_or_helo_if_needed()
        if settings.smtp_security_mode == "starttls":
            phase = STARTTLS
            smtp.encrypt(ssl.create_default_context())
            phase = EHLO
            smtp.ehlo_or_helo_if_needed()
    except smtplib.SMTPNotSupportedError as error:
        raise ConfigurationError(
            f"The mail server {where} offers no STARTTLS. "
            "Set SMTP_SECURITY to tls (port 465), or to none on a private network."
        ) from error
    except ssl.SSLEOFError as error:
        raise ServerUnreachable(f"hung up during the TLS handshake: {error}") from error
    except ssl.SSLError as error:
        raise _tls_trouble(settings, error) from error
    except smtplib.SMTPResponseException as error:
        raise _refusal(settings, phase, error) from error
    except (OSError, smtplib.SMTPException) as error:
        raise ServerUnreachable(str(error)) from error


def _refusal(settings: Settings, phase: str, error: smtplib.SMTPResponseException) -> Exception:
    """Return what an answer means that came before any mail: never a refusal of one."""
    reply = Reply.read(phase, error.smtp_code, error.smtp_error)
    said = f"answered {'the connection' if phase == CONNECT else phase} with {_without_account(str(reply), settings)!r}"
    if not reply.is_refusal:
        return ServerUnreachable(f"{said}, as no mail server does")
    rule = rule_for(reply)
    if rule.fate is not Fate.SETTINGS:
        return ServerUnreachable(said, rule=rule)
    return OpeningRefused(f"{settings.smtp_host}:{settings.smtp_port} {said}: {rule.reason}. {rule.advice}", rule)


def _without_account(text: str, settings: Settings) -> str:
    """Return a server's words without our account and password, which it may repeat."""
    password = "" if settings.smtp_pass is None else settings.smtp_pass.get_secret_value()
    for secret in (settings.smtp_user, password):
        text = text.replace(secret, "***") if secret else text
    return mask_addresses(text)


def _tls_trouble(settings: Settings, error: ssl.SSLError) -> ConfigurationError:
    if isinstance(error, ssl.SSLCertVerificationError):
        return ConfigurationError(
            f"The certificate of the mail server {settings.smtp_host} is not trusted: {error.verify_message}. "
            "Correct SMTP_HOST, or add the server's authority to the system's (SSL_CERT_FILE)."
        )
    return ConfigurationError(
        f"The mail server {settings.smtp_host}:{settings.smtp_port} does not speak TLS with "
        f"SMTP_SECURITY={settings.smtp_security_mode}: {error.reason}. Set SMTP_SECURITY to what the port expects."
    )


def _log_in(smtp: smtplib.SMTP, settings: Settings) -> None:
    if settings.smtp_user is None or settings.smtp_pass is None:
        return
    try:
        smtp.login(settings.smtp_user, settings.smtp_pass.get_secret_value())
    except smtplib.SMTPResponseException as error:
        # Not chained: the library's own text holds the answer as it came, which may repeat the account.
        raise _refusal(settings, AUTH, error) from None
    except smtplib.SMTPServerDisconnected as error:
        raise ServerUnreachable(str(error)) from error
    except binascii.Error as error:
        raise ServerUnreachable("asked for the login in a way that is not base64, as no mail server does") from error
    except (smtplib.SMTPNotSupportedError, UnicodeEncodeError) as error:
        raise ConfigurationError(
            f"The mail server {settings.smtp_host} cannot take the login of SMTP_USER ({type(error).__name__}). "
            "Unset SMTP_USER and SMTP_PASS, or use the port and security that allow it."
        ) from None
    except (OSError, smtplib.SMTPException) as error:
        raise ServerUnreachable(str(error)) from error

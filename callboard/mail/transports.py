"""How a mail leaves the process: one protocol, and the transport that EMAIL_PROVIDER names."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TextIO

from callboard.mail.errors import MailPostponed
from callboard.mail.message import POLICY
from callboard.mail.smtp.health import mail_health
from callboard.mail.smtp.transport import SmtpTransport

if TYPE_CHECKING:
    from email.message import EmailMessage

    from callboard.settings import Settings


class Transport(Protocol):
    """Whatever takes a built mail and says how it went."""

    def send(self, email: EmailMessage) -> str:
        """Hand the mail over and return the answer.

        Raises: MailRefused, MailPostponed, MailOutcomeUnknown.
        """
        ...


def transport_for(settings: Settings) -> Transport:
    """Return the transport that EMAIL_PROVIDER names."""
    match settings.email_provider:
        case "smtp":
            return SmtpTransport(settings)
        case "console":
            return ConsoleTransport()
        case "file":
            return FileTransport(settings.email_file_dir, wait_s=settings.smtp_outage_wait_s)


class ConsoleTransport:
    """Show mails on the console of whoever develops, as their readers see them; nothing leaves the machine."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream

    def send(self, email: EmailMessage) -> str:
        """Write headers, text and the names of attachments in one piece."""
        text = email.get_body(("plain",))
        lines = [f"{name}: {email[name]}" for name in ("From", "To", "Subject", "Message-ID")]
        lines += [f"Attached: {part.get_filename()} ({part.get_content_type()})" for part in email.iter_attachments()]
        lines += ["", text.get_content() if text is not None else ""]
        stream = self._stream or sys.stdout
        stream.write("\n".join(["─" * 72, *lines, "─" * 72, ""]))
        stream.flush()
        return "250 shown on the console"


class FileTransport:
    """Keep each mail as <message id>.eml; a mail that is sent again replaces its own file."""

    def __init__(self, directory: Path, *, wait_s: float) -> None:
        self._directory = directory
        self._wait_s = wait_s

    def send(self, email: EmailMessage) -> str:
        """Write the file under another name first, so that nobody reads half a mail."""
        name = f"{str(email['Message-ID']).strip('<>').partition('@')[0]}.eml"
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            _write_atomically(self._directory / name, email.as_bytes(policy=POLICY.clone(utf8=True)))
        except OSError as error:
            folder = f"EMAIL_FILE_DIR {str(self._directory)!r}"
            mail_health.is_misconfigured(folder, f"{error}. Make the folder writable, or set another.", kind="folder")
            raise MailPostponed("mail folder cannot be written", wait_s=self._wait_s, reply=str(error)) from error
        return f"250 kept as {name}"


def _write_atomically(path: Path, content: bytes) -> None:
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".tmp")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise

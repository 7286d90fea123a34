"""smtplib's clients, in which one answer has its time as a whole.

A socket's timeout starts anew with every byte: a server that drips its answer, a line without end or a handshake would
hold a worker's thread until the actor's time limit, and the mail would count a failure of its own.
"""

from __future__ import annotations

import smtplib
import ssl
from typing import TYPE_CHECKING

from callboard.watchdog import allowing

if TYPE_CHECKING:
    import socket


class PatientSMTP(smtplib.SMTP):
    """A client that waits for the end of an answer as long as its timeout, and no longer."""

    timeout: float

    def getreply(self) -> tuple[int, bytes]:
        """Return code and text of an answer. Raises: TimeoutError beside what smtplib raises."""
        if self.sock is None:
            return super().getreply()
        with allowing(self.timeout, self.sock) as allowance:
            reply = super().getreply()
            if not allowance.end():
                # Half a line looks like a whole one.
                self.close()
                raise TimeoutError(str(allowance))
            return reply

    def encrypt(self, context: ssl.SSLContext) -> None:
        """Say STARTTLS and go on encrypted. Raises: TimeoutError beside what smtplib raises."""
        if self.sock is None:
            raise smtplib.SMTPServerDisconnected("please run connect() first")
        # One for the answer, one for the handshake.
        with allowing(2 * self.timeout, self.sock):
            self.starttls(context=context)


class PatientSMTPOverTLS(PatientSMTP, smtplib.SMTP_SSL):
    """The same, encrypted from the first byte."""

    context: ssl.SSLContext

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        plain: socket.socket = smtplib.SMTP._get_socket(self, host, port, timeout)  # type: ignore[attr-defined]  # noqa: SLF001 - what SMTP_SSL itself calls
        with allowing(timeout, plain):
            return self.context.wrap_socket(plain, server_hostname=host)

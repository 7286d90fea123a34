"""A real Postfix of the tests' own: its configuration, queue and ports lie apart from the system's, on loopback."""

from __future__ import annotations

import base64
import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Self

import pytest

from tests.programs import program
from tests.unit.mail.certificates import write_certificate

if TYPE_CHECKING:
    from types import TracebackType

#: The services of this Postfix, a port each, with the options that make each one strict.
SERVICES = {
    "open": (),
    "login": (
        "smtpd_sasl_auth_enable=yes",
        "smtpd_sender_login_maps=inline:{shop@shop.test=shop}",
        "smtpd_sender_restrictions=reject_sender_login_mismatch",
    ),
    "encrypted": ("smtpd_tls_security_level=encrypt",),
    "limited": ("smtpd_client_message_rate_limit=1", "smtpd_client_event_limit_exceptions="),
    "closed": ("smtpd_client_restrictions=check_client_access,inline:{127.0.0.1=REJECT}",),
    "picky": ("smtpd_helo_restrictions=check_helo_access,static:REJECT",),
}
MAIN = """
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
maillog_file = {folder}/log
maillog_file_prefixes = {folder}
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = mail.test
mydestination =
mynetworks =
alias_maps =
smtpd_sasl_type = dovecot
smtpd_sasl_path = {folder}/auth
smtpd_tls_chain_files = {folder}/server.pem
virtual_mailbox_domains = x.test, shop.test
virtual_mailbox_maps = inline:{{{{ann@x.test=1}}, {{full@x.test=1}}, {{grey@x.test=1}}, {{shop@shop.test=1}}}}
virtual_transport = discard
message_size_limit = 20000
smtpd_recipient_restrictions = check_recipient_access inline:{{
  {{full@x.test=552 5.2.2 Mailbox is full}}, {{grey@x.test=450 4.2.0 Greylisted}} }}, permit
smtpd_relay_restrictions = reject_unauth_destination
"""
MASTER = """
postlog unix-dgram n - n - 1 postlogd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
proxymap unix - - n - - proxymap
anvil unix - - n - 1 anvil
discard unix - - n - - discard
error unix - - n - - error
"""


class Postfix:
    """Run a Postfix until the end of the block; ports has the port of each of SERVICES."""

    def __init__(self) -> None:
        self._command = program("postfix")
        if os.geteuid() != 0:
            pytest.skip("Only root may start a Postfix, so nothing was tested against a real one.")
        # Not below pytest's folders, which Postfix's own user may not enter.
        self._folder = Path(tempfile.mkdtemp(prefix="postfix-of-a-test-"))
        self.ports = {name: _free_port() for name in SERVICES}

    def __enter__(self) -> Self:
        self._folder.chmod(0o755)
        write_certificate(self._folder / "server.pem")
        (self._folder / "main.cf").write_text(MAIN.format(folder=self._folder))
        lines = [
            " ".join([f"127.0.0.1:{self.ports[name]} inet n - n - - smtpd", *(f"-o {option}" for option in options)])
            for name, options in SERVICES.items()
        ]
        (self._folder / "master.cf").write_text(MASTER + "\n".join(lines) + "\n")
        (self._folder / "queue").mkdir()
        (self._folder / "data").mkdir()
        shutil.chown(self._folder / "data", "postfix")
        self._accounts = _Accounts(self._folder / "auth")
        subprocess.run([self._command, "-c", self._folder, "start"], check=True, capture_output=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        subprocess.run([self._command, "-c", self._folder, "stop"], check=False, capture_output=True)
        self._accounts.close()
        shutil.rmtree(self._folder)

    @property
    def log(self) -> str:
        """Return what this Postfix wrote."""
        return (self._folder / "log").read_text()


class _Accounts:
    """The two accounts, told to Postfix by the protocol that Dovecot's login service speaks."""

    def __init__(self, path: Path) -> None:
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        path.chmod(0o666)
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                peer, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(peer,), daemon=True).start()

    def _serve(self, peer: socket.socket) -> None:
        with peer, contextlib.suppress(OSError), peer.makefile("rw") as stream:
            stream.write("VERSION\t1\t1\nMECH\tPLAIN\tplaintext\nSPID\t1\nCUID\t1\nCOOKIE\t0\nDONE\n")
            stream.flush()
            for line in stream:
                verb, *fields = line.rstrip("\n").split("\t")
                if verb == "AUTH":
                    given = next(field for field in fields if field.startswith("resp="))
                    _, user, password = base64.b64decode(given.removeprefix("resp=")).decode().split("\0")
                    is_right = password == "open sesame"
                    stream.write(f"{'OK' if is_right else 'FAIL'}\t{fields[0]}\tuser={user}\n")
                    stream.flush()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port

"""A Postgres over TCP with TLS and passwords, and an authority of its own that signed its certificate."""

from __future__ import annotations

import datetime as dt
import os
import pwd
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg2
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from callboard.dev.postgres import UNPRIVILEGED_USER, Server
from callboard.dev.temporary_postgres import temporary_server
from tests.acceptance.processes import free_port

PASSWORD = "Zq7xKvJw9"
DATABASE = "orders"


@dataclass(frozen=True)
class GuardedServer:
    """Where it listens, and whom to trust."""

    port: int
    authority: Path
    other_authority: Path

    def url(self, *, host: str = "localhost", user: str = "shop", password: str = PASSWORD, more: str = "") -> str:
        return f"postgresql://{user}:{password}@{host}:{self.port}/{DATABASE}{more}"


@contextmanager
def guarded_server(bin_dir: Path | None) -> Iterator[GuardedServer]:
    """Run such a server; the role "shop" needs its password and TLS, "closed" is let in nowhere."""
    with temporary_server(bin_dir) as server:
        connection = psycopg2.connect(server.url())
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE {DATABASE}")
            cursor.execute(f"CREATE ROLE shop LOGIN PASSWORD '{PASSWORD}'")
            cursor.execute(f"CREATE ROLE closed LOGIN PASSWORD '{PASSWORD}'")
            cursor.execute(f"CREATE ROLE guest NOLOGIN PASSWORD '{PASSWORD}'")
            cursor.execute(f"GRANT ALL ON DATABASE {DATABASE} TO shop")
        connection.close()
        server.stop()
        place = server.data_dir
        (place / "pg_hba.conf").write_text(
            "local all postgres trust\n"
            "hostssl all closed 127.0.0.1/32 reject\n"
            "hostssl all all 127.0.0.1/32 scram-sha-256\n"
        )
        authority, other = place.parent / "authority.pem", place.parent / "other.pem"
        _write_certificates(place, authority)
        _write_certificates(place.parent / "unused", other)
        port = free_port()
        _start(server, port)
        yield GuardedServer(port, authority, other)


def _start(server: Server, port: int) -> None:
    settings = {
        "listen_addresses": "127.0.0.1",
        "port": str(port),
        "unix_socket_directories": str(server.data_dir),
        "ssl": "on",
        "fsync": "off",
    }
    arguments = " ".join(f"-c {shlex.quote(f'{name}={value}')}" for name, value in settings.items())
    # Not server.log, which is ours: pg_ctl opens its file as the user that Postgres runs as.
    log_file = server.data_dir / "guarded.log"
    command = ("-D", str(server.data_dir), "-l", str(log_file), "-w", "-o", arguments, "start")
    server._run("pg_ctl", *command, log_file=log_file)


def _write_certificates(place: Path, authority_file: Path) -> None:
    place.mkdir(exist_ok=True)
    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "An authority of the test's own")])
    authority = _certificate(issuer, issuer, authority_key, authority_key, None)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    server = _certificate(subject, issuer, key, authority_key, "localhost")
    authority_file.write_bytes(authority.public_bytes(serialization.Encoding.PEM))
    (place / "server.crt").write_bytes(server.public_bytes(serialization.Encoding.PEM))
    key_file = place / "server.key"
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    key_file.chmod(0o600)
    if os.geteuid() == 0:
        owner = pwd.getpwnam(UNPRIVILEGED_USER)
        for file in (key_file, place / "server.crt"):
            os.chown(file, owner.pw_uid, owner.pw_gid)


def _certificate(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    signer: ec.EllipticCurvePrivateKey,
    host: str | None,
) -> x509.Certificate:
    now = dt.datetime.now(dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=host is None, path_length=None), critical=True)
    )
    if host is not None:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
    return builder.sign(signer, hashes.SHA256())

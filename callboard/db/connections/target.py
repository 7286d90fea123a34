"""Where a connection goes: the address as this machine's libpq takes it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import psycopg2
from psycopg2.extensions import parse_dsn

from callboard.errors import ConfigurationError
from callboard.log import get_logger
from callboard.postgres_url import read_url, with_parameters

log = get_logger(__name__)

#: Where systems keep the public authorities in one file.
AUTHORITY_FILES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
_said: set[tuple[str, ...]] = set()


def connection_target(url: str) -> str:
    """Return the address that libpq is given. Raises: ConfigurationError for one that can never work.

    What only other drivers read is left out, with one warning in this process.
    """
    if "://" not in url:
        # Who makes a broker of their own may name the database as libpq's key=value pairs.
        if not _is_dsn(url):
            raise ConfigurationError("The key=value pairs that name the database cannot be read by libpq.")
        return url
    found = read_url(url, os.environ)
    say_dropped(found.dropped)
    return with_authorities(found.url)


def say_dropped(dropped: tuple[str, ...], say: Callable[[str], None] = log.warning) -> None:
    """Say once in this process what was left out of the address."""
    if dropped and dropped not in _said:
        _said.add(dropped)
        say(f"DATABASE_URL: left out {'; '.join(dropped)}. Take it away to silence this.")


def with_authorities(url: str, environ: Mapping[str, str] = os.environ) -> str:
    """Turn sslrootcert=system into the file that this system keeps, or that SSL_CERT_FILE names.

    psycopg2-binary brings an OpenSSL of its own, whose compiled-in folder of authorities exists on no machine. As libpq
    does for system, nothing but verify-full is let through.
    """
    given = parse_dsn(url)
    if (given.get("sslrootcert") or environ.get("PGSSLROOTCERT")) != "system":
        return url
    mode = given.get("sslmode") or environ.get("PGSSLMODE") or "verify-full"
    if mode != "verify-full":
        raise ConfigurationError(
            f"DATABASE_URL has sslrootcert=system with sslmode={mode}, which any public certificate would pass. "
            "Set sslmode=verify-full."
        )
    if environ.get("SSL_CERT_DIR") and not environ.get("SSL_CERT_FILE"):
        return with_parameters(url, {"sslmode": mode})  # OpenSSL looks there itself.
    file = environ.get("SSL_CERT_FILE") or _authority_file()
    if file is None:
        raise ConfigurationError(
            "DATABASE_URL has sslrootcert=system, and this system keeps no public authorities in any file that is "
            "known. Install the package ca-certificates, or name a file: sslrootcert=/path/to/authority.pem, or in "
            "SSL_CERT_FILE."
        )
    return with_parameters(url, {"sslmode": mode, "sslrootcert": file})


def _authority_file() -> str | None:
    """Return the file of public authorities: the system's, else that of certifi."""
    import ssl  # Not for every producer's import.

    python = ssl.get_default_verify_paths().cafile
    found = next((path for path in (*AUTHORITY_FILES, python) if path and Path(path).is_file()), None)
    if found is not None:
        return found
    try:
        import certifi
    except ImportError:
        return None
    return str(certifi.where())


def _is_dsn(text: str) -> bool:
    try:
        parse_dsn(text)
    except (psycopg2.ProgrammingError, UnicodeError):
        return False  # Its text would repeat the password.
    return True

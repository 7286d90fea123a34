"""Why a connection was not made: an outage that passes, or something that somebody must correct.

psycopg2 gives no SQLSTATE for it, only libpq's text, in which a server speaks the language of its own lc_messages.
"""

from __future__ import annotations

import re
from typing import Any

import psycopg2
from psycopg2.extensions import parse_dsn

from callboard.errors import CallboardError, DatabaseMisconfigured, DatabaseUnavailable, one_line

_LOGIN = "Correct user and password in DATABASE_URL (inside them @ : / % are written as %40 %3A %2F %25)"
_DATABASE = "Correct the database's name in DATABASE_URL, or create it"
_CERTIFICATE = (
    "Correct the host in DATABASE_URL, or let sslrootcert name the file of the authority that signed the server's "
    "certificate (sslrootcert=system for a public one)"
)
_CLIENT_KEY = "Correct sslcert and sslkey, and who may read those files"
_ACCESS = "Let pg_hba.conf of the server allow this user, database, address and sslmode"
_PARAMETER = "Correct it in DATABASE_URL, or in the variable PG… that sets it"
_POOLER = "Behind a pooler in transaction mode set QUEUE_LISTEN=off; else let the pooler pass it on"

#: After these a thread of a worker connects anew: somebody else corrects what is wrong while it runs.
RECONNECT_ERRORS = (
    DatabaseUnavailable,
    DatabaseMisconfigured,
    psycopg2.OperationalError,
    psycopg2.InterfaceError,
    TimeoutError,
)
#: What a server in any language says when it is full, in words of its catalogues: it passes.
_TOO_MANY = (
    "too many (?:clients|connections)|connection slots are reserved|zu viele|demasiad|trop d|tropp[ei]|多すぎ|"
    "ძალიან ბევრი|მეტისმეტად|초과|слишком много|för många|забагато|занадто багато|太多|max client connections|"
    "no more connections allowed"
)
#: What libpq, servers and poolers say of a fault that waiting does not cure, and what does.
_FAULTS: tuple[tuple[str, str], ...] = (
    (r"authentication failed|no password supplied|\bSASL|\bSCRAM|\bIAM\b", _LOGIN),
    (r"no such user|user not found|login rejected|not permitted to log in|has no credentials", _LOGIN),
    (r"role \"[^\n]*\" does not exist|Endpoint ID is not specified", _LOGIN),
    (r"database \"[^\n]*\" does not exist|no such database|permission denied for database", _DATABASE),
    (r"certificate verify failed|does not match host name|could not (?:get|verify) server", _CERTIFICATE),
    (r"root certificate file|root\.crt|sslrootcert|unable to get local issuer|self-signed", _CERTIFICATE),
    (r"client certificate|certificate file|private key file|sslkey|certificate required|unknown ca", _CLIENT_KEY),
    (r"pg_hba\.conf|\bhba\b", _ACCESS),
    (r"does not support SSL|SSL (?:is )?required|SSL off|requires? SSL|insecure connection", "Correct sslmode"),
    (r"wrong version number|unsupported protocol|handshake failure|no protocols available", "Correct sslmode"),
    # Whatever else OpenSSL objects to; what a server that goes away causes is no objection.
    (r"SSL error: (?!unexpected eof|decryption failed|bad record|.*internal error)", _CERTIFICATE),
    (r"unsupported startup parameter|unsupported frontend protocol", _POOLER),
    (r"unrecognized configuration parameter|invalid value for parameter|permission denied to set", "Correct options"),
    (r"invalid [\w ]*(?:value|port)|invalid connection option|could not match \d+|weak sslmode", _PARAMETER),
    (r"definition of service|service file|could not parse network address", "Correct service or hostaddr"),
    (
        r"channel binding|authentication method requirement|GSSAPI .*required|gssencmode",
        "Correct what is required of the server",
    ),
)
#: What a server answered stands behind this in libpq's text: the severity in its language, and two blanks.
_ANSWER = r"failed: (\S+:  .*)"
#: Shortest password that is looked for, characters: a shorter one stands in any text.
_REVEALING = 3
_ORDINARY_WORDS = frozenset(
    {"authentication", "connection", "database", "default", "does", "error", "exist", "failed", "fatal", "file", "for"}
    | {"host", "localhost", "not", "password", "postgres", "port", "refused", "role", "server", "ssl", "the", "user"}
)
_QUOTE = '["«»„“”]'
#: What libpq begins its text with, and names in it: a host called iam.example is no word of a fault.
_NAMES = r"connection to server (?:at|on) .*? failed: |\"[^\"\n]*\""


def connect_failure(error: BaseException, url: str) -> CallboardError:
    """Return the error that tells what happened: DatabaseMisconfigured, or DatabaseUnavailable for what passes."""
    said = one_line(_without_secrets(str(error), url)) or type(error).__name__
    remedy = _remedy(str(error), url)
    if remedy is None:
        return DatabaseUnavailable(f"Postgres cannot be reached: {said}")
    return DatabaseMisconfigured(f"Postgres refuses the connection: {said.rstrip('.')}. {remedy}.")


def _remedy(text: str, url: str) -> str | None:
    """Return what to correct; None where waiting helps."""
    words = re.sub(_NAMES, '""', text)
    if re.search(_TOO_MANY, words, re.IGNORECASE):
        return None
    # Compiled at the first failure: a producer's import must not pay for it.
    for pattern, remedy in _FAULTS:
        if re.search(pattern, words, re.IGNORECASE):
            return remedy
    names = _parameters(url)
    for answer in re.findall(_ANSWER, text):
        # In other languages than English: what it says of this user or this database is a refusal of it.
        for key in ("user", "dbname"):
            name = names.get(key)
            if name and re.search(rf"(?:{_QUOTE} ?|: ){re.escape(name)}(?: ?{_QUOTE}|\s*$)", answer):
                return _LOGIN if key == "user" else _DATABASE
    return None


def _without_secrets(text: str, url: str) -> str:
    parameters = _parameters(url)
    # A password that is one of these words would be given away by the gap that it leaves.
    ordinary = {*_ORDINARY_WORDS, *(str(value).lower() for key, value in parameters.items() if "password" not in key)}
    for key in ("password", "sslpassword"):
        secret = parameters.get(key) or ""
        if len(secret) >= _REVEALING and secret.lower() not in ordinary:
            text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", "***", text)
    return text


def _parameters(url: str) -> dict[str, Any]:
    try:
        return dict(parse_dsn(url))
    except (psycopg2.ProgrammingError, UnicodeError):
        return {}

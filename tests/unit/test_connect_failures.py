"""What libpq, servers and poolers say when a connection is not made: an outage, or a fault of somebody's."""

from __future__ import annotations

import gettext
from pathlib import Path

import psycopg2
import pytest

from callboard.db.connections.connect_failures import connect_failure
from callboard.errors import ConfigurationError, DatabaseMisconfigured, DatabaseUnavailable

URL = "postgresql://shop:Zq7xKv@db.example:5432/orders"
AT = 'connection to server at "db.example" (10.0.0.7), port 5432 failed: '
FAULTS = [
    AT + 'FATAL:  password authentication failed for user "shop"',
    AT + 'FATAL:  role "shop" does not exist',
    AT + 'FATAL:  role "shop" is not permitted to log in',
    AT + 'FATAL:  database "orders" does not exist',
    AT + 'FATAL:  permission denied for database "orders"\nDETAIL:  User does not have CONNECT privilege.',
    AT + 'FATAL:  no pg_hba.conf entry for host "10.0.0.9", user "shop", database "orders", no encryption',
    AT + 'FATAL:  pg_hba.conf rejects connection for host "10.0.0.9", user "shop", database "orders"',
    AT + "fe_sendauth: no password supplied",
    AT + "SSL error: certificate verify failed",
    AT + 'server certificate for "a" (and 1 other name) does not match host name "db.example"',
    AT + 'root certificate file "/nowhere/root.crt" does not exist\nEither provide the file, use the system\'s …',
    AT + "server does not support SSL, but SSL was required",
    AT + "FATAL:  connection requires a valid client certificate",
    AT + "SSL error: tlsv1 alert unknown ca",
    AT + "SSL error: provider signature failure",
    AT + 'could not open certificate file "/x": No such file or directory',
    AT + 'private key file "/x" has group or world access; file must have permissions u=rw (0600) or less',
    AT + "FATAL:  unsupported startup parameter: options",
    AT + 'FATAL:  no such database: "orders"',
    AT + "FATAL:  SASL authentication failed",
    AT + "FATAL:  Tenant or user not found",
    AT + 'FATAL:  unrecognized configuration parameter "x"',
    AT + "channel binding required, but server authenticated client without channel binding",
    AT + 'FATAL:  PAM authentication failed for user "shop"',
    'invalid sslmode value: "no-verify"',
    'invalid integer value "abc" for connection option "port"',
    'definition of service "x" not found',
    'weak sslmode "require" may not be used with sslrootcert=system (use "verify-full")',
    # The first address of localhost refuses, the second answers.
    'connection to server at "localhost" (::1), port 5432 failed: Connection refused\n\tIs the server running?\n'
    + AT
    + 'FATAL:  role "shop" does not exist',
]
OUTAGES = [
    AT + "Connection refused\n\tIs the server running on that host and accepting TCP/IP connections?",
    AT + "timeout expired",
    AT + "Connection timed out",
    AT + "FATAL:  the database system is starting up",
    AT + "FATAL:  the database system is shutting down",
    AT + "FATAL:  sorry, too many clients already",
    AT + 'FATAL:  too many connections for role "shop"',
    AT + 'FATAL:  too many connections for database "orders"',
    AT + "FATAL:  remaining connection slots are reserved for roles with the SUPERUSER attribute",
    AT + "server closed the connection unexpectedly\n\tThis probably means the server terminated abnormally",
    AT + "SSL SYSCALL error: EOF detected",
    AT + "SSL error: unexpected eof while reading",
    AT + "FATAL:  pgbouncer cannot connect to server",
    AT + "FATAL:  no more connections allowed (max_client_conn)",
    AT + "session is read-only",
    AT + "No route to host",
    'could not translate host name "db.example" to address: Name or service not known',
    'could not translate host name "orders" to address: Temporary failure in name resolution',
    'connection to server at "iam.pg_hba.conf" (10.0.0.7), port 5432 failed: Connection refused',
    'connection to server on socket "/tmp/.s.PGSQL.5432" failed: No such file or directory',
]


@pytest.mark.parametrize("said", FAULTS)
def test_what_waiting_does_not_cure_is_a_fault_of_the_configuration(said):
    failure = connect_failure(psycopg2.OperationalError(said), URL)
    assert type(failure) is DatabaseMisconfigured and isinstance(failure, ConfigurationError)
    assert not isinstance(failure, DatabaseUnavailable)
    assert "\n" not in str(failure) and "\t" not in str(failure)


@pytest.mark.parametrize("said", OUTAGES)
def test_what_passes_is_an_outage(said):
    assert type(connect_failure(psycopg2.OperationalError(said), URL)) is DatabaseUnavailable


def test_the_sentence_does_not_hold_the_password_even_if_the_server_repeats_it():
    said = str(connect_failure(psycopg2.OperationalError(AT + "FATAL:  no such thing: Zq7xKv"), URL))
    assert "Zq7xKv" not in said


CATALOGUES = sorted(Path("/usr/share/locale").glob("*/LC_MESSAGES/postgres-*.mo"))
REFUSALS = (
    'password authentication failed for user "%s"',
    'role "%s" does not exist',
    'role "%s" is not permitted to log in',
    'database "%s" does not exist',
)
FULL = (
    'too many connections for role "%s"',
    'too many connections for database "%s"',
    "sorry, too many clients already",
    "the database system is starting up",
)


@pytest.mark.parametrize("catalogue", CATALOGUES, ids=lambda path: path.parts[4])
def test_a_server_may_speak_any_language(catalogue):
    with catalogue.open("rb") as file:
        texts = gettext.GNUTranslations(file)
    severity = texts.gettext("FATAL")

    def failure(text: str) -> Exception:
        name = "orders" if "database" in text else "shop"
        translated = texts.gettext(text)
        said = translated % name if "%s" in translated else translated
        return connect_failure(psycopg2.OperationalError(f"{AT}{severity}:  {said}"), URL)

    for text in REFUSALS:
        assert type(failure(text)) is DatabaseMisconfigured, text
    for text in FULL:
        assert type(failure(text)) is DatabaseUnavailable, text


@pytest.mark.parametrize("password", ["e", "on", "ser", "password", "postgres", "shop", "server", "connection", "5432"])
def test_a_password_that_is_an_ordinary_word_leaves_no_gap_that_tells_it(password):
    said = 'connection to server at "db", port 5432 failed: FATAL:  password authentication failed for user "shop"'
    url = f"postgresql://shop:{password}@db:5432/postgres"
    assert said.replace("  ", " ") in str(connect_failure(psycopg2.OperationalError(said), url))


def test_a_password_that_a_text_repeats_is_hidden():
    error = connect_failure(psycopg2.OperationalError("refused: user=shop password=Zq7xK"), "postgresql://s:Zq7xK@h/d")
    assert "Zq7" not in str(error)

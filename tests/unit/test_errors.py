"""What errors say, wherever their text comes from."""

from __future__ import annotations

import psycopg2
import pytest

from callboard.db.connections.connect_failures import connect_failure
from callboard.db.rows.values import said
from callboard.errors import BrokerUnavailable, DatabaseUnavailable, one_line
from callboard.ops.refusals import refusal_text

#: As libpq and servers break their lines, in every way there is.
LIBPQ = "server closed the connection unexpectedly\n\tThis probably means the server\r\n\tterminated abnormally\n"


@pytest.mark.parametrize(
    "tell",
    [
        one_line,
        lambda text: str(DatabaseUnavailable(text)),
        lambda text: str(BrokerUnavailable(text)),
        lambda text: str(connect_failure(psycopg2.OperationalError(text), "")),
    ],
    ids=["one_line", "DatabaseUnavailable", "BrokerUnavailable", "connect_failure"],
)
def test_an_outage_is_one_line_although_libpq_breaks_its_own(tell):
    assert tell(LIBPQ).endswith(
        "server closed the connection unexpectedly This probably means the server terminated abnormally"
    )
    assert len(tell(LIBPQ).splitlines()) == 1


@pytest.mark.parametrize("text", [LIBPQ, "", " \n ", "\nrelation is missing\nLINE 1: SELECT\n               ^\n"])
def test_what_an_error_says_is_its_first_line_or_its_name(text):
    error = psycopg2.errors.UndefinedTable(text)
    assert said(error) == (text.strip().splitlines() or ["UndefinedTable"])[0]
    assert f"({said(error)})" in refusal_text(error)

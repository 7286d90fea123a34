"""What errors say, wherever their text comes from."""

from __future__ import annotations

import pytest

from callboard.errors import BrokerUnavailable, DatabaseUnavailable


@pytest.mark.parametrize("kind", [DatabaseUnavailable, BrokerUnavailable])
def test_an_outage_is_one_line_although_libpq_breaks_its_own(kind):
    said = "server closed the connection unexpectedly\n\tThis probably means the server\n\tterminated abnormally\n"
    assert str(kind(said)) == (
        "server closed the connection unexpectedly This probably means the server terminated abnormally"
    )

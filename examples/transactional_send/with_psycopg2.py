"""A message that is sent exactly if the transaction commits, with psycopg2.

Run it with: python examples/transactional_send/with_psycopg2.py EMAIL NAME
"""
# ruff: noqa: INP001 - a script that is read and copied, not a package

from __future__ import annotations

import os
import sys
from typing import Any

import psycopg2

from actors import send_email
from callboard import send_in


def open_account(connection: Any, email: str, name: str) -> None:
    """Store an account and its welcome mail in the caller's transaction: both or neither."""
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO accounts (email, name) VALUES (%s, %s)", (email, name))
    send_in(connection, send_email.message(to=email, template="welcome", context={"name": name}))


if __name__ == "__main__":
    # The with block commits at its end, and rolls back when something in it fails.
    with psycopg2.connect(os.environ["DATABASE_URL"]) as connection:
        open_account(connection, *sys.argv[1:3])

"""An actor of your own, run by Callboard's workers beside ours.

Run it with: PYTHONPATH=examples/own_actor dramatiq actors their_actors
or with:     PYTHONPATH=examples/own_actor callboard work their_actors
"""
# ruff: noqa: INP001 - a script that is read and copied, not a package

from __future__ import annotations

from actors import send_email
from callboard import completion, send_in
from callboard.app import actor
from callboard.errors import PermanentError


@actor(queue_name="accounts", max_retries=3, priority=10)
def activate_account(email: str) -> None:
    """Activate an account and welcome its owner, once, however often this runs and whatever dies meanwhile."""
    with completion() as connection, connection.cursor() as cursor:
        cursor.execute("UPDATE accounts SET state = 'active' WHERE email = %s RETURNING name", (email,))
        row = cursor.fetchone()
        if row is None:
            # No retry will find it: a dead letter, at once, with this sentence as its reason.
            raise PermanentError("There is no account with this address. Open it first, then retry the dead letter.")
        send_in(connection, send_email.message(to=email, template="welcome", context={"name": row[0]}))

"""One migration at a time: a lock that lasts as long as the transaction that migrates, and a wait that ends.

Not a session's lock: behind a pooler that lends sessions, the unlock may go to another one, and the lock stays with the
pooler's for ever.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import text

from callboard.errors import Conflict
from callboard.log import get_logger

log = get_logger(__name__)

#: Longest wait for another upgrade, s.
WAIT_MAX_S = 120.0
LOOK_S = 0.5

TRY = "SELECT pg_try_advisory_xact_lock(hashtext('callboard.migrations'))"
#: The key's halves as pg_locks shows them: a bigint, whose upper half is its sign.
HOLDER = """
SELECT
    activity.pid, coalesce(nullif(activity.application_name, ''), 'a client without a name'),
    to_char(coalesce(activity.xact_start, activity.state_change, activity.backend_start) AT TIME ZONE 'UTC',
        'YYYY-MM-DD HH24:MI:SS "UTC"')
FROM pg_locks AS held
LEFT JOIN pg_stat_activity AS activity ON activity.pid = held.pid
WHERE held.locktype = 'advisory' AND held.granted AND held.objsubid = 1
    AND held.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND held.objid::bigint = (hashtext('callboard.migrations')::bigint & 4294967295)
    AND held.classid::bigint = ((hashtext('callboard.migrations')::bigint >> 32) & 4294967295)
"""


@contextmanager
def turn(connection: Any, *, wait_max_s: float | None = None) -> Iterator[None]:
    """Begin a transaction that is the only one to migrate until it ends, and commit it after the block.

    Raises: Conflict, which names who has the turn, after wait_max_s (by default WAIT_MAX_S).
    """
    limit_s = WAIT_MAX_S if wait_max_s is None else wait_max_s
    until, is_told = time.monotonic() + limit_s, False
    while not connection.execute(text(TRY)).scalar():
        holder = _holder(connection)
        # Between two looks nothing is held, not even a pooler's session.
        connection.rollback()
        if holder and not is_told:
            log.warning("another upgrade is waited for", pid=holder[0], application=holder[1], since=holder[2])
            is_told = True
        if time.monotonic() > until:
            raise Conflict(_refusal(holder, limit_s))
        time.sleep(LOOK_S)
    try:
        yield
        connection.commit()
    except BaseException:
        connection.rollback()
        raise


def _holder(connection: Any) -> tuple[Any, ...] | None:
    row = connection.execute(text(HOLDER)).first()
    return None if row is None or row[0] is None else tuple(row)


def _refusal(holder: tuple[Any, ...] | None, waited_s: float) -> str:
    if holder is None:
        return f"Another upgrade did not end within {waited_s:g} s. Nothing was changed; try again."
    pid, application, since = holder
    return (
        f"Another upgrade did not end within {waited_s:g} s: process {pid} of Postgres ({application}), since {since}. "
        f"Nothing was changed. Wait for it and try again, or end it: SELECT pg_terminate_backend({pid});"
    )

"""The transactions of an operator's request: bounded, whatever the question takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import psycopg2

from callboard.errors import InvalidRequest, TooSlow
from callboard.web.limits.lanes import Lane
from callboard.web.state import State

#: Time of one statement; Postgres itself ends it then, so that no path over the arguments occupies a backend, s.
STATEMENT_TIMEOUT_S = 5
#: Time of one transaction: several statements, one of them slow, s.
TRANSACTION_TIMEOUT_S = 12

_LIMIT = f"SET LOCAL statement_timeout = '{STATEMENT_TIMEOUT_S}s'"
#: One moment for all statements, so that a message which moves from place to place meanwhile is seen in one of them.
_LOOK = f"SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY; {_LIMIT}"


def looking(state: State) -> AbstractContextManager[Any]:
    """Lend a cursor that sees one moment and changes nothing. Raises: TooSlow, DatabaseUnavailable."""
    return _limited(state, _LOOK)


def changing(state: State) -> AbstractContextManager[Any]:
    """Lend a cursor inside a transaction. Raises: TooSlow, DatabaseUnavailable."""
    return _limited(state, _LIMIT)


def batches(state: State) -> Callable[[], AbstractContextManager[Any]]:
    """Return what lends a cursor to each batch of a long change."""
    return lambda: changing(state)


@contextmanager
def _limited(state: State, limits: str) -> Iterator[Any]:
    with state.database(Lane.OPERATORS).cursor(TRANSACTION_TIMEOUT_S) as cursor:
        cursor.execute(limits)
        try:
            yield cursor
        except psycopg2.errors.QueryCanceled as error:
            raise TooSlow(
                f"Postgres took longer than {STATEMENT_TIMEOUT_S} s. Narrow it down, by queue, actor, since or until; "
                "a condition on arguments reads every message that those leave."
            ) from error
        except psycopg2.errors.StatementTooComplex as error:
            raise InvalidRequest("where is nested too deep for Postgres. Write a simpler condition.") from error

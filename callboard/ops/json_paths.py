"""SQL/JSON paths over a message's arguments: what Postgres says of one while it looks through the rows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg2

from callboard.errors import InvalidRequest

#: What applying a path may end in; the last is "invalid memory alloc request size", of one that finds too much.
APPLY_ERRORS = (
    psycopg2.DataError,
    psycopg2.errors.UndefinedObject,
    psycopg2.errors.StatementTooComplex,
    psycopg2.errors.InternalError_,
)


@contextmanager
def path_refusals(path: str | None) -> Iterator[None]:
    """Say in our terms that a path which could be read cannot be applied, such as one with an unknown $variable.

    Postgres notices that only at the first message whose arguments lead it there. Raises: InvalidRequest.
    """
    try:
        yield
    except APPLY_ERRORS as error:
        if path is None:
            raise
        raise InvalidRequest(
            f"where {path!r} cannot be applied to the arguments: {str(error.diag.message_primary).strip()}. "
            "Keyword arguments are members of $, positional ones are $args."
        ) from error

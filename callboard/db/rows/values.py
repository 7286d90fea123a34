"""Telling an error of a value, which comes again each time, from one of the connection, which passes."""

from __future__ import annotations

import psycopg2

#: Classes of SQLSTATE: data, integrity, limits of Postgres, and what it says of a row that is damaged.
_VALUE_CLASSES = ("22", "23", "54", "XX")
#: A value that is too large to be made into text.
_OUT_OF_MEMORY = "53200"
#: A sequence that has come to its end is nobody's value.
_SEQUENCE_EXHAUSTED = "2200H"


def said(error: BaseException) -> str:
    """Return what an error says, without the lines below, in which Postgres shows the row."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def is_of_a_value(error: BaseException) -> bool:
    """Tell whether an error is about what a row or a parameter holds.

    psycopg2 makes an OperationalError of the limits of Postgres, as of a lost connection; and what the driver cannot
    read or write itself is a ValueError or OverflowError of Python.
    """
    code = getattr(error, "pgcode", None)
    if code is not None:
        return code != _SEQUENCE_EXHAUSTED and (code[:2] in _VALUE_CLASSES or code == _OUT_OF_MEMORY)
    return isinstance(error, psycopg2.DataError | ValueError | OverflowError | RecursionError | TypeError)

"""How an error that ends a command becomes a sentence and an exit code."""

from __future__ import annotations

import psycopg2

from callboard.cli.output import note
from callboard.errors import CallboardError, ConfigurationError, InvalidRequest, NotFound
from callboard.ops.refusals import refusal_text

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_NOTHING_MATCHED = 3


def told(error: Exception) -> int | None:
    """Say what went wrong and return the exit code; None for an error that is a bug, and is to be raised."""
    match error:
        case ConfigurationError():
            note(f"The configuration is wrong:\n{error}")
            return EXIT_USAGE
        case InvalidRequest():
            note(str(error))
            return EXIT_USAGE
        case NotFound():
            note(str(error))
            return EXIT_NOTHING_MATCHED
        case CallboardError():
            note(str(error))
            return EXIT_FAILED
        case psycopg2.Error():
            note(refusal_text(error))
            return EXIT_FAILED
    return None

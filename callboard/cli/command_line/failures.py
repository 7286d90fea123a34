"""How an error that ends a command becomes a sentence and an exit code."""

from __future__ import annotations

import contextlib
import errno
import os
import sys

import psycopg2

from callboard.cli.output import note
from callboard.errors import CallboardError, ConfigurationError, InvalidRequest, NotFound
from callboard.ops.refusals import refusal_text

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_NOTHING_MATCHED = 3
#: What the system says where a file or a device takes no more of our output.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF)


def told(error: Exception) -> int | None:
    """Say what went wrong and return the exit code; None for an error that is a bug, and is to be raised."""
    match error:
        case ConfigurationError():
            note(f"The configuration is wrong:\n{error}")
            return EXIT_USAGE
        case InvalidRequest() | NotFound():
            note(str(error))
            return EXIT_USAGE if isinstance(error, InvalidRequest) else EXIT_NOTHING_MATCHED
        case CallboardError():
            note(str(error))
            return EXIT_FAILED
        case psycopg2.Error():
            note(refusal_text(error))
            return EXIT_FAILED
        case OSError(filename=None) if error.errno in FULL:
            note(f"The output cannot be written: {error.strerror}.")
            _drop_output()
            return EXIT_FAILED
    return None


def _drop_output() -> None:
    """Let what is left for stdout go nowhere, so that Python does not fail of it once more at its end."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

"""What becomes of a worker whose start failed half-way: it ends. Dramatiq would log the exception and go on."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from functools import wraps
from typing import Any, NoReturn, TypeVar, cast

from callboard.errors import CallboardError

#: Dramatiq's exit code for something that another start will not cure.
EXIT_CONFIGURATION = 2
#: For what may be gone at the next start: a fault of ours.
EXIT_FAULT = 1

Hook = TypeVar("Hook", bound=Callable[..., None])


def ends_process(hook: Hook) -> Hook:
    """Let a hook of a worker's start end the process with a sentence when it fails."""

    @wraps(hook)
    def run(*arguments: Any) -> None:
        try:
            hook(*arguments)
        except Exception as error:  # noqa: BLE001 - whatever it is, the worker must not go on without this step
            _refuse(error)

    return cast("Hook", run)


def _refuse(error: Exception) -> NoReturn:
    import psycopg2

    code, said = EXIT_CONFIGURATION, str(error)
    if isinstance(error, psycopg2.Error):
        from callboard.ops.refusals import refusal_text

        said = refusal_text(error)
    elif not isinstance(error, CallboardError | OSError):
        traceback.print_exc()
        code, said = EXIT_FAULT, f"{type(error).__name__}: {error}"
    print(f"Callboard cannot start:\n{said}", file=sys.stderr, flush=True)  # noqa: T201 - logs may not be set up yet
    sys.exit(code)

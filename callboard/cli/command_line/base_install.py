"""The command where something is missing that its imports need: the rest of the package, or a temporary folder."""

from __future__ import annotations

import sys
from collections.abc import Callable

#: Modules of the extra `service` that the command line imports.
NEEDED = frozenset({"alembic", "fastapi", "jinja2", "prometheus_client", "rich", "sqlalchemy", "structlog", "typer"})
EXIT_USAGE = 2


def refusal(error: ModuleNotFoundError | FileNotFoundError) -> Callable[[], None]:
    """Return a command that says what its imports miss; what we have no sentence for is raised."""
    text = _sentence(error)
    if text is None:
        raise error

    def main() -> None:
        print(text, file=sys.stderr)
        sys.exit(EXIT_USAGE)

    return main


def _sentence(error: ModuleNotFoundError | FileNotFoundError) -> str | None:
    if isinstance(error, FileNotFoundError):
        # Dramatiq asks for it when it is imported.
        if "temporary directory" not in str(error):
            return None
        return (
            "No folder for temporary files can be written here, and a worker needs one: mount a writable /tmp, also "
            "under a read-only root, or set TMPDIR to a folder that is writable."
        )
    name = (error.name or "").partition(".")[0]
    if name not in NEEDED:
        return None
    return (
        f"This command needs {name}, and only Callboard's base package is installed here, which is enough to send "
        "messages. Install the rest: pip install 'callboard[service]'"
    )

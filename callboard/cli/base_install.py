"""The command where only the base package is: a service that sends has it installed, and not what it needs."""

from __future__ import annotations

import sys
from collections.abc import Callable

#: Modules of the extra `service` that the command line imports.
NEEDED = frozenset({"alembic", "fastapi", "jinja2", "prometheus_client", "rich", "sqlalchemy", "structlog", "typer"})
EXIT_USAGE = 2


def refusal(error: ModuleNotFoundError) -> Callable[[], None]:
    """Return a command that says what to install; any other missing module is raised."""
    name = (error.name or "").partition(".")[0]
    if name not in NEEDED:
        raise error

    def main() -> None:
        text = (
            f"This command needs {name}, and only Callboard's base package is installed here, which is enough to send "
            "messages. Install the rest: pip install 'callboard[service]'"
        )
        print(text, file=sys.stderr)
        sys.exit(EXIT_USAGE)

    return main

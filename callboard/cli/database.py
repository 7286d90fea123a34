"""callboard db: the schema."""

from __future__ import annotations

from typing import Annotated

import typer

from callboard.cli.output import note, say, say_lines
from callboard.errors import InvalidRequest

app = typer.Typer(help="The database's schema: bring it up to date, look at it, print its SQL.", no_args_is_help=True)


@app.command()
def upgrade() -> None:
    """Apply the missing revisions. Safe to run from several places at once."""
    from callboard.app import database_url
    from callboard.db import schema

    note(f"The schema is at revision {schema.upgrade(database_url())}.")


@app.command()
def current() -> None:
    """Print the database's revision."""
    from callboard.app import get_pool
    from callboard.db import schema

    with get_pool().connection() as connection:
        say(schema.current_revision(connection) or "none")


@app.command()
def sql(
    from_revision: str = typer.Option(None, "--from", help="Revision the database is at; default: an empty one."),
) -> None:
    """Print the SQL that upgrade would run."""
    from callboard.db import schema

    say_lines(schema.upgrade_sql(from_revision))


@app.command()
def check() -> None:
    """Exit 0 when the schema is new enough for this version, else 1 with the command that helps.

    It also says when Postgres has too few connections for the workers that run.
    """
    from callboard.app import connection_warning, get_pool
    from callboard.db import schema

    with get_pool().connection() as connection:
        schema.check_revision(connection)
    note(f"The schema is at revision {schema.REVISION} or newer.")
    if warning := connection_warning(starting=0):
        note(warning)


@app.command()
def grants(
    producer: Annotated[list[str] | None, typer.Option(help="Role of services that send messages.")] = None,
    worker: Annotated[list[str] | None, typer.Option(help="Role of the workers.")] = None,
    api: Annotated[list[str] | None, typer.Option(help="Role of the HTTP API, and of operators' commands.")] = None,
    read: Annotated[list[str] | None, typer.Option(help="Role of monitoring, which sees no message.")] = None,
) -> None:
    """Print the SQL that gives roles of the database what they need, and not more. Connects to nothing.

    The roles exist already; the schemas' owner runs what is printed, again after each upgrade.
    """
    from callboard.db.grants import grants_for

    wanted = {"producer": producer, "worker": worker, "api": api, "read": read}
    if not any(wanted.values()):
        raise InvalidRequest("Whom for? Name roles: callboard db grants --producer shop --worker jobs --api web")
    for role, names in wanted.items():
        for name in names or ():
            if not name or not name.isprintable():
                raise InvalidRequest(f"{name!r} is no name of a role: it is empty or holds control characters.")
            quoted = '"' + name.replace('"', '""') + '"'
            say(f"-- {role}: {name}")
            say_lines("\n".join(grants_for(role, quoted)))

"""One connection: how it is opened, and that what our statements rely on holds in each of their transactions.

Straight to Postgres the settings travel with the start of the session and cost nothing after it. Poolers that lend a
session to many clients refuse such a start (PgBouncer, RDS Proxy) or take it and forget it (PgBouncer that is told to,
Supavisor): there they are sent with the first statement of each transaction, in its round trip.
See docs/decisions/0008-what-a-statement-relies-on.md.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import psycopg2
from psycopg2.extensions import TRANSACTION_STATUS_IDLE, parse_dsn

from callboard.db.connections.connect_failures import connect_failure
from callboard.db.connections.deadline import Deadline, deadline
from callboard.db.connections.target import connection_target
from callboard.db.rows.reading import register_types
from callboard.errors import CallboardError

#: Time a new connection may take, s.
CONNECT_TIMEOUT_S = 3
#: libpq rounds anything below up to this, s; with less than the second figure left, it would take much too long.
CONNECT_TIMEOUT_MIN_S = 2
#: Failures of the connection, not of the statement.
CONNECTION_ERRORS = (psycopg2.OperationalError, psycopg2.InterfaceError, TimeoutError)

#: What every statement of ours may rely on; a URL may name other values in its options, and they count.
SETTINGS = {
    # Stock dramatiq-pg writes local times into timestamptz columns; one zone keeps ours comparable.
    "timezone": "UTC",
    # As the driver reads them; where a database has another default, it would send a SET of its own.
    "datestyle": "ISO",
    # Off, a NULL inside of an array literal would be the four letters: one dedupe key for all that have none.
    "array_nulls": "on",
    "lock_timeout": "5s",
    "idle_in_transaction_session_timeout": "60s",
    # Compiling a statement takes up to 2 s, at each run; ours are short, and those that must not read whole tables look
    # costly to Postgres up to 17.
    "jit": "off",
    # Claims, heartbeats and verdicts are written for it; a database may have another default.
    "default_transaction_isolation": "read committed",
}
#: A name of ours among the options: where the session knows it, the others have arrived as well.
PROOF = "callboard.has_options"

_NETWORK: dict[str, Any] = {
    "keepalives": 1,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
_REFUSED_PARAMETER = re.compile(r"unsupported startup parameter: \"?(application_name|client_encoding)\b")
#: PgBouncer's "unsupported startup parameter: options" and, from 1.20 on, "… in options: jit"; RDS Proxy's "currently
#: doesn't support command-line options".
_REFUSED_OPTIONS = re.compile(r"startup (parameter|option)|command-line options", re.IGNORECASE)
_ISOLATION_LEVELS = ("read uncommitted", "read committed", "repeatable read", "serializable")


class Connection(psycopg2.extensions.connection):
    """A psycopg2 connection that knows which statements were prepared on it, and the deadline it is lent under."""

    deadline: Deadline
    #: Whether the session took our settings at its start, and so is ours alone: state that is left in it stays.
    keeps_session = True

    #: Who ends its transaction, where that is not whoever the connection is lent to.
    ended_by: str | None = None

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.prepared_names: set[str] = set()

    def commit(self) -> None:
        self._refuse("commit()")
        super().commit()

    def set_session(self, *arguments: Any, **options: Any) -> None:
        self._refuse("set_session()")
        super().set_session(*arguments, **options)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "autocommit" and value:
            self._refuse("autocommit")
        super().__setattr__(name, value)

    def _refuse(self, what: str) -> None:
        """Raise: CallboardError where what was written so far would be committed without what is to come with it."""
        if self.ended_by is not None:
            raise CallboardError(
                f"{what} was used on the connection of {self.ended_by}, which commits at the end of its block, all or "
                'nothing. Leave it out; also "with connection:" commits, where "with connection.cursor()" does not.'
            )


class SharedConnection(Connection):
    """A connection whose next transaction may be in another session: each begins with what it relies on."""

    keeps_session = False
    #: SQL that goes before the first statement of a transaction, in its round trip.
    beginning = ""

    def cursor(self, *arguments: Any, **options: Any) -> Any:
        factory = options.get("cursor_factory")
        if factory is not None and not issubclass(factory, SharedCursor):
            # Somebody's own, which sends what it is told: the transaction begins before it.
            self.begin()
        elif factory is None:
            options["cursor_factory"] = SharedCursor
        return super().cursor(*arguments, **options)

    @property
    def begins(self) -> bool:
        """Whether the next statement is the first of its transaction."""
        return self.info.transaction_status == TRANSACTION_STATUS_IDLE

    def begin(self) -> None:
        """Begin the transaction in a round trip of its own; without one, each statement brings its settings along."""
        if self.begins and not self.autocommit:
            with super().cursor() as cursor:
                cursor.execute(self.beginning)


class SharedCursor(psycopg2.extensions.cursor):
    """Sends the beginning of a transaction with its first statement."""

    connection: SharedConnection

    def execute(self, query: Any, vars: Any = None) -> None:  # noqa: A002 - the driver's name for it
        if self.name is not None:
            self.connection.begin()  # The driver makes a DECLARE of the query.
        elif self.connection.begins:
            beginning = self.connection.beginning
            query = query.as_string(self) if hasattr(query, "as_string") else query
            query = query.decode() if isinstance(query, bytes) else query
            query = (beginning if vars is None else beginning.replace("%", "%%")) + query
        super().execute(query, vars)

    def executemany(self, query: Any, vars_list: Any) -> None:
        for each in vars_list:
            self.execute(query, each)

    def callproc(self, *arguments: Any, **options: Any) -> Any:
        self.connection.begin()
        return super().callproc(*arguments, **options)

    def copy_expert(self, *arguments: Any, **options: Any) -> None:
        self.connection.begin()
        super().copy_expert(*arguments, **options)

    def copy_from(self, *arguments: Any, **options: Any) -> None:
        self.connection.begin()
        super().copy_from(*arguments, **options)

    def copy_to(self, *arguments: Any, **options: Any) -> None:
        self.connection.begin()
        super().copy_to(*arguments, **options)


@dataclass(frozen=True, slots=True)
class _Server:
    """What is known of the place a URL leads to."""

    takes_options: bool = True
    is_proven: bool = False
    #: Other parameters of a start that it has refused by name.
    refuses: frozenset[str] = frozenset()


#: Learned at a URL's first connection, for the life of the process.
_servers: dict[str, _Server] = {}


def connect(
    url: str,
    *,
    application_name: str = "callboard",
    autocommit: bool = False,
    timeout_s: float = CONNECT_TIMEOUT_S,
    settings: Mapping[str, str] | None = None,
    reads_all: bool = False,
) -> Any:
    """Open a psycopg2 connection with Callboard's time limits; settings are Postgres's own, beside SETTINGS.

    reads_all: see Pool.read_everything().
    Raises: DatabaseUnavailable, DatabaseMisconfigured; ConfigurationError before any try for what can never work.
    """
    url = connection_target(url)
    while True:
        server = _servers.get(url, _Server())
        try:
            connection = _open(url, server, application_name, timeout_s, settings or {})
        except CONNECTION_ERRORS as error:
            learned = _learn(server, str(error))
            if learned == server:
                raise connect_failure(error, url) from error
            _servers[url] = learned
            continue
        if connection is not None:
            connection.autocommit = autocommit
            if reads_all:
                register_types(connection)
            return connection
        _servers[url] = replace(server, takes_options=False)


def _open(url: str, server: _Server, application_name: str, timeout_s: float, settings: Mapping[str, str]) -> Any:
    """Open a connection; None where the session has not taken the options that it was sent."""
    asked, rest = split_options(parse_dsn(url).get("options", ""))
    # What the URL asks for comes last and so counts; given apart, ours would take its place.
    wanted = {**SETTINGS, **settings, **asked}
    words = [f"-c {name}={_escaped(value)}" for name, value in {PROOF: "on", **wanted}.items()]
    parameters: dict[str, Any] = {
        **_NETWORK,
        "connect_timeout": min(max(int(timeout_s), CONNECT_TIMEOUT_MIN_S), CONNECT_TIMEOUT_S),
        "application_name": application_name,
        # Whatever PGCLIENTENCODING or the URL say: one letter that it does not know would stop a claim for good.
        "client_encoding": "UTF8",
        # The rest is a pooler's own, such as the name of a tenant; it needs that to find the database.
        "options": " ".join([*(words if server.takes_options else ()), *rest]),
    }
    # An empty one is not sent at all; without any, those of the URL and the environment would be.
    parameters.update(dict.fromkeys(server.refuses, ""))
    factory = Connection if server.takes_options else SharedConnection
    connection = psycopg2.connect(url, connection_factory=factory, **parameters)
    connection.autocommit = True
    try:
        with deadline(connection, timeout_s):
            if connection.encoding != "UTF8":
                connection.set_client_encoding("UTF8")
            if isinstance(connection, SharedConnection):
                connection.beginning = _beginning(wanted)
            elif not server.is_proven:
                if not _has_options(connection):
                    connection.close()
                    return None
                _servers[url] = replace(server, is_proven=True)
    except BaseException:
        connection.close()
        raise
    return connection


def _learn(server: _Server, error: str) -> _Server:
    """Return what is known of the server now that it has refused a connection."""
    if (found := _REFUSED_PARAMETER.search(error)) is not None:
        return replace(server, refuses=server.refuses | {found[1]})
    if _REFUSED_OPTIONS.search(error) is not None:
        return replace(server, takes_options=False)
    return server


def _has_options(connection: Any) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT current_setting('{PROOF}', true)")
        return bool(cursor.fetchone()[0] == "on")


def _beginning(settings: Mapping[str, str]) -> str:
    """Return the SQL that puts settings in force for the transaction that it begins."""
    others = dict(settings)
    isolation = others.pop("default_transaction_isolation").replace("_", " ")
    # Before anything that takes a snapshot. One SELECT for the others: a statement for each would be counted, planned
    # and answered apart.
    first = f"SET TRANSACTION ISOLATION LEVEL {isolation};" if isolation in _ISOLATION_LEVELS else ""
    calls = ", ".join(f"set_config({_quoted(name)}, {_quoted(value)}, true)" for name, value in others.items())
    return f"{first} SELECT {calls}; "


def split_options(text: str) -> tuple[dict[str, str], list[str]]:
    """Return the settings among the options of a URL, and the words that are something else, as they stand."""
    words = re.findall(r"(?:\\.|\S)+", text)
    settings: dict[str, str] = {}
    rest: list[str] = []
    following = iter(words)
    for word in following:
        pair = word
        if word == "-c":
            pair = next(following, "")
        elif word.startswith(("-c", "--")):
            pair = word[2:]
        if pair != word and "=" in pair:
            name, value = pair.split("=", 1)
            settings[name.replace("-", "_").lower()] = re.sub(r"\\(.)", r"\1", value)
        else:
            rest.append(word if pair in (word, word[2:]) else f"{word} {pair}")
    return settings, rest


def _escaped(value: str) -> str:
    return re.sub(r"([\\\s])", r"\\\1", value)


def _quoted(value: str) -> str:
    """Write a literal that means the same whatever standard_conforming_strings is."""
    return "E'" + value.replace("\\", "\\\\").replace("'", "''") + "'"

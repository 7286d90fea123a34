"""The composition root: settings → pool → broker → middleware. The only file that knows them all.

Importing it opens no connection and reads no setting: a web service imports the actors just to send. What is
heavy or only for workers loads at first use.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import dramatiq

from callboard.broker import BrokerOptions, PostgresBroker, set_default_broker
from callboard.db import CALL_TIMEOUT_S, CONNECTION_ERRORS, Pool, connect, deadline, schema
from callboard.db.connections.target import say_dropped, with_authorities
from callboard.errors import ConfigurationError, DatabaseUnavailable

if TYPE_CHECKING:
    from types import ModuleType

    from callboard.settings import Settings

#: Connections the threads of one process may hold at once, besides the three of a worker.
POOL_SIZE = 10
#: Where demo and dev write the address of the embedded Postgres while it runs.
EMBEDDED_URL_FILE = Path(".callboard") / "database-url"
#: Where `callboard work --queues` tells its processes the order of the queues, comma-separated.
QUEUE_ORDER_VARIABLE = "CALLBOARD_QUEUE_ORDER"
#: Where `callboard work --once` and `--stop-when-empty` tell its processes that there is an end: once or drain.
ERRAND_VARIABLE = "CALLBOARD_ERRAND"
#: Where `callboard start` tells its processes which folder their logs go to.
LOG_FOLDER_VARIABLE = "CALLBOARD_LOG_FOLDER"
#: Where `callboard start` tells `callboard work` the folder that its processes are to share.
FOLDER_VARIABLE = "CALLBOARD_WORKER_FOLDER"
#: Set in the processes of `callboard work`.
SUPERVISED_VARIABLE = "CALLBOARD_SUPERVISED"


@cache
def get_settings() -> Settings:
    """Return the settings, read at the first call; one that is wrong raises ConfigurationError when it is used."""
    from callboard.settings import read_settings

    return read_settings()


def check_settings(role: str) -> Settings:
    """Return the settings if a role can work with them. Raises: ConfigurationError with all that it cannot."""
    settings = get_settings()
    settings.check(role)
    return settings


def export_library_variables() -> None:
    """Let what .env says to libraries (AWS_…, SSL_CERT_FILE, HTTPS_PROXY) act in this process, which is ours.

    In a producer's process nothing of its environment is changed; what libpq reads goes with the address everywhere.
    """
    for name, value in get_settings().library.items():
        if not name.startswith("PG"):
            os.environ.setdefault(name, value)


def database_url() -> str:
    """Return DATABASE_URL, or the embedded Postgres of this folder while it runs. Raises: ConfigurationError."""
    settings = get_settings()
    url = settings.database_url
    if url is not None:
        if SUPERVISED_VARIABLE not in os.environ:  # `callboard work` has said so for all of them.
            say_dropped(settings.dropped)
        return with_authorities(url.get_secret_value(), {**settings.library, **os.environ})
    try:
        return EMBEDDED_URL_FILE.read_text(encoding="utf-8").strip()
    except OSError:
        missing = (
            "DATABASE_URL is not set and no embedded Postgres runs in this folder. "
            "Set DATABASE_URL=postgresql://user:password@host:5432/name, or start one here with: callboard dev"
        )
    unread = settings.faults.get(".env")
    raise ConfigurationError(*([unread] if unread else []), missing)


@cache
def get_pool() -> Pool:
    """Return the pool of this process; it connects at first use."""
    return Pool(database_url, size=POOL_SIZE)


def _broker_options() -> BrokerOptions:
    settings = get_settings()
    # A producer is not stopped by what it does not use, and a worker has checked all of it at its start. A
    # QUEUE_LISTEN that cannot be read counts as off: what that leaves out is refused by no pooler.
    return BrokerOptions(
        poll_interval_s=settings.or_default("worker_interval_ms") / 1000,
        claim_max=settings.or_default("max_tasks_per_cycle"),
        listens="queue_listen" not in settings.faults and settings.queue_listen,
        queue_order=tuple(filter(None, os.environ.get(QUEUE_ORDER_VARIABLE, "").split(","))),
        errand=cast("Any", os.environ.get(ERRAND_VARIABLE) or None),
    )


def check_schema() -> None:
    """Return if the database is ready for this version.

    Raises: ConfigurationError, DatabaseMisconfigured, DatabaseUnavailable, SchemaOutdated.
    """
    connection = connect(database_url())
    try:
        with deadline(connection, CALL_TIMEOUT_S):
            schema.check_revision(connection)
    except CONNECTION_ERRORS as error:
        raise DatabaseUnavailable(str(error).strip()) from error
    finally:
        connection.close()


def connection_warning(starting: int) -> str | None:
    """Return why Postgres may run out of connections with so many more worker processes, or None.

    Raises: DatabaseUnavailable.
    """
    from callboard.ops.health.connections import read_budget

    connection = connect(database_url())
    try:
        if not connection.keeps_session:
            return None  # A pooler's: it lends as many as it has.
        with deadline(connection, CALL_TIMEOUT_S), connection.cursor() as cursor:
            return read_budget(cursor, pool_size=POOL_SIZE, starting=starting).warning
    except CONNECTION_ERRORS as error:
        raise DatabaseUnavailable(str(error).strip()) from error
    finally:
        connection.close()


def grant_warning() -> str | None:
    """Return what the database's role lacks that a worker needs, or None. Raises: DatabaseUnavailable."""
    from callboard.db.grants import lack

    connection = connect(database_url())
    try:
        with deadline(connection, CALL_TIMEOUT_S), connection.cursor() as cursor:
            return lack(cursor, "worker")
    finally:
        connection.close()


def log_folder() -> Path | None:
    """Return where `callboard start` wants the logs of its processes; None: on stderr, as everywhere else."""
    named = os.environ.get(LOG_FOLDER_VARIABLE)
    return Path(named) if named else None


def _worker_start() -> Any:
    settings = check_settings("worker")
    export_library_variables()
    return _middleware_package().WorkerStart(
        log_level=settings.log_level,
        log_format=settings.log_format,
        log_folder=log_folder(),
        metrics_host=settings.metrics_host,
        metrics_port=settings.metrics_port,
        # Of the processes of `callboard work` none says what that has said for all of them.
        settings_warnings=() if SUPERVISED_VARIABLE in os.environ else settings.warnings,
        check_schema=check_schema,
        has_end=bool(os.environ.get(ERRAND_VARIABLE)),
        grant_warning=grant_warning,
        connection_warning=lambda: None if SUPERVISED_VARIABLE in os.environ else connection_warning(starting=1),
    )


@cache
def _middleware_package() -> ModuleType:
    """Import our middleware package, also where the producer's own module of that name comes first on its path."""
    ours = Path(__file__).resolve().parent.parent / "middleware" / "__init__.py"
    found = importlib.util.find_spec("middleware")
    if found is not None and found.origin is not None and Path(found.origin).resolve() == ours:
        return importlib.import_module("middleware")
    name = "callboard_middleware"
    spec = importlib.util.spec_from_file_location(name, ours, submodule_search_locations=[str(ours.parent)])
    assert spec is not None and spec.loader is not None  # noqa: S101, PT018 - a path always gives both
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def make_broker() -> PostgresBroker:
    """Build the service's broker; no I/O happens before it is used."""
    middleware = _middleware_package().stack(lambda queue_name: get_settings().max_retries(queue_name), _worker_start)
    return PostgresBroker(pool=get_pool(), middleware=middleware, options=_broker_options)


broker = make_broker()
set_default_broker(broker)
#: dramatiq.actor, bound to our broker by name, so that a service keeps a Dramatiq broker of its own.
actor: Callable[..., Callable[[Callable[..., Any]], dramatiq.Actor[..., Any]]]
actor = cast("Any", partial(dramatiq.actor, broker=broker))

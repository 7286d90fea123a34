"""callboard work and api: the processes of the service."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from callboard.cli.output import note
from callboard.errors import ConfigurationError, DatabaseUnavailable, InvalidRequest

if TYPE_CHECKING:
    from callboard.processes.supervisor import Child
    from callboard.processes.worker_supervisor import WorkerSupervisor
    from callboard.settings import Settings


Queues = Annotated[
    str | None,
    typer.Option("--queues", help="Only these queues, comma-separated, in strict order; default: all, in fair turns"),
]
MaxJobs = Annotated[int | None, typer.Option("--max-jobs", help="Replace a process that has ended so many messages")]
MaxTime = Annotated[
    float | None, typer.Option("--max-time", help="Replace a process that is so old, s; with an end: end after it")
]
MaxRss = Annotated[int | None, typer.Option("--max-rss", help="Replace a process that holds more memory, MB")]
Modules = Annotated[list[str] | None, typer.Argument(help="More modules with actors, beside ours")]


def work(
    modules: Modules = None,
    *,
    queues: Queues = None,
    once: bool = typer.Option(False, "--once", help="Run one message that is ready, and end"),
    stop_when_empty: bool = typer.Option(False, "--stop-when-empty", help="End when nothing is ready"),
    max_jobs: MaxJobs = None,
    max_time: MaxTime = None,
    max_rss: MaxRss = None,
) -> None:
    """Run WORKER_PROCESSES processes of JOB_CONCURRENCY threads, each replaced on its own when it ends."""
    from callboard.app import FOLDER_VARIABLE
    from callboard.processes import folders as worker_folders
    from callboard.processes.worker_supervisor import WorkerSupervisor, work_order

    limits, errand = work_order(
        once=once, stop_when_empty=stop_when_empty, max_jobs=max_jobs, max_time_s=max_time, max_rss_mb=max_rss
    )
    settings = _with_free_port(_prepare("work", waits=errand is None))
    if once:
        settings = settings.model_copy(update={"worker_processes": 1, "job_concurrency": 1})
    _check_modules(modules or [])
    wanted = _known_queues(_named(queues), settings.job_queue_name, modules or [])
    # A process that retires works beside its successor.
    _check_connections(settings.worker_processes + limits.are_set)
    place = worker_folders.make_folder(os.environ.pop(FOLDER_VARIABLE, None))
    supervisor = WorkerSupervisor(
        _children(settings, wanted, modules or [], place, errand.kind if errand else ""),
        place=place,
        # Dramatiq looks for SIGTERM once a second and waits for its threads and its consumers one after the other.
        stop_timeout_s=settings.worker_shutdown_s + 10,
        limits=limits,
        errand=errand,
    )
    _start(supervisor, settings, place)
    code = supervisor.run()
    if supervisor.trouble is not None:
        note(supervisor.trouble)
    elif once and code == 0 and not supervisor.jobs_ended:
        note(f"Nothing was ready in {', '.join(wanted) or 'any queue'}; no message was run.")
    sys.exit(code)


def _with_free_port(settings: Settings) -> Settings:
    """Check where metrics are to be listened on. PORT may be the API's of this machine: then the default is taken.

    Raises: ConfigurationError for an address that can never be listened on.
    """
    from callboard.log import get_logger
    from callboard.processes.exposition import metrics_address
    from callboard.processes.listening import is_free
    from callboard.settings import is_alias, read_all

    if settings.metrics_port is None:
        return settings
    if is_free(metrics_address(settings.metrics_host, settings.metrics_port)) or not is_alias(
        "METRICS_PORT", read_all()
    ):
        return settings
    usual = type(settings).model_fields["metrics_port"].default
    get_logger(__name__).warning(
        "PORT is taken on this machine, perhaps by the API; set METRICS_PORT", port=settings.metrics_port, instead=usual
    )
    return settings.model_copy(update={"metrics_port": usual})


def _start(supervisor: WorkerSupervisor, settings: Settings, place: Path) -> None:
    from callboard.log import get_logger
    from callboard.processes import exposition

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, supervisor.request_stop)
    supervisor.start()
    get_logger(__name__).info(
        "workers started",
        processes=settings.worker_processes,
        threads=settings.job_concurrency,
        poll_interval_ms=settings.worker_interval_ms,
        claim_max=settings.max_tasks_per_cycle,
    )
    if settings.metrics_port is not None:
        exposition.serve_when_free(settings.metrics_host, settings.metrics_port, place, supervisor.why_not_alive)


def _children(settings: Settings, queues: list[str], modules: list[str], place: Path, errand: str) -> list[Child]:
    from callboard.app import ERRAND_VARIABLE, QUEUE_ORDER_VARIABLE, SUPERVISED_VARIABLE
    from callboard.processes.supervisor import Child, worker_command
    from callboard.settings import PREFIX

    command = worker_command(
        threads=settings.job_concurrency, shutdown_s=settings.worker_shutdown_s, queues=queues, modules=modules
    )
    shared = {
        "PROMETHEUS_MULTIPROC_DIR": str(place),
        # By its twin, which wins over whatever else is set.
        f"{PREFIX}METRICS_PORT": "off",
        # Dramatiq makes a set of its --queues, so that their order takes a road of its own.
        QUEUE_ORDER_VARIABLE: ",".join(queues),
        ERRAND_VARIABLE: errand,
        SUPERVISED_VARIABLE: "1",
    }
    return [Child(f"worker {number}", command, shared) for number in range(1, settings.worker_processes + 1)]


def _check_connections(processes: int) -> None:
    from callboard.app import connection_warning
    from callboard.log import get_logger

    # With the database away there is nothing to count, and _prepare() has said so.
    with contextlib.suppress(DatabaseUnavailable):
        if warning := connection_warning(starting=processes):
            get_logger(__name__).warning(warning)


def _named(names: str | None) -> list[str]:
    return [name.strip() for name in (names or "").split(",") if name.strip()]


def _check_modules(modules: list[str]) -> None:
    """Refuse a module that is not there: each process would end of it, and elsewhere the word is a connection's."""
    # As Dramatiq looks for them: from this folder on.
    sys.path.insert(0, "")
    for module in modules:
        try:
            is_there = importlib.util.find_spec(module) is not None
        except (ImportError, ValueError):
            is_there = False
        if not is_there:
            raise InvalidRequest(
                f"No module is called {module!r}, here in {Path.cwd()} or where Python looks for packages. work takes "
                "modules with actors, as: callboard work their_module. Queues are chosen with --queues, and the "
                "database with DATABASE_URL."
            )


def _known_queues(asked: list[str], configured: list[str], modules: list[str]) -> list[str]:
    """Return the queues to work, refusing one that no actor has: its workers would wait for nothing.

    What is asked for on the command line wins over JOB_QUEUE_NAME.
    """
    wanted = asked or configured
    if wanted:
        import actors  # noqa: F401 - declares the queues on the broker
        from callboard.app import broker

        for module in modules:
            importlib.import_module(module)
        if unknown := sorted(set(wanted) - set(broker.queues)):
            sentence = f"No actor listens to {', '.join(unknown)}. There are: {', '.join(sorted(broker.queues))}."
            if asked:
                raise typer.BadParameter(sentence)
            raise ConfigurationError(
                f"JOB_QUEUE_NAME names queues that callboard work is to serve. {sentence} Correct it, unset it to "
                "serve all, or name the module of the actors: callboard work their_module"
            )
    return wanted


def api() -> None:
    """Serve the HTTP API on API_PORT."""
    from callboard.web import serve

    serve(_prepare("api"))


def _prepare(role: str, *, waits: bool = True) -> Settings:
    """Check all settings that a role uses, set the logs up and refuse a database that is not ready, before all else.

    waits: whether one that is away will do, as it comes back. Raises: DatabaseUnavailable where it will not.
    """
    from callboard.app import check_schema, check_settings, log_folder
    from callboard.log import configure_logging, get_logger
    from callboard.settings import successors

    # As process 1 of a container nothing would end us before a handler is set.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    settings = check_settings(role)
    configure_logging(settings.log_level, settings.log_format, log_folder())
    for line in [*settings.warnings, *successors(os.environ)]:
        get_logger(__name__).warning(line)
    try:
        check_schema()
    except DatabaseUnavailable as error:
        if not waits:
            raise
        # Readiness says so until it is back; ending would only make whoever supervises us start us again.
        get_logger(__name__).warning("database is away; waiting for it", error=str(error))
    return settings

"""Structured logs: an event as a past-tense phrase, data as fields, the running message on every line.

get_logger() needs only the standard library, because producers import it too. configure_logging(),
called by worker, API and CLI, renders every record (also those of libraries) with structlog.
"""

from __future__ import annotations

import importlib
import logging
import logging.handlers
import re
import sys
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from pathlib import Path
from typing import Any

from callboard.plain_text import plain, plain_json

#: Returns this thread's fields: most messages log no line, and making the fields for each would cost more than that.
_context: ContextVar[Callable[[], Mapping[str, Any]]] = ContextVar("callboard_log_context", default=dict)

Event = MutableMapping[str, Any]

#: Fields whose value never reaches a log line, whoever logs them.
SECRET_FIELDS = re.compile(r"pass(word)?$|secret|token$|authorization|api_key|dsn$|database_url", re.IGNORECASE)
#: What Dramatiq's worker logs of every failure.
DRAMATIQ_FAILURE = "Failed to process message %s with unhandled exception."
ADDRESS = re.compile(r"[^\s@<>\"',;:()]+@([^\s@<>\"',;:()]+)")


class Logger:
    """Log an event with fields through the standard library's logger of the same name."""

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)

    @property
    def has_info(self) -> bool:
        """Whether an info line is written at all."""
        return self._logger.isEnabledFor(logging.INFO)

    def debug(self, event: str, **fields: Any) -> None:
        self._log(logging.DEBUG, event, fields)

    def info(self, event: str, **fields: Any) -> None:
        self._log(logging.INFO, event, fields)

    def warning(self, event: str, *, failure: BaseException | None = None, **fields: Any) -> None:
        """Log a warning; failure: with the traceback of this exception."""
        self._log(logging.WARNING, event, fields, exc_info=failure)

    def error(self, event: str, **fields: Any) -> None:
        self._log(logging.ERROR, event, fields)

    def exception(self, event: str, **fields: Any) -> None:
        """Log an error with the traceback of the exception being handled."""
        self._log(logging.ERROR, event, fields, exc_info=True)

    def _log(
        self, level: int, event: str, fields: dict[str, Any], *, exc_info: bool | BaseException | None = None
    ) -> None:
        if self._logger.isEnabledFor(level):
            extra = {"callboard_fields": {**_context.get()(), **fields}}
            # The event goes through %s, so that a percent sign in it stays one.
            self._logger.log(level, "%s", event, exc_info=exc_info, extra=extra, stacklevel=3)


def get_logger(name: str) -> Logger:
    """Return the logger of a module; call it with __name__."""
    return Logger(name)


def set_log_context(fields: Callable[[], Mapping[str, Any]]) -> None:
    """Put what fields() returns, and nothing else, on every line this thread logs from now on."""
    _context.set(fields)


def clear_log_context() -> None:
    """Forget the fields of this thread."""
    _context.set(dict)


@contextmanager
def log_context(**fields: Any) -> Iterator[None]:
    """Put fields on every line logged inside the block."""
    token = _context.set({**_context.get()(), **fields}.copy)
    try:
        yield
    finally:
        _context.reset(token)


def mask_addresses(text: str) -> str:
    """Replace each mail address by its domain: who got mail is nobody's business who reads logs."""
    return ADDRESS.sub(r"***@\1", text)


def configure_logging(level: str = "info", log_format: str | None = None, folder: Path | None = None) -> None:
    """Render all logs on stderr, as JSON or for a person; json unless stderr is a terminal.

    Into a folder, where one is given: out.log, and error.log for warnings and errors.
    """
    structlog = _import_structlog()
    is_terminal = folder is None and _is_read_in_terminal()
    is_json = (log_format or ("console" if is_terminal else "json")) == "json"
    renderers: list[Any] = (
        [structlog.processors.JSONRenderer(ensure_ascii=False), lambda _logger, _method, line: plain_json(line)]
        if is_json
        else [
            _make_plain,
            structlog.dev.ConsoleRenderer(colors=is_terminal, exception_formatter=structlog.dev.plain_traceback),
        ]
    )
    chain: list[Any] = [
        _add_fields,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _redact,
    ]
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=chain,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            # As plain text on every format: a traceback that shows local variables shows secrets.
            structlog.processors.format_exc_info,
            _mask,
            *renderers,
        ],
    )
    handlers = [logging.StreamHandler(sys.stderr)] if folder is None else _files(folder)
    for handler in handlers:
        handler.setFormatter(formatter)
        handler.addFilter(_without_arguments)
        handler.addFilter(_not_said_by_us)
    root = logging.getLogger()
    root.handlers[:] = handlers
    root.setLevel({"warn": "WARNING"}.get(level, level.upper()))
    for noisy in ("uvicorn.access", "mail.log", "urllib3", "httpx", "fontTools"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def _import_structlog() -> Any:
    """Import structlog without Rich, which it loads to draw tracebacks; ours are plain text on every format.

    With Pygments and attrs that was the largest part of what a worker process loads, before its first message.
    """
    if "rich" in sys.modules or "structlog" in sys.modules:
        return importlib.import_module("structlog")
    # None is how Python is told that a module cannot be imported; structlog does without.
    sys.modules["rich"] = None  # type: ignore[assignment]
    try:
        return importlib.import_module("structlog")
    finally:
        del sys.modules["rich"]


def _is_read_in_terminal() -> bool:
    """Tell whether a person reads stderr; in Dramatiq's worker processes a pipe stands for it, to the same terminal."""
    if type(sys.stderr).__module__ == "dramatiq.compat":
        return sys.__stderr__ is not None and sys.__stderr__.isatty()
    return sys.stderr.isatty()


def _files(folder: Path) -> list[logging.StreamHandler[Any]]:
    # Looked up anew where somebody has rotated them; several processes append to each.
    files = [logging.handlers.WatchedFileHandler(folder / name, encoding="utf-8") for name in ("out.log", "error.log")]
    files[0].addFilter(lambda record: record.levelno < logging.WARNING)
    files[1].setLevel(logging.WARNING)
    return list(files)


def _add_fields(_logger: Any, _method: str, event: Event) -> Event:
    record = event.get("_record")
    fields = getattr(record, "callboard_fields", None)
    event.update(_context.get()() if fields is None else fields)
    return event


def _redact(_logger: Any, _method: str, event: Event) -> Event:
    for key in event:
        if _is_secret(key):
            event[key] = "***"
    return event


@lru_cache(1024)
def _is_secret(key: str) -> bool:
    # Fields are the same few on every line, and looking each up anew takes a sixth of the line's time.
    return SECRET_FIELDS.search(key) is not None


def _mask(_logger: Any, _method: str, event: Event) -> Event:
    for key, value in event.items():
        if isinstance(value, str) and "@" in value:
            event[key] = mask_addresses(value)
    return event


def _make_plain(_logger: Any, _method: str, event: Event) -> Event:
    """Keep what strangers sent from steering the terminal, or from making lines that nobody logged."""
    for key, value in event.items():
        if isinstance(value, str):
            event[key] = plain(value, keeps_lines=key == "exception")
    return event


def _not_said_by_us(record: logging.LogRecord) -> bool:
    """Leave out Dramatiq's line of a failure where ours follows, which says what becomes of the message too."""
    is_failure = record.name.startswith("dramatiq.worker") and record.msg == DRAMATIQ_FAILURE
    return not (is_failure and "message_id" in _context.get()())


def _without_arguments(record: logging.LogRecord) -> bool:
    """Show a Dramatiq message as actor and id: its own text holds every argument, bodies and addresses included."""
    if record.args and isinstance(record.args, tuple):
        record.args = tuple(
            f"{arg.actor_name}[{arg.message_id}]" if hasattr(arg, "message_id") and hasattr(arg, "actor_name") else arg
            for arg in record.args
        )
    return True

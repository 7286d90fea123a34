"""A report's life: requested → ready | failed.

request_report notes what was asked for, prepare_report does the work and may be repeated at any point,
finish_report and fail_report close the row in the caller's transaction.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from callboard.db import Pool, sql
from callboard.errors import NotFound
from callboard.log import get_logger
from callboard.reports.errors import InvalidReport
from callboard.reports.formats.plain_text import clean
from callboard.reports.formats.rendering import render
from callboard.reports.kinds.catalogue import check_formats, check_parameters, report_kind
from callboard.reports.storage.files import StoredFile, store

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from callboard.settings import Settings

log = get_logger(__name__)

#: Time that reading a report's rows may take, s.
COLLECT_TIMEOUT_S = 60.0
_LONGEST_ERROR = 2_000


@dataclass(frozen=True)
class Report:
    """A row of callboard.reports."""

    report_id: str
    state: str
    kind: str
    parameters: dict[str, Any]
    formats: list[str]
    files: dict[str, StoredFile]
    notify_to: str | None
    error: str | None
    created_at: datetime
    finished_at: datetime | None


@dataclass(frozen=True)
class ReadyReport:
    """A report whose files are stored."""

    report_id: str
    kind: str
    title: str
    files: dict[str, StoredFile]
    notify_to: str | None


def request_report(
    cursor: Any,
    *,
    report_id: str,
    kind: str,
    parameters: Mapping[str, Any] | None = None,
    formats: Sequence[str] | None = None,
    notify_to: str | None = None,
    now: datetime | None = None,
) -> Report:
    """Note that a report was asked for and return its row; the same request again returns the first row.

    Raises: InvalidReport, also when report_id already names another report.
    """
    definition = report_kind(kind)
    report_id = _check_id(report_id)
    now = now or datetime.now(UTC)
    wanted_formats = check_formats(definition, formats)
    complete = check_parameters(definition, parameters, now)
    row = {
        "report_id": report_id,
        "kind": kind,
        "parameters": _json(complete),
        "formats": wanted_formats,
        "notify_to": _check_recipient(notify_to),
        "created_at": now,
    }
    cursor.execute(sql("reports/insert_report"), row)
    report = find_report(cursor, report_id)
    if report is None:
        raise NotFound(f"Report {report_id} vanished while it was requested.")
    # Asked again at the first request's moment: "today" must not differ after midnight.
    repeated = check_parameters(definition, parameters, report.created_at) if report.kind == kind else None
    if (repeated, wanted_formats) != (report.parameters, report.formats):
        raise InvalidReport(f"Report {report_id} is another one already, a {report.kind}. Choose another report_id.")
    return report


def find_report(cursor: Any, report_id: str) -> Report | None:
    """Return a report, or None where there is none of that id."""
    cursor.execute(sql("reports/find_report"), {"report_id": _check_id(report_id)})
    row = cursor.fetchone()
    if row is None:
        return None
    report_id, state, kind, parameters, formats, files, notify_to, error, created_at, finished_at = row
    stored = {name: StoredFile(**file) for name, file in files.items()}
    return Report(report_id, state, kind, parameters, formats, stored, notify_to, error, created_at, finished_at)


def prepare_report(settings: Settings, pool: Pool, report_id: str) -> ReadyReport:
    """Make and store the files of a requested report; a report that is ready costs one query.

    A file's name holds its content's hash, so that two attempts that saw different data never overwrite each
    other: the row names the files of one of them, all of the same moment.
    Raises: NotFound, InvalidReport, and what rendering and storing raise.
    """
    with pool.cursor() as cursor:
        report = find_report(cursor, report_id)
    if report is None:
        raise NotFound(f"There is no report {report_id}. Request it first.")
    definition = report_kind(report.kind)
    title = definition.title(report.parameters)
    if report.state == "ready":
        return ReadyReport(report.report_id, report.kind, title, report.files, report.notify_to)
    with pool.cursor(timeout_s=COLLECT_TIMEOUT_S) as cursor:
        data = definition.collect(cursor, report.parameters)
    files = {}
    for name in report.formats:
        content = render(report.kind, name, data)
        path = f"{report.report_id}/{report.kind}-{hashlib.sha256(content).hexdigest()[:16]}.{name}"
        files[name] = store(settings.report_storage_url, path, content)
        log.info("report file stored", report_id=report.report_id, format=name, size_bytes=files[name].size_bytes)
    return ReadyReport(report.report_id, report.kind, title, files, report.notify_to)


def finish_report(cursor: Any, ready: ReadyReport) -> bool:
    """Close a report with its files; return whether this call did it, so that only one run notifies."""
    files = {name: asdict(file) for name, file in ready.files.items()}
    cursor.execute(sql("reports/mark_ready"), {"report_id": ready.report_id, "files": _json(files)})
    return cursor.fetchone() is not None


def fail_report(cursor: Any, report_id: str, error: BaseException | str) -> bool:
    """Close a report with the reason it cannot be made; return whether that changed anything."""
    text = clean(error)[:_LONGEST_ERROR]
    cursor.execute(sql("reports/mark_failed"), {"report_id": _check_id(report_id), "error": text})
    return cursor.fetchone() is not None


def _check_id(report_id: Any) -> str:
    try:
        return str(UUID(report_id))
    except (ValueError, TypeError, AttributeError):
        raise InvalidReport(f"report_id must be a UUID, got {str(report_id)[:60]!r}.") from None


def _check_recipient(notify_to: Any) -> str | None:
    if notify_to is None:
        return None
    if not isinstance(notify_to, str) or "@" not in notify_to or not notify_to.isprintable():
        raise InvalidReport(f"notify_to must be a mail address, got {str(notify_to)[:60]!r}.")
    return notify_to


def _json(value: Any) -> str:
    """Return JSON that a jsonb column takes."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
        text.encode()  # Half a surrogate pair fails here, with a sentence instead of a database error.
    except (TypeError, ValueError) as error:
        raise InvalidReport(f"parameters must be plain JSON: {error}.") from error
    if "\\u0000" in text.replace("\\\\", ""):
        raise InvalidReport("parameters hold a NUL character, which Postgres cannot store. Remove it.")
    return text

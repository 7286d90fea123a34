"""GET /reports/{id}: the state of a report, or one of its files."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from callboard.errors import TemporaryError
from callboard.log import get_logger
from callboard.web.limits.lanes import Lane
from callboard.web.requests.access import Credentials, has_token
from callboard.web.requests.answers import JsonAnswer
from callboard.web.requests.errors import ApiError
from callboard.web.requests.guard import HEAD_KEY
from callboard.web.state import Client, CurrentState, State

if TYPE_CHECKING:
    from callboard.reports import Report
    from callboard.reports.storage.files import StoredFile

log = get_logger(__name__)
router = APIRouter(prefix="/reports", tags=["reports"])

Format = Literal["pdf", "csv", "xlsx", "html"]
MEDIA_TYPES: dict[str, str] = {
    "pdf": "application/pdf",
    "csv": "text/csv; charset=utf-8",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "html": "text/html; charset=utf-8",
}


@router.get("/{report_id}", response_model=None)
async def get_report(  # noqa: PLR0917 - FastAPI calls it by name
    report_id: UUID,
    request: Request,
    state: CurrentState,
    client: Client,
    credentials: Credentials,
    format: Annotated[Format | None, Query(description="Which file; without it, the state of the report.")] = None,  # noqa: A002 - the name in every link
    expires: Annotated[int | None, Query(ge=0, le=2**40)] = None,
    signature: Annotated[str | None, Query(max_length=128, pattern=r"^[0-9a-f]+$")] = None,
) -> Response:
    """Show a report's state, or send one of its files to the bearer of the token or of a signed link."""
    is_signed = format is not None and _is_signed(state, str(report_id), format, expires, signature)
    if not is_signed and not has_token(state.settings, credentials):
        raise ApiError(
            401,
            "unauthorized",
            "This link has expired or is incomplete. Ask for a new one, or send the API's token.",
            headers={"WWW-Authenticate": "Bearer"},
            refused="wrong_link" if signature else "no_token" if credentials is None else "wrong_token",
        )
    report = await state.gates[Lane.READS].run(client, _find, state, str(report_id))
    if format is None:
        return JsonAnswer(_view(report))
    if HEAD_KEY in request.scope:
        # By the report's row: mail programs look at links, and the whole file would be fetched to be thrown away.
        return _download(report, format, b"", size_bytes=_stored(report, format).size_bytes)
    # The storage may be slow or hang: what waits for it holds neither a connection nor a slot of other reads.
    return await state.gates[Lane.DOWNLOADS].run(client, _file, state, report, format)


def _is_signed(state: State, report_id: str, file_format: str, expires: int | None, signature: str | None) -> bool:
    from callboard.reports import check_signature

    if expires is None or signature is None:
        return False
    return check_signature(state.settings, report_id, file_format, expires, signature, datetime.now(UTC))


def _find(state: State, report_id: str) -> Report:
    from callboard.reports import find_report

    with state.database(Lane.READS).cursor() as cursor:
        report = find_report(cursor, report_id)
    if report is None:
        raise ApiError(404, "not_found", f"There is no report {report_id}.")
    return report


def _view(report: Report) -> dict[str, Any]:
    """Return what the API shows of a report: where its files lie is our own business."""
    return {
        "id": report.report_id,
        "state": report.state,
        "kind": report.kind,
        "formats": report.formats,
        "files": {name: {"size_bytes": file.size_bytes, "sha256": file.sha256} for name, file in report.files.items()},
        "error": report.error,
        "created_at": report.created_at.isoformat(),
        "finished_at": report.finished_at.isoformat() if report.finished_at else None,
    }


def _file(state: State, report: Report, file_format: str) -> Response:
    from callboard.reports import fetch

    file = _stored(report, file_format)
    try:
        content = fetch(state.settings.report_storage_url, file.path)
    except TemporaryError as error:
        raise _unavailable() from error
    if hashlib.sha256(content).hexdigest() != file.sha256:
        # A page of somebody in between, or a file that was changed: neither is the report.
        log.error("stored file differs", report_id=report.report_id, path=file.path, size_bytes=len(content))
        raise _unavailable()
    return _download(report, file_format, content, size_bytes=len(content))


def _stored(report: Report, file_format: str) -> StoredFile:
    file = report.files.get(file_format)
    if file is None:
        if report.state == "requested":
            raise ApiError(409, "not_ready", "The report is not ready yet.", headers={"Retry-After": "5"})
        raise ApiError(404, "not_found", f"The report has no file in the format {file_format}.")
    return file


def _download(report: Report, file_format: str, content: bytes, *, size_bytes: int) -> Response:
    name = f"{report.kind}-{report.created_at:%Y-%m-%d}.{file_format}"
    return Response(
        content,
        media_type=MEDIA_TYPES[file_format],
        # Always saved, never shown: an HTML report must not run in our origin.
        headers={"Content-Disposition": f'attachment; filename="{name}"', "Content-Length": str(size_bytes)},
    )


def _unavailable() -> ApiError:
    headers = {"Retry-After": "60"}
    message = "The file cannot be read now. Try again later."
    return ApiError(503, "storage_unavailable", message, headers=headers)

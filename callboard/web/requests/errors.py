"""One shape for every error: {"error": {"code": "…", "message": "…", "details": […]}}, never a stack trace."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import psycopg2
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from callboard.errors import (
    Conflict,
    DatabaseMisconfigured,
    DatabaseUnavailable,
    InvalidRequest,
    NotFound,
    SchemaOutdated,
    TooSlow,
)
from callboard.log import get_logger
from callboard.web.limits.lanes import Busy
from callboard.web.requests.answers import JsonAnswer
from callboard.web.requests.client_address import client_name

log = get_logger(__name__)

#: A client that hears 503 comes back after this long, s.
DATABASE_WAIT_S = 5
#: And after this long where only too many came at once, s.
BUSY_WAIT_S = 1


class ErrorDetail(BaseModel):
    """One problem of a request: where it is and what it is."""

    field: str
    message: str


class ErrorBody(BaseModel):
    """What went wrong."""

    code: str
    message: str
    details: list[ErrorDetail] = Field(default_factory=list)


class ErrorReply(BaseModel):
    """Every answer that is not a success."""

    error: ErrorBody


class ApiError(Exception):
    """An answer that is an error, raised from wherever it is found."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        details: list[dict[str, str]] | None = None,
        headers: Mapping[str, str] | None = None,
        refused: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        #: The reason under which it is counted, where somebody is to see how often it happens.
        self.refused = refused
        self.body = error_body(code, message, details)
        self.headers = dict(headers or {})


def error_body(code: str, message: str, details: list[dict[str, str]] | None = None) -> dict[str, Any]:
    """Return the one shape of an error."""
    return {"error": {"code": code, "message": message, "details": details or []}}


#: Refusals of ours, whose sentence says what to do: status and code of each.
_REFUSALS: dict[type[Exception], tuple[HTTPStatus, str]] = {
    InvalidRequest: (HTTPStatus.UNPROCESSABLE_ENTITY, "invalid_request"),
    NotFound: (HTTPStatus.NOT_FOUND, "not_found"),
    Conflict: (HTTPStatus.CONFLICT, "conflict"),
    # Not 503: the same question takes as long the next time.
    TooSlow: (HTTPStatus.UNPROCESSABLE_ENTITY, "too_slow"),
}


#: A refused login, a standby, a missing grant, a schema that is not there: the database is to be put right, and so
#: nobody's request is.
_UNFIT = (
    DatabaseMisconfigured,
    SchemaOutdated,
    psycopg2.errors.ReadOnlySqlTransaction,
    psycopg2.errors.InsufficientPrivilege,
    psycopg2.errors.UndefinedTable,
    psycopg2.errors.UndefinedColumn,
    psycopg2.errors.UndefinedFunction,
    psycopg2.errors.InvalidSchemaName,
)


def install_handlers(app: FastAPI) -> None:
    """Give every failure that is known the one shape; of the others the guard makes a 500."""
    app.add_exception_handler(ApiError, _api_error)
    app.add_exception_handler(RequestValidationError, _invalid_request)
    app.add_exception_handler(HTTPException, _http_error)
    for kind in _REFUSALS:
        app.add_exception_handler(kind, _refusal)
    app.add_exception_handler(Busy, _busy)
    app.add_exception_handler(DatabaseUnavailable, _database_away)
    # What a statement itself ran into, a lock that was not let go or a full disk, passes like an outage.
    app.add_exception_handler(psycopg2.OperationalError, _database_away)
    for unfit in _UNFIT:
        app.add_exception_handler(unfit, _database_unfit)


def note_refusal(request: Request, reason: str) -> None:
    """Count a refusal, and say in the log whose it was."""
    state = request.app.state.callboard
    state.refusals.note(reason, client_name(request, state.settings.trusted_proxies))


def _api_error(request: Request, error: Exception) -> JsonAnswer:
    assert isinstance(error, ApiError)  # noqa: S101 - registered for this class only, here and below
    if error.refused is not None:
        note_refusal(request, error.refused)
    return JsonAnswer(error.body, error.status, headers=error.headers)


def _refusal(_request: Request, error: Exception) -> JsonAnswer:
    status, code = next(_REFUSALS[kind] for kind in type(error).__mro__ if kind in _REFUSALS)
    return JsonAnswer(error_body(code, _as_text(str(error), 1_000)), status)


def _invalid_request(request: Request, error: Exception) -> JsonAnswer:
    assert isinstance(error, RequestValidationError)  # noqa: S101
    # The input is left out: it may be secret, huge or not even text.
    details = [
        {"field": _as_text(".".join(str(part) for part in item["loc"])), "message": _as_text(str(item["msg"]))}
        for item in error.errors()
    ]
    note_refusal(request, "invalid_request")
    message = "The request is not valid; details name each field and what is wrong with it."
    return JsonAnswer(error_body("invalid_request", message, details[:50]), HTTPStatus.UNPROCESSABLE_ENTITY)


def _as_text(text: str, limit: int = 200) -> str:
    """Return what a request named, such that it can be answered: short, and without half characters."""
    return text[:limit].encode("utf-8", "replace").decode("utf-8")


def _http_error(request: Request, error: Exception) -> JsonAnswer:
    assert isinstance(error, HTTPException)  # noqa: S101
    status = HTTPStatus(error.status_code)
    match status:
        case HTTPStatus.NOT_FOUND:
            message = "There is nothing at this address."
        case HTTPStatus.METHOD_NOT_ALLOWED:
            message = f"This address does not take {request.method}."
        case HTTPStatus.BAD_REQUEST:
            # FastAPI's answer to a body that is no JSON.
            status, message = HTTPStatus.UNPROCESSABLE_ENTITY, "The body is no valid JSON."
        case _:
            message = str(error.detail)
    code = "invalid_request" if status == HTTPStatus.UNPROCESSABLE_ENTITY else status.name.lower()
    return JsonAnswer(error_body(code, message), status, headers=error.headers)


def _busy(request: Request, error: Exception) -> JsonAnswer:
    note_refusal(request, "busy")
    body = error_body("busy", f"{error} Send the request again in a moment.")
    return JsonAnswer(body, HTTPStatus.SERVICE_UNAVAILABLE, headers={"Retry-After": str(BUSY_WAIT_S)})


def _database_away(request: Request, error: Exception) -> JsonAnswer:
    log.error("request failed: database away", path=request.url.path, error=str(error).strip()[:200])
    return _try_later("The database cannot be reached. Send the request again later.")


def _database_unfit(request: Request, error: Exception) -> JsonAnswer:
    # What Postgres says names tables and roles, which is for the log: a webhook's sender gets this answer too.
    log.error("request failed: database unfit", path=request.url.path, error=str(error).strip()[:200])
    return _try_later("The database takes no such request now; the server's log says why. Send it again later.")


def _try_later(message: str) -> JsonAnswer:
    headers = {"Retry-After": str(DATABASE_WAIT_S)}
    return JsonAnswer(error_body("database_unavailable", message), HTTPStatus.SERVICE_UNAVAILABLE, headers=headers)

"""What an answer of the storage means, judged by who gave it: S3 writes its errors in XML, a proxy does not."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any, NamedTuple

from callboard.errors import NotFound
from callboard.log import get_logger
from callboard.metrics import STORAGE
from callboard.reports.errors import StorageMisconfigured, StorageRejected, StorageUnavailable, StoredFileDiffers

log = get_logger(__name__)

_CREDENTIAL_ERRORS = ("NoCredentialsError", "PartialCredentialsError", "TokenRetrievalError", "NoAuthTokenError")
#: Words of S3 for what passes, beside every answer of 500 or more.
_PASSING = frozenset({"SlowDown", "RequestTimeout", "OperationAborted", "ServiceUnavailable", "InternalError"})
#: Words of S3 for what somebody has to put right, beside every answer of 401 or 403.
_REFUSING = frozenset(
    {
        "AccessDenied",
        "InvalidAccessKeyId",
        "SignatureDoesNotMatch",
        "ExpiredToken",
        "InvalidToken",
        "PermanentRedirect",
        "AuthorizationHeaderMalformed",
    }
)
#: What is to be looked at, by those who keep the service.
_OUTCOMES: tuple[tuple[type[Exception], str], ...] = (
    (NotFound, "not_found"),
    (StoredFileDiffers, "differs"),
    (StorageRejected, "rejected"),
    (StorageUnavailable, "unavailable"),
    (StorageMisconfigured, "misconfigured"),
)


class _Answer(NamedTuple):
    status: int
    code: str

    @property
    def is_own(self) -> bool:
        """Whether a storage wrote it: without XML of S3's form botocore puts the status, or nothing, for its word."""
        return re.fullmatch(r"[A-Za-z][A-Za-z.]+", self.code) is not None


def is_absent(error: FileNotFoundError) -> bool:
    """Say whether the storage itself says that it has no such file, and not a proxy, nor that the bucket is gone."""
    answer = _answer(error)
    return answer is None or answer.code == "NoSuchKey"


def classify(error: Exception, storage_url: str) -> StorageMisconfigured | StorageUnavailable | StorageRejected:
    """Return the error of ours for one of a file system's library."""
    where, what = shown(storage_url), f"{type(error).__name__}: {error}"
    answer = _answer(error)
    if answer is not None:
        return _classify_answer(answer, where, what)
    if isinstance(error, ImportError):
        return StorageMisconfigured(
            f"REPORT_STORAGE_URL {where} needs a package that is not installed ({error}). "
            "For s3: pip install callboard[s3]."
        )
    if isinstance(error, ValueError) and "Protocol not known" in str(error):
        return StorageMisconfigured(f"REPORT_STORAGE_URL has an unknown scheme, got {where!r}. Use file:// or s3://.")
    if isinstance(error, PermissionError) or type(error).__name__ in _CREDENTIAL_ERRORS:
        return _refused(where, what)
    if isinstance(error, FileNotFoundError | NotADirectoryError | IsADirectoryError | FileExistsError):
        return _missing(where, what)
    return _away(where, what)


def _classify_answer(
    answer: _Answer, where: str, what: str
) -> StorageMisconfigured | StorageUnavailable | StorageRejected:
    if not answer.is_own:
        return StorageUnavailable(
            f"The storage {where} did not take the call: the answer was {answer.status}, which is not in S3's form. "
            "Look for a proxy or a firewall in between, and at AWS_ENDPOINT_URL. It is tried again."
        )
    if answer.code in _REFUSING or answer.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return _refused(where, what)
    if answer.code == "NoSuchBucket":
        return _missing(where, what)
    if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR or answer.code in _PASSING:
        return _away(where, what)
    return StorageRejected(f"The storage {where} did not take the call ({what}).")


def _refused(where: str, what: str) -> StorageMisconfigured:
    return StorageMisconfigured(f"The storage {where} refused access ({what}). Correct its credentials or permissions.")


def _missing(where: str, what: str) -> StorageMisconfigured:
    return StorageMisconfigured(
        f"The storage {where} does not exist ({what}). Create it or correct REPORT_STORAGE_URL."
    )


def _away(where: str, what: str) -> StorageUnavailable:
    return StorageUnavailable(f"The storage {where} did not take the call ({what}). It is tried again.")


@contextmanager
def note_answer(operation: str) -> Iterator[None]:
    """Count how a call of the storage ended, and say in the log when that changes."""
    try:
        yield
    except tuple(kind for kind, _ in _OUTCOMES) as error:
        _note(operation, next(word for kind, word in _OUTCOMES if isinstance(error, kind)), error)
        raise
    _note(operation, "answered", None)


def shown(storage_url: str) -> str:
    """Return the URL without what might be a secret in it."""
    return re.sub(r"//[^/@]*@", "//***@", storage_url).partition("?")[0]


#: What the last call found: whether the storage is there.
_found = {"state": "answered"}


def _note(operation: str, outcome: str, error: Exception | None) -> None:
    STORAGE.labels(operation, outcome).inc()
    state = outcome if outcome in ("unavailable", "misconfigured", "differs") else "answered"
    before, _found["state"] = _found["state"], state
    if state == before:
        return
    if state == "answered":
        log.info("report storage answers again")
    else:
        log.error("report storage needs a look", found=state, error=str(error)[:300])


def _answer(error: BaseException | None) -> _Answer | None:
    """Return what the other side of an S3 call said, where it said anything."""
    while error is not None:
        response: Any = getattr(error, "response", None)
        if isinstance(response, dict):
            status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            return _Answer(int(status), str(response.get("Error", {}).get("Code", "")))
        error = error.__cause__
    return None

"""Report files, kept wherever REPORT_STORAGE_URL says.

file:// takes a path, absolute (file:///var/lib/reports) or relative to the working directory
(file://.callboard/reports). s3:// takes bucket and prefix; credentials and AWS_ENDPOINT_URL come from the
environment, as for every AWS tool. Other schemes are those of the fsspec packages that are installed.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import fsspec
from fsspec.asyn import AsyncFileSystem, sync

from callboard.errors import NotFound, PermanentError, TemporaryError
from callboard.reports.errors import StorageMisconfigured, StoredFileDiffers
from callboard.reports.storage.answers import classify, is_absent, note_answer, shown

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Names of files and folders; none starts with a dot, so none leads out of the storage.
_PATH = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*")
_S3_CONNECT_TIMEOUT_S = 5
_S3_READ_TIMEOUT_S = 10
#: Tries of one call, all of which a silent server uses up; the queue's retries come on top.
_S3_TRIES = 2
#: Time of one call with all of its bytes, s.
CALL_TIMEOUT_S = 120.0


@dataclass(frozen=True)
class StoredFile:
    """A file in the storage; path is relative to REPORT_STORAGE_URL."""

    path: str
    size_bytes: int
    sha256: str


def store(storage_url: str, path: str, content: bytes) -> StoredFile:
    """Write a file so that a reader sees all of it or nothing, and return where it is.

    The same content again is no error and writes nothing.
    Raises: StoredFileDiffers, StorageUnavailable, StorageMisconfigured, StorageRejected.
    """
    stored = StoredFile(path, len(content), hashlib.sha256(content).hexdigest())
    with note_answer("store"), _storage(storage_url) as (file_system, base):
        target = _target(base, path, is_local=_is_local(storage_url))
        try:
            existing = _call(file_system, "cat_file", target)
        except FileNotFoundError as error:
            if not is_absent(error):
                raise
            _write(file_system, target, content, is_local=_is_local(storage_url))
            return stored
    if existing != content:
        raise StoredFileDiffers(
            f"{path} in {shown(storage_url)} has other content and is kept. "
            "Its name is made of its content: look at who answers there."
        )
    return stored


def fetch(storage_url: str, path: str) -> bytes:
    """Return a stored file.

    Raises: NotFound, StorageUnavailable, StorageMisconfigured, StorageRejected.
    """
    with note_answer("fetch"), _storage(storage_url) as (file_system, base):
        target = _target(base, path, is_local=_is_local(storage_url))
        try:
            content: bytes = _call(file_system, "cat_file", target)
        except FileNotFoundError as error:
            if not is_absent(error):
                raise
            raise NotFound(
                f"{path} is not in {shown(storage_url)}. It was removed, or the storage was changed."
            ) from error
        return content


def remove_files(storage_url: str, folder: str) -> None:
    """Remove a folder with all of its files; one that is not there is no error.

    Raises: StorageUnavailable, StorageMisconfigured, StorageRejected.
    """
    with note_answer("remove"), _storage(storage_url) as (file_system, base):
        target = _target(base, folder, is_local=_is_local(storage_url))
        if _is_local(storage_url):
            with contextlib.suppress(FileNotFoundError):
                file_system.rm(target, recursive=True)
            return
        # By names: s3fs takes any 404 for a folder that is not there, and passes over files that it may not remove.
        if files := _files_in(file_system, target):
            _call(file_system, "rm", files)
            if kept := _files_in(file_system, target):
                raise StorageMisconfigured(
                    f"The storage {shown(storage_url)} keeps {len(kept)} files that were to be removed, such as "
                    f"{kept[0]}. Let its credentials remove objects, or end what holds them."
                )


def _files_in(file_system: Any, target: str) -> list[str]:
    try:
        return list(_call(file_system, "find", target))
    except FileNotFoundError as error:
        if is_absent(error):
            return []
        raise


def probe(storage_url: str) -> None:
    """Write a small file, read it, and remove it.

    Raises: StorageUnavailable, StorageMisconfigured, StorageRejected.
    """
    name, content = f"probe-{uuid4().hex}.txt", b"callboard doctor"
    store(storage_url, name, content)
    try:
        if fetch(storage_url, name) != content:
            raise StorageMisconfigured(f"The storage {shown(storage_url)} gives back other bytes than it was given.")
    finally:
        with _storage(storage_url) as (file_system, base):
            _call(file_system, "rm_file", f"{base}/{name}")


@contextmanager
def _storage(storage_url: str) -> Iterator[tuple[Any, str]]:
    """Yield file system and base path; give every failure inside the block its class."""
    scheme, separator, rest = storage_url.partition("://")
    if not separator or not rest or "::" in storage_url:
        raise StorageMisconfigured(
            f"REPORT_STORAGE_URL must be a folder's URL such as file://.callboard/reports or s3://bucket/reports, "
            f"got {shown(storage_url)!r}."
        )
    try:
        if _is_local(storage_url):
            yield fsspec.filesystem("file"), str(Path(rest).resolve())
        else:
            file_system, base = fsspec.core.url_to_fs(storage_url, **_options(scheme))
            if scheme in ("s3", "s3a"):
                file_system.retries = _S3_TRIES
            yield file_system, base.rstrip("/")
    except (NotFound, PermanentError, TemporaryError):
        raise
    except Exception as error:
        # Each fsspec package raises errors of its own library.
        raise classify(error, storage_url) from error


def _options(scheme: str) -> dict[str, Any]:
    if scheme not in ("s3", "s3a"):
        return {}
    return {
        "use_listings_cache": False,
        # With more, s3fs asks for the size first, by a HEAD, whose answer has no body that tells who gives it.
        "max_concurrency": 1,
        "config_kwargs": {
            "connect_timeout": _S3_CONNECT_TIMEOUT_S,
            "read_timeout": _S3_READ_TIMEOUT_S,
            # s3fs tries again itself; two loops inside each other would multiply.
            "retries": {"total_max_attempts": 1},
        },
    }


def _call(file_system: Any, name: str, *arguments: Any) -> Any:
    """Make one call that ends in its time; the library's own timeouts start anew with every byte."""
    if isinstance(file_system, AsyncFileSystem):
        return sync(file_system.loop, getattr(file_system, f"_{name}"), *arguments, timeout=CALL_TIMEOUT_S)
    return getattr(file_system, name)(*arguments)


def _target(base: str, path: str, *, is_local: bool) -> str:
    target = f"{base}/{path}"
    # The name first: a NUL in it would already fail in resolve(). A folder may still be a link to elsewhere.
    if not _PATH.fullmatch(path) or (is_local and not Path(target).resolve().is_relative_to(base)):
        raise PermanentError(
            f"A stored file's path stays inside the storage, got {path[:100]!r}. Use letters, digits, - and _."
        )
    return target


def _write(file_system: Any, target: str, content: bytes, *, is_local: bool) -> None:
    if not is_local:
        _call(file_system, "pipe_file", target, content)  # An object appears whole or not at all.
        return
    folder = Path(target).parent
    file_system.makedirs(str(folder), exist_ok=True)
    part = f"{target}.{uuid4().hex}.part"
    try:
        with file_system.open(part, "wb") as file:
            file.write(content)
            file.flush()
            # The row that says "ready" is durable; its file must be no less so.
            os.fsync(file.fileno())
        file_system.mv(part, target)
    except BaseException:
        with contextlib.suppress(OSError):
            file_system.rm_file(part)
        raise
    _sync_folder(folder)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _is_local(storage_url: str) -> bool:
    return storage_url.startswith("file://")

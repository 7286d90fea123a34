"""A Postgres for tests and measurements that is gone afterwards, with its data."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from callboard.dev.postgres import Server, bundled_bin_dir
from callboard.log import get_logger

log = get_logger(__name__)
# Making a database is mostly making files, which a file system in memory does many times faster.
MEMORY_DIR = "/dev/shm"  # noqa: S108 - a folder of a random name is made in it
# A container gives it 64 MB unless told otherwise; several servers of a test run take 2 GB.
MEMORY_FREE_MIN_BYTES = 4 << 30


def _folder_of_servers(*, is_durable: bool) -> str:
    """Return where temporary servers keep their data: in memory where there is plenty and nothing must last."""
    # Never a private temporary folder: as root, the server runs as another user and must get there.
    with contextlib.suppress(OSError):
        if not is_durable and shutil.disk_usage(MEMORY_DIR).free >= MEMORY_FREE_MIN_BYTES:
            return MEMORY_DIR
    return "/tmp"  # noqa: S108 - as above


@contextmanager
def temporary_server(bin_dir: Path | None = None, **options: str) -> Iterator[Server]:
    """Run a server that is gone with its data after the block, for tests: fast, not durable."""
    fast = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off", "max_wal_size": "128MB", **options}
    place = Path(tempfile.mkdtemp(prefix="callboard-pg-", dir=_folder_of_servers(is_durable=fast["fsync"] == "on")))
    place.chmod(0o755)
    server = Server(place / "data", bin_dir or bundled_bin_dir(), fast)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        _remove(place)


def _remove(place: Path) -> None:
    for _ in range(20):
        shutil.rmtree(place, ignore_errors=True)
        if not place.exists():
            return
        time.sleep(0.1)
    log.warning("temporary server's files could not be removed", path=str(place))

"""The servers of a run: one durable Postgres with a database for each peer, one Redis."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import psycopg2

from benchmarks import costs
from callboard.dev.postgres import Server as EmbeddedServer
from callboard.dev.temporary_postgres import temporary_server

#: Postgres' own defaults, said out loud; the rest of the settings is callboard/dev/postgres.py's.
DURABLE = {
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "max_wal_size": "1GB",
    "log_line_prefix": "%p %a|",
}
SHOWN = ("server_version", "fsync", "synchronous_commit", "full_page_writes", "wal_sync_method", "shared_buffers",
         "max_wal_size", "autovacuum", "max_connections")  # fmt: skip
RELOAD_S = 0.5
REDIS_START_TIMEOUT_S = 10
#: Longest time a statement of the bench itself may take, s.
STATEMENT_TIMEOUT_S = 120
LOOPBACK = "127.0.0.1"


class BenchFailed(Exception):
    """A measurement or a part of the set-up did not work; the text says which and what to do."""


class Server(Protocol):
    """What a measurement asks of a server."""

    def fresh(self, name: str) -> str:
        """Return the address of an empty database of that name."""

    def settle(self, url: str) -> None:
        """Bring the database to rest before a timed part."""

    def has_left(self, url: str, queries: Sequence[str]) -> bool:
        """Tell whether a message is left."""

    def cpu_s(self) -> float:
        """Return the processor seconds the server has used."""

    def written_bytes(self) -> int:
        """Return how much of its log the server has written."""

    def settings(self) -> dict[str, str]:
        """Return what decides about durability."""


class Postgres:
    """The embedded server of the project, with durable settings."""

    def __init__(self, server: EmbeddedServer) -> None:
        self.server = server
        self._postmaster = int((server.data_dir / "postmaster.pid").read_text().splitlines()[0])
        self._connections: dict[str, Any] = {}

    @property
    def log_file(self) -> Path:
        return self.server.data_dir / "server.log"

    def fresh(self, name: str) -> str:
        url = self.server.url(name)
        if connection := self._connections.pop(url, None):
            connection.close()
        return self.server.recreate_database(name)

    def settle(self, url: str) -> None:
        self.query(url, "VACUUM (ANALYZE)")
        self.query(url, "CHECKPOINT")

    def has_left(self, url: str, queries: Sequence[str]) -> bool:
        try:
            return any(bool(self.query(url, query)[0][0]) for query in queries)
        except psycopg2.errors.QueryCanceled as error:
            raise BenchFailed(f"{queries!r} was not answered: {str(error).strip()}") from error

    def cpu_s(self) -> float:
        return costs.tree_cpu_s(self._postmaster)

    def written_bytes(self) -> int:
        return int(self.query(self.server.url(), "SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn")[0][0])

    def settings(self) -> dict[str, str]:
        return {name: str(self.query(self.server.url(), f"SHOW {name}")[0][0]) for name in SHOWN}

    def set(self, name: str, value: str) -> None:
        """Change a setting for all sessions, running ones too."""
        self.query(self.server.url(), f"ALTER SYSTEM SET {name} = '{value}'")
        self.query(self.server.url(), "SELECT pg_reload_conf()")
        # The postmaster tells its children by a signal, which takes a moment.
        time.sleep(RELOAD_S)

    def query(self, url: str, statement: str, *parameters: Any) -> list[Any]:
        """Run a statement on the bench's own connection to that database."""
        connection = self._connections.get(url)
        if connection is None or connection.closed:
            connection = psycopg2.connect(
                url, application_name="bench", options=f"-c statement_timeout={STATEMENT_TIMEOUT_S}s"
            )
            connection.autocommit = True
            self._connections[url] = connection
        with connection.cursor() as cursor:
            cursor.execute(statement, parameters or None)
            return cursor.fetchall() if cursor.description else []

    def close(self) -> None:
        for connection in self._connections.values():
            connection.close()


@contextmanager
def postgres() -> Iterator[Postgres]:
    """Run the server while the block runs."""
    with temporary_server(None, **DURABLE) as embedded:
        server = Postgres(embedded)
        try:
            yield server
        finally:
            server.close()


class Redis:
    """A Redis of the bench's own, which appends to a file and syncs it every second."""

    def __init__(self, port: int, process: subprocess.Popen[bytes]) -> None:
        self._port = port
        self._process = process

    def fresh(self, name: str) -> str:
        self.command("FLUSHALL")
        return f"redis://{LOOPBACK}:{self._port}/0"

    def settle(self, url: str) -> None:
        """Do nothing: there is nothing to vacuum."""

    def has_left(self, url: str, queries: Sequence[str]) -> bool:
        return any(int(self.command(query)) for query in queries)

    def cpu_s(self) -> float:
        return costs.tree_cpu_s(self._process.pid)

    def written_bytes(self) -> int:
        fields = dict(line.split(":", 1) for line in self.command("INFO persistence").splitlines() if ":" in line)
        return int(fields["aof_current_size"])

    def settings(self) -> dict[str, str]:
        lines = dict(line.split(":", 1) for line in self.command("INFO server").splitlines() if ":" in line)
        return {"redis_version": lines["redis_version"], "appendonly": "yes", "appendfsync": "everysec"}

    def command(self, line: str) -> str:
        """Send an inline command and return its answer, a number or a text."""
        with socket.create_connection((LOOPBACK, self._port), timeout=REDIS_START_TIMEOUT_S) as connection:
            connection.sendall(line.encode() + b"\r\n")
            reader = connection.makefile("rb")
            head = reader.readline().decode().strip()
            if head.startswith("-"):
                raise BenchFailed(f"Redis answered {head!r} to {line!r}.")
            return reader.read(int(head[1:])).decode() if head.startswith("$") else head[1:]


@contextmanager
def redis() -> Iterator[Redis]:
    """Run a Redis on a free loopback port with a folder of its own while the block runs."""
    program = shutil.which("redis-server")
    if program is None:
        raise BenchFailed(
            "redis-server is not on PATH. Install Redis (on Debian the package redis-server), "
            "or leave its peers out with --peers."
        )
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="callboard-redis-") as folder:
        process = subprocess.Popen(
            [program, "--port", str(port), "--bind", LOOPBACK, "--dir", folder, "--save", "",
             "--appendonly", "yes", "--appendfsync", "everysec",
             # A rewrite of the file in the middle would be counted as less than nothing written.
             "--auto-aof-rewrite-percentage", "0", "--logfile", f"{folder}/redis.log"]
        )  # fmt: skip
        server = Redis(port, process)
        try:
            _wait_for(server)
            yield server
        finally:
            process.terminate()
            process.wait()


def _wait_for(server: Redis) -> None:
    until = time.monotonic() + REDIS_START_TIMEOUT_S
    while time.monotonic() < until:
        with contextlib.suppress(OSError, ValueError):
            if server.command("PING") == "PONG":
                return
        time.sleep(0.05)
    raise BenchFailed(f"redis-server did not answer within {REDIS_START_TIMEOUT_S} s.")


def free_port() -> int:
    with socket.create_server((LOOPBACK, 0)) as listener:
        return int(listener.getsockname()[1])

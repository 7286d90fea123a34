"""A Postgres of the chaos suite's own, to be killed, restarted and filled up."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator

import psycopg2

from callboard.db import schema
from callboard.dev.postgres import Server
from callboard.dev.temporary_postgres import temporary_server
from tests.conftest import is_running, pause_upkeep, wait_until

#: What is committed must outlive the server's death; only the machine's own is left out.
DURABLE = {"fsync": "off", "synchronous_commit": "on", "full_page_writes": "on"}


class Cluster:
    """One server and its migrated template."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.template = "template_chaos"
        url = server.recreate_database(self.template)
        schema.upgrade(url)
        pause_upkeep(url)

    def database(self, name: str) -> str:
        return self.server.recreate_database(name, self.template)

    def kill(self) -> None:
        """Kill the postmaster and every process of its, as the kernel or a power cut would."""
        pid = int((self.server.data_dir / "postmaster.pid").read_text().splitlines()[0])
        family = [pid, *_children_of(pid)]
        for each in family:
            with contextlib.suppress(ProcessLookupError):
                os.kill(each, signal.SIGKILL)
        wait_until(lambda: not any(map(is_running, family)), 30, "the server's end")

    def start(self) -> float:
        """Start the server and return when it was ready."""
        self.server.start()
        return time.monotonic()

    def restart(self) -> float:
        """Restart the server in order, and return when it was ready."""
        self.server.stop()
        return self.start()

    @contextlib.contextmanager
    def all_connections_taken(self, url: str) -> Iterator[int]:
        """Take every connection the server has while the block runs, those of the workers included."""
        own = self.server.url()
        taken = [psycopg2.connect(own)]
        try:
            database = url.rsplit("/", 1)[1].split("?", maxsplit=1)[0]
            wait_until(lambda: _take(taken, own, database), 30, "no connection of the workers left")
            yield len(taken)
        finally:
            for each in taken:
                each.close()


def _take(taken: list[psycopg2.extensions.connection], url: str, database: str) -> bool:
    """End the workers' sessions and take their places; return whether they have none left."""
    with contextlib.suppress(psycopg2.OperationalError):
        while True:
            taken.append(psycopg2.connect(url))
    taken[0].autocommit = True
    with taken[0].cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (database,))
        return cursor.rowcount == 0


def _children_of(pid: int) -> set[int]:
    listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True)
    pairs = (map(int, line.split()) for line in listed.stdout.splitlines())
    return {child for child, parent in pairs if parent == pid}


@contextlib.contextmanager
def own_cluster(max_connections: int = 100) -> Iterator[Cluster]:
    """Run a cluster that is gone after the block."""
    with temporary_server(**DURABLE, max_connections=str(max_connections)) as server:
        yield Cluster(server)

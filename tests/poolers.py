"""A real PgBouncer in front of a test's database: at its defaults, or set as a provider sets it."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, quote, urlsplit

import psycopg2

from tests.conftest import wait_until
from tests.programs import program

#: Who runs it when we are root, as it refuses to run as root.
UNPRIVILEGED_USER = "nobody"
#: What the servers of Supabase and others let clients say at their start, and forget.
IGNORES_OPTIONS = {"ignore_startup_parameters": "extra_float_digits,options"}


@dataclass
class Pooler:
    """PgBouncer for the server of database_url; settings are lines of its [pgbouncer] section."""

    database_url: str
    mode: str = "transaction"
    settings: dict[str, str] = field(default_factory=dict)
    user: str = "postgres"

    def __post_init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="callboard-pooler-"))
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.port = int(listener.getsockname()[1])
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"postgresql://{quote(self.user)}@127.0.0.1:{self.port}{urlsplit(self.database_url).path}"

    def start(self) -> None:
        path = program("pgbouncer")
        place = parse_qs(urlsplit(self.database_url).query)["host"][0]
        lines = {
            "listen_addr": "127.0.0.1",
            "listen_port": str(self.port),
            "unix_socket_dir": "",
            # Everybody may come in, as the one user that the line of the databases names.
            "auth_type": "any",
            "admin_users": "admin",
            "pool_mode": self.mode,
            "logfile": str(self._folder / "log"),
            **self.settings,
        }
        configuration = [
            "[databases]",
            f"* = host={place} user=postgres",
            "[pgbouncer]",
            *(f"{name} = {value}" for name, value in lines.items()),
        ]
        file = self._folder / "pgbouncer.ini"
        file.write_text("\n".join(configuration) + "\n")
        user = UNPRIVILEGED_USER if os.geteuid() == 0 else None
        if user is not None:
            for each in (self._folder, *self._folder.iterdir()):
                shutil.chown(each, user)
        self._process = subprocess.Popen(
            [path, "-q", str(file)],
            user=user,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_until(self._answers, what="the pooler")

    def stop(self) -> None:
        """End it and every connection through it at once."""
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(10)
            self._process = None

    @property
    def log(self) -> str:
        return (self._folder / "log").read_text(errors="replace")

    def ask(self, command: str) -> list[dict[str, Any]]:
        """Run a command of its console: SHOW STATS, RECONNECT, PAUSE …"""
        console = psycopg2.connect(host="127.0.0.1", port=self.port, user="admin", dbname="pgbouncer")
        console.autocommit = True
        with contextlib.closing(console), console.cursor() as cursor:
            cursor.execute(command)
            if cursor.description is None:
                return []
            names = [column.name for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def queries(self) -> int:
        """Return how many round trips of clients it has passed on for this database."""
        database = urlsplit(self.database_url).path.removeprefix("/")
        return sum(int(row["total_query_count"]) for row in self.ask("SHOW STATS") if row["database"] == database)

    def _answers(self) -> bool:
        with contextlib.suppress(psycopg2.OperationalError):
            self.ask("SHOW VERSION")
            return True
        assert self._process is not None and self._process.poll() is None, f"PgBouncer has ended:\n{self.log}"
        return False

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)


@contextmanager
def pooled(database_url: str, mode: str = "transaction", **settings: str) -> Iterator[Pooler]:
    """Lend a running pooler for the database."""
    with Pooler(database_url, mode, settings) as pooler:
        yield pooler

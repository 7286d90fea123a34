"""The stack for daily work: the user's own settings first, dev servers for what is not set."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from callboard.app import EMBEDDED_URL_FILE, get_settings
from callboard.db import schema
from callboard.dev.postgres import project_server
from callboard.dev.stack import Ports, Stack
from callboard.settings.announced import announced

DATABASE = "callboard"


@contextmanager
def _database(project_dir: Path) -> Iterator[str]:
    """Lend DATABASE_URL, or the embedded Postgres, announced to the other commands of this folder while it runs."""
    configured = get_settings().database_url
    if configured is not None:
        yield configured.get_secret_value()
        return
    with project_server(project_dir) as server:
        url = server.ensure_database(DATABASE)
        with announced_database(project_dir, url):
            yield url


@contextmanager
def announced_database(project_dir: Path, url: str) -> Iterator[None]:
    """Let the commands of this folder find the embedded Postgres during the block."""
    url_file = project_dir / EMBEDDED_URL_FILE
    url_file.write_text(url)
    try:
        yield
    finally:
        with contextlib.suppress(FileNotFoundError):
            url_file.unlink()


def run_daily(project_dir: Path) -> int:
    """Run everything until Ctrl-C or SIGTERM and return the exit code."""
    settings = get_settings()
    with contextlib.ExitStack() as told, _database(project_dir) as url:
        schema.upgrade(url)
        place = project_dir.resolve() / ".callboard" / "dev"
        stack = Stack(place, url, Ports.choose(api=settings.api_port), inherits_settings=True)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, stack.supervisor.request_stop)
        try:
            stack.start()
            told.enter_context(announced(project_dir, stack.environment))
            token = os.environ.get("API_TOKEN") or stack.api_token
            print(f"API       {stack.api_url}/health/queue  (token: {token})")  # noqa: T201 - the command's own output
            print(f"metrics   http://127.0.0.1:{stack.ports.metrics}/metrics")  # noqa: T201 - the same
            print(f"mails     {stack.mail_dir}")  # noqa: T201 - the same
            print(f"logs      {stack.place / 'logs'}\nCtrl-C ends it.", flush=True)  # noqa: T201 - the same
            return stack.supervisor.run()
        finally:
            stack.supervisor.stop()

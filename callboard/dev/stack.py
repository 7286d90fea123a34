"""All processes of the service on one machine, with the outside world played by dev servers: for demo and dev."""

from __future__ import annotations

import base64
import contextlib
import os
import secrets
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from callboard.dev.yookassa_webhooks import GENUINE_ADDRESS
from callboard.errors import CallboardError
from callboard.processes.supervisor import Child, Supervisor
from callboard.settings import PREFIX, Settings

READY_TIMEOUT_S = 60
STOP_TIMEOUT_S = 20
LOOPBACK = "127.0.0.1"


class StackFailed(CallboardError):
    """A process of the stack did not come up; the text ends with its log."""


@dataclass(frozen=True)
class Ports:
    """Where the processes listen on loopback."""

    api: int
    metrics: int
    mail: int
    yookassa: int

    @classmethod
    def choose(cls, *, api: int = 3001, metrics: int = 9191) -> Ports:
        """Return the usual ports, or free ones where those are taken."""
        return cls(*(_free_port(preferred) for preferred in (api, metrics, 1025, 8011)))


def _free_port(preferred: int) -> int:
    for port in (preferred, 0):
        with contextlib.suppress(OSError), socket.create_server((LOOPBACK, port)) as listener:
            return int(listener.getsockname()[1])
    raise StackFailed("No free port was found on 127.0.0.1.")


class Stack:
    """Mail server, YooKassa sandbox, API and workers; place holds what they write."""

    def __init__(
        self,
        place: Path,
        database_url: str,
        ports: Ports,
        *,
        settings: Mapping[str, str] | None = None,
        mail_plan_file: Path | None = None,
        inherits_settings: bool = False,
    ) -> None:
        self.place = place
        self.ports = ports
        self.api_token = secrets.token_urlsafe(16)
        self.environment = self._environment(database_url, settings or {}, inherits_settings=inherits_settings)
        self.supervisor = Supervisor(self._children(mail_plan_file), stop_timeout_s=STOP_TIMEOUT_S)

    @property
    def api_url(self) -> str:
        return f"http://{LOOPBACK}:{self.ports.api}"

    @property
    def yookassa_url(self) -> str:
        return f"http://{LOOPBACK}:{self.ports.yookassa}"

    @property
    def mail_dir(self) -> Path:
        return self.place / "mail"

    @property
    def reports_dir(self) -> Path:
        return self.place / "reports"

    def _environment(self, database_url: str, more: Mapping[str, str], *, inherits_settings: bool) -> dict[str, str]:
        ours = {
            "DATABASE_URL": database_url,
            "LOG_FORMAT": "json",
            "EMAIL_PROVIDER": "smtp",
            "SMTP_HOST": LOOPBACK,
            "SMTP_PORT": str(self.ports.mail),
            "SMTP_SECURITY": "none",
            "SMTP_FROM": "shop@shop.example",
            "SMTP_FROM_NAME": "The Corner Shop",
            "YUKASSA_SHOP_ID": "100500",
            "YUKASSA_SECRET_KEY": "sandbox",
            "YUKASSA_API_URL": f"{self.yookassa_url}/v3",
            # The sandbox plays the reverse proxy that forwards YooKassa's requests.
            "TRUSTED_PROXIES": f"{LOOPBACK}/32",
            "API_HOST": LOOPBACK,
            "API_PORT": str(self.ports.api),
            "API_BASE_URL": self.api_url,
            "API_TOKEN": self.api_token,
            "METRICS_HOST": LOOPBACK,
            "METRICS_PORT": str(self.ports.metrics),
            "REPORT_STORAGE_URL": f"file://{self.reports_dir}",
            "ENCRYPTION_KEY": base64.b64encode(secrets.token_bytes(32)).decode(),
            **more,
        }
        if inherits_settings:
            return {name: value for name, value in ours.items() if name not in os.environ}
        # An empty variable counts as unset, so nothing of the user's own service gets in.
        own = [*map(str.upper, Settings.model_fields), "PORT"]
        names = [*own, *(f"{PREFIX}{name}" for name in own)]
        return {**dict.fromkeys([*names, *(f"{name}_FILE" for name in names)], ""), **ours}

    def _children(self, mail_plan_file: Path | None) -> list[Child]:
        python, logs = sys.executable, self.place / "logs"
        for folder in (self.place, logs, self.mail_dir, self.reports_dir):
            folder.mkdir(parents=True, exist_ok=True)
        mail = [
            python,
            "-m",
            "callboard.dev.mail_server",
            "--directory",
            str(self.mail_dir),
            "--port",
            str(self.ports.mail),
        ]
        if mail_plan_file is not None:
            mail += ["--plan", str(mail_plan_file)]
        yookassa = [
            python,
            "-m",
            "callboard.dev.yookassa",
            "--port",
            str(self.ports.yookassa),
            "--source-address",
            GENUINE_ADDRESS,
        ]
        yookassa += ["--webhook-url", f"{self.api_url}/webhooks/yookassa"]
        commands = {
            "mail": mail,
            "yookassa": yookassa,
            "api": [python, "-m", "callboard.cli", "api"],
            "workers": [python, "-m", "callboard.cli", "work"],
        }
        return [
            Child(name, command, self.environment, log_file=logs / f"{name}.log", folder=self.place)
            for name, command in commands.items()
        ]

    def start(self) -> None:
        """Start everything and return when API and workers are ready. Raises: StackFailed."""
        self.supervisor.start()
        until = time.monotonic() + READY_TIMEOUT_S
        for name, url in (
            ("yookassa", f"{self.yookassa_url}/sandbox/books"),
            ("api", f"{self.api_url}/health/ready"),
            ("workers", f"http://{LOOPBACK}:{self.ports.metrics}/health/ready"),
        ):
            while not _answers(url):
                ended = [child.name for child in self.supervisor.children if not child.is_running]
                if ended or time.monotonic() > until:
                    self._fail(ended[0] if ended else name)
                time.sleep(0.05)

    def _fail(self, name: str) -> None:
        log = self.place / "logs" / f"{name}.log"
        text = log.read_text(errors="replace")[-3000:] if log.exists() else ""
        raise StackFailed(f"The process {name!r} did not come up. Its log:\n{text}")

    @contextmanager
    def running(self) -> Iterator[Stack]:
        """Run the stack while the block runs, and leave no process behind."""
        try:
            self.start()
            yield self
        finally:
            self.supervisor.stop()


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False

"""How the API is served."""

from __future__ import annotations

import resource

import uvicorn
from fastapi import FastAPI

from callboard.processes.listening import Address, open_listeners
from callboard.settings import Settings
from callboard.web.application import create_app
from callboard.web.limits.connections import Connections, protocol_of

#: Requests in flight get this long when the process is told to end, s: longer than YooKassa may take to answer.
SHUTDOWN_S = 40
#: Files and connections that the process may have open, where its hard limit allows them.
FILES_MAX = 4_096


def serve(settings: Settings, app: FastAPI | None = None) -> None:
    """Serve the API on API_HOST:API_PORT until SIGTERM. Raises: PortTaken, AddressRefused."""
    _allow_files()
    listeners = open_listeners(Address(settings.api_host, settings.api_port, "API_HOST", "API_PORT"))
    uvicorn.Server(uvicorn_config(app or create_app(settings))).run(sockets=listeners)


def uvicorn_config(
    app: FastAPI, host: str = "127.0.0.1", port: int = 0, *, connections: Connections | None = None
) -> uvicorn.Config:
    """Return what uvicorn needs to know, wherever it listens."""
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        http=protocol_of(connections or Connections(app.state.callboard.refusals)),
        ws="none",
        # uvicorn would believe X-Forwarded-For of any process on this machine; whom we believe is in TRUSTED_PROXIES.
        proxy_headers=False,
        server_header=False,
        access_log=False,
        # Logs are configured by whoever started us.
        log_config=None,
        # uvicorn's own limit counts connections, idle ones too, and answers 503 to whoever comes, probes included.
        limit_concurrency=None,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=SHUTDOWN_S,
    )


def _allow_files() -> None:
    """Raise the limit of open files to what our connections need: many systems give 1,024 unless asked."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES_MAX if hard == resource.RLIM_INFINITY else min(FILES_MAX, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))

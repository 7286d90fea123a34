"""How the API is served."""

from __future__ import annotations

import uvicorn
from fastapi import FastAPI

from callboard.ops.listening import Address, open_listeners
from callboard.settings import Settings
from callboard.web.application import create_app

#: Requests in flight get this long when the process is told to end, s: longer than YooKassa may take to answer.
SHUTDOWN_S = 40
#: Requests at once; more are answered 503 by the server itself.
CONCURRENCY_MAX = 500


def serve(settings: Settings, app: FastAPI | None = None) -> None:
    """Serve the API on API_HOST:API_PORT until SIGTERM. Raises: PortTaken, AddressRefused."""
    listeners = open_listeners(Address(settings.api_host, settings.api_port, "API_HOST", "API_PORT"))
    uvicorn.Server(uvicorn_config(app or create_app(settings))).run(sockets=listeners)


def uvicorn_config(app: FastAPI, host: str = "127.0.0.1", port: int = 0) -> uvicorn.Config:
    """Return what uvicorn needs to know, wherever it listens."""
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        # uvicorn would believe X-Forwarded-For of any process on this machine; whom we believe is in TRUSTED_PROXIES.
        proxy_headers=False,
        server_header=False,
        access_log=False,
        # Logs are configured by whoever started us.
        log_config=None,
        limit_concurrency=CONCURRENCY_MAX,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=SHUTDOWN_S,
    )

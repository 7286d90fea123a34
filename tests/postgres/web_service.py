"""The API on a real port, served as in production, for tests."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI

from callboard.web.server import uvicorn_config
from tests.conftest import wait_until


@contextmanager
def served(app: FastAPI, config: uvicorn.Config | None = None) -> Iterator[str]:
    """Serve the app while the block runs and yield its address; config is for apps other than our API."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(config or uvicorn_config(app))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            wait_until(lambda: server.started or not thread.is_alive(), what="the start of the API")
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(10)

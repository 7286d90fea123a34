"""The HTTP API: payments, YooKassa's webhooks, reports, health and metrics."""

from typing import Any

from callboard.web.application import create_app
from callboard.web.server import serve

__all__ = ["create_app", "serve"]


def __getattr__(name: str) -> Any:
    # uvicorn callboard.web:app builds the app at this moment, so that importing the package reads no setting.
    if name == "app":
        return create_app()
    raise AttributeError(f"module 'callboard.web' has no attribute {name!r}")

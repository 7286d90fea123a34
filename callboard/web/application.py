"""The app: every route, who may call it, and what surrounds each request."""

from __future__ import annotations

from typing import Any

from fastapi import Depends, FastAPI, Request
from fastapi.middleware.cors import CORSMiddleware

import callboard
from callboard.app import get_pool, get_settings
from callboard.db import Pool
from callboard.settings import Settings
from callboard.web import health, metrics, operators, reports
from callboard.web.limits.lanes import Lane
from callboard.web.payments import routes as payments
from callboard.web.payments import webhooks
from callboard.web.payments.upkeep import lifespan_of
from callboard.web.requests.access import require_token
from callboard.web.requests.answers import JsonAnswer
from callboard.web.requests.errors import ErrorReply, install_handlers, note_refusal
from callboard.web.requests.guard import Guard
from callboard.web.state import State, through

#: Errors that any address may answer with.
ERROR_REPLIES: dict[int | str, dict[str, Any]] = {status: {"model": ErrorReply} for status in ("4XX", "5XX")}
ALLOWED_HEADERS = ["Authorization", "Content-Type", "Idempotency-Key", "X-Operator", "X-Request-ID"]
EXPOSED_HEADERS = ["X-Request-ID", "Idempotent-Replayed", "Retry-After"]


def create_app(settings: Settings | None = None, pool: Pool | None = None) -> FastAPI:
    """Build the API; what is not given comes from the environment."""
    state = State(settings or get_settings(), pool or get_pool())
    app = FastAPI(
        lifespan=lifespan_of(state),
        title="Callboard",
        version=callboard.__version__,
        description="Payments, YooKassa's webhooks, reports, health, metrics, and what operators see and do.",
        # The contract says that without API_TOKEN only webhook and health are open, so our own route serves it.
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        responses=ERROR_REPLIES,
        default_response_class=JsonAnswer,
        # A redirect would name the host and the scheme of the request, which anybody can write and a proxy changes.
        redirect_slashes=False,
    )
    app.state.callboard = state
    for module in (health, metrics, payments, reports, webhooks, operators):
        app.include_router(module.router)
    # Where the old worker had it.
    app.add_api_route("/api/health/queue", health.show_queue_health, include_in_schema=False)
    guards = [Depends(require_token), through(Lane.READS)]
    app.add_api_route("/openapi.json", app.openapi, dependencies=guards, include_in_schema=False)
    install_handlers(app)
    # The last one added is the outermost: refusals of the guard need their CORS headers too.
    app.add_middleware(Guard, note=lambda scope, reason: note_refusal(Request({**scope, "app": app}), reason))
    app.add_middleware(
        CORSMiddleware,
        allow_origins=state.settings.frontend_url,
        allow_methods=["GET", "HEAD", "POST"],
        allow_headers=ALLOWED_HEADERS,
        expose_headers=EXPOSED_HEADERS,
        max_age=600,
    )
    return app

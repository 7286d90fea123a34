"""Who may call: the bearer of API_TOKEN, YooKassa's networks, a scraper on the same machine."""

from __future__ import annotations

import secrets
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from callboard.settings import Settings
from callboard.web.requests.client_address import Address, client_address, is_within, parse_address
from callboard.web.requests.errors import ApiError
from callboard.web.state import CurrentState

_scheme = HTTPBearer(auto_error=False, description="The token in API_TOKEN.")
Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(_scheme)]


async def require_token(state: CurrentState, credentials: Credentials) -> None:
    """Let only the bearer of API_TOKEN in; without one set, nobody."""
    if not has_token(state.settings, credentials):
        raise _unauthorized(state.settings, credentials)


async def require_token_or_loopback(request: Request, state: CurrentState, credentials: Credentials) -> None:
    """Let in the bearer of API_TOKEN, and who calls from this very machine.

    For /metrics: they name queues and rates, which is nobody's business outside, while a scraper beside the API
    should need no secret. A forwarded request is not local, whoever forwards it.
    """
    peer = parse_address(request.client.host) if request.client else None
    is_forwarded = any(name in request.headers for name in ("x-forwarded-for", "forwarded", "x-real-ip"))
    if (peer is None or not peer.is_loopback or is_forwarded) and not has_token(state.settings, credentials):
        raise _unauthorized(state.settings, credentials)


async def webhook_sender(request: Request, state: CurrentState) -> Address:
    """Return the address of a webhook's sender if it is one of YooKassa's, else refuse."""
    settings = state.settings
    peer = request.client.host if request.client else None
    sender = client_address(peer, request.headers.getlist("x-forwarded-for"), settings.trusted_proxies)
    if sender is None or not is_within(sender, settings.yukassa_webhook_ips):
        raise ApiError(403, "forbidden", "This address may not send webhooks.", refused="foreign_address")
    return sender


def has_token(settings: Settings, credentials: HTTPAuthorizationCredentials | None) -> bool:
    """Say whether the request bears API_TOKEN; how long that takes tells nothing about the token."""
    if settings.api_token is None or credentials is None:
        return False
    expected = settings.api_token.get_secret_value().encode()
    return secrets.compare_digest(credentials.credentials.encode("utf-8", "surrogateescape"), expected)


def _unauthorized(settings: Settings, credentials: HTTPAuthorizationCredentials | None) -> ApiError:
    message = (
        "API_TOKEN is not set on the server, so this address is closed. "
        "Set it, then send Authorization: Bearer <token>."
        if settings.api_token is None
        else "Send the API's token as Authorization: Bearer <token>."
    )
    reason = "no_token" if credentials is None else "wrong_token"
    return ApiError(401, "unauthorized", message, headers={"WWW-Authenticate": "Bearer"}, refused=reason)

"""YooKassa's API through its official SDK, with a transport of our own.

The SDK's own transport has no timeout, turns a lost connection into AttributeError, makes up a new
Idempotence-Key a call and keeps one shop in class variables. So its client is subclassed: it keeps what
it knows about requests and headers, and what goes over the wire and what an answer means is decided here.
"""

from __future__ import annotations

import contextlib
import json
import re
import threading
import time
from collections.abc import Mapping
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from requests.auth import HTTPBasicAuth
from yookassa.client import ApiClient
from yookassa.domain.common import UserAgent
from yookassa.domain.request import PaymentRequest

from callboard.errors import ConfigurationError
from callboard.log import get_logger
from callboard.payments.errors import (
    CredentialsRejected,
    PaymentNotFound,
    PaymentRejected,
    YooKassaRateLimited,
    YooKassaUnavailable,
)
from callboard.payments.payment import Payment, ProviderPayment
from callboard.settings import Settings

log = get_logger(__name__)

CONNECT_TIMEOUT_S = 5.0
#: A payment is 2 KB; whatever is this large is not YooKassa's answer.
ANSWER_MAX_BYTES = 1_000_000
PROVIDER_ID = re.compile(r"[0-9A-Za-z-]{1,64}")
#: Longest wait we take an answer's word for, s.
WAIT_MAX_S = 86_400
#: Longest description of a refusal that we pass on.
DESCRIPTION_MAX = 300


class Gateway:
    """One shop at YooKassa; threads may share it."""

    def __init__(self, *, shop_id: str, secret_key: str, api_url: str, timeout_s: float = 35) -> None:
        self._client = _Client(shop_id, secret_key, api_url, timeout_s)

    @classmethod
    def from_settings(cls, settings: Settings) -> Gateway:
        """Return the gateway of the shop in the settings.

        Raises: ConfigurationError when there is none.
        """
        if settings.yukassa_shop_id is None or settings.yukassa_secret_key is None:
            raise ConfigurationError(
                "YUKASSA_SHOP_ID and YUKASSA_SECRET_KEY are not set, so no payment can be made. Set both."
            )
        return cls(
            shop_id=settings.yukassa_shop_id,
            secret_key=settings.yukassa_secret_key.get_secret_value(),
            api_url=settings.yukassa_api_url,
            timeout_s=settings.yukassa_timeout_s,
        )

    def create_payment(self, payment: Payment, *, timeout_s: float | None = None) -> ProviderPayment:
        """Create the payment of a stored row, or get the one that an earlier call with its key created.

        Raises: YooKassaUnavailable, YooKassaRateLimited (repeat), PaymentRejected (do not).
        Source: https://yookassa.ru/developers/using-api/interaction-format
        """
        headers = {"Idempotence-Key": payment.idempotence_key}
        request = PaymentRequest(payment.request_body())
        return _payment(self._client.request("POST", "/payments", None, headers, request, timeout_s=timeout_s))

    def find_payment(self, provider_id: str) -> ProviderPayment:
        """Return a payment as YooKassa knows it now.

        Raises: PaymentNotFound, YooKassaUnavailable, YooKassaRateLimited, PaymentRejected.
        """
        if not PROVIDER_ID.fullmatch(provider_id):
            raise PaymentNotFound(f"{provider_id[:80]!r} is not an id of YooKassa.", status=404, code="not_found")
        return _payment(self._client.request("GET", f"/payments/{provider_id}"))

    def probe(self) -> None:
        """Ask for a payment that nobody made: YooKassa answers that it has none only to a shop that it knows.

        Raises: CredentialsRejected, YooKassaUnavailable, YooKassaRateLimited, PaymentRejected.
        """
        with contextlib.suppress(PaymentNotFound):
            self.find_payment("00000000-0000-0000-0000-000000000000")


class _Client(ApiClient):  # type: ignore[misc]
    """The SDK's client for one shop, without its class-wide configuration."""

    def __init__(self, shop_id: str, secret_key: str, api_url: str, timeout_s: float) -> None:
        # The parent's __init__ reads the class-wide configuration, which a second shop would overwrite.
        self.endpoint = api_url
        self.shop_id = shop_id
        self.shop_password = secret_key
        self.auth_token = None
        self.user_agent = UserAgent()
        self._timeout_s = timeout_s
        # A requests.Session is not safe to share between threads.
        self._sessions = threading.local()

    def get_session(self) -> requests.Session:
        """Return this thread's session: connections are kept, nothing is repeated behind our back."""
        session: requests.Session | None = getattr(self._sessions, "session", None)
        if session is None:
            session = self._sessions.session = requests.Session()
            # Named here although the header is set too: else a netrc file of the machine replaces it.
            session.auth = HTTPBasicAuth(self.shop_id, self.shop_password)
            for scheme in ("http://", "https://"):
                session.mount(scheme, HTTPAdapter(max_retries=0, pool_maxsize=1))
        return session

    def request(
        self,
        method: str = "",
        path: str = "",
        query_params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        body: Any = None,
        *,
        timeout_s: float | None = None,
    ) -> dict[str, Any]:
        """Send one request and return the JSON of a 200; everything else is one of our errors."""
        if isinstance(body, PaymentRequest):
            body.validate()
            body = dict(body)
        timeout_s = min(timeout_s or self._timeout_s, self._timeout_s)
        started = time.monotonic()
        try:
            with self.get_session().request(
                method,
                self.endpoint + path,
                params=query_params,
                headers=self.prepare_request_headers(dict(headers or {})),
                json=body,
                timeout=(min(CONNECT_TIMEOUT_S, timeout_s), timeout_s),
                allow_redirects=False,
                stream=True,
            ) as response:
                content = _read(response, until=started + timeout_s)
        except requests.RequestException as error:
            took_s = round(time.monotonic() - started, 3)
            log.warning("yookassa request failed", method=method, error=type(error).__name__, took_s=took_s)
            raise YooKassaUnavailable(
                f"YooKassa gave no answer to {method} {path.split('/')[1]} ({type(error).__name__}); "
                "what it did is unknown. The request is safe to repeat with the same key."
            ) from error
        return _judge(response.status_code, response.headers, content)


def _read(response: requests.Response, *, until: float) -> bytes:
    """Read the body within the deadline; requests' own timeout starts anew with every byte."""
    content = b""
    for chunk in response.iter_content(16_384):
        content += chunk
        if len(content) > ANSWER_MAX_BYTES:
            raise requests.exceptions.ContentDecodingError("the answer is too large")
        if time.monotonic() > until:
            raise requests.exceptions.ReadTimeout("the answer did not end in time")
    return content


def _judge(status: int, headers: Mapping[str, str], content: bytes) -> dict[str, Any]:
    """Return the JSON of a 200, or raise what the answer means."""
    try:
        reply = json.loads(content)
    except (ValueError, RecursionError):
        reply = None
    fields: dict[str, Any] = reply if isinstance(reply, dict) else {}
    wait_s = _retry_after_s(fields, headers)
    if status == 200 and fields and fields.get("type") != "error":  # noqa: PLR2004 - HTTP's own names, here and below
        return fields
    if status == 429:  # noqa: PLR2004
        raise YooKassaRateLimited("YooKassa answered 429: too many requests. Send fewer.", retry_after_s=wait_s)
    if 400 <= status < 500 and status != 408:  # noqa: PLR2004
        raise _rejection(status, fields)
    raise YooKassaUnavailable(
        f"YooKassa answered {status} {'without usable JSON' if not fields else str(fields.get('code', ''))}".rstrip()
        + "; what it did is unknown. The request is safe to repeat with the same key.",
        retry_after_s=wait_s,
    )


def _rejection(status: int, fields: Mapping[str, Any]) -> PaymentRejected:
    code, parameter = str(fields.get("code", "")), str(fields.get("parameter", ""))
    description = str(fields.get("description", ""))[:DESCRIPTION_MAX]
    about: dict[str, Any] = {"status": status, "code": code, "parameter": parameter, "description": description}
    if status in (401, 403):
        return CredentialsRejected(
            f"YooKassa answered {status} {code}: {description or 'no reason given'}. "
            "Check YUKASSA_SHOP_ID and YUKASSA_SECRET_KEY, and that the shop may take payments.",
            **about,
        )
    if status == 404:  # noqa: PLR2004
        return PaymentNotFound(f"YooKassa answered 404: {description or 'no such payment'}.", **about)
    where = f" (parameter {parameter})" if parameter else ""
    return PaymentRejected(
        f"YooKassa answered {status} {code}{where}: {description or 'no reason given'}. "
        "Correct the request and start a new payment.",
        **about,
    )


def _retry_after_s(fields: Mapping[str, Any], headers: Mapping[str, str]) -> float | None:
    """Return the wait that an answer asks for: retry_after in ms in the body, or Retry-After in s."""
    milliseconds = fields.get("retry_after")
    if (
        isinstance(milliseconds, int | float)
        and not isinstance(milliseconds, bool)
        and 0 <= milliseconds <= WAIT_MAX_S * 1000
    ):
        return milliseconds / 1000
    seconds = headers.get("Retry-After", "")
    # The header's other form, a date, is not worth a parser: the usual wait stands in.
    return min(float(seconds), WAIT_MAX_S) if seconds.isascii() and seconds.isdigit() and len(seconds) < 10 else None  # noqa: PLR2004


def _payment(reply: Mapping[str, Any]) -> ProviderPayment:
    try:
        return ProviderPayment.from_reply(reply)
    except ValueError as error:
        raise YooKassaUnavailable(f"YooKassa's answer could not be understood: {error}") from error

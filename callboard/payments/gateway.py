"""YooKassa's API through its official SDK, with a transport of our own.

The SDK's own transport has no timeout, turns a lost connection into AttributeError, makes up a new
Idempotence-Key a call and keeps one shop in class variables. So its client is subclassed: it keeps what
it knows about requests and headers, and what goes over the wire and what an answer means is decided here.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import requests
import urllib3
from requests.auth import HTTPBasicAuth
from yookassa.client import ApiClient
from yookassa.domain.common import UserAgent
from yookassa.domain.request import PaymentRequest

from callboard.errors import ConfigurationError, PermanentError, TemporaryError
from callboard.log import get_logger
from callboard.metrics import YOOKASSA
from callboard.payments.answers import judge
from callboard.payments.errors import (
    CredentialsRejected,
    ForeignAnswer,
    PaymentNotFound,
    PaymentRejected,
    YooKassaRateLimited,
    YooKassaUnavailable,
)
from callboard.payments.payment import Payment, ProviderPayment
from callboard.payments.shop import Shop
from callboard.payments.transport import ending_after, new_session
from callboard.settings import Settings

log = get_logger(__name__)

CONNECT_TIMEOUT_S = 5.0
#: A payment is 2 KB; whatever is this large is not YooKassa's answer.
ANSWER_MAX_BYTES = 1_000_000
PROVIDER_ID = re.compile(r"[0-9A-Za-z-]{1,64}")


class Gateway:
    """One shop at YooKassa; threads may share it."""

    def __init__(self, *, shop_id: str, secret_key: str, api_url: str, timeout_s: float = 35) -> None:
        self._client = _Client(shop_id, secret_key, api_url, timeout_s)
        self._state = "answered"
        self._state_lock = threading.Lock()

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

        Raises: YooKassaUnavailable, YooKassaRateLimited, CredentialsRejected (repeat), PaymentRejected (do not).
        Source: https://yookassa.ru/developers/using-api/interaction-format
        """
        headers = {"Idempotence-Key": payment.idempotence_key}
        request = PaymentRequest(payment.request_body())
        with self._watched("create"):
            reported = _payment(self._client.request("POST", "/payments", None, headers, request, timeout_s=timeout_s))
            told = (str(reported.payment_id).lower(), reported.amount, reported.currency)
            if told != (payment.payment_id, payment.amount, payment.currency):
                raise ForeignAnswer(
                    f"The creation of payment {payment.payment_id} was answered with another payment: "
                    f"{str(reported.payment_id)[:64]} over {reported.amount} {reported.currency}."
                )
            return self._of_our_shop(reported)

    def find_payment(self, provider_id: str) -> ProviderPayment:
        """Return a payment as YooKassa knows it now.

        Raises: PaymentNotFound, YooKassaUnavailable, YooKassaRateLimited, CredentialsRejected, PaymentRejected.
        """
        if not PROVIDER_ID.fullmatch(provider_id):
            raise PaymentNotFound(f"{provider_id[:80]!r} is not an id of YooKassa.", status=404, code="not_found")
        with self._watched("find"):
            reported = _payment(self._client.request("GET", f"/payments/{provider_id}"))
            if reported.provider_id != provider_id:
                raise ForeignAnswer(f"Asked for payment {provider_id}, the answer was {reported.provider_id[:64]!r}.")
            return self._of_our_shop(reported)

    def find_shop(self) -> Shop:
        """Return the shop whose credentials these are. Raises: as find_payment()."""
        with self._watched("shop"):
            reply = self._client.request("GET", "/me")
            try:
                return Shop.from_reply(reply)
            except ValueError as error:
                raise YooKassaUnavailable(f"YooKassa's answer could not be understood: {error}") from error

    def _of_our_shop(self, reported: ProviderPayment) -> ProviderPayment:
        if reported.shop_id not in (None, self._client.shop_id):
            raise ForeignAnswer(
                f"Payment {reported.provider_id} is one of shop {str(reported.shop_id)[:64]}, not ours."
            )
        return reported

    @contextmanager
    def _watched(self, operation: str) -> Iterator[None]:
        """Count how a call ended, and say in the log when that changes."""
        try:
            yield
        except (TemporaryError, PermanentError) as error:
            outcome = next(word for kind, word in _OUTCOMES if isinstance(error, kind))
            self._note(operation, outcome, error)
            raise
        self._note(operation, "answered", None)

    def _note(self, operation: str, outcome: str, error: Exception | None) -> None:
        YOOKASSA.labels(operation, outcome).inc()
        # A refusal of one request says nothing of the next one.
        state = outcome if outcome in _STATES else "answered"
        with self._state_lock:
            before, self._state = self._state, state
        if state == before:
            return
        if error is not None and state != "answered":
            log.error("yookassa needs a look", found=state, operation=operation, error=str(error))
        else:
            log.info("yookassa answers again")


#: How calls end, for the metric; the narrowest class first.
_OUTCOMES: tuple[tuple[type[Exception], str], ...] = (
    (ForeignAnswer, "foreign_answer"),
    (YooKassaUnavailable, "unknown"),
    (YooKassaRateLimited, "rate_limited"),
    (CredentialsRejected, "credentials_refused"),
    (PaymentNotFound, "not_found"),
    (PaymentRejected, "rejected"),
)
#: What somebody has to look at: one line when it begins.
_STATES = frozenset({"foreign_answer", "credentials_refused"})


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
            session = self._sessions.session = new_session()
            # Named here although the header is set too: else a netrc file of the machine replaces it.
            session.auth = HTTPBasicAuth(self.shop_id, self.shop_password)
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
            with (
                ending_after(timeout_s),
                self.get_session().request(
                    method,
                    self.endpoint + path,
                    params=query_params,
                    headers=self.prepare_request_headers(dict(headers or {})),
                    json=body,
                    timeout=(min(CONNECT_TIMEOUT_S, timeout_s), timeout_s),
                    allow_redirects=False,
                    stream=True,
                ) as response,
            ):
                content = _read(response)
        except (TimeoutError, requests.RequestException, urllib3.exceptions.HTTPError) as error:
            took_s = round(time.monotonic() - started, 3)
            log.warning("yookassa request failed", method=method, error=type(error).__name__, took_s=took_s)
            raise YooKassaUnavailable(
                f"YooKassa gave no answer to {method} {path.split('/')[1]} ({type(error).__name__}); "
                "what it did is unknown. The request is safe to repeat with the same key."
            ) from error
        return judge(response.status_code, response.headers, content)


def _read(response: requests.Response) -> bytes:
    content = b""
    for chunk in response.iter_content(16_384):
        content += chunk
        if len(content) > ANSWER_MAX_BYTES:
            raise requests.exceptions.ContentDecodingError("the answer is too large")
    return content


def _payment(reply: Mapping[str, Any]) -> ProviderPayment:
    try:
        return ProviderPayment.from_reply(reply)
    except ValueError as error:
        raise YooKassaUnavailable(f"YooKassa's answer could not be understood: {error}") from error

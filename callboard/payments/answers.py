"""What an answer means, judged by who gave it: YooKassa has a form of its own, and what lacks it is a stranger's.

A proxy, a firewall or a page of the hosting answers with codes that YooKassa uses too. Such an answer says nothing
about the payment: its outcome is unknown, and the same request with the same key finds out later.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from callboard.payments.errors import (
    CredentialsRejected,
    PaymentNotFound,
    PaymentRejected,
    YooKassaRateLimited,
    YooKassaUnavailable,
)

#: Longest wait we take an answer's word for, s.
WAIT_MAX_S = 86_400
#: Longest description of a refusal that we pass on.
DESCRIPTION_MAX = 300
#: YooKassa's own words in a refusal, by its status; for other statuses it has none that we know.
OWN_CODES: dict[int, frozenset[str]] = {
    HTTPStatus.BAD_REQUEST: frozenset({"invalid_request", "not_supported"}),
    HTTPStatus.UNAUTHORIZED: frozenset({"invalid_credentials"}),
    HTTPStatus.FORBIDDEN: frozenset({"forbidden"}),
    HTTPStatus.NOT_FOUND: frozenset({"not_found"}),
}
#: Refusals of a request as such, with whatever code.
OTHER_REFUSALS = (HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.GONE, HTTPStatus.UNSUPPORTED_MEDIA_TYPE)


def judge(status: int, headers: Mapping[str, str], content: bytes) -> dict[str, Any]:
    """Return the JSON of a 200, or raise what the answer means.

    Raises: YooKassaUnavailable (unknown outcome), YooKassaRateLimited, CredentialsRejected, PaymentRejected.
    """
    fields = _own_json(headers, content)
    wait_s = _retry_after_s(fields, headers)
    if status == HTTPStatus.OK and fields and fields.get("type") != "error":
        return fields
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        raise YooKassaRateLimited("YooKassa answered 429: too many requests. Send fewer.", retry_after_s=wait_s)
    if _is_own_refusal(status, fields):
        raise _refusal(status, fields, wait_s)
    known = fields.get("type") == "error" or bool(fields)
    raise YooKassaUnavailable(
        f"The answer was {status} {str(fields.get('code', ''))[:40] if known else 'without usable JSON'}".rstrip()
        + _stranger(status)
        + "; what YooKassa did is unknown. The request is safe to repeat with the same key.",
        retry_after_s=wait_s,
    )


def _own_json(headers: Mapping[str, str], content: bytes) -> dict[str, Any]:
    """Return the object in an answer, empty where it is none or says of itself that it is something else."""
    kind = headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind and kind != "application/json" and not kind.endswith("+json"):
        return {}
    try:
        reply = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return reply if isinstance(reply, dict) else {}


def _is_own_refusal(status: int, fields: Mapping[str, Any]) -> bool:
    code = fields.get("code")
    if fields.get("type") != "error" or not isinstance(code, str) or not code:
        return False
    return code in OWN_CODES.get(status, ()) or status in OTHER_REFUSALS


def _stranger(status: int) -> str:
    """Say where to look for the one who answered in YooKassa's place."""
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status < HTTPStatus.MULTIPLE_CHOICES:
        return ""
    return ", which is not in YooKassa's form: look for a proxy or a firewall in between, and at YUKASSA_API_URL"


def _refusal(status: int, fields: Mapping[str, Any], wait_s: float | None) -> PaymentRejected | CredentialsRejected:
    code, parameter = str(fields["code"]), str(fields.get("parameter", ""))
    description = str(fields.get("description", ""))[:DESCRIPTION_MAX]
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return CredentialsRejected(
            f"YooKassa answered {status} {code}: {description or 'no reason given'}. "
            "Check YUKASSA_SHOP_ID and YUKASSA_SECRET_KEY, and that the shop may take payments.",
            status=status,
            code=code,
            retry_after_s=wait_s,
        )
    about: dict[str, Any] = {"status": status, "code": code, "parameter": parameter, "description": description}
    if status == HTTPStatus.NOT_FOUND:
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

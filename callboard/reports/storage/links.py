"""Links to report files that work for a week without a login."""

from __future__ import annotations

import hashlib
import hmac
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlencode

if TYPE_CHECKING:
    from callboard.settings import Settings

VALID_FOR = timedelta(days=7)


def report_link(settings: Settings, report_id: str, format: str, now: datetime) -> str:  # noqa: A002 - the word of the whole contract: ?format=pdf
    """Return the address of a report's file, signed for a week.

    Without ENCRYPTION_KEY the link is plain, and the API asks whoever follows it for its token.
    """
    query = {"format": format}
    if settings.encryption_key is not None:
        expires = int((now + VALID_FOR).timestamp())
        query |= {"expires": str(expires), "signature": _signature(settings, report_id, format, expires)}
    return f"{settings.api_base_url}/reports/{report_id}?{urlencode(query)}"


def check_signature(  # noqa: PLR0917 - the parts of the link, in its order
    settings: Settings,
    report_id: str,
    format: str | None,  # noqa: A002 - the word of the whole contract: ?format=pdf
    expires: int | str | None,
    signature: str | None,
    now: datetime,
) -> bool:
    """Return whether the link's parts, just as a request brought them, are ours and still valid."""
    if settings.encryption_key is None or not format or not signature:
        return False
    text = str(expires)
    # Only the form that report_link writes: int() would also take " 1_0" and digits of other scripts.
    if not (text.isascii() and text.isdigit() and len(text) <= 12):  # noqa: PLR2004 - seconds until the year 33658
        return False
    # As bytes: compare_digest refuses texts beyond ASCII, and a request may bring any.
    expected = _signature(settings, report_id, format, int(text)).encode()
    is_ours = hmac.compare_digest(expected, signature.encode(errors="replace"))
    return is_ours and now.timestamp() < int(text)


def _signature(settings: Settings, report_id: str, format: str, expires: int) -> str:  # noqa: A002 - the word of the whole contract: ?format=pdf
    key = settings.encryption_key.get_secret_value() if settings.encryption_key else ""
    # The first line keeps this signature from meaning anything elsewhere the key may be used.
    text = f"callboard report link\n{report_id}\n{format}\n{expires}"
    return hmac.new(key.encode(), text.encode(errors="replace"), hashlib.sha256).hexdigest()

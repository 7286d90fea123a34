"""Message ids as people type and clients send them."""

from __future__ import annotations

import uuid
from collections.abc import Iterable

from callboard.errors import InvalidRequest


def parse_message_ids(texts: Iterable[str], *, listed_by: str = "callboard messages list") -> tuple[str, ...]:
    """Return message ids in their usual form, each once; listed_by is the command that shows such ids.

    Raises: InvalidRequest.
    """
    ids: dict[str, None] = {}
    for text in texts:
        try:
            ids[str(uuid.UUID(text))] = None
        except (ValueError, AttributeError, TypeError):
            raise InvalidRequest(
                f"{text!r} is no message id. An id looks like {uuid.UUID(int=0)}; list them with: {listed_by}"
            ) from None
    return tuple(ids)

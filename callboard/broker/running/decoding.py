"""A row's text as a message of Dramatiq's, within the limits of a row."""

from __future__ import annotations

import json
from typing import Any

from dramatiq import JSONEncoder, Message, get_encoder
from dramatiq.errors import DecodeError

from callboard.db.rows.row_limits import LEVELS_MAX, ROW_BYTES_MAX, is_too_deep, may_be_too_deep
from callboard.errors import InvalidMessage


def decoded(text: str | None, message_id: str, queue_name: str) -> Message[Any]:
    """Return the message of a row, whose id and queue count. Raises: DecodeError, TypeError."""
    encoder = get_encoder()
    try:
        # As Dramatiq's own encoder does it, without turning the text into bytes and back.
        is_plain = type(encoder) is JSONEncoder
        kept = _kept(text)
        fields = json.loads(kept) if is_plain else encoder.decode(kept.encode())
        # The id and the queue that count are the row's: a message edited by hand may hold others.
        _require_shallow(kept, fields)
        message: Message[Any] = Message(**{**fields, "message_id": message_id, "queue_name": queue_name})
    except RecursionError as error:
        # How deep that is differs between versions of Python; what comes back is the same for all of them.
        raise DecodeError("The row holds no message.", "", _too_deep()) from error
    except Exception as error:
        # Whatever it is, also anything of a custom encoder, it is this row's: its claim has others.
        raise DecodeError("The row holds no message.", text or "", error) from error
    if not (
        isinstance(message.actor_name, str)
        # The message makes a tuple of anything, also of a text.
        and isinstance(fields["args"], list | tuple)
        and isinstance(message.kwargs, dict)
        and isinstance(message.options, dict)
    ):
        raise TypeError("actor_name, args, kwargs or options have a wrong type")
    return message


def _kept(text: str | None) -> str:
    if text is None:
        raise InvalidMessage(f"The message has more than {ROW_BYTES_MAX} bytes. Store the data and send its id.")
    return text


def _require_shallow(text: str, fields: Any) -> None:
    if may_be_too_deep(text) and is_too_deep(fields):
        raise _too_deep()


def _too_deep() -> InvalidMessage:
    return InvalidMessage(f"The message nests deeper than {LEVELS_MAX} levels.")

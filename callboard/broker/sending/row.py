"""Storing messages: how one becomes a row, and how rows get into the queue's table."""

from __future__ import annotations

import json
import json.encoder
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from dramatiq import Message, get_encoder
from dramatiq.encoder import JSONEncoder

from callboard.broker.options import wrong_span
from callboard.db import sql
from callboard.db.connections.prepared import Prepared
from callboard.db.grants import is_of_a_policy, refusal
from callboard.db.rows.row_limits import (
    DEDUPE_KEY_MAX,
    LEVELS_MAX,
    MESSAGE_BYTES_MAX,
    NAME_BYTES_MAX,
    is_too_deep,
    may_be_too_deep,
)
from callboard.errors import BrokerUnavailable, CallboardError, InvalidMessage, MissingGrant

#: Longest time that anything may be delayed, wait or live, ms: ten years; Postgres knows no moments far beyond.
TIME_MS_MAX = 10 * 365 * 86_400_000
#: How long a message waits for an open transaction that holds its dedupe key, s.
DEDUPE_WAIT_S = 2
#: How often the holder of a dedupe key is looked for while it changes hands.
DEDUPE_LOOKS = 20
#: SQLSTATE of a lock that did not come free in time.
LOCK_NOT_AVAILABLE = "55P03"
#: SQLSTATE of a grant that the role lacks.
INSUFFICIENT_PRIVILEGE = "42501"
#: SQLSTATE of a row that breaks a limit of its table; the name of the limit says which.
CHECK_VIOLATION = "23514"


def _make_encode() -> Callable[[Any], str]:
    """Return what writes JSON as dramatiq's own encoder does."""
    encoder = json.JSONEncoder(separators=(",", ":"), allow_nan=False)
    make_parts = getattr(json.encoder, "c_make_encoder", None)
    if make_parts is None:
        return encoder.encode
    # The same without making its C part anew at each call, which is a tenth of what a message costs in send_many().
    # A value that contains itself ends in a RecursionError instead of a ValueError.
    parts = make_parts(
        None, encoder.default, json.encoder.encode_basestring_ascii, None, ":", ",", False, False, False
    )  # fmt: skip
    return lambda value: "".join(parts(value, 0))


_encode = _make_encode()

ENQUEUE = Prepared(
    "callboard_enqueue",
    sql("sending/enqueue"),
    {
        "message_id": "uuid",
        "queue_name": "text",
        "message": "text",
        "priority": "integer",
        "delay_ms": "float8",
        "dedupe_key": "text",
        "ring": "boolean",
        "is_repeat": "boolean",
    },
)
ENQUEUE_NEW = Prepared(
    "callboard_enqueue_new",
    sql("sending/enqueue_new"),
    {"message_id": "uuid", "queue_name": "text", "message": "text", "priority": "integer", "delay_ms": "float8"},
)
RING = "NOTIFY callboard"


class OutgoingRow(NamedTuple):
    """The parameters of sql/sending/enqueue.sql that come from the message."""

    message_id: str
    queue_name: str
    message: str
    priority: int
    delay_ms: float
    dedupe_key: str | None
    #: An earlier send of it may have been stored although its answer was lost.
    is_repeat: bool = False

    @classmethod
    def of(cls, message: Message[Any], *, delay_ms: float | None, default_priority: int) -> OutgoingRow:
        """Encode a message.

        Raises: InvalidMessage when its arguments are no JSON, hold a NUL or a lone surrogate, or are too large, and for
        options that cannot be meant.
        """
        text = _text_of(message)
        options = message.options
        priority, dedupe_key = options.get("priority", default_priority), options.get("dedupe_key")
        if type(priority) is not int or not -(2**31) <= priority < 2**31:
            raise _invalid(message, f"has priority {priority!r}. Give a whole number; lower runs first.")
        if dedupe_key is not None and (not isinstance(dedupe_key, str) or not 0 < len(dedupe_key) <= DEDUPE_KEY_MAX):
            raise _invalid(
                message, f"has dedupe_key {dedupe_key!r}. Give a string of 1 to {DEDUPE_KEY_MAX} characters."
            )
        if options and (wrong := wrong_span(options)):
            raise _invalid(message, wrong)
        if delay_ms and not delay_ms <= TIME_MS_MAX:
            raise _invalid(message, f"has a delay of {delay_ms!r} ms. Give at most {TIME_MS_MAX}: ten years.")
        queue_name = message.queue_name
        for name, value in (("queue_name", queue_name), ("actor_name", message.actor_name)):
            if 4 * len(value) > NAME_BYTES_MAX and len(value.encode("utf-8", "replace")) > NAME_BYTES_MAX:
                raise _invalid(
                    message, f"has a {name} of {len(value)} characters. Give at most {NAME_BYTES_MAX} bytes."
                )
        for name, value in (("queue_name", queue_name), ("dedupe_key", dedupe_key or "")):
            if not value.isprintable() and not _is_storable(value):
                raise _invalid(message, f"has {name} {value!r}, which holds a NUL or half a surrogate pair.")
        is_repeat = getattr(message, "may_be_stored", False)
        delay_ms = max(delay_ms, 0) if delay_ms else 0
        return cls(message.message_id, queue_name, text, priority, delay_ms, dedupe_key, is_repeat)


def _text_of(message: Message[Any]) -> str:
    try:
        if type(get_encoder()) is JSONEncoder:
            text = _encode(
                {
                    "queue_name": message.queue_name,
                    "actor_name": message.actor_name,
                    "args": message.args,
                    "kwargs": message.kwargs,
                    "options": message.options,
                    "message_id": message.message_id,
                    "message_timestamp": message.message_timestamp,
                }
            )
        else:
            text = message.encode().decode("utf-8")
    except (TypeError, ValueError, RecursionError) as error:
        # On one Python what is too deep ends here, on another one below.
        if isinstance(error, RecursionError) and is_too_deep([message.args, message.kwargs, message.options]):
            raise _too_deep(message) from error
        raise _invalid(message, f"is no JSON: {error}. Pass numbers, strings, lists and dicts.") from error
    size_bytes = len(text) if text.isascii() else len(text.encode("utf-8", "replace"))
    if size_bytes > MESSAGE_BYTES_MAX:
        raise _invalid(
            message, f"has {size_bytes} bytes, the limit is {MESSAGE_BYTES_MAX}. Store the data and send its id."
        )
    if may_be_too_deep(text) and is_too_deep([message.args, message.kwargs, message.options]):
        raise _too_deep(message)
    # Only a text with one of these escapes can hold what Postgres refuses; most of those that do are emoji.
    if ("\\u0000" in text or "\\ud" in text or not text.isascii()) and not _is_storable(json.loads(text)):
        raise _invalid(message, "cannot be stored: a text in it holds a NUL or half a surrogate pair. Remove it.")
    return text


def _is_storable(value: Any) -> bool:
    """Tell whether all texts in a JSON value are such that Postgres can keep."""
    match value:
        case str():
            try:
                return b"\0" not in value.encode()
            except UnicodeEncodeError:
                return False
        case dict():
            return all(_is_storable(key) and _is_storable(item) for key, item in value.items())
        case list():
            return all(map(_is_storable, value))
    return True


def _invalid(message: Message[Any], what: str) -> InvalidMessage:
    return InvalidMessage(f"Message {message.message_id} for actor {message.actor_name[:60]!r} {what}")


def _too_deep(message: Message[Any]) -> InvalidMessage:
    return _invalid(
        message, f"is no JSON that is stored: it nests deeper than {LEVELS_MAX} levels. Store the data and send its id."
    )


def insert_row(
    cursor: Any,
    row: OutgoingRow,
    *,
    ring: bool = True,
    is_prepared: bool = False,
    sets_wait: bool = False,
) -> str:
    """Store a row and return the id that holds its place: its own, or the first one of its dedupe key.

    is_prepared and sets_wait are for connections of ours in autocommit: with sets_wait, an open transaction with the
    same dedupe key is waited for DEDUPE_WAIT_S.
    Raises: InvalidMessage; BrokerUnavailable when the holder of the key neither committed nor went.
    """
    parameters = {**row._asdict(), "ring": ring}
    name = f"Message {row.message_id} for queue {row.queue_name!r}"
    if is_prepared and row.dedupe_key is None and not row.is_repeat and _is_stored_as_new(cursor, parameters):
        return row.message_id
    before = f"SET LOCAL lock_timeout = '{DEDUPE_WAIT_S}s';" if sets_wait and row.dedupe_key is not None else ""
    with refusals(name, row.dedupe_key):
        # A statement that waited for another sender does not see what that one stored; the next one does.
        for _ in range(DEDUPE_LOOKS):
            if is_prepared:
                ENQUEUE.execute(cursor, parameters, before=before)
            else:
                cursor.execute(before + sql("sending/enqueue"), parameters)
            stored, is_held = cursor.fetchone()[:2]
            if is_held:
                raise _blocked(name, "it") if row.dedupe_key is None else _held(name, row.dedupe_key)
            if stored is not None:
                return str(stored)
    raise BrokerUnavailable(
        f"{name} was not stored: dedupe_key {row.dedupe_key!r} changed hands all the time. Send it again."
    )


def _is_stored_as_new(cursor: Any, parameters: dict[str, Any]) -> bool:
    """Store what nearly every send is in the shortest way; False where its id is known already."""
    with refusals(f"Message {parameters['message_id']} for queue {parameters['queue_name']!r}", None):
        # The ring comes first, as the driver tells the count of rows of the last statement; both are one transaction.
        ENQUEUE_NEW.execute(cursor, parameters, before=f"{RING};" if parameters["ring"] else "")
    return bool(cursor.rowcount)


def insert_rows(cursor: Any, rows: Sequence[OutgoingRow], *, ring: bool = True) -> dict[str, str]:
    """Store rows in one statement, in their order; return the holder's id for each row that is not in the queue itself.

    Raises: InvalidMessage, BrokerUnavailable, as insert_row().
    """
    keys = [row.dedupe_key for row in rows if row.dedupe_key is not None]
    parameters = {
        "message_ids": pg_array(row.message_id for row in rows),
        "queue_names": pg_array(row.queue_name for row in rows),
        "messages": pg_array(row.message for row in rows),
        "priorities": pg_array(str(row.priority) for row in rows),
        "delays_ms": pg_array(str(row.delay_ms) for row in rows),
        "dedupe_keys": pg_array(row.dedupe_key for row in rows),
        "is_repeat": any(row.is_repeat for row in rows),
    }
    name, key = f"One of {len(rows)} messages", keys[0] if len(keys) == 1 else None
    with refusals(name, key):
        may_wait = keys or parameters["is_repeat"]
        cursor.execute(
            sql("sending/enqueue_keyed" if may_wait else "sending/enqueue_many"), {**parameters, "ring": ring}
        )
        count, is_held = cursor.fetchone()[:2]
        if is_held:
            raise _held(name, key) if keys else _blocked(name, "them")
        if count == len(rows):
            return {}
        cursor.execute(sql("sending/find_places"), parameters)
        holders: dict[str, str] = dict(cursor.fetchall())
    for row in rows:
        if row.message_id not in holders:
            holders[row.message_id] = insert_row(cursor, row, ring=False)
    return {sent: holder for sent, holder in holders.items() if sent != holder}


def pg_array(values: Any) -> str:
    """Write texts as the literal of a Postgres array: one string to send, where a list would be one for each item."""
    quoted = [
        "NULL" if value is None else '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"' for value in values
    ]
    return "{" + ",".join(quoted) + "}"


@contextmanager
def refusals(name: str, dedupe_key: str | None) -> Iterator[None]:
    """Say in our terms what the driver, whichever it is, raises about a row."""
    try:
        yield
    except CallboardError:
        raise
    except Exception as error:
        code = _sqlstate(error)
        if code == INSUFFICIENT_PRIVILEGE and not is_of_a_policy(_of_the_driver(error)):
            raise MissingGrant(f"{name} was not stored. {refusal('producer', str(error))}") from error
        if code == LOCK_NOT_AVAILABLE:
            raise _held(name, dedupe_key) from error
        if code[:2] == "22" or code in (CHECK_VIOLATION, "54000") or (not code and isinstance(error, ValueError)):
            raise InvalidMessage(f"{name} cannot be stored: {str(error).strip()}") from error
        raise


def _held(name: str, dedupe_key: str | None) -> BrokerUnavailable:
    held = "its dedupe_key" if dedupe_key is None else f"dedupe_key {dedupe_key!r}"
    return BrokerUnavailable(
        f"{name} was not stored: a transaction that sent {held} is still open after a wait. "
        "Commit or end that one, then send again."
    )


def _blocked(name: str, again: str) -> BrokerUnavailable:
    return BrokerUnavailable(
        f"{name} was not stored: another transaction was in its way each time. Send {again} again; none runs twice."
    )


def _sqlstate(error: BaseException) -> str:
    """Return the SQLSTATE that psycopg2, psycopg 3, or Django or SQLAlchemy around them report, or an empty text."""
    found = _of_the_driver(error)
    return str(getattr(found, "pgcode", None) or getattr(found, "sqlstate", None) or "")


def _of_the_driver(error: BaseException) -> BaseException:
    """Return the driver's own error, which Django and SQLAlchemy have as its cause."""
    for found in (error, error.__cause__):
        if found is not None and (getattr(found, "pgcode", None) or getattr(found, "sqlstate", None)):
            return found
    return error

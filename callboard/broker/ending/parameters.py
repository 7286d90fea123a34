"""Verdicts as the parameters of the statements in sql/ending/end_*.sql."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from callboard.broker.ending.verdict import ERROR_MESSAGE_MAX, Verdict
from callboard.broker.sending.row import TIME_MS_MAX, pg_array
from callboard.db.rows.row_limits import COUNT_MAX
from callboard.terms import Outcome

#: A NUL in JSON text: its escape behind an even number of backslashes.
_UNSTORABLE = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")


def fence(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """Return what tells a verdict from one whose lease has passed on."""
    return {
        "message_ids": pg_array(v.message_id for v in verdicts),
        "lease_ids": pg_array(str(v.lease_id) for v in verdicts),
        "started_at": pg_array(str(v.started_at) for v in verdicts),
    }


def parameters_of(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """Return the parameters of the statement that writes these verdicts, which share it."""
    parameters = fence(verdicts)
    if verdicts[0].outcome is Outcome.DONE:
        return parameters
    errors, causes = [v.error for v in verdicts], [v.cause for v in verdicts]
    return parameters | {
        "outcomes": pg_array(v.outcome.value for v in verdicts),
        "waits_s": pg_array(str(min(v.wait_s, TIME_MS_MAX / 1000)) for v in verdicts),
        "messages": pg_array(v.message and without_nul(v.message) for v in verdicts),
        "reasons": pg_array(v.reason and v.reason[:ERROR_MESSAGE_MAX] for v in verdicts),
        "retries": pg_array(None if v.retries is None else str(min(max(v.retries, 0), COUNT_MAX)) for v in verdicts),
        "error_classes": pg_array(error and error.error_class for error in errors),
        "error_messages": pg_array(error and error.message for error in errors),
        "tracebacks": pg_array(error and error.traceback for error in errors),
        "fingerprints": pg_array(cause and cause.fingerprint for cause in causes),
        "places": pg_array(cause and cause.place for cause in causes),
    }


def without_nul(message: str) -> str:
    """Return a message without what Postgres cannot hold, such as the NUL of a traceback in its options.

    Before it is sent: Postgres would write the message that it refuses into its log.
    """
    return _UNSTORABLE.sub(r"\1", message) if "\\u0000" in message else message

"""Actors that make reports."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from actors.emails import send_email
from callboard.app import actor, get_pool, get_settings
from callboard.broker import completion, current_delivery, send_in
from callboard.errors import PermanentError, Postponed

#: Wait for a storage that is away or refuses us, s.
STORAGE_WAIT_S = 60
_PARAMETERS = ("kind", "parameters", "formats", "notify_to", "report_id")


@actor(queue_name="reports", on_retry_exhausted="close_failed_report")
def generate_report(
    kind: str,
    parameters: dict[str, Any] | None = None,
    formats: list[str] | None = None,
    notify_to: str | None = None,
    report_id: str | None = None,
) -> None:
    """Make a report, store its files and mail a link to notify_to.

    kind is "payments_register" (parameters from and to: dates or ISO moments, by default today in UTC) or
    "receipt". formats are pdf, csv, xlsx and html, by default pdf; the link leads to the first of them.
    report_id is by default the message's id, so that every attempt works on one report.
    """
    from callboard import reports

    delivery = current_delivery()
    report_id = report_id or (delivery.message_id if delivery else str(uuid4()))
    settings, pool = get_settings(), get_pool()
    with pool.cursor() as cursor:
        report = reports.request_report(
            cursor, report_id=report_id, kind=kind, parameters=parameters, formats=formats, notify_to=notify_to
        )
    try:
        ready = reports.prepare_report(settings, pool, report.report_id)
    except (reports.StorageUnavailable, reports.StorageMisconfigured) as error:
        raise Postponed(
            f"The storage of report files is to be waited for: {error}"[:500], wait_s=STORAGE_WAIT_S
        ) from error
    except PermanentError as error:
        with pool.cursor() as cursor:
            reports.fail_report(cursor, report.report_id, error)
        raise
    with completion() as connection:
        with connection.cursor() as cursor:
            is_ours = reports.finish_report(cursor, ready)
        if is_ours and ready.notify_to:
            now = datetime.now(UTC)
            context = {
                "title": ready.title,
                "link": reports.report_link(settings, ready.report_id, report.formats[0], now),
                "expires_at": (now + reports.VALID_FOR).isoformat(timespec="seconds")
                if settings.encryption_key
                else None,
            }
            send_in(connection, send_email.message(to=ready.notify_to, template="report_ready", context=context))


@actor(queue_name="reports")
def close_failed_report(message: dict[str, Any], retries: dict[str, int]) -> None:
    """Close the report of a message that became a dead letter, so that whoever waits for it sees that."""
    from callboard import reports

    arguments = dict(zip(_PARAMETERS, message["args"], strict=False)) | message["kwargs"]
    report_id = arguments.get("report_id") or message["message_id"]
    text = f"Given up after {retries['retries']} retries. See: callboard dead show {message['message_id']}"
    with get_pool().cursor() as cursor:
        reports.fail_report(cursor, report_id, text)

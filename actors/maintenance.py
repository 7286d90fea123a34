"""Callboard's own upkeep, sent by its own schedules."""

from __future__ import annotations

from functools import partial

from callboard.app import actor, get_pool, get_settings
from callboard.broker import schedule
from callboard.errors import PermanentError
from callboard.log import get_logger

log = get_logger(__name__)

#: Time one run may take, s: below the time limit of an actor. What is left is for the next slot.
PURGE_TIME_S = 480
ROLL_UP_TIME_S = 50


@schedule("purge-expired", cron="17 * * * *", dedupe_key="purge-expired")
@actor(queue_name="maintenance")
def purge_expired() -> None:
    """Delete what is older than the settings …_RETENTION_DAYS say, reports with their files."""
    from callboard import reports
    from callboard.ops.upkeep import retention

    settings = get_settings()
    days = retention.Days(
        history=settings.history_retention_days,
        dead_letters=settings.dead_letter_retention_days,
        emails=settings.email_retention_days,
        reports=settings.report_retention_days,
        payment_events=settings.payment_event_retention_days,
        idempotency_keys=settings.idempotency_retention_days,
    )
    remove_files = partial(reports.remove_files, settings.report_storage_url)
    purged = retention.purge_expired(get_pool(), days, remove_files=remove_files, time_s=PURGE_TIME_S)
    if any(purged.counts.values()) or not purged.is_finished:
        log.info("old rows deleted", is_finished=purged.is_finished, **purged.counts)
    if purged.refusals:
        # The next slot tries again; until then a dead letter says that these tables grow.
        raise PermanentError(
            " ".join(f"Old rows of {table} cannot be deleted: {why}" for table, why in purged.refusals.items())
        )


@schedule("roll-up", cron="* * * * *", dedupe_key="roll-up")
@actor(queue_name="maintenance")
def roll_up() -> None:
    """Count what came and ended in the minutes that are over, for callboard.throughput."""
    from callboard.ops.upkeep import throughput

    throughput.roll_up(get_pool(), time_s=ROLL_UP_TIME_S)

"""docs/retention.md against the catalogue: every table ends its rows, or says why it keeps them for good."""

from __future__ import annotations

import re
import uuid
from pathlib import Path

import pytest

from callboard.ops.upkeep.retention import Days, purge_expired
from callboard.settings import Settings
from tests.postgres.broker.fake_workers import opened
from tests.postgres.ops.rows import Rows, days_ago

PAGE = (Path(__file__).parents[3] / "docs" / "retention.md").read_text(encoding="utf-8")
KEPT = dict(re.findall(r"^\| `(\w+\.\w+)` \| [^|]+ \| ([^|]+) \|$", PAGE, re.MULTILINE))
BY_SETTING = {
    table: re.search(r"`(\w+_RETENTION_DAYS)`", kept)[1] for table, kept in KEPT.items() if "_RETENTION" in kept
}
#: Ends with something else than a purge: its message, worker or own time.
ENDS_BY_ITSELF = ("until the", "until its", "`result_ttl`")

PROCESS = {"hostname": "host", "pid": 1, "queues": ["jobs"], "threads": 1, "version": "0"}
DECLARED = {"actor_name": "job", "queue_name": "jobs", "cron": "0 6 * * *", "timezone": "UTC", "catch_up": "latest"}

#: How a row of each purged table comes to be, days old.
OLD = {
    "callboard.message_history": lambda rows, days: rows.history(days),
    "callboard.attempts": lambda rows, days: rows.attempt(days),
    "callboard.dead_letters": lambda rows, days: rows.dead(days),
    "callboard.emails": lambda rows, days: rows.email(days),
    "callboard.reports": lambda rows, days: rows.report(days),
    "callboard.payment_events": lambda rows, days: rows.insert(
        "callboard.payment_events", provider_object_id=str(days), event="payment.succeeded", received_at=days_ago(days)
    ),
    "callboard.idempotency_keys": lambda rows, days: rows.idempotency_key(str(days), days, rows.payment(days)),
    "callboard.worker_history": lambda rows, days: rows.insert(
        "callboard.worker_history", worker_id=str(uuid.uuid4()), **PROCESS, started_at=days_ago(days)
    ),
    "callboard.throughput": lambda rows, days: rows.insert(
        "callboard.throughput", minute_at=days_ago(days), queue_name="jobs", actor_name="job"
    ),
    "callboard.schedules": lambda rows, days: rows.insert(
        "callboard.schedules", schedule_name=str(days), **DECLARED, next_at=days_ago(0), declared_at=days_ago(days)
    ),
}


@pytest.fixture
def db(database_url):
    with opened(database_url) as query:
        yield query


def test_the_page_names_every_table_and_no_other(db):
    found = db(
        "SELECT n.nspname || '.' || c.relname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace "
        "WHERE n.nspname IN ('callboard', 'dramatiq') AND c.relkind IN ('r', 'p')"
    )
    assert {name for (name,) in found} == KEPT.keys()


def test_every_table_has_a_setting_an_end_of_its_own_or_a_reason():
    without = {
        table: kept
        for table, kept in KEPT.items()
        if table not in BY_SETTING and "for good, because" not in kept and not kept.startswith(ENDS_BY_ITSELF)
    }
    assert without == {}


def test_every_retention_setting_is_on_the_page():
    settings = {name.upper() for name in Settings.model_fields if name.endswith("_retention_days")}
    assert settings == set(BY_SETTING.values())


@pytest.mark.parametrize("table", sorted(BY_SETTING))
def test_a_row_goes_when_its_own_setting_says_so(table, db, pool):
    # Given rows on both sides of this setting's line, while all others keep longer
    rows = Rows(db)
    db("DELETE FROM callboard.schedules")
    for days in (9, 11):
        OLD[table](rows, days)
    names = {
        "HISTORY_RETENTION_DAYS": "history",
        "DEAD_LETTER_RETENTION_DAYS": "dead_letters",
        "EMAIL_RETENTION_DAYS": "emails",
        "REPORT_RETENTION_DAYS": "reports",
        "PAYMENT_EVENT_RETENTION_DAYS": "payment_events",
        "IDEMPOTENCY_RETENTION_DAYS": "idempotency_keys",
    }
    days = Days(**{name: 10 if setting == BY_SETTING[table] else 3650 for setting, name in names.items()})
    # When what has outlived its time is deleted
    purge_expired(pool, days, remove_files=lambda _report_id: None, time_s=60)
    # Then the older one is gone
    assert db(f"SELECT count(*) FROM {table}") == [(1,)]

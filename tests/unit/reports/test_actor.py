"""The report actors on a real database: one report, one mail, whatever comes twice."""

from __future__ import annotations

from uuid import uuid4

import pytest

import callboard.reports
from callboard.reports import InvalidReport, find_report, finish_report, request_report
from callboard.reports.kinds import register

DAY = {"from": "2026-11-22", "to": "2026-11-22"}


@pytest.fixture
def reports_actor(database_url, tmp_path, monkeypatch):
    """The actors on the test's database, outside of a worker."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("REPORT_STORAGE_URL", f"file://{tmp_path}/reports")
    monkeypatch.setenv("ENCRYPTION_KEY", "A" * 43 + "=")
    from actors import reports
    from callboard import app

    app.get_settings.cache_clear()
    app.get_pool().close()  # Connections of an earlier test lead to its database.
    yield reports
    app.get_pool().close()
    app.get_settings.cache_clear()


def queued_mails(connection):
    with connection.cursor() as cursor:
        cursor.execute("SELECT message -> 'kwargs' FROM dramatiq.queue WHERE queue_name = 'emails'")
        return [row[0] for row in cursor.fetchall()]


def test_the_actor_closes_the_report_and_mails_one_signed_link(reports_actor, connection):
    report_id = str(uuid4())
    for _ in range(2):  # A repeat of the message: no second mail.
        reports_actor.generate_report.fn("payments_register", DAY, ["csv"], "boss@shop.example", report_id)
    with connection.cursor() as cursor:
        assert find_report(cursor, report_id).state == "ready"
    (mail,) = queued_mails(connection)
    assert (mail["to"], mail["template"]) == ("boss@shop.example", "report_ready")
    assert mail["context"]["title"] == "Payments register, 22 Nov 2026"
    assert f"/reports/{report_id}?format=csv&expires=" in mail["context"]["link"]


def test_of_two_runs_at_once_only_the_first_to_finish_mails(reports_actor, connection, monkeypatch):
    report_id, prepare = str(uuid4()), callboard.reports.prepare_report

    def prepare_while_another_run_finishes(settings, pool, report_id):
        ready = prepare(settings, pool, report_id)
        with connection.cursor() as cursor:
            assert finish_report(cursor, ready)
        return ready

    monkeypatch.setattr(callboard.reports, "prepare_report", prepare_while_another_run_finishes)
    reports_actor.generate_report.fn("payments_register", DAY, ["csv"], "boss@shop.example", report_id)
    assert queued_mails(connection) == []


def test_the_actor_mails_nobody_unless_asked(reports_actor, connection):
    reports_actor.generate_report.fn("payments_register", DAY, ["csv"])
    assert queued_mails(connection) == []


def test_a_permanent_failure_closes_the_report_with_its_reason(reports_actor, connection, monkeypatch):
    monkeypatch.setattr(register, "MAX_ROWS", -1)
    report_id = str(uuid4())
    with pytest.raises(InvalidReport):
        reports_actor.generate_report.fn("payments_register", DAY, ["csv"], "boss@shop.example", report_id)
    with connection.cursor() as cursor:
        report = find_report(cursor, report_id)
    assert report.state == "failed"
    assert "Ask for a shorter time" in report.error
    assert queued_mails(connection) == []


@pytest.mark.parametrize("is_positional", [True, False])
def test_a_message_that_was_given_up_closes_its_report(reports_actor, connection, is_positional):
    report_id = str(uuid4())
    with connection.cursor() as cursor:
        request_report(cursor, report_id=report_id, kind="payments_register", formats=["csv"])
    arguments = {"args": ["payments_register", None, ["csv"], None, report_id], "kwargs": {}}
    if not is_positional:
        arguments = {"args": ["payments_register"], "kwargs": {"report_id": report_id}}
    message = {"message_id": str(uuid4()), **arguments}
    reports_actor.close_failed_report.fn(message, {"retries": 3, "max_retries": 3})
    with connection.cursor() as cursor:
        report = find_report(cursor, report_id)
    assert (report.state, report.error) == (
        "failed",
        f"Given up after 3 retries. See: callboard dead show {message['message_id']}",
    )

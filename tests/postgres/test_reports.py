"""A report's life on a real database: asked for once, made from the rows, closed once."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import psycopg2
import pytest
from pypdf import PdfReader

from callboard.db import Pool
from callboard.errors import NotFound
from callboard.reports import (
    InvalidReport,
    StorageUnavailable,
    fail_report,
    fetch,
    find_report,
    finish_report,
    lifecycle,
    prepare_report,
    request_report,
)
from callboard.reports.kinds import register
from callboard.settings import load_settings

MORNING = datetime(2026, 11, 22, 9, tzinfo=UTC)
DAY = {"from": "2026-11-22", "to": "2026-11-22"}


@pytest.fixture
def pool(each_database_url):
    pool = Pool(each_database_url)
    yield pool
    pool.close()


@pytest.fixture
def settings(tmp_path):
    return load_settings(report_storage_url=f"file://{tmp_path}/reports")


def add_payment(pool, order_id, *, status="succeeded", amount="100.00", created_at=MORNING, email="anna@shop.example"):
    paid_at = created_at if status == "succeeded" else None
    with pool.cursor() as cursor:
        cursor.execute(
            "INSERT INTO callboard.payments (payment_id, status, order_id, amount, currency, customer_email, "
            "return_url, idempotence_key, created_at, paid_at) "
            "VALUES (%s, %s, %s, %s, 'RUB', %s, 'https://shop.example', %s, %s, %s)",
            (str(uuid4()), status, order_id, amount, email, str(uuid4()), created_at, paid_at),
        )


def ask(pool, *, report_id=None, kind="payments_register", parameters=DAY, formats=("csv",), now=None, notify_to=None):
    with pool.cursor() as cursor:
        return request_report(
            cursor,
            report_id=report_id or str(uuid4()),
            kind=kind,
            parameters=parameters,
            formats=formats,
            notify_to=notify_to,
            now=now,
        )


def finish(pool, ready):
    with pool.cursor() as cursor:
        return finish_report(cursor, ready)


def look(pool, report_id):
    with pool.cursor() as cursor:
        return find_report(cursor, report_id)


def test_a_report_goes_from_requested_to_ready_with_all_its_files(pool, settings):
    add_payment(pool, "A-1", amount="1000.50")
    add_payment(pool, "A-2", amount="234.00")
    add_payment(pool, "A-3", status="canceled")
    report = ask(pool, formats=("pdf", "csv", "xlsx", "html"), notify_to="boss@shop.example")
    assert report.state == "requested"

    ready = prepare_report(settings, pool, report.report_id)
    assert look(pool, report.report_id).state == "requested"
    assert finish(pool, ready)

    found = look(pool, report.report_id)
    assert (found.state, found.files, found.notify_to) == ("ready", ready.files, "boss@shop.example")
    assert ready.title == "Payments register, 22 Nov 2026"
    pdf = fetch(settings.report_storage_url, found.files["pdf"].path)
    assert "1,234.50\u00a0₽" in PdfReader(io.BytesIO(pdf)).pages[0].extract_text().replace(" ₽", "\u00a0₽")
    assert b"A-1,a***@shop.example" in fetch(settings.report_storage_url, found.files["csv"].path)


def test_the_register_holds_the_payments_of_its_time_and_no_other(pool, settings):
    midnight = datetime(2026, 11, 22, tzinfo=UTC)
    add_payment(pool, "before", created_at=midnight - timedelta(microseconds=1))
    add_payment(pool, "first", created_at=midnight)
    add_payment(pool, "last", created_at=midnight + timedelta(days=1, microseconds=-1))
    add_payment(pool, "after", created_at=midnight + timedelta(days=1))
    ready = prepare_report(settings, pool, ask(pool).report_id)
    lines = fetch(settings.report_storage_url, ready.files["csv"].path).decode().splitlines()
    assert [line.split(",")[0] for line in lines[1:]] == ["first", "last"]


def test_no_full_address_reaches_a_file(pool, settings):
    add_payment(pool, "A-1", email="anna.petrova@shop.example")
    ready = prepare_report(settings, pool, ask(pool, formats=("csv", "html", "pdf")).report_id)
    assert all(b"anna.petrova" not in fetch(settings.report_storage_url, file.path) for file in ready.files.values())


def test_the_same_request_again_is_the_same_report(pool):
    first = ask(pool)
    assert ask(pool, report_id=first.report_id) == first


def test_today_stays_the_day_of_the_request_when_the_retry_comes_after_midnight(pool):
    first = ask(pool, parameters=None, now=datetime(2026, 11, 22, 23, 59, tzinfo=UTC))
    again = ask(pool, parameters=None, report_id=first.report_id, now=datetime(2026, 11, 23, 0, 1, tzinfo=UTC))
    assert again.parameters == first.parameters
    assert again.parameters["from"] == "2026-11-22T00:00:00+00:00"


@pytest.mark.parametrize("changes", [{"parameters": {"from": "2026-11-01"}}, {"formats": ("pdf",)}])
def test_an_id_that_names_another_report_is_refused(pool, changes):
    first = ask(pool)
    with pytest.raises(InvalidReport, match="is another one already"):
        ask(pool, report_id=first.report_id, **changes)
    assert look(pool, first.report_id) == first


@pytest.mark.parametrize(
    ("request_", "sentence"),
    [
        ({"report_id": "../../etc"}, "report_id must be a UUID"),
        ({"kind": "sales"}, "no report kind 'sales'"),
        ({"formats": ["exe"]}, "has no format 'exe'"),
        ({"notify_to": "nobody"}, "notify_to must be a mail address"),
        ({"notify_to": "a@b.example\nBcc: c@d.example"}, "notify_to must be a mail address"),
    ],
)
def test_a_wrong_request_leaves_no_row(pool, request_, sentence):
    with pytest.raises(InvalidReport, match=sentence):
        ask(pool, **request_)
    with pool.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM callboard.reports")
        assert cursor.fetchone() == (0,)


@pytest.mark.parametrize("text", ["nul\x00", "half \ud800", "back\\slash\\u0000 \x00"])
def test_text_that_postgres_cannot_keep_is_refused_with_a_sentence(pool, text):
    context = {"order_id": text, "amount": "1.00", "currency": "RUB", "paid_at": MORNING.isoformat(), "payment_id": "p"}
    with pytest.raises(InvalidReport, match="parameters"):
        ask(pool, kind="receipt", parameters=context, formats=None)


def test_a_receipt_is_made_from_its_parameters(pool, settings):
    context = {
        "order_id": "back\\u0000slash",
        "amount": "1.00",
        "currency": "RUB",
        "paid_at": MORNING.isoformat(),
        "payment_id": "p",
    }
    ready = prepare_report(settings, pool, ask(pool, kind="receipt", parameters=context, formats=["html"]).report_id)
    assert ready.title == "Receipt for order back\\u0000slash"
    assert b"1.00" in fetch(settings.report_storage_url, ready.files["html"].path)


def test_an_attempt_that_died_before_the_end_is_repeated_into_the_same_files(pool, settings, tmp_path):
    add_payment(pool, "A-1")
    report = ask(pool, formats=("pdf", "csv", "xlsx"))
    lost = prepare_report(settings, pool, report.report_id)
    again = prepare_report(settings, pool, report.report_id)
    assert again.files == lost.files
    assert len(list(Path(tmp_path, "reports").rglob("*.*"))) == 3


def test_an_attempt_that_saw_other_data_writes_beside_the_first(pool, settings):
    add_payment(pool, "A-1")
    report = ask(pool)
    first = prepare_report(settings, pool, report.report_id)
    add_payment(pool, "A-2")
    second = prepare_report(settings, pool, report.report_id)
    assert finish(pool, first)
    assert not finish(pool, second)
    assert look(pool, report.report_id).files == first.files
    assert b"A-2" not in fetch(settings.report_storage_url, first.files["csv"].path)


def test_a_finished_report_is_not_made_again(pool, settings, monkeypatch):
    report = ask(pool)
    ready = prepare_report(settings, pool, report.report_id)
    assert finish(pool, ready)
    monkeypatch.setattr(lifecycle, "render", lambda *_: pytest.fail("rendered again"))
    again = prepare_report(settings, pool, report.report_id)
    assert again.files == ready.files
    assert not finish(pool, again)


def test_a_rolled_back_end_leaves_the_report_requested(pool, settings):
    report = ask(pool)
    ready = prepare_report(settings, pool, report.report_id)

    def finish_and_fail():
        with pool.cursor() as cursor:
            assert finish_report(cursor, ready)
            raise LookupError

    with pytest.raises(LookupError):
        finish_and_fail()
    assert look(pool, report.report_id).state == "requested"
    assert finish(pool, ready)


def test_a_failed_report_keeps_its_reason_and_can_still_be_made(pool, settings):
    report = ask(pool)
    with pool.cursor() as cursor:
        assert fail_report(cursor, report.report_id, InvalidReport("Too many\x00 rows."))
    failed = look(pool, report.report_id)
    assert (failed.state, failed.error) == ("failed", "Too many\N{REPLACEMENT CHARACTER} rows.")
    assert finish(pool, prepare_report(settings, pool, report.report_id))
    assert look(pool, report.report_id).error is None


def test_a_ready_report_never_fails_afterwards(pool, settings):
    report = ask(pool)
    finish(pool, prepare_report(settings, pool, report.report_id))
    with pool.cursor() as cursor:
        assert not fail_report(cursor, report.report_id, "late")
    assert look(pool, report.report_id).state == "ready"


def test_a_storage_that_fails_leaves_the_report_requested(pool, settings, monkeypatch):
    report = ask(pool)

    def away(*_):
        raise StorageUnavailable("away")

    monkeypatch.setattr(lifecycle, "store", away)
    with pytest.raises(StorageUnavailable):
        prepare_report(settings, pool, report.report_id)
    assert look(pool, report.report_id).state == "requested"


def test_an_unknown_report_is_named(pool, settings):
    unknown = str(uuid4())
    with pytest.raises(NotFound, match=unknown):
        prepare_report(settings, pool, unknown)


def test_too_many_payments_are_refused_instead_of_read(pool, settings, monkeypatch):
    monkeypatch.setattr(register, "MAX_ROWS", 2)
    for number in range(3):
        add_payment(pool, f"A-{number}")
    with pytest.raises(InvalidReport, match="more than 2 payments"):
        prepare_report(settings, pool, ask(pool).report_id)


def test_many_payments_come_in_portions_and_all_of_them(pool, settings, monkeypatch):
    monkeypatch.setattr(register, "_ROWS_A_FETCH", 7)
    for number in range(30):
        add_payment(pool, f"A-{number}", created_at=MORNING + timedelta(seconds=number))
    ready = prepare_report(settings, pool, ask(pool).report_id)
    lines = fetch(settings.report_storage_url, ready.files["csv"].path).decode().splitlines()
    assert [line.split(",")[0] for line in lines[1:]] == [f"A-{number}" for number in range(30)]


def test_the_table_itself_keeps_final_states_and_moments_together(pool):
    report = ask(pool)
    with pytest.raises(psycopg2.errors.CheckViolation, match="final_states_have_a_moment"), pool.cursor() as cursor:
        cursor.execute("UPDATE callboard.reports SET state = 'ready' WHERE report_id = %s", (report.report_id,))

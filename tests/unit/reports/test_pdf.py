"""PDFs: what a reader finds in them, that data stays data, and that the process that makes them can be lost."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pypdf import PdfReader

from callboard.errors import PermanentError, TemporaryError
from callboard.reports import InvalidReport, ReportTooSlow, TypesetterLost, TypesettingFailed, render
from callboard.reports.formats import pdf, rendering
from tests.conftest import wait_until
from tests.unit.reports.samples import HOSTILE, payment, receipt, register

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def processes(monkeypatch):
    """Typesetting processes of this test only, all ended after it."""
    processes = pdf.TypesettingProcesses()
    monkeypatch.setattr(pdf, "_processes", processes)
    yield processes
    processes.close()


@pytest.fixture
def template(monkeypatch, tmp_path):
    """Run typesetting with templates of the test."""
    script = tmp_path / "formats" / "typesetting.py"
    script.parent.mkdir()
    script.write_text(pdf._SCRIPT.read_text())
    (tmp_path / "templates").mkdir()
    monkeypatch.setattr(pdf, "_SCRIPT", script)

    def write(name, text):
        (tmp_path / "templates" / name).write_text(text)

    write("good.typ", "#let data = json(bytes(sys.inputs.data))\n#data.text")
    write("endless.typ", "#for a in range(100000) { for b in range(100000) { let c = a * b } }")
    write("wrong.typ", "#unknown-function()")
    return write


def text_of(content):
    pages = [page.extract_text() for page in PdfReader(io.BytesIO(content)).pages]
    return " ".join("\n".join(pages).replace("\u200b", "").split())


def test_the_register_shows_payments_sums_and_the_rouble_sign():
    content = render(
        "payments_register",
        "pdf",
        register(
            payment(order_id="Билет-1", amount="1000.50"),
            payment(order_id="Билет-2", amount="234.00"),
            payment(order_id="Билет-3", status="canceled", amount="99.00", paid_at=None),
        ),
    )
    text = text_of(content)
    assert "Payments register 22 Nov 2026" in text
    assert "Билет-1 a***@shop.example Succeeded 22 Nov 2026, 09:15 1,000.50 ₽" in text
    assert "Canceled 1 99.00 ₽" in text
    assert "Total of succeeded payments 2 1,234.50 ₽" in text
    assert "Page 1 of 1" in text


def test_the_head_of_the_table_is_repeated_and_pages_are_numbered():
    content = render("payments_register", "pdf", register(*(payment(order_id=f"A-{n}") for n in range(200))))
    pages = [page.extract_text() for page in PdfReader(io.BytesIO(content)).pages]
    assert len(pages) > 3
    for number, page in enumerate(pages, start=1):
        assert "Paid at (UTC)" in page
        assert f"Page {number} of {len(pages)}" in page


def test_a_pdf_is_tagged_titled_dated_by_its_data_and_says_its_language():
    reader = PdfReader(io.BytesIO(render("payments_register", "pdf", register(payment()))))
    root = reader.trailer["/Root"]
    assert root["/MarkInfo"]["/Marked"]
    assert root["/Lang"].startswith("en")
    assert reader.metadata.title == "Payments register, 22 Nov 2026"
    assert reader.metadata.creation_date == datetime(2026, 11, 22, 14, 5, tzinfo=UTC)


def test_equal_data_gives_equal_bytes_also_from_another_process(processes):
    first = render("receipt", "pdf", receipt())
    processes.close()
    assert render("receipt", "pdf", receipt()) == first


def test_an_empty_register_says_so():
    text = text_of(render("payments_register", "pdf", register()))
    assert "No payments in this time." in text
    assert "Total of succeeded payments 0 0.00 ₽" in text


def test_a_receipt_shows_amount_order_customer_and_items():
    items = [{"name": "Билет", "quantity": 2, "amount": "1000.00"}, {"name": "Programme", "amount": "234.50"}]
    text = text_of(render("receipt", "pdf", receipt(items=items)))
    for part in (
        "Receipt for order A-10023",
        "1,234.50 ₽",
        "Анна Петрова",
        "22 Nov 2026, 06:15 UTC",
        "Билет 2 1,000.00 ₽",
    ):
        assert part in text


@pytest.mark.parametrize("hostile", HOSTILE, ids=lambda text: ascii(text[:12]))
def test_hostile_text_is_set_as_text(hostile):
    data = register(payment(order_id=hostile, customer=hostile))
    assert "Total of succeeded payments 1 100.00 ₽" in text_of(render("payments_register", "pdf", data))
    lines = {"customer_name": hostile, "order_id": hostile, "payment_id": hostile}
    assert "1,234.50 ₽" in text_of(render("receipt", "pdf", receipt(**lines, items=[{"name": hostile, "amount": "1"}])))


@pytest.mark.parametrize("literal", ['#import "x.typ"', '#read("y")', "$a^2$ *b* _c_", "]#panic()[", "= H <l> @r"])
def test_markup_appears_letter_by_letter(literal):
    assert literal in text_of(render("receipt", "pdf", receipt(customer_name=literal)))


def test_a_pdf_of_too_many_rows_names_the_formats_that_take_them(monkeypatch):
    monkeypatch.setattr(rendering, "MAX_PDF_ROWS", 2)
    with pytest.raises(InvalidReport, match=r"has 3 rows; a PDF takes 2\. Ask for csv or xlsx"):
        render("payments_register", "pdf", register(*[payment()] * 3))


def test_typesetting_that_does_not_end_is_stopped_and_the_next_report_is_made(template):
    with pytest.raises(ReportTooSlow, match=r"longer than 0\.5 s"):
        pdf.typeset("endless.typ", {}, as_of=NOON, limit_s=0.5)
    assert pdf.typeset("good.typ", {"text": "next"}, as_of=NOON).startswith(b"%PDF")


def test_a_slow_report_is_temporary_and_a_wrong_template_permanent():
    assert issubclass(ReportTooSlow, TemporaryError)
    assert issubclass(TypesetterLost, TemporaryError)
    assert issubclass(TypesettingFailed, PermanentError)


def test_a_wrong_template_is_refused_with_its_reason_and_keeps_the_process(template, processes):
    with pytest.raises(TypesettingFailed, match="unknown variable: unknown-function"):
        pdf.typeset("wrong.typ", {}, as_of=NOON)
    pid = processes._idle[0].pid
    pdf.typeset("good.typ", {"text": "next"}, as_of=NOON)
    assert processes._idle[0].pid == pid


def test_a_process_killed_at_work_costs_one_attempt(template, processes):
    pdf.typeset("good.typ", {"text": "warm"}, as_of=NOON)
    process = processes._idle[0]
    os.kill(process.pid, signal.SIGSTOP)  # It is alive but will never answer; the kill comes while we wait.
    killer = subprocess.Popen([sys.executable, "-c", f"import os, time; time.sleep(0.3); os.kill({process.pid}, 9)"])
    with pytest.raises(TypesetterLost, match="exit code -9"):
        pdf.typeset("good.typ", {"text": "lost"}, as_of=NOON)
    killer.wait()
    assert pdf.typeset("good.typ", {"text": "next"}, as_of=NOON).startswith(b"%PDF")


def test_a_process_killed_while_idle_costs_nothing(template, processes):
    pdf.typeset("good.typ", {"text": "warm"}, as_of=NOON)
    process = processes._idle[0]
    os.kill(process.pid, signal.SIGKILL)
    wait_until(lambda: not process.is_alive, what="the end of the process")
    assert pdf.typeset("good.typ", {"text": "next"}, as_of=NOON).startswith(b"%PDF")


def test_a_worn_process_is_replaced(template, processes, monkeypatch):
    monkeypatch.setattr(pdf, "DOCUMENTS_A_PROCESS", 2)
    pids = []
    for _ in range(3):
        with processes.lend(1) as process:
            pids.append(process.pid)
            process.documents += 1
    assert pids[0] == pids[1] != pids[2]


def test_many_threads_share_the_processes(processes):
    with ThreadPoolExecutor(6) as threads:
        orders = [f"A-{number}" for number in range(12)]
        contents = list(threads.map(lambda order: render("receipt", "pdf", receipt(order_id=order)), orders))
    assert all(
        f"Receipt for order {order}" in text_of(content) for order, content in zip(orders, contents, strict=True)
    )
    assert len(processes._idle) == 1


def test_the_process_sees_no_secret(template, monkeypatch):
    monkeypatch.setenv("SMTP_PASS", "not-for-typst")
    with pdf.TypesettingProcesses().lend(1) as process:
        environment = Path(f"/proc/{process.pid}/environ").read_text()
        process.close()
    assert "not-for-typst" not in environment


def test_the_process_ends_when_its_worker_is_killed(tmp_path):
    program = (
        "import time; from datetime import UTC, datetime; from callboard.reports.formats import pdf\n"
        "from callboard.reports.formats.rendering import render\n"
        "with pdf._processes.lend(5) as process:\n"
        "    print(process.pid, flush=True); time.sleep(60)\n"
    )
    worker = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    child = int(worker.stdout.readline())
    worker.kill()
    worker.wait()
    worker.stdout.close()
    wait_until(lambda: not is_running(child), what="the end of the orphan")


def test_an_endless_process_ends_by_itself_when_nobody_is_left_to_kill_it(template):
    process = pdf.TypesettingProcess()
    with pytest.raises(TypesetterLost, match="exit code -14"):
        process.typeset(
            b'{"template": "endless.typ", "data": "{}", "timestamp": "2026-11-22T00:00:00+00:00", "limit_s": 0.3}', 5
        )
    process.close()


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False

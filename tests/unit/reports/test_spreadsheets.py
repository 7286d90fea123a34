"""CSV and XLSX: read back with another reader, values as values, never a formula."""

from __future__ import annotations

import csv
import io
from datetime import datetime

import openpyxl
import pytest

from callboard.reports import render
from tests.unit.reports.samples import HOSTILE, payment, register


def csv_rows(data):
    return list(csv.reader(io.StringIO(render("payments_register", "csv", data).decode("utf-8-sig"), newline="")))


def workbook(data):
    return openpyxl.load_workbook(io.BytesIO(render("payments_register", "xlsx", data)))


def test_csv_is_for_excel_and_programs_alike():
    content = render("payments_register", "csv", register(payment(order_id="Билет-1", amount="1234.50")))
    assert content.startswith("\ufeffOrder".encode())
    assert csv_rows(register(payment(order_id="Билет-1", amount="1234.50"))) == [
        ["Order", "Customer", "Status", "Paid at (UTC)", "Amount", "Currency"],
        ["Билет-1", "a***@shop.example", "Succeeded", "2026-11-22T09:15:00+00:00", "1234.50", "RUB"],
    ]


@pytest.mark.parametrize("hostile", HOSTILE, ids=lambda text: ascii(text[:12]))
def test_no_csv_cell_calculates(hostile):
    rows = csv_rows(register(payment(order_id=hostile, customer=hostile)))
    assert len(rows) == 2
    for cell in rows[1]:
        assert not cell.lstrip(" ").startswith(("=", "+", "-", "@", "\t", "\r", "\n"))
        assert "\x00" not in cell


def test_text_keeps_its_full_length_in_csv():
    assert csv_rows(register(payment(order_id="x" * 10_000)))[1][0] == "x" * 10_000


def test_a_quote_or_a_line_break_stays_inside_its_cell():
    assert csv_rows(register(payment(order_id='a"b\nc,d')))[1][0] == 'a"b\nc,d'


def test_xlsx_holds_numbers_dates_and_texts():
    sheet = workbook(register(payment(amount="1234.50"), payment(paid_at=None)))["Payments"]
    assert [cell.value for cell in sheet[2]] == [
        "A-1", "a***@shop.example", "Succeeded", datetime(2026, 11, 22, 9, 15), 1234.5, "RUB",  # noqa: DTZ001 - Excel's dates know no zone
    ]  # fmt: skip
    assert sheet["E2"].number_format == "#,##0.00"
    assert sheet["D3"].value is None


def test_xlsx_has_the_sums_on_a_second_sheet():
    data = register(payment(amount="0.10"), payment(amount="0.20"), payment(status="canceled", amount="5.00"))
    rows = [[cell.value for cell in row] for row in workbook(data)["Summary"]]
    assert ["Succeeded", 2, 0.3, "RUB"] in rows
    assert ["Canceled", 1, 5, "RUB"] in rows
    assert rows[-1] == ["Total of succeeded payments", 2, 0.3, "RUB"]


@pytest.mark.parametrize("hostile", HOSTILE, ids=lambda text: ascii(text[:12]))
def test_no_xlsx_cell_is_a_formula_or_a_link(hostile):
    book = workbook(register(payment(order_id=hostile, customer=hostile)))
    for sheet in book:
        for row in sheet:
            for cell in row:
                assert cell.data_type != "f"
                assert cell.hyperlink is None
    assert book["Payments"]["A2"].value


def test_a_text_beyond_the_limit_of_xlsx_is_cut_instead_of_lost():
    value = workbook(register(payment(order_id="x" * 40_000)))["Payments"]["A2"].value
    assert value.startswith("xxx")
    assert value.endswith("…")
    assert len(value) == 32_767


@pytest.mark.parametrize("format_name", ["csv", "xlsx", "html"])
def test_equal_data_gives_equal_bytes(format_name):
    data = register(payment(), payment(order_id="A-2"))
    assert render("payments_register", format_name, data) == render("payments_register", format_name, data)

"""CSV and XLSX of a table: values for further work, in full, and never a formula."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from xlsxwriter import Workbook

from callboard.reports.formats.figures import Money
from callboard.reports.formats.plain_text import clean

if TYPE_CHECKING:
    from callboard.reports.formats.table import Cell, Table

#: First characters that make a spreadsheet calculate; the full-width twins count in East Asian editions.
_FORMULA_STARTS = tuple("=+-@\t\r\n＝＋－＠")  # noqa: RUF001 - the full-width twins are meant
_LONGEST_XLSX_TEXT = 32_767
_COLUMN_WIDTHS = {"text": 28, "money": 14, "moment": 20, "integer": 10}


def render_csv(table: Table) -> bytes:
    """Return the rows as CSV: header, one line a row, no totals, so that a program can read it.

    UTF-8 with a byte order mark, without which Excel takes Cyrillic for something else. Money is two columns,
    amount and currency; moments are ISO in UTC. A text that would be a formula gets an apostrophe in front.
    """
    file = io.StringIO(newline="")
    writer = csv.writer(file)
    writer.writerow([title for title, _ in _flat_columns(table)])
    writer.writerows([_csv_value(value) for value in _flat_row(row)] for row in table.rows)
    return file.getvalue().encode("utf-8-sig")


def render_xlsx(table: Table) -> bytes:
    """Return a workbook of the rows and, on a second sheet, the totals.

    Amounts are numbers, moments are dates, and a text is a text, whatever it starts with.
    """
    file = io.BytesIO()
    options = {
        "constant_memory": True,
        "strings_to_formulas": False,
        "strings_to_urls": False,
        "strings_to_numbers": False,
    }
    with Workbook(file, options) as workbook:
        # Excel's dates know no zone; the file is dated by its data, so that its bytes are stable.
        workbook.set_properties(
            {"title": clean(table.title), "created": table.as_of.astimezone(UTC).replace(tzinfo=None)}
        )
        formats = {
            "head": workbook.add_format({"bold": True, "bottom": 1}),
            "money": workbook.add_format({"num_format": "#,##0.00"}),
            "moment": workbook.add_format({"num_format": "yyyy-mm-dd hh:mm:ss"}),
            "bold": workbook.add_format({"bold": True}),
        }
        _write_rows(workbook, table, formats)
        _write_totals(workbook, table, formats)
    return file.getvalue()


def _write_rows(workbook: Any, table: Table, formats: dict[str, Any]) -> None:
    sheet = workbook.add_worksheet(table.row_noun.capitalize())
    columns = _flat_columns(table)
    for index, (_, column_type) in enumerate(columns):
        sheet.set_column(index, index, _COLUMN_WIDTHS[column_type])
    sheet.freeze_panes(1, 0)
    sheet.repeat_rows(0)
    sheet.autofilter(0, 0, len(table.rows), len(columns) - 1)
    for index, (title, _) in enumerate(columns):
        sheet.write_string(0, index, title, formats["head"])
    for number, row in enumerate(table.rows, start=1):
        for index, value in enumerate(_flat_row(row)):
            _write_value(sheet, number, index, value, formats)


def _write_totals(workbook: Any, table: Table, formats: dict[str, Any]) -> None:
    sheet = workbook.add_worksheet("Summary")
    sheet.set_column(0, 0, 36)
    sheet.set_column(1, 3, 14)
    lines: list[tuple[Any, ...]] = [(table.title,), (table.subtitle,), *table.parameters, ()]
    lines.append(("Status", "Count", "Amount", "Currency"))
    for total in table.totals:
        lines.extend((total.label, total.count, amount.amount, amount.currency) for amount in total.amounts)
    for number, line in enumerate(lines):
        for index, value in enumerate(line):
            _write_value(sheet, number, index, value, formats)


def _flat_columns(table: Table) -> list[tuple[str, str]]:
    """Return title and type of each column; money becomes a number and its currency."""
    columns: list[tuple[str, str]] = []
    for column in table.columns:
        columns.append((column.title, column.type))
        if column.type == "money":
            columns.append(("Currency", "integer"))
    return columns


def _flat_row(row: tuple[Cell, ...]) -> list[Any]:
    values: list[Any] = []
    for cell in row:
        values.extend((cell.amount, cell.currency) if isinstance(cell, Money) else (cell,))
    return values


def _csv_value(value: Any) -> str:
    match value:
        case None:
            return ""
        case datetime():
            return value.astimezone(UTC).isoformat()
        case str():
            text = clean(value)
            # Leading blanks too: some programs trim them first.
            is_formula = text.lstrip(" \N{NO-BREAK SPACE}").startswith(_FORMULA_STARTS)
            return f"'{text}" if is_formula else text
        case _:
            return str(value)


def _write_value(sheet: Any, row: int, column: int, value: Any, formats: dict[str, Any]) -> None:
    match value:
        case None:
            pass
        case datetime():
            sheet.write_datetime(row, column, value.astimezone(UTC).replace(tzinfo=None), formats["moment"])
        case str():
            # Beyond Excel's limit XlsxWriter would leave the cell empty without a word.
            text = clean(value)
            is_long = len(text) > _LONGEST_XLSX_TEXT
            sheet.write_string(row, column, text[: _LONGEST_XLSX_TEXT - 1] + "…" if is_long else text)
        case int():
            sheet.write_number(row, column, value)
        case _:
            sheet.write_number(row, column, value, formats["money"])

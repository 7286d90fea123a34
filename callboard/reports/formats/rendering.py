"""From data to a file's bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from callboard.reports.errors import InvalidReport
from callboard.reports.formats.pages import render_page
from callboard.reports.formats.pdf import typeset
from callboard.reports.formats.plain_text import breakable
from callboard.reports.formats.spreadsheets import render_csv, render_xlsx
from callboard.reports.formats.table import Table
from callboard.reports.kinds.catalogue import check_formats, report_kind
from callboard.reports.kinds.receipt import Receipt

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Typesetting this many rows takes about 2 s and 460 MB; more rows are for a spreadsheet.
MAX_PDF_ROWS = 5_000


def render(kind: str, format: str, data: Mapping[str, Any]) -> bytes:  # noqa: A002 - the word of the whole contract: ?format=pdf
    """Return the report of that kind as a file of that format (pdf, csv, xlsx or html).

    Equal data gives equal bytes. Raises: InvalidReport; for pdf also ReportTooSlow, TypesettingFailed,
    TypesetterLost.
    """
    definition = report_kind(kind)
    check_formats(definition, [format])
    document = definition.document(data)
    if isinstance(document, Receipt):
        return _pdf("receipt.typ", document) if format == "pdf" else render_page("receipt.html", document.view())
    match format:
        case "pdf":
            return _pdf("table.typ", document)
        case "csv":
            return render_csv(document)
        case "xlsx":
            return render_xlsx(document)
        case _:
            return render_page("table.html", document.view())


def _pdf(template: str, document: Table | Receipt) -> bytes:
    if isinstance(document, Table) and len(document.rows) > MAX_PDF_ROWS:
        raise InvalidReport(
            f"{document.title} has {len(document.rows):,} rows; a PDF takes {MAX_PDF_ROWS:,}. "
            "Ask for csv or xlsx, or for a shorter time."
        )
    return typeset(template, _breakable(document.view()), as_of=document.as_of)


def _breakable(value: Any) -> Any:
    match value:
        case str():
            return breakable(value)
        case list():
            return [_breakable(item) for item in value]
        case dict():
            return {name: _breakable(item) for name, item in value.items()}
        case _:
            return value

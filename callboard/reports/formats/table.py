"""A report that is a table, independent of the format it is rendered in."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from callboard.reports.formats.figures import Money, show_moment
from callboard.reports.formats.plain_text import clean, shorten

ColumnType = Literal["text", "money", "moment", "integer"]
Cell = str | int | Money | datetime | None

NOTHING = "—"


@dataclass(frozen=True)
class Column:
    """A column; share is its part of the width that text columns divide among themselves on paper."""

    title: str
    type: ColumnType = "text"
    share: float = 1


@dataclass(frozen=True)
class Total:
    """A line of the summary: how many rows and how much money, one amount a currency."""

    label: str
    count: int
    amounts: tuple[Money, ...]
    is_grand: bool = False


@dataclass(frozen=True)
class Table:
    """A titled table with its summary; as_of is the moment it was asked for, which also dates the file."""

    title: str
    subtitle: str
    as_of: datetime
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    totals: tuple[Total, ...] = ()
    parameters: tuple[tuple[str, str], ...] = ()
    row_noun: str = "rows"

    def view(self) -> dict[str, Any]:
        """Return the table as the texts that a person reads: what the PDF and HTML templates take."""
        return {
            "title": shorten(clean(self.title)),
            "subtitle": shorten(clean(self.subtitle)),
            "parameters": [[clean(name), shorten(clean(value))] for name, value in self.parameters],
            "columns": [{"title": column.title, "type": column.type, "share": column.share} for column in self.columns],
            "rows": [[show_cell(cell) for cell in row] for row in self.rows],
            "totals": [
                {
                    "label": clean(total.label),
                    "count": f"{total.count:,}",
                    "amounts": [str(amount) for amount in total.amounts] or [NOTHING],
                    "is_grand": total.is_grand,
                }
                for total in self.totals
            ],
            "row_noun": self.row_noun,
        }


def show_cell(cell: Cell) -> str:
    """Return what a person reads in a cell."""
    match cell:
        case None | "":
            return NOTHING
        case datetime():
            return show_moment(cell)
        case Money():
            return str(cell)
        case int():
            return f"{cell:,}"
        case _:
            return shorten(clean(cell))

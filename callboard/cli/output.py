"""Printing: data on stdout as a table, as JSON or as ids; notes on stderr. No other module of the CLI prints.

Whatever is printed may name what somebody sent, so all of it goes through plain().
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from callboard.plain_text import plain, plain_json

# Late in what needs them: a line of text or of JSON, a version, a help need none of it.
if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from callboard.errors import NotFound


class Form(StrEnum):
    """How a command prints its data."""

    TABLE = "table"
    JSON = "json"
    IDS = "ids"


def note(text: str, *, end: str = "\n") -> None:
    """Tell the person something that is no data, on stderr."""
    print(plain(text, keeps_lines=True), end=end, file=sys.stderr, flush=True)


def say(text: str = "") -> None:
    """Print a line of data; an id, a name, a figure."""
    print(plain(text))


def say_ids(ids: Iterable[str]) -> None:
    for id_ in ids:
        say(id_)


def say_lines(text: str, *, indent: str = "") -> None:
    """Print text that has lines of its own: a document of ours, or indented what somebody sent, as a traceback."""
    for line in text.splitlines():
        say(indent + line)


def nothing(sentence: str, form: Form) -> NotFound:
    """Return the error of a list without rows; as JSON, a script gets a list all the same."""
    from callboard.errors import NotFound

    if form is Form.JSON:
        print_json([])
    return NotFound(sentence)


def show(
    rows: Sequence[Any],
    columns: dict[str, Callable[[Any], str]],
    form: Form,
    *,
    id_of: Callable[[Any], str],
    below: Callable[[Any], str] | None = None,
    left_out: Iterable[str] = (),
) -> None:
    """Print dataclasses as a table of the named columns, as a JSON list of all fields, or as one id a line.

    below makes a line of its own under each row of the table, over the whole width; left_out are columns that this
    terminal has no room for, which a note names.
    """
    if form is Form.IDS:
        for row in rows:
            say(id_of(row))
    elif form is Form.JSON:
        print_json([dataclasses.asdict(row) for row in rows])
    else:
        table = _lines_of(_table(rows, columns))
        if below is not None:
            under = [_fitted(f"  {plain(below(row))}", console().width) for row in rows]
            table = [table[0], *(line for pair in zip(table[1:], under, strict=True) for line in pair if line.strip())]
        print("\n".join(table))
        note_left_out(left_out)


def note_left_out(names: Iterable[str]) -> None:
    """Say which columns a terminal has no room for."""
    if left_out := ", ".join(names):
        note(f"Left out on {console().width} columns: {left_out}. A wider terminal shows them, and -o json all.")


def _cut(line: str, width: int) -> str:
    return line if len(line) <= width else f"{line[: width - 1]}…"


def _fitted(line: str, width: int) -> str:
    # By columns, of which a letter of many scripts takes two and an accent none.
    from rich.cells import cell_len, set_cell_size

    return line if cell_len(line) <= width else f"{set_cell_size(line, width - 1).rstrip()}…"


def print_table(table: Table) -> None:
    """Print a table without the blanks that fill up its last column."""
    print("\n".join(_lines_of(table)))


def _lines_of(table: Table) -> list[str]:
    screen = console()
    # Made to fit, it would cut words and names; too wide, the terminal breaks its lines and nothing is lost.
    needed = sum(column.min_width or 0 for column in table.columns) + 2 * (len(table.columns) - 1)
    screen.width = max(screen.width, needed)
    with screen.capture() as printed:
        screen.print(table)
    return [line.rstrip() for line in printed.get().splitlines()]


def _table(rows: Sequence[Any], columns: dict[str, Callable[[Any], str]]) -> Table:
    from rich.cells import cell_len
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold", expand=bool(columns.keys() & FREE_COLUMNS))
    for name in columns:
        if name in FREE_COLUMNS:
            table.add_column(name, ratio=1, no_wrap=True, overflow="ellipsis")
            continue
        is_number = name in NUMBER_COLUMNS
        # An id that is broken in two cannot be copied.
        no_wrap = is_number or name in WHOLE_COLUMNS
        table.add_column(name, justify="right" if is_number else "left", overflow="fold", no_wrap=no_wrap)
    for row in rows:
        # As text: brackets in an error are no markup.
        table.add_row(*(Text(_cell(name, cell(row))) for name, cell in columns.items()))
    for column in table.columns:
        if column.no_wrap and column.ratio is None:
            column.min_width = max([len(str(column.header)), *(cell_len(str(cell)) for cell in column.cells)])
    return table


def _cell(column: str, text: str) -> str:
    if column not in LONG_COLUMNS:
        return plain_name(text)
    return _cut(plain(text[: TEXT_MAX + 1], keeps_lines=column in FOLDED_COLUMNS), TEXT_MAX)


def plain_name(name: str) -> str:
    """Show a name in a column as wide as the longest: one without end, of anybody's row, is cut."""
    return _cut(plain(name[: NAME_MAX + 1]), NAME_MAX)


def facts(pairs: Iterable[tuple[str, str]]) -> Table:
    """Return a table of names and what is to be said about each."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in pairs:
        table.add_row(name, Text(plain(text, keeps_lines=True)))
    return table


def styled(text: str, style: str = "", *, keeps_lines: bool = False) -> Text:
    """Return text for a console, in a style of ours."""
    from rich.text import Text

    return Text(plain(text, keeps_lines=keeps_lines), style=style)


def console() -> Console:
    """Return where tables are printed; 160 columns wide where nobody's terminal says otherwise.

    A terminal too narrow for a table breaks its lines: made to fit, it would lose names and cut ids.
    """
    from rich.console import Console

    width = max(Console().width, NARROWEST) if sys.stdout.isatty() else 160
    return Console(width=width, highlight=False)


NUMBER_COLUMNS = frozenset(
    {"ready", "delayed", "running", "stuck", "dead", "attempt", "oldest", "workers", "threads", "in/min", "out/min"}
    | {"mean run", "empty in", "needed", "pid", "count", "age", "messages", "busy", "sent", "silent", "memory", "up"}
)
MEBIBYTE = 1024 * 1024
WHOLE_COLUMNS = frozenset({"id", "state", "moment", "when", "queue", "action", "name", "host"})
#: Longest name that is shown whole, characters: as the API takes them. With one of a million, every row of a table
#: was filled up to a million, and status took minutes.
NAME_MAX = 255
#: Folded by us, into lines of their own.
FOLDED_COLUMNS = frozenset({"queues"})
#: Text of any length, which gets what is left of the line.
FREE_COLUMNS = frozenset({"why", "runs"})
#: These hold more than a name, and are shown up to so many characters: a column has a line for each of them at worst.
LONG_COLUMNS, TEXT_MAX = FREE_COLUMNS | FOLDED_COLUMNS | {"value"}, 4_000
#: No table is made for less, columns.
NARROWEST = 80
#: From this width on a table may show more; below the other it must show less.
WIDE, NARROW = 125, 100


def is_wide() -> bool:
    return console().width >= WIDE


def is_narrow() -> bool:
    return console().width < NARROW


def print_json(value: Any) -> None:
    is_unicode = (sys.stdout.encoding or "").lower().startswith("utf")
    print(plain_json(json.dumps(value, default=_as_json, ensure_ascii=not is_unicode, indent=2)))


def ago(moment: datetime | None) -> str:
    """Say how long ago a moment was: 12 s, 4 min, 3 h, 2 d."""
    return "" if moment is None else duration((datetime.now(UTC) - moment).total_seconds())


def duration(seconds: float | None) -> str:
    """Say a duration in the largest unit that keeps it a small number."""
    if seconds is None:
        return ""
    for limit, size, unit in ((120, 1, "s"), (7200, 60, "min"), (172_800, 3600, "h")):
        if seconds < limit:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds / 86_400:.0f} d"


def count(number: float) -> str:
    """Say a number with its thousands apart; below ten with a decimal where it has one."""
    if 0 < number < 0.05:  # noqa: PLR2004 - what would read 0.0
        return "<0.1"
    return f"{number:,.1f}" if number < 10 and number != int(number) else f"{number:,.0f}"  # noqa: PLR2004 - one digit


def size(size_bytes: int | None) -> str:
    """Say a size in MB or GB, of 1024s as --max-rss and Postgres count them."""
    if size_bytes is None:
        return ""
    size_mb = size_bytes / MEBIBYTE
    return f"{size_mb:,.0f} MB" if size_mb < 1024 else f"{size_mb / 1024:,.1f} GB"  # noqa: PLR2004 - units


def run_time(seconds: float | None) -> str:
    """Say how long a run took, short ones in ms."""
    if seconds is None:
        return ""
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s" if seconds < 10 else duration(seconds)  # noqa: PLR2004 - units


def _as_json(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Decimal):
        return str(value)
    return dataclasses.asdict(value) if dataclasses.is_dataclass(value) and not isinstance(value, type) else str(value)

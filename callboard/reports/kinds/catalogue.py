"""The kinds of reports: what each asks for, where its data comes from, what it looks like."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, get_args

from callboard.reports.errors import InvalidReport
from callboard.reports.kinds.receipt import Receipt, check_context, collect_context, read_receipt, receipt_title
from callboard.reports.kinds.register import check_window, collect_payments, register_table, register_title

if TYPE_CHECKING:
    from callboard.reports.formats.table import Table

Format = Literal["pdf", "csv", "xlsx", "html"]
FORMATS: tuple[Format, ...] = get_args(Format)


@dataclass(frozen=True)
class ReportKind:
    """A kind of report.

    check turns what a caller gave into complete parameters: "today" becomes two moments there, so that a
    retry tomorrow reports the same day. collect reads the database. document gives the data its form. title
    names the report of some parameters to a reader.
    """

    name: str
    parameters: tuple[str, ...] | None
    formats: tuple[Format, ...]
    check: Callable[[Mapping[str, Any], datetime], dict[str, Any]]
    collect: Callable[[Any, Mapping[str, Any]], dict[str, Any]]
    document: Callable[[Mapping[str, Any]], Table | Receipt]
    title: Callable[[Mapping[str, Any]], str]


_KINDS = {
    kind.name: kind
    for kind in (
        ReportKind(
            "payments_register", ("from", "to"), FORMATS, check_window, collect_payments, register_table, register_title
        ),
        ReportKind("receipt", None, ("pdf", "html"), check_context, collect_context, read_receipt, receipt_title),
    )
}


def report_kind(name: str) -> ReportKind:
    """Return the kind of that name.

    Raises: InvalidReport.
    """
    try:
        return _KINDS[name]
    except (KeyError, TypeError):
        raise InvalidReport(f"There is no report kind {str(name)[:60]!r}. Use one of: {', '.join(_KINDS)}.") from None


def check_formats(kind: ReportKind, formats: Any) -> list[Format]:
    """Return the formats without repeats, in their order; pdf where none are named.

    Raises: InvalidReport.
    """
    if formats is not None and not isinstance(formats, list | tuple):
        raise InvalidReport(f'formats must be a list such as ["pdf"], got {str(formats)[:60]!r}.')
    chosen = list(dict.fromkeys(formats or ["pdf"]))
    for wrong in (name for name in chosen if name not in kind.formats):
        raise InvalidReport(f"{kind.name} has no format {str(wrong)[:60]!r}. Use one of: {', '.join(kind.formats)}.")
    return chosen


def check_parameters(kind: ReportKind, parameters: Any, now: datetime) -> dict[str, Any]:
    """Return complete parameters, with the moment of the request.

    Raises: InvalidReport.
    """
    given = {} if parameters is None else parameters
    if not isinstance(given, Mapping):
        raise InvalidReport(f"parameters must be an object of names and values, got {str(given)[:60]!r}.")
    unknown = [str(name)[:60] for name in given if kind.parameters is not None and name not in kind.parameters]
    if unknown:
        known = ", ".join(kind.parameters or ())
        raise InvalidReport(f"{kind.name} has no parameter {', '.join(unknown)}. It knows: {known}.")
    return {**kind.check(given, now), "requested_at": now.astimezone(UTC).isoformat()}

"""Which dead letters are meant: a filter, what is wrong with one, and why one matches nothing."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

import psycopg2

from callboard.db import sql
from callboard.errors import InvalidRequest, NotFound
from callboard.ops.audit import IDS_KEPT_MAX
from callboard.ops.json_paths import path_refusals
from callboard.ops.message_ids import parse_message_ids
from callboard.ops.wording import in_a_row
from callboard.plain_text import plain
from callboard.terms import DeadReason

REASONS = tuple(map(str, DeadReason))
#: The group of the letters that died before causes were told apart.
UNKNOWN_GROUP = "unknown"
NAMES_SAID_MAX = 20
#: How alike a name must be to be what was meant.
LIKENESS_MIN = 0.6

_GROUP = re.compile(r"[0-9a-f]{12}")


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadFilter:
    """Dead letters that fit every part that is given; without any part, all of them.

    group is a fingerprint; since and until bound the moment of death; where is an SQL/JSON path predicate on the
    keyword arguments (positional ones are $args), such as $.to == "ann@example.org". Raises: InvalidRequest.
    """

    queue: str | None = None
    actor: str | None = None
    reason: str | None = None
    group: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    where: str | None = None
    ids: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        for name in ("queue", "actor", "where"):
            _check_text(name, getattr(self, name))
        if self.reason is not None and self.reason not in REASONS:
            raise InvalidRequest(
                f"reason {self.reason!r} is none. Reasons are {', '.join(REASONS)}.{_meant(self.reason, REASONS)}"
            )
        if self.group is not None and self.group != UNKNOWN_GROUP and not _GROUP.fullmatch(self.group):
            raise InvalidRequest(
                f"group {self.group!r} is no fingerprint. One has 12 of the characters 0-9 a-f; "
                "list them with: callboard dead groups"
            )
        if self.since is not None and self.until is not None and self.since >= self.until:
            raise InvalidRequest(
                f"Nothing lies between since {self.since.isoformat()} and until {self.until.isoformat()}."
            )
        if self.ids is not None:
            object.__setattr__(self, "ids", parse_ids(self.ids))

    @property
    def is_bare(self) -> bool:
        """Whether no part is given, so that all dead letters are meant."""
        return not self._given()

    def parameters(self) -> dict[str, Any]:
        """Return the parameters of sql/dead_letters/matching.sql."""
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        return {**given, "ids": None if self.ids is None else list(self.ids)}

    def as_asked(self) -> dict[str, Any]:
        """Return the parts that are given, as the audit log keeps them."""
        given = self._given()
        if self.ids is not None and len(self.ids) > IDS_KEPT_MAX:
            given |= {"ids": list(self.ids[:IDS_KEPT_MAX]), "ids_count": len(self.ids)}
        return given

    def _given(self) -> dict[str, Any]:
        return {field.name: value for field in fields(self) if (value := getattr(self, field.name)) is not None}

    def __str__(self) -> str:
        """Say what is meant, so that it reads after "dead letters": of queue emails, since 2026-11-24T12:00."""
        parts = [
            f"{name} {getattr(self, name)}" for name in ("queue", "actor", "reason", "group") if getattr(self, name)
        ]
        words = [f"of {', '.join(parts)}"] if parts else []
        words += [f"{name} {value:%Y-%m-%d %H:%M %Z}" for name in ("since", "until") if (value := getattr(self, name))]
        words += [f"where {self.where}"] if self.where else []
        words += ["with the ids given"] if self.ids is not None else []
        return plain(", ".join(words))


def parse_ids(texts: Iterable[str]) -> tuple[str, ...]:
    """Return message ids in their usual form, each once. Raises: InvalidRequest."""
    return parse_message_ids(texts, listed_by="callboard dead list")


def require_choice(which: DeadFilter, *, is_all: bool) -> None:
    """Return if it was said which letters are meant: to mean all of them takes a word. Raises: InvalidRequest."""
    if which.is_bare and not is_all:
        raise InvalidRequest(
            "Which dead letters? Give ids, a filter such as --queue emails or --group FINGERPRINT, or --all."
        )


def matching(statement: str) -> str:
    """Return a statement of sql/ops that reads the table "matching", with that table in front of it."""
    text = sql(f"dead_letters/{statement}")
    table = f"matching AS NOT MATERIALIZED (\n{sql('dead_letters/matching')}\n)"
    return f"WITH {table}, {text[5:]}" if text.startswith("WITH ") else f"WITH {table}\n{text}"


def execute_matching(cursor: Any, statement: str, which: DeadFilter, prefix: str = "", **more: Any) -> None:
    """Run a statement that reads the table "matching". Raises: InvalidRequest for a path that cannot be applied."""
    with path_refusals(which.where):
        cursor.execute(prefix + matching(statement), which.parameters() | more)


def check_where(cursor: Any, which: DeadFilter) -> None:
    """Return if Postgres can read the filter's path and it says yes or no. Raises: InvalidRequest with what it says."""
    if which.where is None:
        return
    try:
        cursor.execute(sql("dead_letters/check_path"), {"where": which.where})
    except psycopg2.errors.SingletonSqlJsonItemRequired:
        raise InvalidRequest(
            f"where {which.where!r} names a value and compares it with nothing. Write a condition, such as "
            """$.to == "ann@example.org" or exists($.to)."""
        ) from None
    except (psycopg2.DataError, psycopg2.ProgrammingError, psycopg2.errors.StatementTooComplex) as error:
        raise InvalidRequest(
            f"where {which.where!r} is no SQL/JSON path: {str(error.diag.message_primary).strip()}. "
            """Write a condition on the arguments, such as $.to == "ann@example.org"."""
        ) from None


def check_names(cursor: Any, which: DeadFilter) -> None:
    """Return if the filter's names exist: then it matches nothing, and is no typo. Raises: NotFound."""
    if not (which.queue or which.actor or which.group):
        return
    cursor.execute(sql("dead_letters/names"))
    rows = cursor.fetchall()
    for kind in ("queue", "actor", "group"):
        name, known = getattr(which, kind), sorted(known for of, known in rows if of == kind)
        if name is None or name in known or name == UNKNOWN_GROUP:
            continue
        if kind == "group":
            raise NotFound(f"No dead letter is of group {name!r}. List what there is with: callboard dead groups")
        raise NotFound(f"No {kind} is called {name!r}.{_meant(name, known)} {_listed(known, kind)}")


def _check_text(name: str, text: str | None) -> None:
    if text is None:
        return
    try:
        is_storable = b"\0" not in text.encode()
    except UnicodeEncodeError:
        is_storable = False
    if not is_storable or not text.strip():
        raise InvalidRequest(f"{name} {text!r} is no text to look for. Give one, or leave it out to mean all.")


def _meant(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=LIKENESS_MIN)
    return f" Did you mean {close[0]!r}?" if close else ""


def _listed(known: list[str], kind: str) -> str:
    if not known:
        return f"There is no {kind} yet: no worker has registered one."
    more = f" and {len(known) - NAMES_SAID_MAX} more" if len(known) > NAMES_SAID_MAX else ""
    return f"There are: {in_a_row(known[:NAMES_SAID_MAX])}{more}."

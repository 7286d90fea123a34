"""/api/v1/dead/retry, discard and purge: putting dead letters back, throwing them away, deleting them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

from fastapi import APIRouter
from pydantic import BaseModel, Field

from callboard.errors import InvalidRequest, NotFound
from callboard.ops.audit import Operator
from callboard.ops.dead_letters import changes as dead_changes
from callboard.ops.dead_letters.changes import Changed, Held, Transactions
from callboard.ops.dead_letters.edit import Edit, retry_edited
from callboard.ops.dead_letters.filter import REASONS, DeadFilter, require_choice
from callboard.ops.dead_letters.reading import count_dead
from callboard.ops.moments import parse_past
from callboard.web.operators.requests import IDS_MAX, WHERE_MAX, DestructiveChange, OperatorName, operator_of
from callboard.web.operators.transactions import batches, looking
from callboard.web.requests.texts import Text
from callboard.web.state import CurrentState, State

router = APIRouter(prefix="/dead", tags=["operators"])

ChangeDead = Callable[[Transactions, DeadFilter, Operator], Changed]


class ChosenDead(DestructiveChange):
    """Which dead letters: those that fit everything that is given; all of them only with all."""

    ids: list[UUID] | None = Field(None, min_length=1, max_length=IDS_MAX)
    queue: Text | None = Field(None, max_length=255)
    actor: Text | None = Field(None, max_length=255)
    died_of: Text | None = Field(None, max_length=40, description=f"One of {', '.join(REASONS)}.")
    group: Text | None = Field(None, max_length=40, description="A fingerprint, as in GET /api/v1/dead/groups.")
    since: Text | None = Field(None, max_length=60, description="A span back from now, such as 2h, or a moment.")
    until: Text | None = Field(None, max_length=60, description="A span back from now, such as 2h, or a moment.")
    where: Text | None = Field(None, max_length=WHERE_MAX, description="An SQL/JSON path condition on the arguments.")
    all: bool = Field(False, description="All dead letters, where nothing else says which.")

    def which(self) -> DeadFilter:
        """Return the filter. Raises: InvalidRequest, also where nothing says which letters are meant."""
        if self.reason in REASONS:
            raise InvalidRequest(
                f"reason {self.reason!r} would be kept in the audit log. To choose letters by what they died of, give "
                "died_of."
            )
        which = DeadFilter(
            ids=None if self.ids is None else tuple(map(str, self.ids)),
            queue=self.queue,
            actor=self.actor,
            reason=self.died_of,
            group=self.group,
            since=None if self.since is None else parse_past(self.since, name="since"),
            until=None if self.until is None else parse_past(self.until, name="until"),
            where=self.where,
        )
        require_choice(which, is_all=self.all)
        return which


class RetryDead(ChosenDead):
    """Dead letters that are to be put back; other arguments only for one of them, by its id."""

    kwargs: dict[str, Any] | None = Field(None, description="Change these named arguments of one letter.")
    replace_kwargs: dict[str, Any] | None = Field(None, description="All named arguments of one letter, anew.")
    args: list[Any] | None = Field(None, description="The positional arguments of one letter, anew.")

    def edit(self) -> Edit | None:
        """Return the other arguments, if any are given. Raises: InvalidRequest."""
        if self.kwargs is None and self.replace_kwargs is None and self.args is None:
            return None
        if self.kwargs is not None and self.replace_kwargs is not None:
            raise InvalidRequest("Give kwargs, which changes some arguments, or replace_kwargs, which gives all.")
        named = self.kwargs if self.kwargs is not None else self.replace_kwargs
        return Edit(named, self.args, replaces_kwargs=self.replace_kwargs is not None)


class DeadChanged(BaseModel):
    """What was changed, or would be: then only the count."""

    count: int
    dry_run: bool
    message_ids: list[str] = []
    held: list[Held] = Field([], description="Letters that stay dead, as holder_id has their dedupe_key by now.")
    missing: list[str] = Field([], description="Ids that are no dead letters, or no more.")


@router.post("/retry")
def retry_dead(change: RetryDead, state: CurrentState, operator: OperatorName) -> DeadChanged:
    """Put dead letters back into their queues, with full retries and their old ids."""
    which, edit = change.which(), change.edit()
    if edit is None:
        return _change(dead_changes.retry_dead, which, change, state, operator_of(operator, change))
    if change.all or which.ids is None or which != DeadFilter(ids=which.ids[:1]):
        raise InvalidRequest("Arguments are changed in one dead letter at a time: give its id and nothing else.")
    (message_id,) = which.ids

    def retry_one(transactions: Transactions, _which: DeadFilter, who: Operator) -> Changed:
        try:
            with transactions() as database:
                return retry_edited(database, message_id, edit, who)
        except NotFound:
            return Changed(missing=(message_id,))

    return _change(retry_one, which, change, state, operator_of(operator, change))


@router.post("/discard")
def discard_dead(change: ChosenDead, state: CurrentState, operator: OperatorName) -> DeadChanged:
    """Throw dead letters away; the history keeps them as discarded."""
    return _change(dead_changes.discard_dead, change.which(), change, state, operator_of(operator, change))


@router.post("/purge")
def purge_dead(change: ChosenDead, state: CurrentState, operator: OperatorName) -> DeadChanged:
    """Delete dead letters and their attempts for good."""
    return _change(dead_changes.purge_dead, change.which(), change, state, operator_of(operator, change))


def _change(apply: ChangeDead, which: DeadFilter, change: ChosenDead, state: State, who: Operator) -> DeadChanged:
    # Counted first in any case: a queue, an actor or a group that does not exist is a typo, and is said.
    with looking(state) as database:
        count = count_dead(database, which)
    if change.dry_run:
        return DeadChanged(count=count, dry_run=True)
    done = apply(batches(state), which, who) if count else Changed(missing=which.ids or ())
    return DeadChanged(
        count=done.count,
        dry_run=False,
        message_ids=list(done.message_ids),
        held=list(done.held),
        missing=list(done.missing),
    )

"""callboard queues: how they stand, pausing them, discarding what waits in one."""

from __future__ import annotations

import typer

from callboard.cli.choosing.confirming import DryRun, Reason, Yes, approve, operator, progress
from callboard.cli.output import Form, count, duration, is_wide, note, nothing, run_time, say, show
from callboard.errors import InvalidRequest, NotFound
from callboard.ops.queues.listing import QueueView
from callboard.ops.wording import in_a_row
from callboard.plain_text import plain

app = typer.Typer(help="Queues: how they stand, pausing them, discarding what waits in one.", no_args_is_help=True)

OUTPUT = typer.Option(Form.TABLE, "--output", "-o", help="table, json or ids")
NAMES = typer.Argument(None, help="Names of queues")
ALL = typer.Option(False, "--all", help="Every queue that anything knows of.")
#: A discard may take as long as a database needs for a batch on a bad day, s.
BATCH_TIMEOUT_S = 60

NOW = {
    "queue": lambda row: row.queue_name,
    "ready": lambda row: count(row.ready),
    "delayed": lambda row: count(row.delayed),
    "running": lambda row: count(row.running),
    "oldest": lambda row: duration(row.oldest_ready_s),
    "dead": lambda row: count(row.dead),
    "workers": lambda row: count(row.workers),
    "threads": lambda row: count(row.threads),
}
PACE = {
    "in/min": lambda row: count(row.in_per_min),
    "out/min": lambda row: count(row.out_per_min),
    "mean run": lambda row: run_time(row.mean_run_s),
    "empty in": lambda row: empty_in(row),  # noqa: PLW0108 - it comes below
    "needed": lambda row: "" if row.workers_needed is None else count(row.workers_needed),
}


def empty_in(queue: QueueView) -> str:
    """Say when nothing will be ready any more."""
    if queue.pause is not None:
        return "paused"
    if queue.ready == 0:
        return ""
    return "never" if queue.empty_in_s is None else duration(queue.empty_in_s)


@app.command("list")
def list_(output: Form = OUTPUT) -> None:
    """Show each queue: what waits and runs, how fast it goes, the threads it needs and has, and its pause."""
    from callboard.app import get_pool
    from callboard.ops.queues import listing as queues

    with get_pool().cursor() as cursor:
        rows = queues.list_queues(cursor)
    if not rows:
        raise nothing("No queues are known yet. They come with the first worker or message: callboard work", output)
    if output is Form.TABLE and not is_wide():
        show(rows, NOW, output, id_of=lambda row: row.queue_name)
        say()
        show(rows, {"queue": NOW["queue"], **PACE}, output, id_of=lambda row: row.queue_name)
    else:
        show(rows, {**NOW, **PACE}, output, id_of=lambda row: row.queue_name)
    if output is Form.TABLE:
        note(f"\nPace: of the last {duration(rows[0].window_s)}. needed: threads that are busy with what comes.")
        note_pauses(rows)


def note_pauses(rows: list[QueueView]) -> None:
    """Say which queues are paused, until when, by whom and why."""
    for row in rows:
        if row.pause is not None:
            note(plain(f"{row.queue_name} is {row.pause.text}"))


@app.command()
def pause(
    *,
    names: list[str] = NAMES,
    until: str = typer.Option(None, help="End of the pause: a span such as 2h, or a moment; else until resumed"),
    all_: bool = ALL,
    reason: Reason = None,
    force: bool = typer.Option(False, "--force", help="Also a queue that nothing knows of yet."),
    yes: Yes = False,
) -> None:
    """Pause queues for all workers: within 2 s they start nothing of them. What runs is finished."""
    from callboard.app import get_pool
    from callboard.ops import moments
    from callboard.ops.queues import controls as queue_controls

    end = None if until is None else moments.parse_future(until, name="--until")
    names = _chosen(names, "pause", is_all=all_, yes=yes)
    with get_pool().cursor() as cursor:
        paused = queue_controls.pause_queues(cursor, names, operator(reason), until=end, is_new_allowed=force)
    for name in paused:
        say(name)
    note(f"Paused {'until resumed' if end is None else f'until {end:%Y-%m-%d %H:%M:%S %Z}'}: {in_a_row(paused)}.")


@app.command()
def resume(*, names: list[str] = NAMES, all_: bool = ALL, reason: Reason = None, yes: Yes = False) -> None:
    """Resume paused queues; their messages start at once."""
    from callboard.app import get_pool
    from callboard.ops.queues import controls as queue_controls

    names = _chosen(names, "resume", is_all=all_, yes=yes)
    with get_pool().cursor() as cursor:
        resumed = queue_controls.resume_queues(cursor, names, operator(reason))
    for name in resumed:
        say(name)
    if others := sorted(set(names) - set(resumed)):
        note(f"Not paused before: {in_a_row(others)}.")
    note(f"Resumed: {in_a_row(resumed)}.")


def _chosen(names: list[str] | None, verb: str, *, is_all: bool, yes: bool) -> list[str]:
    """Return the queues that are meant; of all of them the person is told how many, and asked."""
    from callboard.app import get_pool
    from callboard.ops.queues import listing as queues

    if bool(names) == is_all:
        raise InvalidRequest(f"Which queues? Name them, as: callboard queues {verb} emails; or say --all.")
    if not is_all:
        return names or []
    with get_pool().cursor() as cursor:
        known = queues.known_queues(cursor)
    if not known:
        raise NotFound("No queues are known yet. They come with the first worker or message: callboard work")
    approve(len(known), f"queues will be {verb}d: {in_a_row(known)}", yes=yes, dry_run=False)
    return known


@app.command()
def discard(
    name: str = typer.Argument(help="Name of a queue"), yes: Yes = False, dry_run: DryRun = False, reason: Reason = None
) -> None:
    """Throw away what waits in a queue, ready or delayed; the history keeps it as discarded. What runs is finished."""
    from callboard.app import get_pool
    from callboard.ops.queues import controls as queue_controls

    pool = get_pool()
    with pool.cursor() as cursor:
        plan = queue_controls.plan_discard(cursor, name)
    messages = "waiting message" if plan.count == 1 else "waiting messages"
    if not approve(plan.count, f"{messages} of queue {plain(name)} will be discarded", yes=yes, dry_run=dry_run):
        return
    who = operator(reason)
    with progress("discarding", plan.count) as advance:
        while not plan.is_complete:
            before = plan.discarded
            with pool.cursor(BATCH_TIMEOUT_S) as cursor:
                plan = queue_controls.discard_batch(cursor, plan, who)
            advance(plan.discarded - before)
    say(str(plan.discarded))
    note(f"{plan.discarded} messages of queue {plain(name)} were discarded.")
    if plan.discarded < plan.count:
        note(f"{plan.count - plan.discarded} had started or ended meanwhile.")


def size(
    queue: str = typer.Argument(None, help="Name of a queue; without it, all"),
) -> None:
    """Print how many messages wait or run."""
    from callboard.app import get_pool
    from callboard.ops.queues import listing as queues

    with get_pool().cursor() as cursor:
        say(str(queues.queue_size(cursor, queue)))

"""The morning from opening to closing, with a progress bar, and its summary."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from callboard.db import Pool, schema
from callboard.dev.daily import announced_database
from callboard.dev.demo import plan
from callboard.dev.demo.check import Check, check_morning, link_in
from callboard.dev.demo.customers import Customers
from callboard.dev.demo.killed_worker import Takeover, kill_while_sending, wait_for_takeover
from callboard.dev.postgres import project_server
from callboard.dev.stack import Ports, Stack, StackFailed
from callboard.ops.queues.figures import queue_figures
from callboard.settings.announced import announced

DATABASE = "callboard_demo"
QUIET_TIMEOUT_S = 45
SETTINGS = {
    "WORKER_PROCESSES": "2",
    "JOB_CONCURRENCY": "4",
    "LOG_LEVEL": "info",
    # Real waits are minutes; the morning has only a few seconds.
    "SMTP_GREYLIST_WAIT_S": "1.5",
    "YUKASSA_TIMEOUT_S": "2",
    "YUKASSA_OUTAGE_WAIT_S": "2",
    "WORKER_SHUTDOWN_S": "5",
}


def run_morning(project_dir: Path, *, exits: bool) -> int:
    """Run the morning in the project folder's embedded Postgres; return the exit code.

    With exits it ends after the summary; without, it keeps running until Ctrl-C and prints where to look.
    """
    console = _console()
    place = project_dir.resolve() / ".callboard" / "demo"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    ended = _end_on_signals()
    with project_server(project_dir) as server:
        url = server.recreate_database(DATABASE)
        schema.upgrade(url)
        plan_file = place / "mail-plan.json"
        plan_file.write_text(_mail_plan_json())
        stack = Stack(place, url, Ports.choose(), settings=SETTINGS, mail_plan_file=plan_file)
        pool = Pool(url, application_name="callboard demo")
        with (
            announced_database(project_dir, url),
            stack.running(),
            announced(project_dir, stack.environment),
        ):
            takeover = _work(stack, pool, console)
            checks = _closing(stack, pool, console, takeover)
            if not exits:
                _show_addresses(stack, console)
                while not ended.wait(0.2):
                    stack.supervisor.look_once()
        pool.close()
    return 0 if all(check.is_ok for check in checks) else 1


def check_again(project_dir: Path) -> int:
    """Compare the last morning's records once more; return the exit code."""
    console = _console()
    place = project_dir.resolve() / ".callboard" / "demo"
    books_file = place / "books.json"
    if not books_file.exists():
        raise StackFailed(f"No morning has been run in {project_dir} yet. Run one with: callboard demo --exit")
    with project_server(project_dir) as server:
        pool = Pool(server.url(DATABASE), application_name="callboard demo")
        with pool.cursor(plan.DATABASE_TIMEOUT_S) as cursor:
            checks = check_morning(json.loads(books_file.read_text()), cursor, place / "mail", place / "reports")
        pool.close()
    _show_summary(checks, console)
    return 0 if all(check.is_ok for check in checks) else 1


def _work(stack: Stack, pool: Pool, console: Console) -> Takeover:
    """Serve all orders, the last one with a worker that dies over its receipt, and close the books."""
    morning = plan.orders()
    columns = (TextColumn("{task.description:<34}"), BarColumn(30), MofNCompleteColumn(), TimeElapsedColumn())
    customers = Customers(stack)
    with Progress(*columns, console=console) as progress:
        served = progress.add_task("orders", total=plan.ORDERS)
        mailed = progress.add_task("mails at the mail server", total=sum(o.is_paid for o in morning))
        stop_watching = _watch(lambda: _update(progress, served, mailed, pool, stack))
        try:
            customers.arrange_trouble(morning)
            customers.serve(morning[:-1])
            _wait_until_quiet(pool)
            last = morning[-1]
            customers.serve([last])
            before = kill_while_sending(pool, last.email)
            takeover = wait_for_takeover(pool, last.email, before)
            _wait_until_quiet(pool)
            _make_register(stack)
            _wait_until_quiet(pool)
        finally:
            stop_watching()
        (stack.place / "books.json").write_text(json.dumps(customers.books(), indent=1))
    customers.close()
    return takeover


def _make_register(stack: Stack) -> None:
    """Ask for the register as any other service would, through the command line."""
    now = datetime.now(UTC)
    window = {"from": (now - timedelta(hours=2)).isoformat(), "to": (now + timedelta(hours=1)).isoformat()}
    arguments = {
        "kind": "payments_register",
        "parameters": window,
        "formats": ["pdf", "csv", "xlsx"],
        "notify_to": plan.OWNER,
    }
    command = [sys.executable, "-m", "callboard.cli", "enqueue", "generate_report", json.dumps(arguments)]
    done = subprocess.run(command, env=_environment(stack), capture_output=True, text=True, timeout=60, check=False)  # noqa: S603 - our own command
    if done.returncode != 0:
        raise StackFailed(f"The register could not be asked for: {done.stderr}")


def _closing(stack: Stack, pool: Pool, console: Console, takeover: Takeover) -> list[Check]:
    books = json.loads((stack.place / "books.json").read_text())
    with pool.cursor(plan.DATABASE_TIMEOUT_S) as cursor:
        checks = check_morning(books, cursor, stack.mail_dir, stack.reports_dir)
    before, after = takeover.before, takeover.after
    checks.append(
        Check(
            f"A-{plan.WORKER_KILLED:03d}: worker killed over its receipt, another one took it",
            "another worker, another lease",
            "another worker, another lease"
            if before.worker_id != after.worker_id and before.lease_id != after.lease_id
            else f"worker {after.worker_id}, lease {after.lease_id}",
        )
    )
    checks.append(_check_link(stack))
    _show_summary(checks, console)
    console.print(
        f"Message {before.message_id}: lease {before.lease_id} of worker {before.worker_id[:8]} (process {before.pid}, "
        f"stopped, then killed) → lease {after.lease_id} of worker {after.worker_id[:8]} (process {after.pid}), "
        f"done {takeover.seconds:.1f} s after the kill.",
        highlight=False,
    )
    return checks


def _check_link(stack: Stack) -> Check:
    link = link_in(stack.mail_dir)
    answer = Customers(stack).fetch(link) if link else None
    found = (
        "no link"
        if answer is None
        else f"{answer.status_code}, {'a PDF' if answer.content[:5] == b'%PDF-' else 'no PDF'}"
    )
    return Check("the mailed link opens without a token", "200, a PDF", found)


def _show_summary(checks: list[Check], console: Console) -> None:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("", "checked against the outside", "expected", "found"):
        table.add_column(name, overflow="fold")
    for check in checks:
        mark = "[green]✓[/]" if check.is_ok else "[bold red]✗[/]"
        table.add_row(mark, check.what, check.expected, check.found)
    console.print(table)
    failed = [check for check in checks if not check.is_ok]
    for check in failed:
        for problem in check.problems:
            console.print(f"[red]{check.what}[/]: {problem}", highlight=False)
    verdict = (
        "[bold green]The morning went well.[/]"
        if not failed
        else f"[bold red]{len(failed)} of {len(checks)} checks differ.[/]"
    )
    console.print(verdict)


def _show_addresses(stack: Stack, console: Console) -> None:
    rows = {
        "API": f"{stack.api_url}/health  (token: {stack.api_token})",
        "queues": f"{stack.api_url}/health/queue",
        "metrics of the workers": f"http://127.0.0.1:{stack.ports.metrics}/metrics",
        "YooKassa sandbox": f"{stack.yookassa_url}/sandbox/books",
        "mails": str(stack.mail_dir),
        "reports": str(stack.reports_dir),
        "logs": str(stack.place / "logs"),
    }
    for name, address in rows.items():
        console.print(f"  {name:<24}{address}", highlight=False, soft_wrap=True)
    console.print("Commands in this folder find all of it: callboard status, callboard dead groups, callboard doctor.")
    console.print("Ctrl-C ends it.")


def _wait_until_quiet(pool: Pool) -> None:
    """Wait until no message waits or runs."""
    until = time.monotonic() + QUIET_TIMEOUT_S
    while True:
        with pool.cursor(plan.DATABASE_TIMEOUT_S) as cursor:
            busy = {queue.queue_name: queue.pending + queue.running for queue in queue_figures(cursor)}
        if not any(busy.values()):
            return
        if time.monotonic() > until:
            raise StackFailed(
                f"After {QUIET_TIMEOUT_S} s messages still wait: {busy}. The logs are in .callboard/demo/logs."
            )
        time.sleep(0.1)


def _update(progress: Progress, served: Any, mailed: Any, pool: Pool, stack: Stack) -> None:
    with pool.cursor(plan.DATABASE_TIMEOUT_S) as cursor:
        cursor.execute("SELECT count(*) FROM callboard.payments WHERE provider_id IS NOT NULL")
        progress.update(served, completed=cursor.fetchone()[0])
    progress.update(mailed, completed=sum(1 for _ in stack.mail_dir.glob("*.eml")))


def _watch(look: Callable[[], None]) -> Callable[[], None]:
    """Call look() a few times a second from a thread until the returned function is called, and once more then."""
    stop = threading.Event()

    def run() -> None:
        while not stop.wait(0.2):
            look()

    thread = threading.Thread(target=run, name="demo-progress", daemon=True)
    thread.start()

    def end() -> None:
        stop.set()
        thread.join()
        look()

    return end


def _console() -> Console:
    """Return a console that is wide enough for the summary where nobody's terminal says otherwise."""
    return Console(width=None if sys.stdout.isatty() else 140)


def _mail_plan_json() -> str:
    trouble = plan.mail_plan(plan.orders())
    return json.dumps(
        {
            "refused": sorted(trouble.refused),
            "greylisted": dict(trouble.greylisted),
            "slow_once_s": dict(trouble.slow_once_s),
        }
    )


def _environment(stack: Stack) -> dict[str, str]:
    import os

    return {**os.environ, **stack.environment}


def _end_on_signals() -> threading.Event:
    """Turn Ctrl-C and SIGTERM into an event while the stack idles, and into a clean end while it works."""
    ended = threading.Event()

    def end(_number: int, _frame: FrameType | None) -> None:
        if ended.is_set():
            raise KeyboardInterrupt
        ended.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    return ended

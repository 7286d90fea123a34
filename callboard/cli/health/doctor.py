"""callboard doctor: whether everything that is configured is there and works."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from textwrap import wrap
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

from callboard.cli.output import Form, note, show, styled
from callboard.plain_text import plain

if TYPE_CHECKING:
    from callboard.mail import Rehearsal
    from callboard.ops.health.findings import Finding
    from callboard.settings import Settings

EXIT_UNHEALTHY = 4
EXIT_CONFIGURATION = 2
#: Longest wait for mail server and YooKassa, s: somebody sits there and waits.
PATIENCE_S = 10.0
MARKS = {"ok": ("✓", "green"), "warning": ("!", "yellow"), "failed": ("✗", "red"), "skipped": ("·", "dim")}


def doctor(output: Annotated[Form, typer.Option("--output", "-o", help="table, json or ids")] = Form.TABLE) -> None:
    """Connect to everything that is configured, and say what is wrong and what to do. Exit code 4 if something is."""
    from callboard.app import get_settings
    from callboard.ops.health.findings import State

    settings = get_settings()
    findings: list[Finding] = []
    for look in (_settings, _database, _mail, _payments, _storage, _access):
        found = look(settings)
        findings += found
        if output is Form.TABLE:
            _print(found)
    if output is not Form.TABLE:
        show(findings, {}, output, id_of=lambda finding: finding.name)
    counts = {state: sum(finding.state is state for finding in findings) for state in State}
    note(f"{counts[State.FAILED]} failed, {counts[State.WARNING]} to look at, {counts[State.OK]} fine.")
    if settings.faults:
        sys.exit(EXIT_CONFIGURATION)
    if counts[State.FAILED]:
        sys.exit(EXIT_UNHEALTHY)


def _settings(settings: Settings) -> list[Finding]:
    """Everything that is wrong or probably not meant; the other parts are looked at all the same."""
    from callboard.db.connections.target import say_dropped
    from callboard.ops.health.findings import Finding, State
    from callboard.settings import successors

    found = [Finding("settings", State.FAILED, line) for line in dict.fromkeys(settings.faults.values())]
    lines = [*settings.warnings, *successors(os.environ), *_session_variables()]
    say_dropped(settings.dropped, lines.append)
    found += [Finding("settings", State.WARNING, line) for line in lines]
    return found or [Finding("settings", State.OK, "Every variable that is set can be read.")]


def _session_variables() -> list[str]:
    """Name the variables by which libpq changes every session of ours, whatever the address says."""
    return [
        f"{name} is set: libpq gives it to each of our sessions in place of ours. Unset it for Callboard."
        for name in ("PGTZ", "PGDATESTYLE", "PGGEQO")
        if os.environ.get(name)
    ]


def _database(settings: Settings) -> list[Finding]:
    from callboard.app import POOL_SIZE, database_url
    from callboard.ops.health.doctor import examine_database

    def look() -> list[Finding]:
        return examine_database(
            database_url(),
            pool_size=POOL_SIZE,
            listens=settings.queue_listen,
            is_embedded=settings.database_url is None,
        )

    return _checked("database", look)


def _mail(settings: Settings) -> list[Finding]:
    from callboard import mail
    from callboard.ops.health.findings import Finding, State

    def look() -> Iterator[Finding]:
        patient = settings.model_copy(update={"smtp_timeout_s": min(settings.smtp_timeout_s, PATIENCE_S)})
        try:
            text = mail.probe(patient)
            rehearsal = mail.rehearse(patient)
        except mail.ServerUnreachable as error:
            where = f"{settings.smtp_host}:{settings.smtp_port}"
            advice = "Check SMTP_HOST and SMTP_PORT, and that this machine may reach them. Mail waits meanwhile."
            yield Finding("mail", State.FAILED, f"{where} cannot be reached: {error}.", advice)
        else:
            yield Finding("mail", State.OK, text)
            yield from _rehearsed(rehearsal)

    return _checked("mail", look)


def _rehearsed(rehearsal: Rehearsal | None) -> Iterator[Finding]:
    """Say what the mail server answers to a mail of ours, short of sending one."""
    from callboard.ops.health.findings import Finding, State

    if rehearsal is None:
        return
    if rehearsal.is_taken:
        yield Finding("sender", State.OK, rehearsal.text)
    elif rehearsal.fate in ("refused", "later"):
        # About the mailbox that was asked for, and none is needed to send.
        advice = rehearsal.advice or "Mail to others may leave nevertheless: callboard test-email TO."
        yield Finding("sender", State.WARNING, rehearsal.text, advice)
    else:
        yield Finding("sender", State.FAILED, rehearsal.text, rehearsal.advice)


def _payments(settings: Settings) -> list[Finding]:
    from callboard.ops.health.findings import Finding, State
    from callboard.payments import Gateway

    def look() -> Iterator[Finding]:
        if settings.yukassa_shop_id is None:
            yield Finding("payments", State.SKIPPED, "No YooKassa shop is set; payments cannot be made.")
            return
        patience_s = min(settings.yukassa_timeout_s, PATIENCE_S)
        shop = Gateway.from_settings(settings.model_copy(update={"yukassa_timeout_s": patience_s})).find_shop()
        if shop.shop_id != settings.yukassa_shop_id:
            advice = "Set YUKASSA_SHOP_ID and YUKASSA_SECRET_KEY of one shop, and look what YUKASSA_API_URL leads to."
            yield Finding("payments", State.FAILED, f"Asked as shop {settings.yukassa_shop_id}: {shop}.", advice)
        elif not shop.is_enabled:
            advice = "Ask YooKassa why; until then no payment can be made."
            yield Finding("payments", State.FAILED, f"YooKassa has it disabled: {shop}.", advice)
        else:
            yield Finding("payments", State.OK, f"YooKassa knows {shop}.")
        yield from _webhooks()

    return _checked("payments", look)


def _webhooks() -> Iterator[Finding]:
    from callboard.app import database_url
    from callboard.db import CALL_TIMEOUT_S, connect, deadline
    from callboard.errors import DatabaseUnavailable
    from callboard.ops.health.findings import Finding, State
    from callboard.payments import webhook_silence

    try:
        connection = connect(database_url())
    except DatabaseUnavailable:
        return  # The finding on the database says so.
    try:
        with deadline(connection, CALL_TIMEOUT_S), connection.cursor() as cursor:
            silence = webhook_silence(cursor)
    finally:
        connection.close()
    if silence.is_odd:
        since = "ever" if silence.seconds == float("inf") else f"for {silence.seconds / 3600:.0f} h"
        yield Finding(
            "webhooks",
            State.WARNING,
            f"{silence.overdue} payments should have been announced by now, and no webhook was accepted {since}.",
            "In YooKassa's cabinet name API_BASE_URL with /webhooks/yookassa. The API logs what it refuses: a foreign "
            "address there means that TRUSTED_PROXIES or YUKASSA_WEBHOOK_IPS does not fit.",
        )
    else:
        yield Finding("webhooks", State.OK, "No payment waits for a webhook that is overdue.")


def _storage(settings: Settings) -> list[Finding]:
    from callboard import reports
    from callboard.ops.health.findings import Finding, State

    def look() -> Iterator[Finding]:
        reports.probe(settings.report_storage_url)
        yield Finding("storage", State.OK, "Report files can be written, read and removed.")

    return _checked("storage", look)


def _access(settings: Settings) -> list[Finding]:
    from callboard.ops.health.findings import Finding, State

    def look() -> Iterator[Finding]:
        if settings.api_token is None:
            text = "API_TOKEN is not set: the API is closed but for webhook and health."
            yield Finding("access", State.SKIPPED, text)
        else:
            yield Finding("access", State.OK, "API_TOKEN is set.")

    return _checked("access", look)


def _checked(name: str, look: Callable[[], Iterator[Finding] | list[Finding]]) -> list[Finding]:
    from callboard.ops.health.findings import examine

    return examine(name, look)


def _print(findings: list[Finding]) -> None:
    console = Console(highlight=False, soft_wrap=not sys.stdout.isatty())
    for finding in findings:
        mark, colour = MARKS[finding.state]
        console.print(Text.assemble((mark, colour), " ", (f"{finding.name:13}", "bold"), " ", styled(finding.text)))
        if finding.advice:
            advice = _advice(plain(finding.advice), console.width if sys.stdout.isatty() else None)
            console.print(styled(advice, keeps_lines=True))


def _advice(text: str, width: int | None) -> str:
    """Write an advice under its finding, on a terminal in lines that begin below each other."""
    indent = " " * 16
    lines = [text] if width is None else wrap(text, max(width - len(indent) - 2, 20), break_on_hyphens=False)
    return "\n".join(f"{indent}{'  ' if number else '→ '}{line}" for number, line in enumerate(lines))

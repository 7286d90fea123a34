"""The supervisor of worker processes: replaces what hangs or has reached a limit, and knows when there is an end.

A process that has reached a limit is asked to retire. Its successor starts at once, so that a long job keeps no other
message waiting; it ends by itself when what it runs has ended. One at a time retires. One that hangs is asked to stop
and, after a bounded wait, killed.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from callboard.errors import InvalidRequest
from callboard.log import get_logger
from callboard.processes.folders import forget_dead
from callboard.processes.replacement import Limits, Mending, Watch, are_done
from callboard.processes.reports import ProcessReport, read_reports, rss_bytes
from callboard.processes.supervisor import Child, Supervisor

log = get_logger(__name__)

#: How often the processes are looked at, s: as often as they report.
LOOK_REPORTS_S = 1.0
#: The same while there is an end to see, s.
LOOK_REPORTS_AT_END_S = 0.1
#: What replacing a process takes at the most besides the grace of what it runs: waits between starts, and a start, s.
REPLACEMENT_TIMEOUT_S = 120.0
#: Work with an end waits so long for a process that is ready, s: to start one, or for the database to come back.
READY_PATIENCE_S = 30.0
#: After the death of a process its messages run again within this, s; before that nothing counts as done.
RESCUE_PATIENCE_S = 10.0


@dataclass(frozen=True, slots=True)
class Errand:
    """Work with an end: once runs one message, drain what is ready; until_s is the longest time for all of it."""

    kind: Literal["once", "drain"]
    until_s: float | None = None


def work_order(
    *,
    once: bool = False,
    stop_when_empty: bool = False,
    max_jobs: int | None = None,
    max_time_s: float | None = None,
    max_rss_mb: int | None = None,
) -> tuple[Limits, Errand | None]:
    """Return what the options of `callboard work` mean together. Raises: InvalidRequest."""
    limits = Limits(jobs=max_jobs, age_s=max_time_s, rss_mb=max_rss_mb)
    if not (once or stop_when_empty):
        return limits, None
    if once and stop_when_empty:
        raise InvalidRequest("--once runs one message and --stop-when-empty all that are ready. Give one of them.")
    if once and (max_jobs or max_rss_mb):
        given = "--max-jobs" if max_jobs else "--max-rss"
        raise InvalidRequest(f"--once runs one message, and no process is replaced. Leave {given} out.")
    # Here the time is that of the whole command.
    return replace(limits, age_s=None), Errand("once" if once else "drain", until_s=max_time_s)


class WorkerSupervisor(Supervisor):
    """Keeps worker processes running, which report into the folder place."""

    def __init__(
        self,
        children: Sequence[Child],
        *,
        place: Path,
        stop_timeout_s: float,
        limits: Limits | None = None,
        errand: Errand | None = None,
    ) -> None:
        super().__init__(children, stop_timeout_s=stop_timeout_s)
        #: Processes that have a successor and finish what they run.
        self.retiring: list[Child] = []
        #: Why an errand failed.
        self.trouble: str | None = None
        #: What the processes of an errand have run, as far as they said.
        self.jobs_ended = 0
        self._place = place
        self._limits = limits or Limits()
        self._errand = errand
        self._is_closing = False
        self._is_out_of_time = False
        self._watches: dict[int, Watch] = {}
        now_clock = time.monotonic()
        self._look_clock = self._begun_clock = self._ready_clock = now_clock
        self._death_clock = float("-inf")
        self._mending = Mending(stop_timeout_s + REPLACEMENT_TIMEOUT_S, now_clock)

    def everyone(self) -> list[Child]:
        return [*self.children, *self.retiring]

    def replaces(self, child: Child, code: int | None) -> bool:
        self._death_clock = time.monotonic()
        if self._errand is None:
            return True
        if self._errand.kind == "once" and not self._is_closing:
            self._fail(f"The worker process ended with code {code}. What it ran is run again by the next one.")
        elif code and not self._is_out_of_time:
            # It was to end, and was killed before what it ran had ended.
            self._is_closing = False
        return not self._is_closing and self.exit_code is None

    def look_once(self) -> None:
        super().look_once()
        self._bury_retired()
        now_clock = time.monotonic()
        if self.gave_up is not None or self.exit_code is not None:
            return
        if self._is_closing and not self.everyone():
            self.exit_code = 0
        if now_clock < self._look_clock:
            return
        self._look_clock = now_clock + (LOOK_REPORTS_S if self._errand is None else LOOK_REPORTS_AT_END_S)
        reports = read_reports(self._place)
        running = [child for child in self.everyone() if child.is_running]
        if self._watches.keys() - {child.pid for child in running}:
            forget_dead(self._place)
        self._watches = {child.pid: self._watches.get(child.pid) or Watch() for child in running}
        for child in running:
            self._watch(child, reports.get(child.pid), now_clock)
        self._mending.note({child.name: self._why_missing(child, reports) for child in self.children}, now_clock)
        if self._errand is not None:
            self._look_at_errand(self._errand, reports, now_clock)
        else:
            self._succeed_stuck(reports)
        if not self._is_closing:
            self._replace_one(reports, now_clock)

    def why_not_alive(self) -> str | None:
        """Return why ending all of this and starting anew would help, or None; asked from another thread.

        A process that is being replaced is no reason; one that does not come back is, and a supervisor that hangs.
        """
        return self._mending.why_failed(self.looked_clock, time.monotonic())

    def _why_missing(self, child: Child, reports: dict[int, ProcessReport]) -> str | None:
        if not child.is_running:
            code = child.process.returncode if child.process is not None else None
            return f"it ended with code {code}, {child.quick_ends} times in a row at once"
        report = reports.get(child.pid)
        return "it has not reported yet" if report is None else self._watches[child.pid].why_hung(report)

    # Hanging

    def _watch(self, child: Child, report: ProcessReport | None, now_clock: float) -> None:
        """Have a process that hangs end, and end one that does not get there."""
        watch = self._watches[child.pid]
        watch.look(report, now_clock)
        if watch.is_overtime(now_clock, self._stop_timeout_s):
            log.warning("process did not end in time and is killed", process=child.name, pid=child.pid)
            child.end_session()
        elif watch.asked_clock is None and (why := watch.why_hung(report)):
            log.warning("process hangs and is replaced", process=child.name, why=why)
            self._ask_to_end(child, now_clock)
        elif child in self.retiring and report is not None and not (report.is_retiring or report.is_stuck):
            _ask_to_retire(child, report)

    def _ask_to_end(self, child: Child, now_clock: float) -> None:
        self._watches[child.pid].asked_clock = now_clock
        if child.process is not None:
            child.process.terminate()

    # Limits

    def _replace_one(self, reports: dict[int, ProcessReport], now_clock: float) -> None:
        """Let one process retire that has reached a limit, if all others are there."""
        if any(not _is_stuck(child, reports) for child in self.retiring):
            return
        found = [(child, reports.get(child.pid)) for child in self.children if child.is_running]
        are_up = all(report and report.retire_signal and not report.is_ending for _, report in found)
        if not are_up or len(found) < len(self.children):
            return
        # The oldest first: where a round takes longer than a limit, the last ones would never have their turn.
        for child, report in sorted(found, key=lambda pair: pair[0].started_clock):
            if report is not None and (why := self._why_replaced(child, report, now_clock)):
                _ask_to_retire(child, report)
                self._start_successor(child)
                log.info("process retires and is replaced", process=child.name, pid=report.pid, why=why)
                return

    def _succeed_stuck(self, reports: dict[int, ProcessReport]) -> None:
        """Start the successor of a process that ends because of a stuck message, while it gives the others their grace.

        It may be the only process, and nothing else would start meanwhile. Where the successor gets stuck in its turn,
        the next one waits for an end: no grace is so long that processes pile up.
        """
        for child in [child for child in self.children if child.is_running and _is_stuck(child, reports)]:
            if child.name not in {other.name for other in self.retiring}:
                self._start_successor(child)
                log.warning("process is stuck and is replaced", process=child.name, pid=reports[child.pid].pid)

    def _start_successor(self, child: Child) -> None:
        successor = child.successor()
        self.children[self.children.index(child)] = successor
        self.retiring.append(child)
        successor.start()

    def _why_replaced(self, child: Child, report: ProcessReport, now_clock: float) -> str | None:
        if report.is_retiring:
            return "it was asked to"
        return self._limits.reached(
            jobs_ended=report.jobs_ended,
            age_s=now_clock - child.started_clock,
            rss_bytes=rss_bytes(report.pid) if self._limits.rss_mb is not None else None,
            share=self._watches[child.pid].share,
        )

    def _bury_retired(self) -> None:
        for child in [child for child in self.retiring if not child.is_running]:
            child.end_session()
            self.retiring.remove(child)
            code = child.process.returncode if child.process is not None else None
            if code:
                self._death_clock = time.monotonic()
                log.warning("process ended before its messages had", process=child.name, code=code)
            else:
                log.info("process has retired", process=child.name)

    # An end

    def _look_at_errand(self, errand: Errand, reports: dict[int, ProcessReport], now_clock: float) -> None:
        present = [reports.get(child.pid) for child in self.everyone()]
        known = [report for report in present if report is not None]
        self.jobs_ended = max(self.jobs_ended, sum(report.jobs_ended for report in known))
        if self._is_closing or any(report.unready is None for report in known):
            self._ready_clock = now_clock
        was_closing = self._is_closing
        if errand.until_s is not None and now_clock - self._begun_clock >= errand.until_s:
            self._is_closing = self._is_out_of_time = True
        elif are_done(present, not_before_clock=self._death_clock + RESCUE_PATIENCE_S):
            self._is_closing = True
        elif now_clock - self._ready_clock > READY_PATIENCE_S:
            why = next((report.unready for report in known if report.unready), "none has come up")
            self._fail(f"No worker process was ready for {READY_PATIENCE_S:g} s: {why}. What is left is kept.")
        if self._is_closing:
            if not was_closing:
                log.info("processes end", why="its time is over" if self._is_out_of_time else "nothing is left to do")
            self._let_everyone_retire(reports, now_clock)

    def _let_everyone_retire(self, reports: dict[int, ProcessReport], now_clock: float) -> None:
        for child in self.everyone():
            report = reports.get(child.pid)
            if not child.is_running:
                if child.restart_clock:
                    # It waits to be started again.
                    self.children.remove(child)
            elif report is not None and report.retire_signal is not None:
                _ask_to_retire(child, report)
            elif self._watches[child.pid].asked_clock is None and not self._watches[child.pid].has_reported:
                # Not up yet: nothing runs in it.
                self._ask_to_end(child, now_clock)

    def _fail(self, trouble: str) -> None:
        self.trouble, self.exit_code = trouble, 1


def _is_stuck(child: Child, reports: dict[int, ProcessReport]) -> bool:
    report = reports.get(child.pid)
    return report is not None and report.is_stuck


def _ask_to_retire(child: Child, report: ProcessReport) -> None:
    """Ask once more where it was asked before: that changes nothing."""
    with contextlib.suppress(ProcessLookupError):
        # The number may be another's by now; what the child started is in its session.
        if report.retire_signal is not None and os.getsid(report.pid) == child.pid:
            os.kill(report.pid, report.retire_signal)

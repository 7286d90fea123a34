"""When a worker process is replaced, and when work with an end is done: decisions, with the time passed in."""

from __future__ import annotations

import pytest

from callboard.errors import InvalidRequest
from callboard.processes.replacement import LOOK_GAP_MAX_S, Limits, Mending, Watch, are_done
from callboard.processes.reports import ProcessReport
from callboard.processes.worker_supervisor import Errand, work_order

STOP_TIMEOUT_S = 70
MB = 1024 * 1024


def report(written_at=1.0, **said):
    return ProcessReport(pid=11, master_pid=10, written_at=written_at, **said)


def watched(watch, begun, seconds, said, step=1):
    """Look at a report once a second."""
    for second in range(0, seconds, step):
        watch.look(said(second) if callable(said) else said, begun + second)
    return watch


# Limits


@pytest.mark.parametrize(
    ("limits", "seen", "why"),
    [
        (Limits(jobs=1000), {"jobs_ended": 999}, None),
        (Limits(jobs=1000), {"jobs_ended": 1000}, "it has ended 1000 messages"),
        (Limits(jobs=1000), {"jobs_ended": 900, "share": 0.9}, "it has ended 900 messages"),
        (Limits(jobs=3), {"jobs_ended": 2, "share": 0.9}, None),
        (Limits(age_s=3600), {"age_s": 3599}, None),
        (Limits(age_s=3600), {"age_s": 3600}, "it is 3600 s old"),
        (Limits(age_s=3600), {"age_s": 3300, "share": 0.9}, "it is 3300 s old"),
        (Limits(rss_mb=200), {"jobs_ended": 1, "rss_bytes": 200 * MB}, None),
        (Limits(rss_mb=200), {"jobs_ended": 1, "rss_bytes": 201 * MB}, "it holds 201 MB"),
        (Limits(rss_mb=200), {"jobs_ended": 1, "rss_bytes": None}, None),
        (Limits(), {"jobs_ended": 10**9, "age_s": 10**9, "rss_bytes": 10**12}, None),
    ],
)
def test_a_process_is_replaced_when_it_has_reached_a_limit(limits, seen, why):
    assert limits.reached(**{"jobs_ended": 0, "age_s": 0, "rss_bytes": 0, **seen}) == why


def test_a_process_that_is_too_large_from_the_start_is_not_replaced_for_ever():
    assert Limits(rss_mb=64).reached(jobs_ended=0, age_s=100, rss_bytes=90 * MB) is None


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"max_jobs": 0}, "--max-jobs must be at least 1. Got 0."),
        ({"max_jobs": -5}, "--max-jobs must be at least 1. Got -5."),
        ({"max_time_s": 0.5}, "--max-time must be at least 1 s. Got 0.5."),
        ({"max_time_s": float("nan")}, "--max-time must be at least 1 s. Got nan."),
        (
            {"max_rss_mb": 10},
            "--max-rss must be at least 64 MB; a process holds about 50 before its first message. Got 10.",
        ),
        ({"once": True, "stop_when_empty": True}, "Give one of them."),
        ({"once": True, "max_jobs": 5}, "Leave --max-jobs out."),
        ({"once": True, "max_rss_mb": 500}, "Leave --max-rss out."),
    ],
)
def test_options_that_cannot_be_meant_are_refused(given, said):
    with pytest.raises(InvalidRequest) as refused:
        work_order(**given)
    assert said in str(refused.value)


def test_with_an_end_the_time_is_that_of_the_whole_command():
    assert work_order(max_time_s=3600) == (Limits(age_s=3600), None)
    assert work_order(stop_when_empty=True, max_time_s=3600, max_jobs=9) == (Limits(jobs=9), Errand("drain", 3600))
    assert work_order(once=True) == (Limits(), Errand("once"))


def test_processes_get_different_shares_of_a_limit():
    shares = {Watch().share for _ in range(20)}
    assert len(shares) > 15 and all(0.9 <= share <= 1 for share in shares)


# Hanging


def test_a_process_that_reports_does_not_hang():
    watch = watched(Watch(), 100, 300, report)
    assert watch.why_hung(report()) is None
    assert not watch.is_overtime(400, STOP_TIMEOUT_S)


def test_a_process_that_has_not_reported_for_a_minute_hangs():
    watch = watched(Watch(), 100, 60, report(1.0))
    assert watch.why_hung(report(1.0)) is None
    watch.look(report(1.0), 160)
    assert watch.why_hung(report(1.0)) == "it has not reported for 60 s"
    # One report, and all is well again
    watch.look(report(2.0), 161)
    assert watch.why_hung(report(2.0)) is None


def test_a_process_that_has_not_come_up_is_not_silent():
    assert watched(Watch(), 100, 300, None).why_hung(None) is None


def test_the_time_a_supervisor_was_frozen_is_nobody_elses_silence():
    watch = watched(Watch(), 100, 10, report(1.0))
    watch.look(report(1.0), 10_000)
    assert watch.silent_s < 10 + LOOK_GAP_MAX_S
    assert watch.why_hung(report(1.0)) is None


def test_a_process_that_says_it_is_dead_is_replaced():
    said = report(dead="1 of 8 worker threads have ended")
    assert Watch().why_hung(said) == "1 of 8 worker threads have ended"


def test_a_silent_process_is_killed_soon_after_it_was_asked():
    watch = watched(Watch(), 100, 62, report(1.0))
    watch.asked_clock = 161
    assert not watch.is_overtime(170, STOP_TIMEOUT_S)
    assert watch.is_overtime(172, STOP_TIMEOUT_S)


def test_a_process_that_reports_again_after_it_was_asked_gets_its_grace():
    watch = watched(Watch(), 100, 62, report(1.0))
    watch.asked_clock = 161
    watched(watch, 162, 60, report)
    assert not watch.is_overtime(222, STOP_TIMEOUT_S)
    assert watch.is_overtime(161 + STOP_TIMEOUT_S + 1, STOP_TIMEOUT_S)


def test_a_process_that_does_not_get_to_its_end_is_killed_after_its_grace():
    watch = watched(Watch(), 100, 10, lambda second: report(second, is_ending=second > 4))
    assert not watch.is_overtime(105 + STOP_TIMEOUT_S, STOP_TIMEOUT_S)
    assert watch.is_overtime(106 + STOP_TIMEOUT_S, STOP_TIMEOUT_S)


# An end


def test_work_is_done_when_all_were_idle_at_one_moment():
    both = [
        report(done_since_clock=10.0, reported_clock=30.0),
        report(done_since_clock=29.0, reported_clock=29.5),
    ]
    assert are_done(both)


def test_work_is_not_done_while_one_may_have_sent_what_another_looked_for_in_vain():
    # The first one's report is older than the other one's idleness: it may have taken up what that one sent.
    both = [
        report(done_since_clock=10.0, reported_clock=28.0),
        report(done_since_clock=29.0, reported_clock=29.5),
    ]
    assert not are_done(both)


def test_work_is_not_done_while_one_works_or_has_not_come_up():
    idle = report(done_since_clock=10.0, reported_clock=30.0)
    assert not are_done([idle, report(reported_clock=30.0)])
    assert not are_done([idle, None])
    assert not are_done([])


def test_work_is_not_done_before_a_dead_process_is_made_good():
    idle = report(done_since_clock=10.0, reported_clock=30.0)
    assert not are_done([idle], not_before_clock=30.5)
    assert are_done([idle], not_before_clock=29.0)


def test_a_process_that_comes_back_in_time_is_mended():
    mending = Mending(patience_s=100, now_clock=0)
    for now in range(99):
        mending.note({"worker 1": "it hangs", "worker 2": None}, now)
        assert mending.why_failed(now, now) is None
    mending.note({"worker 1": None, "worker 2": None}, 99)
    assert mending.why_failed(99, 99) is None
    # And the next time begins anew
    mending.note({"worker 1": "it ended with code 1"}, 100)
    mending.note({"worker 1": "it ended with code 1"}, 101)
    assert mending.why_failed(101, 101) is None


def test_a_process_that_does_not_come_back_is_not():
    mending = Mending(patience_s=100, now_clock=0)
    for now in range(104):
        mending.note({"worker 1": "it ended with code 1", "worker 2": None}, now)
    assert mending.why_failed(103, 103) == "worker 1 has not come back for 103 s: it ended with code 1"


def test_a_machine_that_slept_is_no_process_that_is_gone():
    mending = Mending(patience_s=100, now_clock=0)
    mending.note({"worker 1": "it has not reported yet"}, 1)
    mending.note({"worker 1": "it has not reported yet"}, 10_000)
    assert mending.why_failed(10_000, 10_000) is None


def test_a_supervisor_that_does_nothing_mends_nothing():
    mending = Mending(patience_s=100, now_clock=0)
    assert mending.why_failed(looked_clock=0, now_clock=59) is None
    assert mending.why_failed(looked_clock=0, now_clock=61) == "the supervisor has done nothing for 61 s"


def test_a_process_whose_report_is_gone_ends_and_has_its_time():
    watch = Watch()
    watch.look(None, 0)
    assert not watch.is_overtime(1000, stop_timeout_s=10)
    watch.look(ProcessReport(pid=2, master_pid=1, written_at=5.0), 1)
    watch.look(None, 2)
    assert not watch.is_overtime(11, stop_timeout_s=10) and watch.is_overtime(13, stop_timeout_s=10)

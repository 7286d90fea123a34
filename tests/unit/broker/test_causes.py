"""What failures share: a fingerprint for each cause, and tracebacks that mark our frames."""

from __future__ import annotations

import json
import sys
import traceback
from pathlib import Path
from types import ModuleType

import pytest
from dramatiq.middleware import TimeLimitExceeded
from hypothesis import given
from hypothesis import strategies as st

from callboard.broker import DeadReason, Outcome, Verdict
from callboard.broker.ending.verdict import ERROR_MESSAGE_MAX, AttemptError
from callboard.broker.failures import causes
from callboard.broker.failures.causes import TRACEBACK_MAX, cause_of, cause_of_reason, count_as_ours, is_ours
from callboard.broker.failures.texts import gist
from callboard.broker.running import interruptible_actor
from callboard.errors import PermanentError, TemporaryError


def caught(fn, *arguments):
    """Return what a job failed of, as the broker keeps it."""
    try:
        fn(*arguments)
    except BaseException as error:  # noqa: BLE001 - whatever a job raises
        return AttemptError.of(error)
    raise AssertionError("it did not fail")


def charge(order):
    if order % 3 == 0:
        raise ValueError(f"order {order} has no price")
    if order % 3 == 1:
        json.loads(f"{{{order}")
    look_up({}, order)


def look_up(prices, order):
    return prices[f"A-{order}"]


def descend(depth, error=ValueError):
    if depth:
        descend(depth - 1, error)
    raise error(f"{depth} left")


def ping(depth):
    pong(depth + 1)


def pong(depth):
    ping(depth + 1)


def wrap(inner):
    try:
        inner()
    except Exception as error:
        raise TemporaryError("the other side is down") from error


def refuse():
    raise ConnectionRefusedError(111, "refused")


def time_out():
    raise TimeoutError("10 s passed")


def compiled(source, filename, module="their_jobs.orders"):
    """Return what a module with this source defines, as if it had been imported from this file."""
    names = {"__name__": module}
    exec(compile(source, filename, "exec"), names)  # noqa: S102 - a module that moves between builds
    return names


JOB = "def job(order):\n    return {}['order-%s' % order]\n"


def test_five_thousand_failures_of_three_causes_have_three_fingerprints():
    failures = [caught(charge, order) for order in range(5_000)]
    assert len({failure.fingerprint for failure in failures}) == 3
    assert {failure.place.partition(" in ")[2] for failure in failures} == {"charge", "look_up"}
    assert all(len(failure.fingerprint) == 12 and int(failure.fingerprint, 16) >= 0 for failure in failures)


def test_the_same_class_from_two_places_of_ours_is_two_causes():
    def here():
        raise ValueError("no price")

    def there():
        raise ValueError("no price")

    assert caught(here).fingerprint != caught(there).fingerprint


def test_a_rebuild_that_moves_lines_and_folders_keeps_the_fingerprint():
    before = compiled(JOB, "/app/their_jobs/orders.py")["job"]
    after = compiled("import os\n\n\n\n" + JOB, "/srv/release-2/their_jobs/orders.py")["job"]
    installed = compiled(JOB, "/usr/lib/python3.11/site-packages/callboard/orders.py", "callboard.orders")["job"]
    moved = compiled(JOB, "/app/callboard/orders.py", "callboard.orders")["job"]
    assert caught(before, 1).fingerprint == caught(after, 2).fingerprint
    assert caught(before, 1).place == "their_jobs/orders.py in job"
    assert caught(installed, 1).fingerprint == caught(moved, 1).fingerprint


@pytest.mark.parametrize("depth", [1, 2, 30, 600])
def test_recursion_does_not_change_the_fingerprint(depth):
    assert caught(descend, depth).fingerprint == caught(descend, 3).fingerprint


def test_where_a_circle_of_calls_breaks_off_is_chance_and_changes_nothing():
    assert caught(ping, 0).fingerprint == caught(pong, 0).fingerprint != caught(descend, 5_000).fingerprint


def test_what_an_error_was_made_of_is_part_of_the_cause():
    refused, timed_out = caught(wrap, refuse), caught(wrap, time_out)
    assert refused.error_class == timed_out.error_class == "TemporaryError"
    assert refused.fingerprint != timed_out.fingerprint
    assert refused.place == timed_out.place == "tests/unit/broker/test_causes.py in wrap"


def test_a_hidden_context_is_no_part_of_the_cause():
    def fail(inner):
        try:
            inner()
        except Exception:  # noqa: BLE001 - as careless jobs do
            raise PermanentError("no") from None

    assert caught(fail, refuse).fingerprint == caught(fail, time_out).fingerprint


def test_without_a_frame_of_ours_the_text_tells_without_what_differs():
    def theirs(signature):
        # Raised by whoever calls an actor with wrong arguments.
        return compiled(f"def call():\n    raise TypeError({signature!r})\n", "/venv/lib/site-packages/lib/actor.py")[
            "call"
        ]

    def of(signature):
        call = theirs(signature)
        try:
            call()
        except TypeError as error:
            # The frame of this test is ours; that of a worker thread is not there.
            return AttemptError.of(error.with_traceback(error.__traceback__.tb_next))

    missing_to = of("send_email() got an unexpected keyword argument 'to'")
    assert missing_to.place is None
    assert missing_to.fingerprint == of("send_email() got an unexpected keyword argument 'cc'").fingerprint
    assert missing_to.fingerprint != of("generate_report() got an unexpected keyword argument 'to'").fingerprint


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("order 17 is gone", "order 4711 is gone"),
        ("payment 6f2b7c1e-0a4d-4b7e-9d3f-1c2b3a4d5e6f failed", "payment e0c1a2b3-0000-4000-8000-000000000001 failed"),
        ("no mailbox ann@example.org here", "no mailbox bob.b@example.com here"),
        ("cannot open /var/a/b.pdf: gone", "cannot open ./c.pdf: gone"),
        ("cannot open C:\\a\\b.pdf: gone", "cannot open ~/c.pdf: gone"),
        ("unknown key 'to'", 'unknown key "subject"'),
        ("object at 0x7f00aa", "object at 0xdeadbeef"),
        ("GET https://a.example/x?y=1 failed", "GET http://b.example failed"),
        ("ids 1, 2, 3 are gone", "ids 4, 5 are gone"),
        ("token deadbeefcafe expired", "token feedfacedead expired"),
        ("a\n  b", "a b"),
    ],
)
def test_what_differs_from_message_to_message_is_removed(one, other):
    assert gist(one) == gist(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [("the mailbox is full", "the mailbox is closed"), ("can't open it, won't wait", "can't read it, won't wait")],
)
def test_what_a_text_says_is_kept(one, other):
    assert gist(one) != gist(other)


def test_an_interrupt_is_told_by_its_job_wherever_it_struck():
    def job(steps):
        if steps:
            descend(0, TimeLimitExceeded)
        raise TimeLimitExceeded

    assert caught(job, 1).fingerprint != caught(charge, 3).fingerprint
    # The frame of caught() is the outermost of ours here; in a worker it is the actor's.
    assert caught(job, 1).fingerprint == caught(job, 0).fingerprint


def test_a_message_that_nobody_could_run_is_told_by_reason_and_actor():
    def dead(reason, actor, error=None):
        return Verdict("id", "jobs", actor, 1, Outcome.DEAD, None, reason=reason, error=error).cause

    error = caught(refuse)
    assert dead(DeadReason.UNKNOWN_ACTOR, "gone", error) == cause_of_reason("unknown_actor", "gone")
    assert dead(DeadReason.UNKNOWN_ACTOR, "gone", error) != dead(DeadReason.UNKNOWN_ACTOR, "other", error)
    assert dead(DeadReason.EXPIRED, "gone") != dead(DeadReason.INVALID, "gone")
    assert dead(DeadReason.PERMANENT, "job", error).fingerprint == error.fingerprint
    assert dead(DeadReason.PERMANENT, "job") == cause_of_reason("permanent", "job")
    assert Verdict("id", "jobs", "job", 1, Outcome.DONE, None).cause is None


def test_ours_is_what_is_neither_installed_nor_part_of_python():
    assert is_ours(__file__) and is_ours(causes.__file__)
    assert is_ours("/usr/lib/python3/dist-packages/callboard/app.py")
    assert not is_ours(json.__file__) and not is_ours(pytest.__file__)
    assert not is_ours("<string>") and not is_ours("<frozen importlib._bootstrap>")


def test_a_package_with_actors_is_ours_also_where_it_was_installed(monkeypatch):
    monkeypatch.setattr(causes, "_own_packages", {"callboard"})
    path = "/venv/lib/python3.11/site-packages/their_jobs/orders.py"
    is_ours.cache_clear()
    assert not is_ours(path)
    count_as_ours("their_jobs.orders")
    count_as_ours("__main__")
    assert is_ours(path)
    is_ours.cache_clear()


def test_a_traceback_marks_our_frames_and_stays_plain():
    kept = caught(charge, 1).traceback
    lines = kept.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    files = [line for line in lines if 'File "' in line]
    assert [line[:2] for line in files] == ["> ", "> ", "  ", "  ", "  "]
    assert "    json.loads(f" in kept
    assert lines[-1].startswith("json.decoder.JSONDecodeError: Expecting property name")


def test_a_traceback_tells_how_errors_led_to_each_other():
    kept = caught(wrap, refuse).traceback
    assert kept.index("ConnectionRefusedError: [Errno 111] refused") < kept.index(causes.DIRECT_CAUSE.strip())
    assert kept.rstrip().endswith("callboard.errors.TemporaryError: the other side is down")


def test_a_group_of_errors_shows_its_members():
    def fail():
        raise ExceptionGroup("two", [ValueError("a"), KeyError("b")])

    kept = caught(fail).traceback
    assert "ValueError: a" in kept and "KeyError: 'b'" in kept and "ExceptionGroup: two (2 sub-exceptions)" in kept


def test_notes_are_shown():
    def fail():
        error = ValueError("no price")
        error.add_note("seen in order 5")
        raise error

    assert caught(fail).traceback.endswith("ValueError: no price\nseen in order 5\n")


def test_a_long_traceback_keeps_the_innermost_frames():
    def deep(depth):
        return deep(depth - 1) if depth else refuse()

    kept = caught(deep, 500).traceback
    assert len(kept) <= TRACEBACK_MAX
    assert "in refuse\n" in kept and "outer frames left out" in kept
    source = "def job():\n" + f"    raise ValueError({'x' * 50_000!r})\n"
    long_line = caught(compiled(source, "/app/their_jobs/long.py")["job"])
    assert len(long_line.traceback) <= TRACEBACK_MAX and 'long.py", line 2, in job' in long_line.traceback


class Hostile(Exception):
    @property
    def __traceback__(self):
        raise RuntimeError("mine")

    @property
    def __cause__(self):
        raise RuntimeError("mine")

    def __str__(self):
        raise SystemExit(3)

    __repr__ = __str__


class Unending(Exception):
    def __str__(self):
        return str(self)


class NotText(str):
    __slots__ = ()

    def replace(self, *_):
        raise RuntimeError("mine")

    __getitem__ = __len__ = encode = replace


class SaysNotText(Exception):
    def __str__(self):
        return NotText("told")


def hostile_class():
    class Metaclass(type):
        @property
        def __name__(cls):
            raise RuntimeError("mine")

        def __instancecheck__(cls, instance):
            raise RuntimeError("mine")

    return Metaclass("HostileClass", (Exception,), {})()


def circle():
    first, second = ValueError("a"), ValueError("b")
    first.__cause__, second.__cause__ = second, first
    return first


def broken_syntax():
    error = SyntaxError("broken", ("f.py", 1, 1, "x"))
    error.offset, error.text, error.end_offset, error.lineno = "one", object(), [], "no number"
    return error


def nested_group():
    group = ExceptionGroup("0", [ValueError("x")])
    for level in range(200):
        group = ExceptionGroup(str(level), [group] * 3)
    return group


@pytest.mark.parametrize(
    "make",
    [
        Hostile,
        Unending,
        SaysNotText,
        hostile_class,
        circle,
        broken_syntax,
        nested_group,
        lambda: ValueError("x" * 10_000_000),
        lambda: ValueError("\0\ud800 \x1b[31m"),
        lambda: ValueError(b"\xff", object()),
        lambda: UnicodeDecodeError("utf-8", b"\xff" * 100_000, 0, 1, "bad"),
        SyntaxError,
        KeyError,
        lambda: BaseExceptionGroup("g", [KeyboardInterrupt()]),
    ],
)
def test_no_exception_is_too_hostile_to_be_kept(make):
    def fail():
        raise make()

    try:
        fail()
    except BaseException as error:  # noqa: BLE001 - whatever a job raises
        kept = AttemptError.of(error)
    never_raised = AttemptError.of(make())
    for failure in (kept, never_raised):
        assert failure.error_class and len(failure.fingerprint) == 12
        assert len(failure.message) <= ERROR_MESSAGE_MAX and len(failure.traceback) <= TRACEBACK_MAX
        for text in (failure.message, failure.traceback, failure.place or ""):
            assert "\0" not in text
            text.encode()


def test_a_file_that_is_gone_or_was_never_there_is_shown_without_its_line():
    kept = caught(compiled(JOB, "/no/such/their_jobs/orders.py")["job"], 1).traceback
    assert '> File "/no/such/their_jobs/orders.py", line 2, in job\n' in kept


def test_a_module_whose_name_is_no_text_does_not_matter():
    names = compiled(JOB, "/app/odd.py")
    names["__name__"] = 5
    assert caught(names["job"], 1).place.endswith("odd.py in job")
    assert isinstance(sys.modules[__name__], ModuleType)


@given(st.text(), st.integers(1, 60), st.sampled_from([ValueError, KeyError, OSError, TemporaryError]))
def test_whatever_an_error_says_its_place_tells(text, depth, error):
    def fail():
        def inner(left):
            if left:
                inner(left - 1)
            raise error(text)

        inner(depth)

    failure, plain = caught(fail), caught(descend, 1, error)
    assert failure.fingerprint == caught(fail).fingerprint != plain.fingerprint
    assert failure.error_class == error.__name__
    assert len(failure.traceback) <= TRACEBACK_MAX


@given(st.lists(st.sampled_from(["plain", "from", "during", "hidden"]), max_size=8), st.text(max_size=50))
def test_errors_of_any_chain_are_described_as_python_would(ties, text):
    error = ValueError(text)
    for tie in ties:
        following = KeyError(text)
        match tie:
            case "from":
                following.__cause__ = error
            case "during":
                following.__context__ = error
            case "hidden":
                following.__context__, following.__suppress_context__ = error, True
        error = following
    kept = AttemptError.of(error)
    last_line = traceback.format_exception_only(error)[-1].replace("\0", "\\x00")
    assert kept.traceback.rstrip().endswith(last_line.encode("utf-8", "backslashreplace").decode().rstrip())
    assert kept.fingerprint == AttemptError.of(error).fingerprint


def refuse_as(kind):
    error = PermanentError(f"refused with {kind}")
    error.kind = kind
    raise error


def test_what_an_error_calls_its_kind_tells_causes_of_one_place_apart():
    unknown, again, spam, none = (caught(refuse_as, kind) for kind in ("5.1.1", "5.1.1", "5.7.1", None))
    assert unknown.fingerprint == again.fingerprint
    assert len({unknown.fingerprint, spam.fingerprint, none.fingerprint}) == 3


def test_a_file_that_moved_keeps_its_causes(monkeypatch):
    def failed():
        raise ValueError("lost")

    def cause():
        with pytest.raises(ValueError, match="lost") as caught:
            failed()
        return cause_of(caught.value)

    # Given a failure from before its file moved
    before = cause()
    path, _, _ = before.place.partition(" in ")
    # When the file has another name, and the former one is known
    monkeypatch.setitem(causes.FORMER_PATHS, path, "tests/unit/elsewhere.py")
    assert (cause().place, cause().fingerprint == before.fingerprint) == (before.place, False)
    monkeypatch.setitem(causes.FORMER_PATHS, path, path)
    # Then its cause is the same
    assert cause() == before


def test_every_former_name_is_one_of_a_file_that_is_here():
    root = Path(causes.__file__).parents[3]
    assert [path for path in causes.FORMER_PATHS if not (root / path).exists()] == []


def test_our_wrapper_around_every_actor_tells_nothing():
    assert not is_ours(interruptible_actor.__file__)
    assert is_ours(causes.__file__)

"""What an attempt failed of: a fingerprint that all failures of one cause share, and a traceback that marks our frames.

A cause is the error's class, its kind where it names one (a server's code), and the innermost frames of ours, by file
and function: no line numbers, so that a rebuild keeps it, and no message, so that another order id does. An error
without any frame of ours (a wrong signature, say) is told by its text, with everything removed that differs from
message to message.
"""

from __future__ import annotations

import hashlib
import linecache
import sys
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from types import CodeType, FrameType, TracebackType
from typing import Any, NamedTuple

from dramatiq.middleware import Interrupt

from callboard.broker.failures.former_paths import FORMER_PATHS
from callboard.broker.failures.texts import gist, text_of
from callboard.errors import CallboardError

#: Frames of ours that tell a cause: the place, and two steps of the way there.
FRAMES_MAX = 3
#: Errors of a chain, and members of an exception group, that are looked at.
LINKS_MAX = 5
#: Frames of one error that a traceback shows, the innermost ones.
FRAMES_SHOWN_MAX = 40
#: Longest traceback, longest text of one error in it and longest line of code, characters.
TRACEBACK_MAX = 20_000
TEXT_MAX = 2_000
LINE_MAX = 300
MARK = "> "

# How Python names the ties of errors, and a tie that it draws otherwise.
DIRECT_CAUSE = "\nThe above exception was the direct cause of the following exception:\n\n"
DURING_HANDLING = "\nDuring handling of the above exception, another exception occurred:\n\n"
MEMBER = "\nThe above exception is one of the following group:\n\n"

#: Packages that are ours although they were installed like a library.
_own_packages = {"callboard", "actors", "middleware"}
#: Between Dramatiq and every actor, so that it tells nothing.
_PLUMBING = str(Path(__file__).parents[1] / "running" / "interruptible_actor.py")
_INSTALLED = frozenset({"site-packages", "dist-packages"})
# Not sysconfig, which takes a producer milliseconds to import.
_STANDARD_LIBRARY = f"{Path(linecache.__file__).parent}/"

# A class may define attributes of these names that raise or lie.
_traceback_of = BaseException.__dict__["__traceback__"].__get__
_cause_of = BaseException.__dict__["__cause__"].__get__
_context_of = BaseException.__dict__["__context__"].__get__
_is_context_hidden = BaseException.__dict__["__suppress_context__"].__get__


class Cause(NamedTuple):
    """What failed; place is the innermost frame of ours, such as "callboard/mail/smtp/transport.py in send"."""

    fingerprint: str
    place: str | None


class _Frame(NamedTuple):
    frame: FrameType
    code: CodeType
    line_number: int


def count_as_ours(module: str) -> None:
    """Take the package of a module with actors for ours from now on, wherever it is installed."""
    package = module.partition(".")[0]
    if package not in _own_packages and package != "__main__":
        _own_packages.add(package)
        is_ours.cache_clear()


def cause_of(error: BaseException) -> Cause:
    """Return what an exception failed of. Raises whatever a hostile exception makes it raise."""
    parts: list[str] = []
    place = None
    for link, _ in _links(error):
        places = _places(_frames(link), link)
        parts += [_class_name(link), *map(_as_first_kept, places)]
        if isinstance(link, CallboardError) and link.kind is not None:
            parts.append(text_of(link.kind))
        place = place or (places[0] if places else None)
    if place is None:
        parts.append(gist(text_of(error)))
    return Cause(_digest(parts), place)


def cause_of_reason(reason: str, actor_name: str) -> Cause:
    """Return the cause of a message that nobody could run: the reason and its actor. As in sql/liveness/rescue.sql."""
    return Cause(_digest([reason, actor_name]), None)


def marked_traceback(error: BaseException) -> str:
    """Write an exception and what led to it as Python does, our frames marked, so that the innermost frames stay."""
    blocks = [_block(link) + tie for link, tie in _links(error)]
    return _tail("".join(reversed(blocks)))


@lru_cache(maxsize=4096)
def is_ours(filename: str) -> bool:
    """Tell whether code in this file is the team's: neither the standard library nor an installed package."""
    if filename.startswith("<") or filename == _PLUMBING:
        return False
    parts = Path(filename).parts
    for index in range(len(parts) - 2, -1, -1):
        if parts[index] in _INSTALLED:
            return parts[index + 1].partition(".")[0] in _own_packages
    return not filename.startswith(_STANDARD_LIBRARY)


@lru_cache(maxsize=4096)
def _import_path(filename: str, module: str) -> str:
    """Return a file relative to where it was imported from, so that it is the same on every machine."""
    parts = Path(filename).parts
    depth = module.count(".") + 1
    names = parts[-depth - 1 :] if parts[-1] == "__init__.py" else parts[-depth:]
    if module.split(".") == [*names[: depth - 1], names[depth - 1].removesuffix(".py")]:
        return "/".join(names)
    roots = [root for root in sys.path if root and filename.startswith(root.rstrip("/") + "/")]
    return filename[len(max(roots, key=len).rstrip("/")) + 1 :] if roots else parts[-1]


def _links(error: BaseException) -> Iterator[tuple[BaseException, str]]:
    """Yield the error, what caused it, and what is in it if it is a group, each once and with its tie to the next."""
    waiting = [(error, "")]
    seen: set[int] = set()
    while waiting and len(seen) < LINKS_MAX:
        link, tie = waiting.pop(0)
        if id(link) in seen:
            continue
        seen.add(id(link))
        yield link, tie
        if (cause := _cause_of(link)) is not None:
            waiting.append((cause, DIRECT_CAUSE))
        elif not _is_context_hidden(link) and (context := _context_of(link)) is not None:
            waiting.append((context, DURING_HANDLING))
        if isinstance(link, BaseExceptionGroup):
            waiting += [(member, MEMBER) for member in sorted(link.exceptions[:LINKS_MAX], key=_class_name)]


def _frames(error: BaseException) -> list[_Frame]:
    """Return the frames of an error, the innermost last."""
    frames = []
    step: TracebackType | None = _traceback_of(error)
    while step is not None:
        frames.append(_Frame(step.tb_frame, step.tb_frame.f_code, step.tb_lineno))
        step = step.tb_next
    return frames


def _places(frames: list[_Frame], error: BaseException) -> list[str]:
    """Return the frames of ours that tell a cause, each once, the innermost first."""
    # By identity: a hash of code goes over all of it.
    innermost = {id(frame.code): frame for frame in frames}
    own = {code: frame for code, frame in innermost.items() if is_ours(frame.code.co_filename)}
    if isinstance(error, RecursionError):
        # Which function of a circle was the last one is chance.
        calls = Counter(id(frame.code) for frame in frames)
        circle = [frame for code, frame in own.items() if calls[code] > 1]
        return sorted({_place(frame) for frame in circle or own.values()})[:FRAMES_MAX]
    innermost_first = dict.fromkeys(id(frame.code) for frame in reversed(frames))
    places = list(dict.fromkeys(_place(own[code]) for code in innermost_first if code in own))
    if isinstance(error, Interrupt):
        # It came from outside, at whatever line the thread was: the job is the cause.
        return [place for place in places if not place.startswith("callboard/broker/")][-1:]
    return places[:FRAMES_MAX]


def _place(frame: _Frame) -> str:
    module = frame.frame.f_globals.get("__name__")
    path = _import_path(frame.code.co_filename, module if type(module) is str else "")
    return f"{path} in {frame.code.co_qualname.replace('.<locals>', '')}"


def _as_first_kept(place: str) -> str:
    """Return a place with the name that its file had when fingerprints were first kept."""
    path, found, function = place.partition(" in ")
    return f"{FORMER_PATHS.get(path, path)}{found}{function}"


def _digest(parts: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(parts).encode("utf-8", "backslashreplace")).hexdigest()[:12]


def _class_name(error: BaseException) -> str:
    cls: Any = type(error)
    name, module = type.__dict__["__qualname__"].__get__(cls), cls.__dict__.get("__module__")
    return f"{module}.{name}" if type(module) is str and module not in ("builtins", "__main__") else str(name)


def _block(error: BaseException) -> str:
    frames = _frames(error)
    lines = ["Traceback (most recent call last):\n"] if frames else []
    if len(frames) > FRAMES_SHOWN_MAX:
        lines.append(f"  [{len(frames) - FRAMES_SHOWN_MAX} outer frames left out]\n")
    lines += [_frame_lines(frame) for frame in frames[-FRAMES_SHOWN_MAX:]]
    return "".join(lines) + _last_lines(error)


def _frame_lines(frame: _Frame) -> str:
    filename = frame.code.co_filename
    mark = MARK if is_ours(filename) else "  "
    # Registers the loader's source, as of a file in an archive; it is read only where it is shown.
    linecache.lazycache(filename, frame.frame.f_globals)
    source = linecache.getline(filename, frame.line_number).strip()[:LINE_MAX]
    lines = f'{mark}File "{filename}", line {frame.line_number}, in {frame.code.co_name}\n'
    return f"{lines}    {source}\n" if source else lines


def _last_lines(error: BaseException) -> str:
    if isinstance(error, SyntaxError):
        text = "".join(traceback.format_exception_only(error))
    else:
        # Not format_exception_only(): from Python 3.12 on it searches for what a wrong name was meant to be.
        text = text_of(error, TEXT_MAX)
        text = f"{_class_name(error)}: {text}\n" if text else f"{_class_name(error)}\n"
    notes = error.__dict__.get("__notes__")
    for note in notes[:LINKS_MAX] if type(notes) is list else []:
        text += f"{text_of(note, TEXT_MAX)}\n"
    return text[:TEXT_MAX].rstrip("\n") + "\n"


def _tail(text: str) -> str:
    if len(text) <= TRACEBACK_MAX:
        return text
    mark = "[cut here]\n"
    return mark + text[len(mark) - TRACEBACK_MAX :].partition("\n")[2]

"""What people of other queues type: understood where it means one thing here, else answered with the right words."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

#: First words of other command lines, and what they are called here.
VERBS: dict[str, tuple[str, ...]] = {
    "queue:work": ("work",),
    "queue:listen": ("work",),
    "queue:restart": ("restart",),
    "queue:failed": ("failed",),
    "queue:retry": ("retry",),
    "queue:forget": ("forget",),
    "queue:flush": ("flush",),
    "queue:prune-failed": ("flush",),
    "queue:size": ("size",),
    "queue:stats": ("status",),
    "queue:status": ("status",),
    "queue:monitor": ("status",),
    "queue:list": ("messages", "list"),
    "queue:clear": ("queues", "discard"),
    "queue:pause": ("queues", "pause"),
    "queue:resume": ("queues", "resume"),
    "queue:continue": ("queues", "resume"),
    "queue:test": ("test-email",),
    "clear": ("queues", "discard"),
    "pause": ("queues", "pause"),
    "resume": ("queues", "resume"),
    "list": ("messages", "list"),
    "jobs:list": ("messages", "list"),
    "monitor": ("stats", "--watch"),
    "worker": ("work",),
    "horizon": ("work",),
    "horizon:pause": ("queues", "pause"),
    "horizon:continue": ("queues", "resume"),
    "horizon:status": ("status",),
    "horizon:list": ("workers",),
    "schedule:list": ("schedules", "list"),
    "purge": ("dead", "purge"),
    "tail": ("logs", "-f"),
    "serve": ("api",),
    "migrate": ("db", "upgrade"),
}
#: Options of a verb that have another name here.
OPTIONS: dict[str, dict[str, str]] = {
    "work": {"--queue": "--queues", "--memory": "--max-rss", "--jobs": "--max-jobs"},
    "start": {"--queue": "--queues", "--memory": "--max-rss", "--jobs": "--max-jobs"},
}
#: Verbs that take a queue as a word of its own, and elsewhere as an option.
TAKE_QUEUES = (("size",), ("queues", "discard"), ("queues", "pause"), ("queues", "resume"))
#: Verbs that take an id as a word of its own, and older ones as an option.
TAKE_IDS = (
    *(("failed",), ("retry",), ("forget",), ("messages", "show"), ("messages", "explain"), ("messages", "cancel")),
    *(("jobs", "show"), ("jobs", "explain"), ("jobs", "cancel"), ("dead", "show"), ("dead", "retry")),
    ("dead", "discard"),
)
#: Verbs that are never guessed at: whoever misspelled something must not be led to them.
NEVER_GUESSED = frozenset({("queues", "discard"), ("dead", "purge"), ("flush",), ("forget",), ("queues", "pause")})
#: Options of a worker that are no option here, and where the same is said.
ANSWERS = {
    "--tries": (
        "How often a message is tried is said where it is sent or declared: max_retries=2 on the actor or the message "
        "runs it three times; MAX_EMAIL_RETRY_ATTEMPTS, MAX_PAYMENT_RETRY_ATTEMPTS, MAX_REPORT_RETRY_ATTEMPTS and "
        "MAX_RETRY_ATTEMPTS say it for whole queues."
    ),
    "--backoff": "The wait before a retry is said on the actor: min_backoff=1000, max_backoff=60000, in ms.",
    "--delay": "The wait before a retry is said on the actor: min_backoff=1000, max_backoff=60000, in ms.",
    "--timeout": (
        "How long a message may run is said on its actor: time_limit=300_000, in ms. How long running messages get to "
        "finish when the worker ends: WORKER_SHUTDOWN_S."
    ),
    "--sleep": (
        "A worker sleeps until a message comes, and is woken by it. How often it looks all the same: "
        "WORKER_INTERVAL_MS."
    ),
    "--rest": "A worker rests when nothing is ready, and never between two messages; how many run: JOB_CONCURRENCY.",
    "--name": "A worker names itself by its host and process; see: callboard workers",
    "--env": "Everything is said by variables or .env; what counts shows: callboard settings",
    "--verbose": "How much is logged: LOG_LEVEL=debug",
    "-v": "How much is logged: LOG_LEVEL=debug",
    "--quiet": "How much is logged: LOG_LEVEL=warning",
    "-q": "How much is logged: LOG_LEVEL=warning",
    "--force": "A paused queue is not worked by anybody. To go on with it: callboard queues resume NAME",
    "--daemon": "A worker stays anyway. In the background of this folder: callboard start",
    "--concurrency": "Threads of a process: JOB_CONCURRENCY; processes: WORKER_PROCESSES.",
    "--threads": "Threads of a process: JOB_CONCURRENCY; processes: WORKER_PROCESSES.",
    "--processes": "Threads of a process: JOB_CONCURRENCY; processes: WORKER_PROCESSES.",
}
_LIKENESS_MIN = 0.6


def translated(words: Sequence[str]) -> list[str]:
    """Return a command line with the words of other queues replaced by ours; others stay as they are."""
    if not words:
        return []
    own = [*VERBS.get(words[0], (words[0],)), *words[1:]]
    names = OPTIONS.get(own[0], {})
    for verbs, option in ((TAKE_IDS, "--id"), (TAKE_QUEUES, "--queue")):
        # retry and the dead letters' verbs have an option --queue of their own.
        if any(tuple(own[: len(verb)]) == verb for verb in verbs):
            own = [part for word in own for part in _without(option, word)]
    return [_renamed(word, names) for word in own]


def answer_to(words: Sequence[str]) -> str | None:
    """Return what to say to an option that a worker elsewhere has, or None where there is none."""
    if not words or words[0] not in ("work", "start"):
        return None
    options = (word.partition("=")[0] for word in words[1:])
    return next((f"{option} is no option here. {ANSWERS[option]}" for option in options if option in ANSWERS), None)


def meant(word: str) -> str | None:
    """Return what the verb of another queue is called here, where somebody seems to have meant one, or None."""
    harmless = [typed for typed, verb in VERBS.items() if verb not in NEVER_GUESSED]
    close = difflib.get_close_matches(word, harmless, n=1, cutoff=_LIKENESS_MIN)
    return " ".join(VERBS[close[0]]) if close else None


def _renamed(word: str, names: dict[str, str]) -> str:
    name, equals, value = word.partition("=")
    return f"{names.get(name, name)}{equals}{value}"


def _without(option: str, word: str) -> list[str]:
    if word == option:
        return []
    return [word.removeprefix(f"{option}=")]

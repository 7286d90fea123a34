"""Who takes part, and how a verb of theirs is run: a fresh process of the right interpreter."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from benchmarks.peer import URL_VARIABLE, Variant
from benchmarks.servers import BenchFailed

REPOSITORY = Path(__file__).resolve().parents[1]
PEERS_PYTHON = REPOSITORY / ".venv-peers" / "bin" / "python"
#: Longest time of one verb, s.
VERB_TIMEOUT_S = 600


@dataclass(frozen=True)
class Contender:
    """A Peer as the bench sees it from outside."""

    name: str
    module: str
    #: The peers' own interpreter, or ours.
    is_peer: bool

    @cached_property
    def description(self) -> dict[str, Any]:
        # Nothing connects; but Redis clients look at the address when they are made.
        found: dict[str, Any] = self.run("describe", url="redis://127.0.0.1:1/0")
        return found

    @property
    def title(self) -> str:
        return str(self.description["title"])

    @property
    def backend(self) -> str:
        return str(self.description["backend"])

    @property
    def left(self) -> tuple[str, ...]:
        return tuple(self.description["left"])

    @property
    def variants(self) -> list[Variant]:
        return [_variant(fields) for fields in self.description["variants"]]

    @property
    def idle(self) -> Variant:
        return _variant(self.description["idle"])

    @property
    def recovery(self) -> Variant | None:
        fields = self.description["recovery"]
        return None if fields is None else _variant(fields)

    @property
    def python(self) -> str:
        return str(PEERS_PYTHON) if self.is_peer else sys.executable

    def environment(self, url: str, **more: str) -> dict[str, str]:
        """Return the environment of this contender's processes; nothing of the machine's settings is in it."""
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        return {**kept, "PYTHONPATH": str(REPOSITORY), URL_VARIABLE: url, "DATABASE_URL": url, **more}

    def run(self, verb: str, *numbers: int, url: str, timeout_s: float = VERB_TIMEOUT_S) -> Any:
        """Run a verb and return its result. Raises: BenchFailed with the end of what it printed."""
        command = [self.python, "-m", self.module, verb, *(str(number) for number in numbers)]
        what = f"{self.name} {verb} {' '.join(map(str, numbers))}".strip()
        try:
            done = subprocess.run(
                command, env=self.environment(url), cwd="/", capture_output=True, text=True, check=False,
                timeout=timeout_s,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise BenchFailed(f"{what} did not end within {timeout_s:.0f} s and was killed.") from None
        if done.returncode:
            raise BenchFailed(f"{what} ended with {done.returncode}: {done.stderr.strip()[-1500:]}")
        return json.loads(done.stdout.splitlines()[-1])


def _variant(fields: dict[str, Any]) -> Variant:
    environment = tuple((name, value) for name, value in fields["environment"])
    return Variant(**{**fields, "command": tuple(fields["command"]), "environment": environment})


OURS = (
    Contender("broker", "benchmarks.ours.broker", is_peer=False),
    Contender("service", "benchmarks.ours.service", is_peer=False),
)
PEERS = (
    Contender("pgqueuer", "benchmarks.peers.pgqueuer", is_peer=True),
    Contender("awa", "benchmarks.peers.awa", is_peer=True),
    Contender("dramatiq-postgres", "benchmarks.peers.dramatiq_postgres", is_peer=True),
    Contender("dramatiq-redis", "benchmarks.peers.dramatiq_redis", is_peer=True),
    Contender("celery-redis", "benchmarks.peers.celery", is_peer=True),
    Contender("dramatiq-pg", "benchmarks.peers.dramatiq_pg", is_peer=False),
    Contender("procrastinate", "benchmarks.peers.procrastinate", is_peer=True),
)
#: Run only when they are named: with 50,000 messages on awa's newer storage, counting what is left takes minutes.
BY_NAME = (Contender("awa-queue-storage", "benchmarks.peers.awa_queue_storage", is_peer=True),)


def choose(names: str) -> list[Contender]:
    """Return the contenders of a comma-separated list; "ours" stands for ours, "all" for all. Raises: BenchFailed."""
    known = {contender.name: [contender] for contender in (*OURS, *PEERS, *BY_NAME)}
    known |= {"ours": list(OURS), "all": [*OURS, *PEERS]}
    chosen: dict[str, Contender] = {}
    for name in filter(None, (part.strip() for part in names.split(","))):
        if name not in known:
            raise BenchFailed(f"There is no contender {name!r}. There are: {', '.join(known)}.")
        chosen |= {contender.name: contender for contender in known[name]}
    return list(chosen.values())


def check_present(contenders: Iterable[Contender]) -> None:
    """Raise BenchFailed if the peers' environment is missing or a package in it."""
    wanted = list(contenders)
    if any(contender.is_peer for contender in wanted) and not PEERS_PYTHON.exists():
        raise BenchFailed(f"The peers' environment is missing ({PEERS_PYTHON}). Run `make bench`, which makes it.")
    for contender in wanted:
        _ = contender.description

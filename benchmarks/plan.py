"""Which measurements a run makes, in which order: interleaved, so that a noisy minute hits everybody."""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from benchmarks.contenders import Contender
from benchmarks.measure.backlog import backlog
from benchmarks.measure.drain import drain
from benchmarks.measure.idle import idle
from benchmarks.measure.latency import latency
from benchmarks.measure.recovery import recovery
from benchmarks.measure.sending import bulk, send
from benchmarks.peer import Variant
from benchmarks.servers import BenchFailed, Server

#: The measurements, in their order.
KINDS = ("drain", "send", "bulk", "latency", "backlog", "recovery", "idle")
#: Drains of these are repeated three times, of the others twice: the targets compare them.
CLOSE_RACE = {"broker", "service", "pgqueuer"}
SENDING_ROUNDS = 3
#: A peer is killed a few times only: it takes half a minute and more to notice.
PEER_KILLS = 3
SENDERS = (1, 8)
#: From here on a figure is shown without decimals.
LARGE = 1000


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    drain: int = 50_000
    send: int = 5_000
    bulk: int = 50_000
    latency: int = 500
    short_backlog: int = 10_000
    long_backlog: int = 1_000_000
    kills: int = 30
    idle_s: float = 60
    rounds: int = 3
    has_all_variants: bool = True

    def asked(self, *, messages: int | None, rounds: int | None) -> Sizes:
        """Return the same sizes with another number of messages to drain and to send at once, and of rounds."""
        return replace(self, drain=messages or self.drain, bulk=messages or self.bulk, rounds=rounds or self.rounds)


QUICK = Sizes(
    drain=10_000,
    send=1_000,
    bulk=10_000,
    latency=100,
    long_backlog=100_000,
    kills=3,
    idle_s=15,
    rounds=1,
    has_all_variants=False,
)


@dataclass
class Run:
    """The results as they come; one failure does not stop the rest, but fails the run in the end."""

    contenders: Sequence[Contender]
    servers: Mapping[str, Server]
    sizes: Sizes
    results: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def measure(self, name: str) -> None:
        """Make all measurements of one kind."""
        getattr(self, f"_{name}")()

    def _drain(self) -> None:
        for number in range(self.sizes.rounds):
            for contender in self.contenders:
                rounds = self.sizes.rounds if contender.name in CLOSE_RACE else max(self.sizes.rounds - 1, 1)
                variants = self._variants(contender, is_first_round=not number) if number < rounds else []
                for variant in variants:
                    self._try("drain", contender, partial(drain, variant, self.sizes.drain))

    def _variants(self, contender: Contender, *, is_first_round: bool) -> list[Variant]:
        """Return what to run: everything at first, then the best one, and what is there to look at."""
        if is_first_round:
            return contender.variants if self.sizes.has_all_variants else contender.variants[:1]
        best = best_of(self.results.get("drain", []), contender.name)
        return [v for v in contender.variants if not v.counts or (best is not None and v.name == best["variant"])]

    def _send(self) -> None:
        for _ in range(min(self.sizes.rounds, SENDING_ROUNDS)):
            for contender in self.contenders:
                for threads in SENDERS:
                    count = self.sizes.send * (1 if threads == 1 else 2)
                    self._try("send", contender, partial(send, count, threads))

    def _bulk(self) -> None:
        for _ in range(min(self.sizes.rounds, SENDING_ROUNDS)):
            for contender in self.contenders:
                if contender.description["has_bulk"]:
                    self._try("bulk", contender, partial(bulk, self.sizes.bulk))

    def _latency(self) -> None:
        for _ in range(min(self.sizes.rounds, 2)):
            for contender in self.contenders:
                self._try("latency", contender, partial(latency, self.sizes.latency))

    def _backlog(self) -> None:
        for waiting in [self.sizes.short_backlog] * min(self.sizes.rounds, 3) + [self.sizes.long_backlog]:
            for contender in self.contenders:
                if contender.name in CLOSE_RACE:
                    self._try("backlog", contender, partial(backlog, waiting, self._best_variant(contender)))

    def _recovery(self) -> None:
        for contender in self.contenders:
            if contender.recovery is not None:
                kills = PEER_KILLS if contender.is_peer else self.sizes.kills
                self._try("recovery", contender, partial(recovery, kills, contender.recovery))

    def _idle(self) -> None:
        for contender in self.contenders:
            if contender.recovery is not None:
                self._try("idle", contender, partial(idle, self.sizes.idle_s))

    def _best_variant(self, contender: Contender) -> Variant:
        best = best_of(self.results.get("drain", []), contender.name)
        counting = [variant for variant in contender.variants if variant.counts]
        return next((v for v in counting if best is not None and v.name == best["variant"]), counting[0])

    def _try(self, kind: str, contender: Contender, measure: Callable[[Contender, Server], Any]) -> None:
        begun, load = time.monotonic(), os.getloadavg()[0]
        try:
            result = measure(contender, self.servers[contender.backend])
        except BenchFailed as error:
            self.failures.append(f"{kind}: {error}")
            _say(f"{kind:9} {contender.name:18} FAILED: {error}")
        except Exception:  # noqa: BLE001 - an hour's results are not thrown away for one fault; the run fails in the end
            self.failures.append(f"{kind}, {contender.name}: {traceback.format_exc()}")
            _say(f"{kind:9} {contender.name:18} FAILED:\n{traceback.format_exc()}")
        else:
            for part in result if isinstance(result, list) else [result]:
                self.results.setdefault(kind, []).append({**part, "load_before": load})
                _say(f"{kind:9} {contender.name:18} {_short(part)}  ({time.monotonic() - begun:.0f} s)")


def best_of(results: Sequence[dict[str, Any]], name: str, variant: str | None = None) -> dict[str, Any] | None:
    """Return the fastest of a contender's runs that count, or of one variant's."""
    runs = [
        r for r in results if r["contender"] == name and (r["counts"] if variant is None else r["variant"] == variant)
    ]
    return max(runs, key=lambda result: float(result["per_s"]), default=None)


def _short(result: Mapping[str, Any]) -> str:
    shown = ("role", "waiting", "per_s", "per_s_later", "p50_ms", "p99_ms", "median_s", "slowest_s", "first_s",
             "memory_growth_mb", "queries_per_s", "cpu_percent")  # fmt: skip
    figures = [f"{name} {_rounded(result[name])}" for name in shown if result.get(name) is not None]
    return f"{result['variant']:32} {', '.join(figures)}"


def _rounded(value: Any) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:,.0f}" if value >= LARGE else f"{value:.2f}"


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)

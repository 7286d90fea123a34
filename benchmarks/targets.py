"""The numbers to reach (DESIGN.md section 6), each as a ratio or a bound, met or missed by how much."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.plan import best_of

Results = Mapping[str, Sequence[dict[str, Any]]]


@dataclass(frozen=True)
class Target:
    """One promise and what became of it."""

    what: str
    wanted: float
    measured: float | None
    unit: str = "×"
    at_least: bool = True

    @property
    def is_met(self) -> bool | None:
        if self.measured is None:
            return None
        return self.measured >= self.wanted if self.at_least else self.measured <= self.wanted

    @property
    def verdict(self) -> str:
        if self.measured is None:
            return "not measured"
        if self.is_met:
            return "met"
        return f"missed by {abs(self.measured - self.wanted) / self.wanted:.0%}"

    @property
    def bound(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {self.wanted:g} {self.unit}"


def targets(results: Results) -> list[Target]:
    """Return all targets; those whose parts were not measured are among them, without a figure."""
    return [*_throughput(results), *_latency(results), *_backlog(results), *_upkeep(results)]


def _throughput(results: Results) -> list[Target]:
    drain, send, bulk = (results.get(kind, []) for kind in ("drain", "send", "bulk"))
    return [
        Target("drain: broker / pgqueuer", 1.25, _ratio(drain, "broker", "pgqueuer")),
        Target("drain: broker / dramatiq on Redis", 10, _ratio(drain, "broker", "dramatiq-redis")),
        Target("drain: service / broker", 0.75, _ratio(drain, "service", "broker")),
        Target("send, 1 thread: service / pgqueuer", 2, _ratio(send, "service", "pgqueuer", "1 thread")),
        Target("send, 8 threads: service / pgqueuer", 2, _ratio(send, "service", "pgqueuer", "8 threads")),
        Target("bulk: service / pgqueuer", 1.25, _ratio(bulk, "service", "pgqueuer")),
    ]


def _ratio(results: Sequence[dict[str, Any]], ours: str, theirs: str, variant: str | None = None) -> float | None:
    a, b = best_of(results, ours, variant), best_of(results, theirs, variant)
    return None if a is None or b is None else a["per_s"] / b["per_s"]


def _latency(results: Results) -> list[Target]:
    found = results.get("latency", [])
    ours = [result for result in found if result["contender"] == "service"]
    peers = [result for result in found if result["contender"] not in ("service", "broker")]
    lines = []
    for name, bound in (("p50_ms", 1.5), ("p99_ms", 5.0)):
        value = min((result[name] for result in ours), default=None)
        shown = name.partition("_")[0]
        lines.append(Target(f"send → start, {shown}", bound, value, "ms", at_least=False))
        best = min((result[name] for result in peers), default=None)
        ratio = None if value is None or best is None else value / best
        lines.append(Target(f"send → start, {shown}: service / best peer", 1, ratio, at_least=False))
    return lines


def _backlog(results: Results) -> list[Target]:
    found = [result for result in results.get("backlog", []) if result["contender"] == "service"]
    sizes = sorted({result["waiting"] for result in found})
    large = next((result for result in found if result["waiting"] == sizes[-1]), None)
    # The same first messages of both, and the best of the short queue's runs.
    small_per_s = max((result["per_s"] for result in found if result["waiting"] == sizes[0]), default=None)
    ratio = None if large is None or small_per_s is None else large["per_s"] / small_per_s
    first_s = None if large is None else large["first_s"]
    growth_mb = None if large is None else large["memory_growth_mb"]
    name = f"{sizes[-1]:,} waiting / {sizes[0]:,}" if sizes else "1,000,000 waiting / 10,000"
    return [
        Target(f"backlog: rate, {name}", 0.9, ratio),
        Target("backlog: first message after the start", 1, first_s, "s", at_least=False),
        Target("backlog: memory of a worker, growth", 30, growth_mb, "MB", at_least=False),
    ]


def _upkeep(results: Results) -> list[Target]:
    kills = [result["slowest_s"] for result in results.get("recovery", []) if result["contender"] == "service"]
    idle = {result["role"]: result for result in results.get("idle", []) if result["contender"] == "service"}
    leader, follower = idle.get("leader", {}), idle.get("follower", {})
    cpu = max((part["cpu_percent"] for part in (leader, follower) if part), default=None)
    return [
        Target("kill -9 → runs elsewhere, slowest", 5, max(kills, default=None), "s", at_least=False),
        Target("idle: queries, leader", 3, leader.get("queries_per_s"), "/s", at_least=False),
        Target("idle: queries, follower", 1, follower.get("queries_per_s"), "/s", at_least=False),
        Target("idle: CPU of a worker process", 1, cpu, "%", at_least=False),
    ]

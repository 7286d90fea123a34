"""The result of a run as tables for people (Markdown) and as JSON for later."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.plan import best_of
from benchmarks.targets import targets

Document = Mapping[str, Any]


def render(document: Document) -> str:
    """Return the whole report."""
    results = document["results"]
    parts = [_machine(document), _targets(document)]
    makers = {"drain": _drain, "send": _send, "bulk": _bulk, "latency": _latency, "backlog": _backlog,
              "recovery": _recovery, "idle": _idle}  # fmt: skip
    parts += [maker(document, results[kind]) for kind, maker in makers.items() if results.get(kind)]
    if document["failures"]:
        parts.append("### Failures\n\n" + "\n".join(f"- {failure}" for failure in document["failures"]))
    return "\n\n".join(parts) + "\n"


def _machine(document: Document) -> str:
    machine = document["machine"]
    place = f"{machine['cores']} cores ({machine['processor']}), {machine['memory_gb']} GB"
    load = f"load before the run {machine['load_before'][0]}"
    small = ["- A small run (--quick): to look, not to compare."] if document["is_quick"] else []
    lines = [*small, f"- {machine['date']}, commit {machine['commit']}, {place}, Python {machine['python']}, {load}"]
    for name, settings in document["servers"].items():
        lines.append(f"- {name}: " + ", ".join(f"{key}={value}" for key, value in settings.items()))
    for contender in document["contenders"].values():
        versions = ", ".join(f"{name} {version}" for name, version in contender["versions"].items())
        remark = f"; {contender['remark']}" if contender["remark"] else ""
        lines.append(f"- {contender['title']}: {versions}{remark}")
    return "\n".join(lines)


def _targets(document: Document) -> str:
    rows = [
        [target.what, target.bound, "–" if target.measured is None else f"{target.measured:.2f} {target.unit}",
         target.verdict]
        for target in targets(document["results"])
    ]  # fmt: skip
    return "### Targets\n\n" + _table(["what", "wanted", "measured", "verdict"], rows)


def _drain(document: Document, results: Sequence[dict[str, Any]]) -> str:
    groups = list(dict.fromkeys((result["contender"], result["variant"]) for result in results))
    top = best_of(results, "pgqueuer")
    rows = []
    for name, variant in groups:
        runs = [result for result in results if (result["contender"], result["variant"]) == (name, variant)]
        best = max(runs, key=lambda result: float(result["per_s"]))
        rows.append(
            [
                _title(document, name),
                variant,
                f"{best['per_s']:,.0f}",
                " ".join(f"{run['per_s']:,.0f}" for run in runs),
                "–" if top is None else f"{best['per_s'] / top['per_s']:.2f}",
                f"{1000 * best['server_cpu_s_per_1000']:.0f}",
                f"{1000 * best['client_cpu_s_per_1000']:.0f}",
                f"{_limit(document, best):,.0f}",
                f"{best['log_bytes_per_message']:,.0f}",
                f"{best['startup_s']:.2f}",
                f"{best['foreign_cpu_percent']:.0f}",
            ]
        )
    rows.sort(key=lambda row: -float(row[2].replace(",", "")))
    head = ["contender", "workers", "best /s", "all runs", "/ pgqueuer", "server CPU ms per 1,000",
            "worker CPU ms per 1,000", "CPU allows /s", "log bytes a message", "start-up s",
            "others' CPU %"]  # fmt: skip
    return f"### Drain of {results[0]['messages']:,} messages\n\n" + _table(head, rows)


def _limit(document: Document, result: Mapping[str, Any]) -> float:
    """Return the rate at which server and workers would use up all cores; it hardly depends on who else runs."""
    per_message_s = (result["server_cpu_s_per_1000"] + result["client_cpu_s_per_1000"]) / 1000
    return float(document["machine"]["cores"] / per_message_s)


def _send(document: Document, results: Sequence[dict[str, Any]]) -> str:
    variants = list(dict.fromkeys(result["variant"] for result in results))
    rows = []
    for name in dict.fromkeys(result["contender"] for result in results):
        row = [_title(document, name)]
        for variant in variants:
            runs = [r for r in results if (r["contender"], r["variant"]) == (name, variant)]
            best = best_of(results, name, variant)
            row.append("–" if best is None else f"{best['per_s']:,.0f}")
            row.append(" ".join(f"{run['per_s']:,.0f}" for run in runs))
            row.append("–" if best is None else f"{1000 * best['server_cpu_s_per_1000']:.0f}")
        rows.append(row)
    head = ["contender"]
    for variant in variants:
        head += [f"{variant}, best /s", "all runs", "server CPU ms per 1,000"]
    return "### Send, one message a call\n\n" + _table(head, rows)


def _bulk(document: Document, results: Sequence[dict[str, Any]]) -> str:
    rows = []
    for name in dict.fromkeys(result["contender"] for result in results):
        best = best_of(results, name)
        assert best is not None  # noqa: S101 - its own results are among them
        runs = " ".join(f"{run['per_s']:,.0f}" for run in results if run["contender"] == name)
        cpu = f"{1000 * best['server_cpu_s_per_1000']:.1f}"
        rows.append(
            [_title(document, name), f"{best['per_s']:,.0f}", runs, cpu, f"{best['log_bytes_per_message']:,.0f}"]
        )
    head = ["contender", "best /s", "all runs", "server CPU ms per 1,000", "log bytes a message"]
    return f"### Send, {results[0]['messages']:,} messages at once\n\n" + _table(head, rows)


def _latency(document: Document, results: Sequence[dict[str, Any]]) -> str:
    rows = [
        [_title(document, r["contender"]), r["variant"], f"{r['p50_ms']:.2f}", f"{r['p99_ms']:.2f}",
         f"{r['slowest_ms']:.1f}"]
        for r in results
    ]  # fmt: skip
    return "### Send → start on an idle worker, ms\n\n" + _table(["contender", "worker", "p50", "p99", "slowest"], rows)


def _backlog(document: Document, results: Sequence[dict[str, Any]]) -> str:
    rows = [
        [
            _title(document, r["contender"]),
            f"{r['waiting']:,}",
            f"{r['per_s']:,.0f}",
            f"{r['per_s_later']:,.0f}",
            f"{r['first_s']:.2f}",
            "–" if r["first_after_process_start_s"] is None else f"{r['first_after_process_start_s']:.2f}",
            f"{r['memory_growth_mb']:.0f}",
        ]
        for r in results
    ]
    head = ["contender", "waiting", "first 10,000 /s", "first 50,000 /s", "first message s", "with imports s",
            "memory growth MB"]  # fmt: skip
    return "### Backlog\n\n" + _table(head, rows)


def _recovery(document: Document, results: Sequence[dict[str, Any]]) -> str:
    rows = [
        [_title(document, r["contender"]), str(r["kills"]), f"{r['median_s']:.2f}", f"{r['slowest_s']:.2f}"]
        for r in results
    ]
    head = ["contender", "kills", "median s", "slowest s"]
    note = "The other peers were not run: by their own documentation they take from 30 s to hours."
    return f"### kill -9 → the message starts elsewhere\n\n{_table(head, rows)}\n\n{note}"


def _idle(document: Document, results: Sequence[dict[str, Any]]) -> str:
    rows = [
        [
            _title(document, r["contender"]),
            r["role"],
            f"{r['queries_per_s']:.2f}",
            f"{r['cpu_percent']:.2f}",
            f"{r['server_cpu_percent']:.2f}",
        ]
        for r in results
    ]
    head = ["contender", "process", "queries /s", "CPU %", "server CPU %"]
    return "### A worker that has nothing to do\n\n" + _table(head, rows)


def _title(document: Document, name: str) -> str:
    return str(document["contenders"][name]["title"])


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])

"""The command behind make bench."""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import sys
from pathlib import Path
from typing import Any

from benchmarks import machine, report, servers
from benchmarks.contenders import Contender, check_present, choose
from benchmarks.plan import KINDS, QUICK, Run, Sizes
from benchmarks.servers import BenchFailed, Server

EXIT_TERMINATED = 143
RESULTS = Path(__file__).parent / "results"
LATEST = "latest.json"
PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"
#: The report of the kept figures stands between these on the page.
MARKS = ("<!-- report -->", "<!-- end of report -->")
EPILOG = """\
examples:
  make bench                                          # everything, about an hour
  make bench ARGS=--quick                             # everything, small, about ten minutes
  make bench ARGS="--only drain,send --peers ours,pgqueuer"
  make bench ARGS="--peers ours"                      # ours alone
  make bench ARGS="--show benchmarks/results/latest.json"
"""


def main() -> int:
    """Measure, print the report, write the JSON. Exit codes: 0 all measured, 1 something failed, 2 usage."""
    arguments = _arguments()
    # As an exception, so that servers and workers end with us.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(EXIT_TERMINATED))
    try:
        document = _document(arguments)
    except BenchFailed as error:
        print(f"The bench cannot run: {error}", file=sys.stderr)
        return 2
    print(report.render(document), end="")
    if arguments.publish:
        _publish(document)
    return 1 if document["failures"] else 0


def _document(arguments: argparse.Namespace) -> dict[str, Any]:
    if arguments.show:
        shown: dict[str, Any] = json.loads(arguments.show.read_text(encoding="utf-8"))
        return shown
    contenders = choose(arguments.peers)
    check_present(contenders)
    document = _measure(contenders, arguments)
    print(f"Written to {arguments.output}", file=sys.stderr)
    return document


def _publish(document: dict[str, Any]) -> None:
    """Keep the figures, and put the report on the page."""
    (RESULTS / LATEST).write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    above, _, rest = PAGE.read_text(encoding="utf-8").partition(MARKS[0])
    below = rest.partition(MARKS[1])[2]
    PAGE.write_text(f"{above}{MARKS[0]}\n\n{report.render(document)}\n{MARKS[1]}{below}", encoding="utf-8")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make bench", epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter, description=main.__doc__
    )
    parser.add_argument("--quick", action="store_true", help="small numbers, one round: to look, not to publish")
    parser.add_argument("--only", default=",".join(KINDS), help=f"comma-separated, of: {', '.join(KINDS)}")
    parser.add_argument("--peers", default="all", help="comma-separated; ours is ours, all is all (default)")
    parser.add_argument("--messages", type=int, help="how many messages a drain and a bulk send have")
    parser.add_argument("--rounds", type=int, help="how often the measurements go round; default: 3")
    parser.add_argument("--show", type=Path, help="print the report of an earlier run's JSON and measure nothing")
    parser.add_argument("--publish", action="store_true", help="keep the figures as latest.json and on the page")
    parser.add_argument("--output", type=Path, help="where the JSON goes; default: benchmarks/results/<date>.json")
    arguments = parser.parse_args()
    arguments.kinds = [kind.strip() for kind in arguments.only.split(",") if kind.strip()]
    if unknown := sorted(set(arguments.kinds) - set(KINDS)):
        parser.error(f"there is no measurement {', '.join(unknown)}; there are: {', '.join(KINDS)}")
    return arguments


def _measure(contenders: list[Contender], arguments: argparse.Namespace) -> dict[str, Any]:
    about = machine.describe()
    arguments.output = arguments.output or RESULTS / f"{about['date'][:19].replace(':', '')}.json"
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    sizes = QUICK if arguments.quick else Sizes()
    sizes = sizes.asked(messages=arguments.messages, rounds=arguments.rounds)
    with contextlib.ExitStack() as stack:
        running: dict[str, Server] = {"postgres": stack.enter_context(servers.postgres())}
        if any(contender.backend == "redis" for contender in contenders):
            running["redis"] = stack.enter_context(servers.redis())
        run = Run(contenders, running, sizes)
        document = {
            "machine": about,
            "is_quick": arguments.quick,
            "rounds": sizes.rounds,
            "servers": {name: server.settings() for name, server in running.items()},
            "contenders": {contender.name: contender.description for contender in contenders},
            "results": run.results,
            "failures": run.failures,
        }
        for kind in arguments.kinds:
            run.measure(kind)
            # After each kind, so that a run that is broken off leaves what it had.
            arguments.output.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return document


if __name__ == "__main__":
    sys.exit(main())

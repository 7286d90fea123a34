"""The whole service as `callboard work` runs it: production middleware, supervisor, metrics, history."""

from __future__ import annotations

from benchmarks import tally
from benchmarks.dramatiq_peer import declare
from benchmarks.ours import OurPeer
from benchmarks.peer import Variant
from callboard.app import actor


@actor(queue_name="bench")
def held(number: int) -> None:
    tally.hold(number)


def work(threads: int, *, processes: int = 2, log_level: str = "warning") -> Variant:
    """Return how `callboard work` is run, with a port for its metrics and JSON lines as in production."""
    environment = {
        "WORKER_PROCESSES": str(processes),
        "JOB_CONCURRENCY": str(threads),
        "LOG_LEVEL": log_level,
        "LOG_FORMAT": "json",
        "METRICS_HOST": "127.0.0.1",
        "METRICS_PORT": "{port}",
    }
    return Variant(
        f"{processes} × {threads} threads, log level {log_level}",
        ("callboard.cli", "work", "benchmarks.ours.service"),
        processes=1,
        workers=processes,
        environment=tuple(environment.items()),
        is_supervised=True,
        counts=log_level == "warning",
    )


class Service(OurPeer):
    """Nothing is left out but the log lines below a warning; the default, info, is shown beside it."""

    title = "callboard, the service"
    noop, timed = declare(actor)
    variants = (work(8), work(4), work(2), work(8, log_level="info"))
    idle = work(8, processes=1)
    recovery = work(8)

    def hold(self, number: int) -> None:
        held.send(number)


if __name__ == "__main__":
    Service().main()
else:
    tally.gate()

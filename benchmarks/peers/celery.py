"""Celery on Redis."""

from __future__ import annotations

import os

import celery
from celery.signals import worker_process_init

from benchmarks import tally
from benchmarks.peer import NOOP_ARGUMENT, URL_VARIABLE, Peer, Variant, send_spaced, time_threads

FILL_THREADS = 8
PREFETCH = 100
#: Set where the children of a worker run the messages, and wait at the gate.
CHILDREN_VARIABLE = "BENCH_CELERY_CHILDREN"

app = celery.Celery("bench", broker=os.environ[URL_VARIABLE])
app.conf.update(
    task_ignore_result=True,
    worker_prefetch_multiplier=PREFETCH,
    broker_connection_retry_on_startup=True,
    # Its children wait at the gate.
    worker_proc_alive_timeout=600,
)


# Named, because the module is __main__ in the process that sends.
@app.task(name="noop")
def noop(_number: int) -> None:
    tally.note()


@app.task(name="timed")
def timed(sent_at: float) -> None:
    tally.note_latency(sent_at)


def worker(pool: str, processes: int = 2) -> Variant:
    options = ("--without-gossip", "--without-mingle", "--without-heartbeat", "-l", "warning")
    command: tuple[str, ...] = ("celery", "-A", "benchmarks.peers.celery", "worker", "--pool", pool, *options)
    if pool == "prefork":
        command = (*command, "-c", str(processes))
        gates = ((CHILDREN_VARIABLE, "1"),)
        return Variant(f"prefork × {processes}", command, processes=1, workers=processes, environment=gates)
    command = (*command, "-n", "bench-{port}@%h")
    return Variant(f"{processes} × {pool}", command, processes=processes, workers=processes)


class Celery(Peer):
    """Results off, no gossip; acknowledged before it runs, its default: a killed worker loses what it prefetched."""

    title = "celery on Redis"
    packages = ("celery", "kombu", "redis")
    backend = "redis"
    has_bulk = False
    variants = (worker("solo"), worker("prefork"))
    idle = worker("solo", processes=1)
    left = ("LLEN celery", "HLEN unacked")
    remark = "acknowledges before it runs: a killed worker loses messages"

    def fill(self, count: int) -> None:
        self.send(count, FILL_THREADS)

    def send(self, count: int, threads: int) -> float:
        return time_threads(count, threads, lambda: noop.delay(NOOP_ARGUMENT))

    def latency(self, count: int) -> None:
        send_spaced(count, timed.delay)


if __name__ == "__main__":
    Celery().main()
elif CHILDREN_VARIABLE in os.environ:
    worker_process_init.connect(lambda **_: tally.gate(), weak=False)
else:
    tally.gate()

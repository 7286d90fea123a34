"""dramatiq-pg as it comes, on the Dramatiq it asks for; it runs in our own environment, which holds both."""

from __future__ import annotations

import os
import time
from pathlib import Path

import dramatiq
import dramatiq_pg
import psycopg2
from dramatiq.middleware import default_middleware

from benchmarks import tally
from benchmarks.dramatiq_peer import DramatiqPeer, declare, worker
from benchmarks.peer import NOOP_ARGUMENT, URL_VARIABLE

#: Messages that may wait at once. Each holds a lock of the server until its consumer finds nothing more to do;
#: beyond 6,400 (max_locks_per_transaction × max_connections) the server answers "out of shared memory" to everybody.
BURST = 2_000
FEED_TIMEOUT_S = 400
LEFT = "SELECT EXISTS (SELECT 1 FROM dramatiq.queue WHERE state IN ('queued', 'consumed'))"

broker = dramatiq_pg.PostgresBroker(
    url=os.environ[URL_VARIABLE] + "&maxconn=32",
    results=False,
    # The exporter would bind one port in both processes.
    middleware=[make() for make in default_middleware if make.__name__ != "Prometheus"],
)
dramatiq.set_broker(broker)
MODULE = "benchmarks.peers.dramatiq_pg"


class DramatiqPg(DramatiqPeer):
    """Fed in bursts while it drains, because waiting messages take its database down; the rate includes the sending."""

    title = "dramatiq-pg, stock"
    packages = ("dramatiq-pg", "dramatiq", "psycopg2-binary")
    has_bulk = False
    noop, timed = declare()
    variants = (worker(MODULE, 8, is_fed=True),)
    idle = worker(MODULE, 8, processes=1, is_fed=True)
    left = (LEFT,)
    remark = f"fed in bursts of {BURST} while it drains: more waiting messages exhaust the server's locks"

    def install(self) -> None:
        script = Path(dramatiq_pg.__file__).with_name("schema.sql").read_text(encoding="utf-8")
        names = {':"schema"': "dramatiq", ':"state"': "state", ':"queue"': "queue"}
        for name, value in names.items():
            script = script.replace(name, value)
        lines = [line for line in script.splitlines() if not line.startswith("\\")]
        with psycopg2.connect(self.url) as connection, connection.cursor() as cursor:
            cursor.execute("\n".join(lines))

    def feed(self, count: int) -> None:
        connection = psycopg2.connect(self.url)
        connection.autocommit = True
        until = time.monotonic() + FEED_TIMEOUT_S
        with connection.cursor() as cursor:
            for first in range(0, count, BURST):
                for _ in range(min(BURST, count - first)):
                    self.noop.send(NOOP_ARGUMENT)
                while self._is_busy(cursor) and time.monotonic() < until:
                    time.sleep(0.05)

    @staticmethod
    def _is_busy(cursor: psycopg2.extensions.cursor) -> bool:
        cursor.execute(LEFT)
        row = cursor.fetchone()
        return bool(row and row[0])


if __name__ == "__main__":
    DramatiqPg().main()
else:
    tally.gate()

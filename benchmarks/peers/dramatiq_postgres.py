"""dramatiq-postgres: Dramatiq on Postgres with psycopg 3, claims in batches, deletes on ack."""

from __future__ import annotations

import os

import dramatiq
import psycopg
from dramatiq_postgres import PostgresBroker
from dramatiq_postgres.schema import init

from benchmarks import tally
from benchmarks.peer import NOOP_ARGUMENT, URL_VARIABLE, Peer, Variant, send_spaced, time_threads

#: As many copies of the one message that waits, each with an id of its own inside and outside.
COPY = """
    INSERT INTO dramatiq.queue (message_id, queue_name, state, message)
    SELECT id, queue_name, state, jsonb_set(message, '{message_id}', to_jsonb(id::text))
    FROM (SELECT queue_name, state, message, gen_random_uuid() AS id
          FROM dramatiq.queue CROSS JOIN generate_series(1, %s)) AS copies
"""

broker = PostgresBroker(url=os.environ[URL_VARIABLE] + "&maxconn=32", results=False)
dramatiq.set_broker(broker)


@dramatiq.actor(queue_name="bench")
def noop(_number: int) -> None:
    tally.note()


@dramatiq.actor(queue_name="bench")
def timed(sent_at: float) -> None:
    tally.note_latency(sent_at)


def worker(threads: int, processes: int = 2) -> Variant:
    command = ("dramatiq", "-p", "1", "-t", str(threads), "benchmarks.peers.dramatiq_postgres")
    return Variant(f"{processes} × {threads} threads", command, processes=processes, workers=processes)


class DramatiqPostgres(Peer):
    """Default middleware, no results; it has no way to send many at once."""

    title = "dramatiq-postgres"
    packages = ("dramatiq-postgres", "dramatiq", "psycopg")
    has_bulk = False
    variants = (worker(8), worker(16))
    idle = worker(8, processes=1)
    left = ("SELECT EXISTS (SELECT 1 FROM dramatiq.queue)",)

    def install(self) -> None:
        with psycopg.connect(self.url) as connection, connection.cursor() as cursor:
            init(cursor)

    def fill(self, count: int) -> None:
        noop.send(NOOP_ARGUMENT)
        with psycopg.connect(self.url) as connection:
            connection.execute(COPY, (count - 1,))

    def send(self, count: int, threads: int) -> float:
        return time_threads(count, threads, lambda: noop.send(NOOP_ARGUMENT))

    def latency(self, count: int) -> None:
        send_spaced(count, timed.send)


if __name__ == "__main__":
    DramatiqPostgres().main()
else:
    tally.gate()

"""dramatiq-postgres: Dramatiq on Postgres with psycopg 3, claims in batches, deletes on ack."""

from __future__ import annotations

import os

import dramatiq
import psycopg
from dramatiq_postgres import PostgresBroker
from dramatiq_postgres.schema import init

from benchmarks import tally
from benchmarks.dramatiq_peer import DramatiqPeer, declare, worker
from benchmarks.peer import NOOP_ARGUMENT, URL_VARIABLE

#: As many copies of the one message that waits, each with an id of its own inside and outside.
COPY = """
    INSERT INTO dramatiq.queue (message_id, queue_name, state, message)
    SELECT id, queue_name, state, jsonb_set(message, '{message_id}', to_jsonb(id::text))
    FROM (SELECT queue_name, state, message, gen_random_uuid() AS id
          FROM dramatiq.queue CROSS JOIN generate_series(1, %s)) AS copies
"""

broker = PostgresBroker(url=os.environ[URL_VARIABLE] + "&maxconn=32", results=False)
dramatiq.set_broker(broker)
MODULE = "benchmarks.peers.dramatiq_postgres"


class DramatiqPostgres(DramatiqPeer):
    """Default middleware, no results; it has no way to send many at once."""

    title = "dramatiq-postgres"
    packages = ("dramatiq-postgres", "dramatiq", "psycopg")
    has_bulk = False
    noop, timed = declare()
    variants = (worker(MODULE, 8), worker(MODULE, 16))
    idle = worker(MODULE, 8, processes=1)
    left = ("SELECT EXISTS (SELECT 1 FROM dramatiq.queue)",)

    def install(self) -> None:
        with psycopg.connect(self.url) as connection, connection.cursor() as cursor:
            init(cursor)

    def fill(self, count: int) -> None:
        self.noop.send(NOOP_ARGUMENT)
        with psycopg.connect(self.url) as connection:
            connection.execute(COPY, (count - 1,))


if __name__ == "__main__":
    DramatiqPostgres().main()
else:
    tally.gate()

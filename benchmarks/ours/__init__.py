"""Callboard as a peer among peers: the broker on its own, and the whole service."""

from __future__ import annotations

import time

import psycopg2

from benchmarks.dramatiq_peer import DramatiqPeer
from benchmarks.peer import NOOP_ARGUMENT
from callboard.broker import send_many
from callboard.db import schema

#: Rows of one transaction while a backlog is made.
COPY_CHUNK = 10_000

#: As many copies of the one message that waits; the row's id counts, not the one inside of the message.
_COPY = """
    INSERT INTO dramatiq.queue (message_id, queue_name, state, message, priority, available_at)
    SELECT gen_random_uuid(), queue_name, 'queued', message, priority, clock_timestamp()
    FROM (SELECT queue_name, message, priority FROM dramatiq.queue LIMIT 1) AS one
    CROSS JOIN generate_series(1, %s)
"""


class OurPeer(DramatiqPeer):
    """Callboard, however its workers are run."""

    packages = ("callboard", "dramatiq", "psycopg2-binary")
    left = ("SELECT EXISTS (SELECT 1 FROM dramatiq.queue)",)

    def install(self) -> None:
        schema.upgrade(self.url)

    def fill(self, count: int) -> None:
        self.noop.send(NOOP_ARGUMENT)
        copy_waiting(self.url, count - 1)

    def bulk(self, count: int) -> float:
        send_many([self.noop.message(NOOP_ARGUMENT)])
        begun = time.perf_counter()
        send_many(self.noop.message(NOOP_ARGUMENT) for _ in range(count))
        return time.perf_counter() - begun


def copy_waiting(url: str, count: int) -> None:
    """Copy the one waiting message count times, in the database: sending a million would take longer than the rest."""
    connection = psycopg2.connect(url)
    try:
        for first in range(0, count, COPY_CHUNK):
            with connection, connection.cursor() as cursor:
                cursor.execute(_COPY, (min(COPY_CHUNK, count - first),))
    finally:
        connection.close()

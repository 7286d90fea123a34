"""Callboard as a peer among peers: the broker on its own, and the whole service."""

from __future__ import annotations

import psycopg2

#: Rows of one transaction while a backlog is made.
COPY_CHUNK = 10_000

#: As many copies of the one message that waits; the row's id counts, not the one inside of the message.
_COPY = """
    INSERT INTO dramatiq.queue (message_id, queue_name, state, message, priority, available_at)
    SELECT gen_random_uuid(), queue_name, 'queued', message, priority, clock_timestamp()
    FROM (SELECT queue_name, message, priority FROM dramatiq.queue LIMIT 1) AS one
    CROSS JOIN generate_series(1, %s)
"""


def copy_waiting(url: str, count: int) -> None:
    """Copy the one waiting message count times, in the database: sending a million would take longer than the rest."""
    connection = psycopg2.connect(url)
    try:
        for first in range(0, count, COPY_CHUNK):
            with connection, connection.cursor() as cursor:
                cursor.execute(_COPY, (min(COPY_CHUNK, count - first),))
    finally:
        connection.close()

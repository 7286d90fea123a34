"""What one send() costs at the least here: its INSERT alone, and a commit alone, beside the whole of it.

    python -m benchmarks.floor

One thread, one connection, each statement a durable commit. The share of the INSERT in a send() is what Postgres, its
disk and the driver take; nothing above them can be faster than that.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable

import dramatiq

from benchmarks import servers
from benchmarks.peer import NOOP_ARGUMENT
from callboard.broker import PostgresBroker
from callboard.broker.sending.row import ENQUEUE_NEW, OutgoingRow
from callboard.db import Pool, connect, schema

COUNT = 3_000
#: The three take turns this often; the best time of each counts.
ROUNDS = 3


def main() -> None:
    """Print a row for each: rate, and time, processor time of the server and of the sender in us."""
    with servers.postgres() as server:
        url = server.fresh("bench_floor")
        schema.upgrade(url)
        server.query(url, "CREATE TABLE bare (n integer)")
        connection = connect(url, autocommit=True)
        broker = PostgresBroker(pool=Pool(url), middleware=[])
        noop = dramatiq.actor(lambda _: None, actor_name="noop", queue_name="bench", broker=broker)
        row = OutgoingRow.of(noop.message(NOOP_ARGUMENT), delay_ms=None, default_priority=0)._asdict()
        with connection.cursor() as cursor:
            calls: dict[str, Callable[[], object]] = {
                "a commit: INSERT of one number": lambda: cursor.execute("INSERT INTO bare VALUES (1)"),
                "the INSERT of a message, prepared": lambda: ENQUEUE_NEW.execute(
                    cursor, row | {"message_id": str(uuid.uuid4())}
                ),
                "send()": lambda: noop.send(NOOP_ARGUMENT),
            }
            rounds = [{name: _cost(server, url, call) for name, call in calls.items()} for _ in range(ROUNDS)]
        connection.close()
        broker.close()
    print(f"{'':36}{'a second':>10}{'us':>7}{'server us':>11}{'sender us':>11}")
    for name in calls:
        seconds, server_s, sender_s = min(costs[name] for costs in rounds)
        print(f"{name:36}{1 / seconds:10,.0f}{1e6 * seconds:7.0f}{1e6 * server_s:11.0f}{1e6 * sender_s:11.0f}")


def _cost(server: servers.Postgres, url: str, call: Callable[[], object]) -> tuple[float, float, float]:
    """Return seconds, the server's processor seconds and ours, of one call."""
    server.query(url, "TRUNCATE dramatiq.queue")
    server.settle(url)
    call()
    server_s, own_s, begun = server.cpu_s(), time.process_time(), time.perf_counter()
    for _ in range(COUNT):
        call()
    took_s = time.perf_counter() - begun
    return took_s / COUNT, (server.cpu_s() - server_s) / COUNT, (time.process_time() - own_s) / COUNT


if __name__ == "__main__":
    main()

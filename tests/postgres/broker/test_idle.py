"""What idle workers cost the database."""

from __future__ import annotations

import contextlib
import time

from callboard.broker import schedule
from tests.conftest import wait_until
from tests.postgres.broker.conftest import make_broker, running_worker
from tests.postgres.broker.test_verdicts import actor

MEASURE_S = 8.0
WINDOWS_MAX = 3
#: Three of the leader and one of the other one, a second.
RATE_MAX = 3 + 1


def test_an_idle_leader_asks_three_times_a_second_at_the_most_and_the_others_once(database_url, connection):
    # Given two idle workers, one of which leads
    def transactions() -> int:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_stat_force_next_flush()")
            cursor.execute("SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()")
            return cursor.fetchone()[0]

    with contextlib.ExitStack() as stack:
        workers = []
        for _ in range(2):
            broker = make_broker(database_url)
            # The leader also keeps an eye on schedules.
            schedule("yearly", cron="0 0 1 1 *")(actor(broker, lambda: None, actor_name="job"))
            stack.callback(broker.close)
            stack.enter_context(running_worker(broker))
            workers.append(broker.worker)
        wait_until(lambda: any(worker.heartbeat.leads for worker in workers), what="the lead")
        time.sleep(3)
        # When nothing happens for a while; autovacuum, which counts too, may come by in one of them
        rates = []
        while len(rates) < WINDOWS_MAX and not (rates and rates[-1] <= RATE_MAX):
            before, clock = transactions(), time.monotonic()
            time.sleep(MEASURE_S)
            rates.append((transactions() - before - 2) / (time.monotonic() - clock))
    # Then that is all they ask
    assert 0.5 < min(rates) <= RATE_MAX, rates

"""A process that sends at a steady rate and writes down each message after its commit.

    python -m tests.chaos.producer --count 500 --rate 100 pay note

With the database away it sends the same message again until it is taken, as a web service's client would.
"""

from __future__ import annotations

import argparse
import itertools
import os
import signal
import time
from pathlib import Path
from typing import Any

import dramatiq

from callboard.broker import PostgresBroker
from callboard.errors import BrokerUnavailable
from tests.chaos.journal import FOLDER, Writer

QUEUE = "chaos"


class Sender:
    """Sends messages to tests/chaos/jobs.py and writes down those that were accepted."""

    def __init__(self, url: str, folder: Path) -> None:
        self._broker = PostgresBroker(url=url, middleware=[])
        self._journal = Writer(folder, "sent")

    def send(self, actor: str, **kwargs: Any) -> str:
        """Send until it is accepted, and return the message's id."""
        message: Any = dramatiq.Message(queue_name=QUEUE, actor_name=actor, args=(), kwargs=kwargs, options={})
        while True:
            try:
                self._broker.enqueue(message)
            except BrokerUnavailable as error:
                message = error.message
                time.sleep(0.1)
            else:
                self._journal.write(id=message.message_id, actor=actor, is_forced=True)
                return str(message.message_id)

    def close(self) -> None:
        self._broker.close()
        self._journal.close()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=10**9)
    parser.add_argument("--rate", type=float, required=True, help="messages a second")
    parser.add_argument("--run-s", type=float, default=0.0, help="how long each runs")
    parser.add_argument("actors", nargs="+")
    options = parser.parse_args()
    # Told to end, it still writes down what it has just sent: the journal knows every message.
    told_to_end: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: told_to_end.append(number))
    sender = Sender(os.environ["DATABASE_URL"], Path(os.environ[FOLDER]))
    began = time.monotonic()
    for number, actor in zip(range(options.count), itertools.cycle(options.actors), strict=False):
        if told_to_end:
            break
        # What an outage held up is sent as fast as it goes, like the requests that piled up before a web service.
        time.sleep(max(began + number / options.rate - time.monotonic(), 0))
        sender.send(actor, run_s=options.run_s)
    sender.close()


if __name__ == "__main__":
    main()

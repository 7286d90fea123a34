"""How long sending many may take: few messages as long as one, many of them as long as they get on."""

from __future__ import annotations

import threading
import time

import dramatiq
import pytest

from callboard.broker import PostgresBroker
from callboard.broker.sending import copying
from callboard.broker.sending import sender as sending
from callboard.broker.sending.copying import INSERT_BELOW
from callboard.db import Pool
from callboard.errors import BrokerUnavailable
from tests.postgres.broker.conftest import make_broker
from tests.postgres.broker.proxy import Proxy

#: Time for few messages, and for a part of many, in these tests, s.
STEP_S = 1.5


def message(*args, **options):
    return dramatiq.Message(queue_name="emails", actor_name="mail", args=args, kwargs={}, options=options)


def stored(db):
    return [row[0] for row in db("SELECT message #>> '{args,0}' FROM dramatiq.queue ORDER BY seq")]


@pytest.fixture(autouse=True)
def _short_times(monkeypatch):
    monkeypatch.setattr(sending, "SEND_TIMEOUT_S", STEP_S)
    monkeypatch.setattr(sending, "SEND_STEP_S", STEP_S)
    monkeypatch.setattr(sending, "SEND_MANY_TIMEOUT_S", 20.0)
    # Many small parts, so that a few hundred messages are several.
    monkeypatch.setattr(copying, "INSERT_MAX", 20)
    monkeypatch.setattr(copying, "PART_BYTES_MAX", 200_000)


@pytest.fixture
def network(url):
    with Proxy(url) as proxy:
        yield proxy


@pytest.fixture
def remote(network):
    """A broker behind the network, with a connection that is open already."""
    broker = make_broker(network.url)
    broker.get_queue_message_counts("emails")
    yield broker
    network.is_silent = False
    broker.close()


@pytest.mark.parametrize("place", [0, 4 * INSERT_BELOW, 6 * INSERT_BELOW - 1], ids=["few", "many", "the last one"])
@pytest.mark.parametrize("options", [{}, {"dedupe_key": "k"}], ids=["COPY", "INSERT"])
def test_a_network_that_swallows_everything_is_noticed_whatever_is_sent(network, remote, place, options):
    # Given messages during whose making the network falls silent, up to the very last one
    count = 6 * INSERT_BELOW if place else 2

    def messages():
        for number in range(count):
            if number == place:
                network.is_silent = True
            yield message(number, **{name: f"{value}{number}" for name, value in options.items()})

    # When they are sent
    begun = time.monotonic()
    with pytest.raises(BrokerUnavailable) as caught:
        remote.send_many(messages())
    # Then that is known in a moment, and all of them are there to be sent again
    assert time.monotonic() - begun < 2 * STEP_S + 3
    assert len(caught.value.message) == count


@pytest.mark.parametrize("count", [600, 10], ids=["many", "few that are large"])
@pytest.mark.parametrize("options", [{}, {"dedupe_key": "k"}], ids=["COPY", "INSERT"])
def test_a_slow_network_has_time_for_all_of_it(network, remote, db, options, count):
    # Given a network on which the whole takes longer than a part may
    network.latency_s = STEP_S / 40
    text = "x" * (2_000_000 // count)
    batch = [message(text, **{name: f"{value}{n}" for name, value in options.items()}) for n in range(count)]
    # When they are sent
    begun = time.monotonic()
    remote.send_many(batch)
    took_s = time.monotonic() - begun
    # Then all of them are there
    assert db("SELECT count(*) FROM dramatiq.queue") == [(count,)]
    assert took_s > STEP_S


@pytest.mark.parametrize("place", [1, 3 * INSERT_BELOW], ids=["few", "many"])
def test_the_time_in_which_messages_are_made_is_the_callers_own(broker, db, place):
    broker.get_queue_message_counts("emails")

    def messages():
        for number in range(place + 1):
            if number == place:
                threading.Event().wait(STEP_S + 0.5)
            yield message(number)

    broker.send_many(messages())
    assert stored(db) == [str(number) for number in range(place + 1)]


@pytest.mark.parametrize("count", [1, 2 * INSERT_BELOW], ids=["few", "many"])
def test_a_full_pool_is_waited_for_as_long_as_for_one_message(url, count):
    pool = Pool(url, size=1)
    broker = PostgresBroker(pool=pool, middleware=[])
    with pool.connection(), pytest.raises(BrokerUnavailable, match=r"busy for 1\.5 s"):
        broker.send_many(message(number) for number in range(count))
    broker.close()

"""An exception from another thread reaches the actor it was meant for, or nobody."""

from __future__ import annotations

import sys
import threading
import time
from types import SimpleNamespace

import pytest
from dramatiq.middleware import raise_thread_exception

from callboard.broker.context import set_current_delivery
from callboard.broker.running import interruption
from callboard.broker.running.interruptible_actor import make_interruptible
from callboard.broker.running.interruption import Interruption
from callboard.errors import Cancelled

#: Interrupted runs of a test.
ROUNDS = 100


def wait_a_moment():
    """Run for a moment in steps that Python can interrupt."""
    until = time.monotonic() + 10
    while time.monotonic() < until:
        time.sleep(0.001)


@pytest.fixture
def delivery():
    """A message that this thread runs."""
    delivery = SimpleNamespace(interruption=Interruption(), is_cancelled=False)
    set_current_delivery(delivery)
    yield delivery
    set_current_delivery(None)


def test_it_is_raised_where_the_actor_is(delivery):
    actor = SimpleNamespace(fn=wait_a_moment)
    make_interruptible(actor)
    other = threading.Timer(0.05, delivery.interruption.interrupt, (Cancelled,))
    other.start()
    began = time.monotonic()
    with pytest.raises(Cancelled):
        actor.fn()
    assert time.monotonic() - began < 5
    other.join()


def test_nobody_is_interrupted_before_and_after_the_actor(delivery):
    actor = SimpleNamespace(fn=lambda: delivery.interruption.is_open)
    make_interruptible(actor)
    assert not delivery.interruption.interrupt(Cancelled)
    assert actor.fn()
    assert not delivery.interruption.interrupt(Cancelled)


def test_an_actor_that_calls_another_one_can_still_be_interrupted(delivery):
    inner = SimpleNamespace(fn=lambda: None)
    outer = SimpleNamespace(fn=lambda: (inner.fn(), delivery.interruption.is_open))
    for actor in (inner, outer):
        make_interruptible(actor)
    assert outer.fn() == (None, True)
    assert not delivery.interruption.is_open


def test_a_message_that_was_cancelled_before_its_actor_began_does_not_begin(delivery):
    actor = SimpleNamespace(fn=lambda: pytest.fail("it ran"))
    make_interruptible(actor)
    delivery.is_cancelled = True
    with pytest.raises(Cancelled):
        actor.fn()


def test_without_a_message_an_actor_is_a_plain_function():
    actor = SimpleNamespace(fn=lambda a, b: a + b)
    make_interruptible(actor)
    make_interruptible(actor)
    assert actor.fn(1, b=2) == 3


def test_an_actor_that_returns_while_it_is_interrupted_has_returned(delivery, monkeypatch):
    # Given somebody who is about to interrupt an actor, and takes his time
    begun = threading.Event()

    def raise_slowly(thread_id, kind):
        begun.set()
        time.sleep(0.1)
        raise_thread_exception(thread_id, kind)

    monkeypatch.setattr(interruption, "raise_thread_exception", raise_slowly)
    actor = SimpleNamespace(fn=lambda: begun.wait(10))
    make_interruptible(actor)
    other = threading.Timer(0.05, delivery.interruption.interrupt, (Cancelled,))
    other.start()
    # When it returns at that moment, then it has returned
    assert actor.fn()
    # And nothing comes after it
    until = time.monotonic() + 0.3
    while time.monotonic() < until:
        time.sleep(0.001)
    other.join()


@pytest.fixture
def restless():
    """Let threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def test_a_run_is_interrupted_once(delivery):
    actor = SimpleNamespace(fn=lambda: delivery.interruption.interrupt(Cancelled) and wait_a_moment())
    make_interruptible(actor)
    with pytest.raises(Cancelled):
        actor.fn()
    delivery.interruption.open()
    assert not delivery.interruption.interrupt(Cancelled)
    delivery.interruption.close()


def test_an_interruption_in_the_last_moment_never_leaves_its_actor(restless):
    # Given a short actor that is run again and again, and a thread that interrupts whatever runs
    actor = SimpleNamespace(fn=lambda: sum(range(20)))
    make_interruptible(actor)
    outcomes = {"returned": 0, "interrupted": 0}
    current = SimpleNamespace(interruption=Interruption(), is_cancelled=False)
    is_over = threading.Event()

    def hammer():
        while not is_over.is_set():
            current.interruption.interrupt(Cancelled)

    thread = threading.Thread(target=hammer)
    thread.start()
    set_current_delivery(current)
    try:
        while outcomes["interrupted"] < ROUNDS:
            current.interruption = Interruption()
            try:
                actor.fn()
                outcome = "returned"
            except Cancelled:
                outcome = "interrupted"
            # Then nothing is raised here, outside of it
            outcomes[outcome] += 1
            sum(range(50))
    finally:
        is_over.set()
        thread.join()
        set_current_delivery(None)
    assert outcomes["interrupted"] == ROUNDS

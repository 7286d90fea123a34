"""Which of middleware's hooks a broker calls."""

from __future__ import annotations

import dramatiq
from dramatiq.broker import MessageProxy
from dramatiq.middleware import Pipelines

from callboard.broker import PostgresBroker


def test_a_message_without_options_is_spared_the_hooks_that_look_at_nothing_else(monkeypatch):
    # Given Dramatiq's pipelines and a subclass of them, which may look at anything
    called = []

    class OwnPipelines(Pipelines):
        def after_process_message(self, broker, message, *, result=None, exception=None):
            called.append((type(self).__name__, bool(message.options)))

    class Last(dramatiq.Middleware):
        def after_process_message(self, broker, message, *, result=None, exception=None):
            called.append((type(self).__name__, bool(message.options)))

    looked = []
    monkeypatch.setattr(PostgresBroker, "get_actor", lambda _, name: looked.append(name))
    broker = PostgresBroker(url="postgresql://nobody", middleware=[Last(), OwnPipelines(), Pipelines()])
    # When a message without options ends, and one with
    for options in ({}, {"retries": 1}):
        message = dramatiq.Message(queue_name="jobs", actor_name="job", args=(), kwargs={}, options=options)
        broker.emit_after("process_message", MessageProxy(message))
    # Then Dramatiq's own looked at the second alone, and the others at both
    assert looked == ["job"]
    assert called == [("OwnPipelines", False), ("Last", False), ("OwnPipelines", True), ("Last", True)]


def test_many_messages_are_told_at_once_to_whoever_can_take_them_so(caplog):
    # Given middleware that takes messages one by one, one that takes many, and one that fails at the first
    told = []

    class OneByOne(dramatiq.Middleware):
        def after_enqueue(self, broker, message, delay):
            told.append(message.args[0])
            if message.args[0] == 0:
                raise ValueError("the first")

    class AtOnce(OneByOne):
        def after_enqueue_many(self, broker, messages, delay):
            told.append([message.args[0] for message in messages])

    broker = PostgresBroker(url="postgresql://nobody", middleware=[OneByOne(), AtOnce()])
    messages = [dramatiq.Message("jobs", "job", (number,), {}, {}) for number in range(3)]
    # When three are sent
    broker.emit_enqueued(messages, None)
    # Then the failure kept nobody from hearing of the others
    assert told == [[0, 1, 2], 0, 1, 2]

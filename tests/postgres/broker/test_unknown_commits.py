"""Verdicts whose commit was not answered: they are written once, and counted as what they are."""

from __future__ import annotations

import dramatiq
import pytest
from dramatiq.middleware import Middleware

from callboard.broker import Outcome, PostgresBroker
from callboard.errors import PermanentError, Postponed
from tests.conftest import wait_until
from tests.postgres.broker.conftest import make_broker, running_worker
from tests.postgres.broker.proxy import Proxy


class Told(Middleware):
    """Keeps what middleware is told about verdicts."""

    def __init__(self):
        self.outcomes = []

    def after_verdicts(self, broker, written):
        self.outcomes += [(verdict.message_id, outcome) for verdict, outcome in written]


FATES = {
    Outcome.DONE: None,
    Outcome.RETRY: RuntimeError("again"),
    Outcome.DEAD: PermanentError("never"),
    Outcome.POSTPONED: Postponed("busy", wait_s=600),
}


@pytest.mark.parametrize("outcome", FATES)
def test_a_verdict_whose_commit_was_not_answered_counts_as_what_it_is(url, outcome):
    told = Told()
    with Proxy(url) as network:
        broker = make_broker(network.url, told)

        @dramatiq.actor(broker=broker, queue_name="jobs", min_backoff=600_000, max_backoff=600_000)
        def job(fails):
            if fails:
                raise FATES[outcome]

        sender = PostgresBroker(url=url, middleware=[])
        with running_worker(broker):
            # Given a worker that has ended a message, so that its connections are open
            sender.enqueue(job.message(False))
            wait_until(lambda: told.outcomes)
            # When the next verdict is committed, and the answer never comes
            network.lose_next_answer(lambda: None, to=b"COMMIT")
            message = sender.enqueue(job.message(FATES[outcome] is not None))
            wait_until(lambda: len(told.outcomes) == 2)
        broker.close()
        sender.close()
    # Then it counts once, and not as a lost lease
    assert told.outcomes[1] == (message.message_id, outcome)

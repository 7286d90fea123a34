"""What follows an actor survives the death of its worker at every point between its return and its verdict."""

from __future__ import annotations

import dramatiq
import pytest
from dramatiq.middleware import GroupCallbacks
from dramatiq.results import ResultFailure

from callboard.broker import PostgresBroker, PostgresRateLimits, PostgresResults
from tests.acceptance.crash_points import FIRST
from tests.conftest import wait_until

CRASH_POINTS = "tests.acceptance.crash_points"
#: In the order of an attempt's end; the last two lie in an actor that uses completion().
POINTS = ["returned", "half", "hooked", "acked", "writing", "written", "completing", "completed"]


@pytest.fixture
def sender(database_url):
    """A broker that knows no actor: messages are built by hand."""
    broker = PostgresBroker(url=database_url, middleware=[GroupCallbacks(PostgresRateLimits())])
    yield broker
    broker.close()


def message(actor, kind):
    return dramatiq.Message(queue_name="jobs", actor_name=actor, args=(kind,), kwargs={}, options={})


def send_first_stages(sender, *, completes=False):
    """Send FIRST messages, each followed by one of its kind (a group of two by one); return two that store."""
    does, tells, stores = (
        ("end_itself", "end_itself_and_tell", "end_itself_and_store")
        if completes
        else ("succeed", "succeed_and_tell", "store")
    )
    follow = dramatiq.Message(queue_name="jobs", actor_name="follow", args=(), kwargs={}, options={})
    dramatiq.pipeline([message(does, "pipeline"), follow], broker=sender).run()
    sender.enqueue(message(tells, "success"))
    group = dramatiq.group([message(does, "member"), message(does, "member")], broker=sender)
    group.add_completion_callback(message("follow", "group"))
    group.run()
    stored = sender.enqueue(message(stores, "stored"))
    rest = ("end_itself",) * 3 if completes else ("exhaust", "throw", "succeed")
    _, thrown, _ = [sender.enqueue(message(actor, actor)) for actor in rest]
    return stored, thrown


@pytest.mark.parametrize("point", POINTS)
def test_what_follows_an_actor_is_sent_once_whatever_dies(shell, db, sender, tmp_path, point):
    completes = point.startswith("complet")
    notes = tmp_path / "notes"
    stored, thrown = send_first_stages(sender, completes=completes)
    expected = ["group", "pipeline", "success"] if completes else ["exhaust", "group", "pipeline", "success", "throw"]
    # Given a worker that dies at this point of every message of the first stage
    dying = shell.dramatiq(CRASH_POINTS, threads=FIRST, CRASH_POINT=point, NOTES=str(notes))
    wait_until(lambda: "-9" in dying.log or dying.popen.poll() is not None, 40, "the death of the worker")
    assert dying.wait() != 0
    # When another one takes over
    shell.dramatiq(CRASH_POINTS, threads=2, NOTES=str(notes))
    wait_until(lambda: not db("SELECT 1 FROM dramatiq.queue"), 40, "an empty queue")
    # Then each next stage has run, under the only id that it ever had
    assert sorted(notes.read_text().split()) == expected
    followed = db(
        "SELECT message_id FROM callboard.message_history WHERE actor_name = 'follow' "
        "UNION ALL SELECT message_id FROM callboard.dead_letters WHERE actor_name = 'follow'"
    )
    assert len(followed) == len(set(followed)) == len(expected)
    # And the results are those of the messages' ends
    backend = PostgresResults(pool=sender.pool)
    assert stored.get_result(backend=backend) == "stored"
    if not completes:
        with pytest.raises(ResultFailure, match="KeyError"):
            thrown.get_result(backend=backend)
    # And the first worker did die in the middle, but for the point where it may have written all
    assert point == "written" or db("SELECT 1 FROM callboard.attempts WHERE outcome = 'lost'")

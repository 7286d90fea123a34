"""Finding messages wherever they are."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from callboard.errors import InvalidRequest, NotFound
from callboard.ops.messages.listing import MessageFilter, State, list_messages


def ids(cursor, *, limit=50, is_oldest=False, **wanted):
    return [
        line.message_id for line in list_messages(cursor, MessageFilter(**wanted), limit=limit, is_oldest=is_oldest)
    ]


@pytest.fixture
def places(scene):
    """A message in every state, from the newest to the oldest."""
    worker = scene.worker("emails")
    return {
        "queued": scene.queued(age_s=10),
        "delayed": scene.queued(age_s=100, due_s=60, reason="greylisted"),
        "running": scene.running(worker, age_s=1000),
        "dead": scene.dead(age_s=10_000, ended_s=50),
        "done": scene.done(age_s=100_000, ended_s=50),
        "discarded": scene.discarded(age_s=1_000_000, ended_s=900_000),
    }


def test_messages_of_every_state_come_newest_first_or_oldest_first(cursor, places):
    newest_first = list(places.values())
    assert ids(cursor) == newest_first
    assert ids(cursor, is_oldest=True) == newest_first[::-1]
    for limit in range(1, 6):
        assert ids(cursor, limit=limit) == newest_first[:limit]
        assert ids(cursor, limit=limit, is_oldest=True) == newest_first[::-1][:limit]
    lines = list_messages(cursor, MessageFilter())
    assert [line.state for line in lines] == list(places)
    assert lines[1].note == "greylisted"
    assert lines[3].note == "permanent: MailboxRefused: 550 no such mailbox"


@pytest.mark.parametrize("state", list(State))
def test_each_state_is_found_alone(cursor, places, state):
    assert ids(cursor, states=(state,)) == [places[state]]


def test_a_list_is_narrowed_down_by_queue_actor_and_time(cursor, scene, places):
    report = scene.queued("reports", actor="make_report", age_s=500)
    assert ids(cursor, queue_name="reports") == [report]
    assert ids(cursor, actor_name="make_report") == [report]
    now = datetime.now(UTC)
    assert ids(cursor, since=now - timedelta(seconds=200)) == [places["queued"], places["delayed"]]
    assert ids(cursor, until=now - timedelta(seconds=50_000)) == [places["done"], places["discarded"]]
    between = {"since": now - timedelta(seconds=20_000), "until": now - timedelta(seconds=600)}
    assert ids(cursor, **between) == [places["running"], places["dead"]]


@pytest.mark.parametrize(
    ("path", "matches"),
    [
        ('$.to == "b@example.org"', True),
        ('$ ? (@.to == "b@example.org")', True),
        ("$.lines[*].price > 10", True),
        ("$.lines[*].price > 100", False),
        ("$args[0] == 17", True),
        ("$args[1]", False),
        ("$.flag", False),
        ("$.nothing", False),
        ("$.to.no.such.thing", False),
        ("exists($.flag)", True),
    ],
)
def test_a_path_looks_through_the_arguments(cursor, scene, path, matches):
    scene.queued()
    kwargs = {"to": "b@example.org", "lines": [{"price": 5}, {"price": 50}], "flag": False}
    wanted = [
        scene.queued(kwargs=kwargs, args=[17], age_s=1),
        scene.dead(kwargs=kwargs, args=[17], age_s=70),
        scene.done(kwargs=kwargs, args=[17], age_s=80),
    ]
    assert ids(cursor, path=path) == (wanted if matches else [])


@pytest.mark.parametrize("path", ["$.to ==", "to = 1", "'; DROP TABLE dramatiq.queue; --", "$.a\0b", ""])
def test_a_path_that_is_none_is_refused_with_an_example(cursor, path):
    with pytest.raises(InvalidRequest, match=r"is no JSON path.*\$\.to =="):
        ids(cursor, path=path)


def test_an_unknown_queue_or_actor_is_named_and_an_empty_result_is_not_an_error(cursor, scene):
    scene.actor()
    assert ids(cursor, queue_name="emails") == ids(cursor, actor_name="send_email") == []
    with pytest.raises(NotFound, match="Known queues: emails"):
        ids(cursor, queue_name="email")
    with pytest.raises(NotFound, match="Known actors: send_email"):
        ids(cursor, actor_name="send_mail")


def test_rows_without_a_message_or_actor_are_listed_too(cursor, scene):
    id_ = scene.queued()
    cursor.execute("UPDATE dramatiq.queue SET message = '{}'")
    (line,) = list_messages(cursor, MessageFilter())
    assert (line.message_id, line.actor_name) == (id_, None)
    assert ids(cursor, path="$.to") == []


@pytest.mark.parametrize("path", ["$missing == 1", "$.to ? (@ == $missing)"])
def test_a_path_with_an_unknown_variable_is_refused_where_a_row_leads_to_it(cursor, scene, path):
    scene.queued(kwargs={"to": "a@example.org"})
    with pytest.raises(InvalidRequest, match="missing"):
        ids(cursor, path=path)


def test_a_page_begins_where_the_last_one_ended(cursor, places):
    lines = list_messages(cursor, MessageFilter())
    for number, line in enumerate(lines):
        rest = lines[number + 1 :]
        assert list_messages(cursor, MessageFilter(), after=line.place, limit=2) == rest[:2]
        before = lines[:number][::-1]
        assert list_messages(cursor, MessageFilter(), after=line.place, limit=2, is_oldest=True) == before[:2]

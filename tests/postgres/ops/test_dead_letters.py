"""What is seen of dead letters: lists, causes, the story of one; by a filter that says what is wrong with it."""

from __future__ import annotations

import dataclasses
import uuid
from datetime import UTC, datetime, timedelta

import pytest

from callboard.broker import DeadReason
from callboard.broker.failures.causes import cause_of_reason
from callboard.errors import InvalidRequest, NotFound
from callboard.ops.dead_letters.filter import REASONS, DeadFilter, matching, require_choice
from callboard.ops.dead_letters.reading import PARTS, count_dead, group_dead, list_dead, show_dead

HOUR = timedelta(hours=1)


def ids(letters):
    return [letter.message_id for letter in letters]


def test_letters_come_newest_first_and_page_by_page(cursor, bury):
    sent = [bury(ago=minutes * timedelta(minutes=1)) for minutes in (1, 2, 3, 4, 5)]
    first = list_dead(cursor, DeadFilter(), limit=2)
    rest = list_dead(cursor, DeadFilter(), limit=9, before=(first[-1].died_at, first[-1].message_id))
    assert ids(first) + ids(rest) == sent


def test_letters_that_died_at_one_moment_are_paged_without_a_gap(cursor, bury, db):
    sent = {bury() for _ in range(5)}
    db("UPDATE callboard.dead_letters SET died_at = '2026-11-24T12:00Z'")
    seen, before = [], None
    while page := list_dead(cursor, DeadFilter(), limit=2, before=before):
        seen += ids(page)
        before = (page[-1].died_at, page[-1].message_id)
    assert len(seen) == 5 and set(seen) == sent


def test_a_list_shows_no_arguments_and_no_addresses(cursor, bury):
    bury(error_message="550 no mailbox ann@example.org here")
    (letter,) = list_dead(cursor, DeadFilter(), limit=9)
    (group,) = group_dead(cursor, DeadFilter(), limit=9)
    for seen in (letter, group):
        assert "ann@" not in str(dataclasses.asdict(seen)) and "550 no mailbox ***@example.org" in seen.error_message


@pytest.mark.parametrize(
    "part",
    [
        {"queue": "emails"},
        {"actor": "send_email"},
        {"reason": "permanent"},
        {"group": "aaaaaaaaaaaa"},
        {"group": "unknown"},
        {"since": datetime(2026, 11, 1, tzinfo=UTC)},
        {"until": datetime(2026, 1, 2, tzinfo=UTC)},
        {"where": '$.to == "bob@example.org"'},
        {"where": "exists($.order) && $.order > 9 "},
        {"where": '$.to like_regex "^bob@" '},
    ],
)
def test_each_part_of_a_filter_takes_what_fits_it_alone(cursor, bury, part):
    others = {"ago": timedelta(days=1), "queue_name": "jobs"}
    meant = {
        "queue": {"queue_name": "emails"},
        "actor": {"actor_name": "send_email"},
        "reason": {"reason": "permanent"},
        "group": {"fingerprint": None if part.get("group") == "unknown" else "aaaaaaaaaaaa"},
        "since": {},
        "until": {},
        "where": {"message": {"kwargs": {"to": "bob@example.org", "order": 10}}},
    }[next(iter(part))]
    bury(**others)
    id_ = bury(**(others | meant))
    if "since" in part or "until" in part:
        moment = "2026-11-02" if "since" in part else "2026-01-01"
        other = "2026-10-01" if "since" in part else "2026-01-03"
        cursor.execute(
            "UPDATE callboard.dead_letters SET died_at = CASE WHEN message_id = %s THEN %s ELSE %s END::timestamptz",
            (id_, moment, other),
        )
    which = DeadFilter(**part)
    assert ids(list_dead(cursor, which, limit=9)) == [id_]
    assert count_dead(cursor, which) == 1
    assert [group.count for group in group_dead(cursor, which, limit=9)] == [1]


def test_parts_of_a_filter_add_up(cursor, bury):
    bury(queue_name="emails", reason="permanent")
    id_ = bury(queue_name="emails", reason="expired")
    both = bury(queue_name="reports", reason="expired")
    assert ids(list_dead(cursor, DeadFilter(queue="emails", reason="expired"), limit=9)) == [id_]
    assert count_dead(cursor, DeadFilter(ids=(id_, both, str(uuid.uuid4())), queue="reports")) == 1
    assert count_dead(cursor, DeadFilter()) == 3


def test_ids_are_taken_in_any_spelling_and_once(cursor, bury):
    id_ = bury()
    which = DeadFilter(ids=(id_.upper(), f"{{{id_}}}", id_.replace("-", "")))
    assert which.ids == (id_,) and count_dead(cursor, which) == 1


@pytest.mark.parametrize(
    ("part", "says"),
    [
        ({"reason": "permament"}, r"reason 'permament' is none.*max_retries, permanent.*Did you mean 'permanent'"),
        ({"group": "xyz"}, "group 'xyz' is no fingerprint.*callboard dead groups"),
        ({"ids": ("42",)}, "'42' is no message id.*callboard dead list"),
        ({"queue": "a\0b"}, "is no text"),
        ({"queue": "\udcff"}, "is no text"),
        ({"actor": ""}, "is no text"),
        ({"where": " "}, "is no text"),
        (
            {"since": datetime(2026, 2, 1, tzinfo=UTC), "until": datetime(2026, 1, 1, tzinfo=UTC)},
            "Nothing lies between",
        ),
    ],
)
def test_a_filter_that_cannot_be_meant_is_refused(part, says):
    with pytest.raises(InvalidRequest, match=says):
        DeadFilter(**part)


@pytest.mark.parametrize(
    ("part", "says"),
    [
        ({"queue": "emils"}, "No queue is called 'emils'. Did you mean 'emails'\\? There are: emails, jobs."),
        ({"queue": "x"}, "No queue is called 'x'. There are: emails, jobs."),
        ({"actor": "send_mail"}, "No actor is called 'send_mail'. Did you mean 'send_email'"),
        ({"group": "ffffffffffff"}, "No dead letter is of group 'ffffffffffff'.*callboard dead groups"),
    ],
)
@pytest.mark.parametrize("look", [count_dead, list_dead, group_dead])
def test_a_name_that_does_not_exist_is_not_nothing(*, cursor, bury, db, look, part, says):
    db("INSERT INTO callboard.actors (actor_name, queue_name) VALUES ('send_email', 'emails')")
    bury()
    options = {} if look is count_dead else {"limit": 9}
    with pytest.raises(NotFound, match=says):
        look(cursor, DeadFilter(**part), **options)
    # A name that exists, and has no dead letters, is nothing.
    assert not look(cursor, DeadFilter(queue="emails", actor="send_email"), **options)


@pytest.mark.parametrize(
    ("where", "says"),
    [
        ("$.to = 5 =", "at or near"),
        ("kwargs", "at end of jsonpath input"),
        ('$.to == "unclosed', "unterminated|at or near|end of"),
        ("$.to == $who", "who"),
        ("$.to", "names a value and compares it with nothing"),
        ('$.to like_regex "("', "is no SQL/JSON path"),
        ("'; DROP TABLE callboard.dead_letters; --", "is no SQL/JSON path"),
    ],
)
def test_a_broken_path_is_a_sentence_that_shows_the_place(transactions, bury, where, says):
    bury()
    for look in (
        lambda cursor: count_dead(cursor, DeadFilter(where=where)),
        lambda cursor: list_dead(cursor, DeadFilter(where=where), limit=9),
        lambda cursor: group_dead(cursor, DeadFilter(where=where), limit=9),
    ):
        with pytest.raises(InvalidRequest, match=says) as caught, transactions() as cursor:
            look(cursor)
        assert where in str(caught.value)


def test_a_path_that_fits_no_message_does_not_fail_on_odd_ones(cursor, bury):
    for stored in ([1, 2], "text", None, {"kwargs": [1]}):
        bury(stored=stored)
    for where in ('$.to.a[3] == "x"', "strict $.b[5] == 1", "$.to.double() > 5"):
        assert count_dead(cursor, DeadFilter(where=where)) == 0


def test_a_change_of_all_takes_a_word():
    for all_ in ({"is_all": True}, {"is_all": False}):
        require_choice(DeadFilter(queue="emails"), **all_)
    require_choice(DeadFilter(), is_all=True)
    with pytest.raises(InvalidRequest, match=r"Give ids, a filter .* or --all"):
        require_choice(DeadFilter(), is_all=False)


def test_the_reasons_are_those_of_the_broker():
    assert set(REASONS) == {reason.value for reason in DeadReason}


def test_a_filter_says_itself():
    which = DeadFilter(queue="emails", reason="permanent", since=datetime(2026, 11, 24, tzinfo=UTC), where="$.a == 1")
    assert str(which) == "of queue emails, reason permanent, since 2026-11-24 00:00 UTC, where $.a == 1"
    assert str(DeadFilter()) == "" and str(DeadFilter(ids=())) == "with the ids given"


# Causes


def test_causes_are_counted_over_time(cursor, bury):
    for hours in range(24):
        bury(ago=hours * HOUR + timedelta(minutes=1), queue_name="emails", message={"actor_name": "send_email"})
    bury(ago=HOUR * 23, reason="permanent", error_class="KeyError", error_message="'A-17'", fingerprint="bbbbbbbbbbbb")
    newest = bury(ago=timedelta(seconds=5), error_message="order 2 has no price")
    most, least = group_dead(cursor, DeadFilter(), limit=9)
    assert (most.fingerprint, most.count, most.message_id) == ("0123456789ab", 25, newest)
    assert (most.error_class, most.error_message) == ("ValueError", "order 2 has no price")
    assert most.error_place == "their_jobs/orders.py in charge"
    assert (most.queues, most.actors, most.reasons) == (("emails", "jobs"), ("job", "send_email"), ("max_retries",))
    assert most.last_at - most.first_at > 23 * HOUR - timedelta(minutes=1)
    assert len(most.counts) == PARTS and sum(most.counts) == 25 and max(most.counts) <= 3 and most.counts[-1] >= 2
    assert (least.fingerprint, least.count, least.reasons) == ("bbbbbbbbbbbb", 1, ("permanent",))
    assert most.counted_since == most.first_at and most.counted_until > most.last_at


def test_the_time_that_is_counted_over_follows_the_filter(cursor, bury):
    since = datetime.now(UTC) - 12 * HOUR
    bury(ago=timedelta(minutes=1))
    bury(ago=24 * HOUR)
    (group,) = group_dead(cursor, DeadFilter(since=since), limit=9)
    assert (group.count, group.counted_since, group.counts[-1]) == (1, since, 1)


def test_letters_of_one_moment_and_without_a_cause_make_a_group_as_well(cursor, bury, db):
    for _ in range(3):
        bury(fingerprint=None, error_class=None, error_message=None, error_place=None, actor_name=None)
    db("UPDATE callboard.dead_letters SET died_at = now()")
    (group,) = group_dead(cursor, DeadFilter(), limit=9)
    assert (group.fingerprint, group.count, group.actors, sum(group.counts)) == ("unknown", 3, (), 3)
    assert count_dead(cursor, DeadFilter(group="unknown")) == 3


def test_only_the_most_frequent_causes_are_listed(cursor, bury):
    for number in range(4):
        for _ in range(number + 1):
            bury(fingerprint=f"{number:012x}")
    groups = group_dead(cursor, DeadFilter(), limit=2)
    assert [(group.fingerprint[-1], group.count) for group in groups] == [("3", 4), ("2", 3)]


def test_groups_are_read_from_the_index_and_not_from_the_letters(cursor, bury, db):
    # Else vacuum may come before the commit is on disk, and call no page visible to all.
    db("SET synchronous_commit = on")
    # As long as tracebacks are, and too random to be compressed.
    bury(traceback="".join(str(uuid.uuid4()) for _ in range(40)))
    db(
        "INSERT INTO callboard.dead_letters SELECT (jsonb_populate_record(letter, jsonb_build_object("
        "'message_id', gen_random_uuid(), 'died_at', now() - number * interval '1 second'))).* "
        "FROM callboard.dead_letters AS letter, generate_series(1, 5000) AS number"
    )
    db("VACUUM ANALYZE callboard.dead_letters")
    for which in (DeadFilter(), DeadFilter(queue="jobs"), DeadFilter(group="0123456789ab")):
        cursor.execute("EXPLAIN " + matching("groups"), which.parameters() | {"limit": 9, "parts": PARTS})
        plan = "\n".join(row[0] for row in cursor.fetchall())
        assert "Index Only Scan using dead_letters_cause_idx" in plan and "Seq Scan" not in plan, plan


# One letter


def test_the_story_of_a_letter_is_whole(cursor, bury, db):
    worker_id, gone = str(uuid.uuid4()), str(uuid.uuid4())
    db(
        "INSERT INTO callboard.worker_history (worker_id, hostname, pid, queues, threads, version) "
        "VALUES (%s, 'worker-7', 4711, '{jobs}', 2, '0')",
        worker_id,
    )
    id_ = bury(dedupe_key="A-17", error_message="no mailbox ann@example.org", generation=1)
    for generation, attempt, outcome, worker in ((0, 1, "lost", gone), (0, 2, "dead", worker_id), (1, 1, "dead", None)):
        db(
            "INSERT INTO callboard.attempts (message_id, generation, attempt, outcome, worker_id, started_at, "
            "error_class, error_message, traceback, fingerprint, reason) "
            "VALUES (%s, %s, %s, %s, %s, now(), 'ValueError', 'text', 'Traceback', 'aaaaaaaaaaaa', 'permanent')",
            *(id_, generation, attempt, outcome, worker),
        )
    story = show_dead(cursor, id_)
    assert story.message["kwargs"] == {"to": "ann@example.org", "order": 1}
    assert (story.dedupe_key, story.retries, story.lost_workers, story.priority) == ("A-17", 5, 1, 0)
    assert story.letter.error_message == "no mailbox ann@example.org"
    lost, dead, again = story.attempts
    assert [(a.generation, a.attempt, a.outcome) for a in story.attempts] == [
        (0, 1, "lost"),
        (0, 2, "dead"),
        (1, 1, "dead"),
    ]
    assert (dead.hostname, dead.pid, dead.fingerprint, dead.reason) == ("worker-7", 4711, "aaaaaaaaaaaa", "permanent")
    assert (lost.hostname, lost.worker_id, again.worker_id) == (None, gone, None)
    assert dead.started_at <= dead.ended_at and dead.traceback == "Traceback"


def test_a_letter_that_holds_no_message_is_shown(cursor, bury):
    assert show_dead(cursor, bury(stored=[1])).message == [1]


def test_an_id_without_a_letter_is_not_found(cursor):
    id_ = str(uuid.uuid4())
    with pytest.raises(NotFound, match=f"{id_}.*callboard dead list"):
        show_dead(cursor, id_)


def test_a_lost_workers_cause_in_sql_is_the_one_in_python(cursor):
    cursor.execute(
        "SELECT left(encode(sha256(convert_to('lost_worker' || chr(10) || coalesce(%s, ''), 'UTF8')), 'hex'), 12)",
        ("zählen",),
    )
    assert cursor.fetchone()[0] == cause_of_reason("lost_worker", "zählen").fingerprint

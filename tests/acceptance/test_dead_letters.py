"""Dead letters by command, with real workers: seen by cause, put back with care, put right, thrown away."""

from __future__ import annotations

import json
import re
import uuid

import pytest

from tests.acceptance.processes import START_TIMEOUT_S
from tests.conftest import wait_until

#: As many as there are causes of charge() times ten.
COUNT = 30


def bury(db, count=1, **columns):
    """Make dead letters that no worker has run, and return their ids, the oldest first."""
    names = "".join(f", {name}" for name in columns)
    rows = db(
        "INSERT INTO callboard.dead_letters (message_id, reason, queue_name, actor_name, message, priority, attempt, "
        f"retries, lost_workers, generation, enqueued_at, died_at{names}) "
        "SELECT gen_random_uuid(), 'permanent', 'jobs', 'note', "
        """'{"queue_name": "jobs", "actor_name": "note", "args": [], "kwargs": {"to": "ann@example.org"}, """
        """"options": {}, "message_id": "", "message_timestamp": 1}', 0, 1, 0, 0, 0, now(), """
        f"now() - (%s - number) * interval '1 second'{', %s' * len(columns)} "
        "FROM generate_series(1, %s) AS number RETURNING message_id::text, died_at",
        count,
        *columns.values(),
        count,
    )
    return [id_ for id_, _ in sorted(rows, key=lambda row: row[1])]


def dead_count(db):
    return db("SELECT count(*) FROM callboard.dead_letters")[0][0]


@pytest.fixture
def failures(jobs, shell, db):
    """Thirty letters of three causes, made by a worker of the service that goes on running."""
    for number in range(COUNT):
        jobs.send("charge", f"A-{number}")
    worker = shell.dramatiq("tests.acceptance.jobs")
    wait_until(lambda: dead_count(db) == COUNT, START_TIMEOUT_S, "dead letters")
    return worker


@pytest.fixture
def groups(shell):
    def look():
        return json.loads(shell.run_callboard("dead", "groups", "-o", "json").stdout)

    return look


def test_failures_of_three_causes_are_three_groups(shell, failures, groups, db):
    found = groups()
    assert sorted(group["count"] for group in found) == [9, 9, 12]
    assert {group["error_class"] for group in found} == {"ValueError", "KeyError"}
    assert {group["error_place"] for group in found} == {
        "tests/acceptance/jobs.py in charge",
        "tests/acceptance/jobs.py in _look_up",
    }
    # In the log as in the table, and on every attempt
    logged = {line["fingerprint"] for line in failures.events("dead letter kept")}
    assert logged == {group["fingerprint"] for group in found}
    assert db("SELECT count(DISTINCT fingerprint), count(*) FROM callboard.attempts") == [(3, 2 * COUNT)]
    # As a table with the course over time, and as ids
    table = shell.run_callboard("dead", "groups").stdout
    assert all(group["fingerprint"] in table for group in found) and re.search("[▁▂▃▄▅▆▇█]", table)
    ids = shell.run_callboard("dead", "groups", "-o", "ids").stdout.split()
    assert ids == [group["fingerprint"] for group in found]
    # A letter's story marks our frames
    (id_,) = shell.run_callboard("dead", "list", "--group", ids[0], "--limit", "1", "-o", "ids").stdout.split()
    story = shell.run_callboard("dead", "show", id_).stdout
    assert "generation 0" in story and ids[0] in story and '"place"' in story
    assert re.search(r'^ +> File ".*jobs\.py", line \d+, in ', story, re.MULTILINE)
    assert re.search(r'^ +File ".*dramatiq.*", line', story, re.MULTILINE)
    assert len(re.findall(r"^ +\d: began .*, on [\w.-]+:\d+$", story, re.MULTILINE)) == 2


def test_a_canary_stops_when_the_cause_comes_back(shell, failures, groups, db):
    cause = groups()[0]
    done = shell.run_callboard("dead", "retry", "--group", cause["fingerprint"], "--canary", "--yes")
    assert (done.returncode, done.stdout) == (1, "")
    assert f"failed of the same cause again ({cause['fingerprint']})" in done.stderr
    assert "Stopped after 1 dead letter" in done.stderr and "The others stay dead" in done.stderr
    # It dies again, by its own retries, and is one of its group as before
    wait_until(lambda: dead_count(db) == COUNT, START_TIMEOUT_S, "the canary's own death")
    assert db("SELECT generation, count(*) FROM callboard.dead_letters GROUP BY 1 ORDER BY 1") == [
        (0, COUNT - 1),
        (1, 1),
    ]
    assert {group["fingerprint"]: group["count"] for group in groups()}[cause["fingerprint"]] == cause["count"]


def test_a_canary_goes_through_when_the_cause_is_put_right(*, shell, jobs, failures, groups, db, wait_until_done):
    cause = groups()[0]
    assert cause["count"] == 12
    (jobs.place / "fixed").touch()
    done = shell.run_callboard(
        "dead", "retry", "--group", cause["fingerprint"], "--canary", "--yes", "--reason", "fixed"
    )
    assert (done.returncode, done.stdout) == (0, "")
    assert "1 put back" in done.stderr and "10 put back" in done.stderr and "12 put back." in done.stderr
    wait_until_done(12)
    assert (len(jobs.noted()), dead_count(db)) == (12, COUNT - 12)
    assert db("SELECT action, count, reason, details FROM callboard.audit_log") == [
        ("dead retry", 12, "fixed", {"canary": True})
    ]


def test_a_canary_that_nobody_runs_gives_up_and_says_what_to_look_at(shell, db):
    bury(db, 3)
    done = shell.run_callboard("dead", "retry", "--all", "--canary", "--wait", "1s", "--yes")
    assert (done.returncode, dead_count(db)) == (1, 2)
    assert "had not ended after 1 s: are there workers, is its queue paused?" in done.stderr


def test_one_is_put_back_with_other_arguments(shell, jobs, failures, db, wait_until_done):
    id_ = shell.run_callboard("dead", "list", "--where", '$.name == "A-7"', "-o", "ids").stdout.strip()
    (jobs.place / "fixed").touch()
    done = shell.run_callboard("dead", "retry", id_, "--kwargs", '{"name": "B-1"}')
    assert (done.returncode, done.stdout) == (0, f"{id_}\n")
    wait_until_done(1)
    assert jobs.noted() == ["B-1"]
    assert db("SELECT details FROM callboard.audit_log") == [({"changed_kwargs": ["name"]},)]


def test_ids_go_from_one_command_to_the_next(shell, db):
    ids = bury(db, 3)
    listed = shell.run_callboard("dead", "list", "-o", "ids")
    assert listed.stdout.split() == ids[::-1]
    done = shell.run_callboard("dead", "retry", "-", stdin=listed.stdout)
    assert (done.returncode, sorted(done.stdout.split())) == (0, sorted(ids))
    assert db("SELECT count(*) FROM dramatiq.queue WHERE generation = 1") == [(3,)]


@pytest.mark.parametrize("verb", ["retry", "discard", "purge"])
def test_a_bare_verb_is_refused(shell, db, verb):
    bury(db)
    done = shell.run_callboard("dead", verb, "--yes")
    assert (done.returncode, done.stdout, dead_count(db)) == (2, "", 1)
    assert "Give ids, a filter such as --queue emails or --group FINGERPRINT, or --all." in done.stderr


@pytest.mark.parametrize("verb", ["retry", "discard", "purge"])
def test_a_change_shows_its_count_and_asks(shell, db, verb):
    bury(db, 3)
    db("INSERT INTO callboard.actors (actor_name, queue_name) VALUES ('note', 'jobs')")
    dry = shell.run_callboard("dead", verb, "--queue", "jobs", "--dry-run")
    assert (dry.returncode, dry.stdout) == (0, "") and "3 dead letters of queue jobs will be " in dry.stderr
    unasked = shell.run_callboard("dead", verb, "--queue", "jobs")
    assert (unasked.returncode, "say --yes" in unasked.stderr, dead_count(db)) == (2, True, 3)
    done = shell.run_callboard("dead", verb, "--queue", "jobs", "--yes", "-o", "json")
    assert (done.returncode, dead_count(db), len(json.loads(done.stdout)["message_ids"])) == (0, 0, 3)
    again = shell.run_callboard("dead", verb, "--queue", "jobs", "--yes")
    assert (again.returncode, again.stdout, "0 dead letters of queue jobs" in again.stderr) == (3, "", True)


@pytest.mark.parametrize("verb", ["retry", "discard", "purge", "list", "groups"])
@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        (["--queue", "jbos"], 3, "No queue is called 'jbos'. Did you mean 'jobs'? There are: jobs."),
        (["--actor", "notes"], 3, "Did you mean 'note'?"),
        (["--died-of", "permament"], 2, "Did you mean 'permanent'?"),
        (["--group", "123"], 2, "is no fingerprint"),
        (["--group", "ffffffffffff"], 3, "No dead letter is of group"),
        (["--where", "$.to ="], 2, "is no SQL/JSON path: syntax error"),
        (["--since", "2999-01-01"], 2, "--since '2999-01-01' is still to come"),
        (["--until", "yesterday"], 2, "--until 'yesterday' is no moment"),
        (["--since", "1h", "--until", "2h"], 2, "--since is later than --until"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_typo_changes_nothing_and_is_a_sentence(*, shell, db, verb, options, code, says):
    bury(db)
    done = shell.run_callboard("dead", verb, *options, *([] if verb in ("list", "groups") else ["--yes"]))
    assert (done.returncode, done.stdout, dead_count(db)) == (code, "", 1)
    assert says in done.stderr and "Traceback" not in done.stderr


def test_a_reason_for_the_log_is_not_taken_for_a_filter(shell, db):
    bury(db)
    done = shell.run_callboard("dead", "discard", "--queue", "jobs", "--reason", "permanent", "--yes")
    assert (done.returncode, dead_count(db)) == (2, 1)
    assert "say --died-of permanent" in done.stderr


def test_ids_that_are_none_and_ids_that_are_gone(shell, db):
    (id_,) = bury(db)
    unknown = str(uuid.uuid4())
    for verb in ("retry", "discard", "purge"):
        wrong = shell.run_callboard("dead", verb, "42'; DROP TABLE", "--yes")
        assert (wrong.returncode, "no message id" in wrong.stderr) == (2, True)
        missing = shell.run_callboard("dead", verb, unknown, "--yes")
        assert (missing.returncode, unknown in missing.stderr) == (3, True)
    both = shell.run_callboard("dead", "retry", id_, unknown)
    assert (both.returncode, both.stdout) == (3, f"{id_}\n")
    assert "1 put back." in both.stderr and unknown in both.stderr


def test_a_letter_whose_key_is_taken_is_named_and_exits_3(shell, db):
    (held,) = bury(db, dedupe_key="A-17")
    ((holder,),) = db(
        "INSERT INTO dramatiq.queue (message_id, queue_name, message, dedupe_key) "
        "VALUES (gen_random_uuid(), 'jobs', '{}', 'A-17') RETURNING message_id::text"
    )
    (free,) = bury(db)
    done = shell.run_callboard("dead", "retry", "--all", "--yes", "-o", "ids")
    assert (done.returncode, done.stdout) == (3, f"{free}\n")
    assert f"{held} stays dead: message {holder} holds its dedupe_key 'A-17' by now." in done.stderr


def test_edits_are_for_one_letter(shell, db):
    first, second = bury(db, 2)
    for options in ([first, second], ["--all"], [first, "--queue", "jobs"], [first, "--canary"]):
        done = shell.run_callboard("dead", "retry", *options, "--kwargs", "{}", "--yes")
        assert (done.returncode, "one dead letter at a time" in done.stderr) == (2, True)
    broken = shell.run_callboard("dead", "retry", first, "--args", "{")
    assert (broken.returncode, "--args is no JSON" in broken.stderr, dead_count(db)) == (2, True, 2)


def test_purge_goes_by_age(shell, db):
    (old,) = bury(db)
    db("UPDATE callboard.dead_letters SET died_at = now() - interval '31 days'")
    (young,) = bury(db)
    both = shell.run_callboard("dead", "purge", "--older-than", "30d", "--until", "30d", "--yes")
    assert both.returncode == 2
    done = shell.run_callboard("dead", "purge", "--older-than", "30d", "--yes", "-o", "ids")
    assert (done.returncode, done.stdout) == (0, f"{old}\n")
    assert db("SELECT message_id::text FROM callboard.dead_letters") == [(young,)]


def test_a_list_shows_no_addresses_and_the_story_does(shell, db):
    (id_,) = bury(db, error_class="ValueError", error_message="no mailbox ann@example.org")
    for form in ("table", "json"):
        assert "ann@" not in shell.run_callboard("dead", "list", "-o", form).stdout
        assert "ann@" not in shell.run_callboard("dead", "groups", "-o", form).stdout
    assert "ann@example.org" in shell.run_callboard("dead", "show", id_).stdout


def test_old_habits_still_work(shell, db):
    first, second, third, fourth = bury(db, 4)
    assert fourth in shell.run_callboard("failed").stdout
    assert shell.run_callboard("failed", "-o", "ids").stdout.split() == [fourth, third, second, first]
    assert first in shell.run_callboard("failed", first).stdout
    assert shell.run_callboard("retry", first).stdout == f"{first}\n"
    asked = shell.run_callboard("forget", second)
    assert (asked.returncode, "1 dead letter with the ids given will be thrown away" in asked.stderr) == (2, True)
    assert shell.run_callboard("forget", second, "--yes").returncode == 0
    assert db("SELECT message_id::text, outcome FROM callboard.message_history") == [(second, "discarded")]
    db("UPDATE callboard.dead_letters SET died_at = now() - interval '49 hours' WHERE message_id = %s", third)
    assert shell.run_callboard("flush", "--hours", "48", "--yes").returncode == 0
    assert shell.run_callboard("failed", "-o", "ids").stdout.split() == [fourth]
    assert shell.run_callboard("flush").returncode == 2
    everything = shell.run_callboard("retry", "all", "--yes")
    assert (everything.returncode, dead_count(db)) == (0, 0)
    bare = shell.run_callboard("retry")
    assert (bare.returncode, "--all" in bare.stderr) == (2, True)
    mixed = shell.run_callboard("retry", "all", first)
    assert (mixed.returncode, "not both" in mixed.stderr) == (2, True)
    bury(db)
    assert shell.run_callboard("flush", "--yes").returncode == 0
    assert dead_count(db) == 0

"""One dead letter is put back with other arguments."""

from __future__ import annotations

import uuid

import pytest

from callboard.errors import Conflict, InvalidRequest, NotFound
from callboard.ops.dead_letters.edit import Edit, parse_edit, retry_edited
from tests.postgres.ops.conftest import ANN, held_open

QUEUED = "SELECT message -> 'kwargs', message -> 'args', generation FROM dramatiq.queue"
DETAILS = "SELECT action, filter, count, details FROM callboard.audit_log"


def retry(transactions, id_, **texts):
    with transactions() as cursor:
        return retry_edited(cursor, id_, parse_edit(**texts), ANN)


def test_arguments_are_merged_and_the_audit_log_keeps_their_names(transactions, db, bury):
    id_ = bury(message={"kwargs": {"to": "ann@example.org", "order": 1, "none": None}})
    changed = retry(transactions, id_, kwargs='{"to": "bob@example.org", "cc": null, "order": 1}')
    assert changed.message_ids == (id_,)
    kwargs = {"to": "bob@example.org", "order": 1, "none": None, "cc": None}
    assert db(QUEUED) == [(kwargs, [], 1)]
    ((action, asked, count, details),) = db(DETAILS)
    assert (action, asked, count) == ("dead retry", {"ids": [id_]}, 1)
    assert details == {"changed_kwargs": ["cc", "to"]}
    assert "bob" not in str(db("SELECT * FROM callboard.audit_log"))


def test_arguments_are_replaced(transactions, db, bury):
    retry(transactions, bury(), replace_kwargs='{"order": 1, "page": 2}', args='["A", 3.10]')
    assert db(QUEUED) == [({"order": 1, "page": 2}, ["A", 3.1], 1)]
    assert db(DETAILS)[0][3] == {"changed_kwargs": ["page", "to"], "changed_args": True}


def test_what_is_not_named_stays_to_the_last_digit(transactions, db, bury):
    id_ = bury()
    db("UPDATE callboard.dead_letters SET message = jsonb_set(message, '{kwargs,amount}', '12345678901234567890.10')")
    retry(transactions, id_, kwargs='{"to": "b"}')
    assert db("SELECT message #>> '{kwargs,amount}' FROM dramatiq.queue") == [("12345678901234567890.10",)]


def test_a_message_whose_kwargs_are_none_gets_the_new_ones(transactions, db, bury):
    retry(transactions, bury(message={"kwargs": [1]}), kwargs='{"to": "b"}')
    assert db(QUEUED)[0][0] == {"to": "b"}


@pytest.mark.parametrize(
    ("texts", "says"),
    [
        ({"kwargs": "{to: 1}"}, "--kwargs is no JSON"),
        ({"kwargs": "[1]"}, "--kwargs must be an object"),
        ({"replace_kwargs": "5"}, "--replace-kwargs must be an object"),
        ({"args": "{}"}, "--args must be an array"),
        ({"kwargs": '{"a": NaN}'}, "NaN is no JSON"),
        ({"args": "[" * 100_000}, "--args nests too deep"),
        ({"args": "["}, "--args is no JSON"),
        ({"kwargs": "{}", "replace_kwargs": "{}"}, "Give --kwargs, .* or --replace-kwargs"),
    ],
)
def test_arguments_that_are_none_are_refused(texts, says):
    with pytest.raises(InvalidRequest, match=says):
        parse_edit(**texts)


@pytest.mark.parametrize(
    ("kwargs", "says"),
    [
        ('{"to": "\\u0000"}', "cannot be stored"),
        ('{"to": "\\ud800"}', "cannot be stored"),
        ('{"to": "%s"}', "the limit"),
    ],
)
def test_arguments_that_cannot_be_stored_leave_the_letter_as_it_was(transactions, db, bury, kwargs, says):
    id_ = bury()
    with pytest.raises(InvalidRequest, match=says):
        retry(transactions, id_, kwargs=kwargs.replace("%s", "x" * 300_000))
    assert db("SELECT message #>> '{kwargs,to}' FROM callboard.dead_letters") == [("ann@example.org",)]


def test_a_letter_that_stays_dead_keeps_its_arguments(transactions, db, bury, enqueue):
    enqueue(dedupe_key="A")
    changed = retry(transactions, bury(dedupe_key="A"), kwargs='{"to": "b"}')
    assert (changed.count, len(changed.held)) == (0, 1)
    assert db("SELECT message #>> '{kwargs,to}' FROM callboard.dead_letters") == [("ann@example.org",)]
    assert db(DETAILS) == []


def test_a_row_that_holds_no_message_cannot_be_edited(transactions, bury):
    with pytest.raises(Conflict, match="holds no message"):
        retry(transactions, bury(stored=[1]), kwargs="{}")


def test_an_id_without_a_letter_is_not_found(transactions):
    with pytest.raises(NotFound, match="callboard dead list"):
        retry(transactions, str(uuid.uuid4()), kwargs="{}")


def test_a_letter_that_somebody_else_holds_is_a_sentence(transactions, bury, each_database_url):
    id_ = bury()
    statement = "SELECT 1 FROM callboard.dead_letters WHERE message_id = %s FOR UPDATE"
    with (
        held_open(each_database_url, statement, id_),
        pytest.raises(Conflict, match=r"still open.*Nothing was changed"),
    ):
        retry(transactions, id_, kwargs="{}")


def test_an_edit_knows_what_it_changes():
    assert Edit({"a": 1, "b": 2}).changed_keys({"a": 1}) == ["b"]
    assert Edit(None).changed_keys({"a": 1}) == []
    assert Edit({}, replaces_kwargs=True).changed_keys({"a": 1}) == ["a"]

from __future__ import annotations

import pytest

from callboard.errors import InvalidRequest
from callboard.ops.audit import Operator, list_changes, operator_of_shell, record


def test_a_change_is_kept_with_who_what_how_much_and_why(cursor):
    operator = Operator("ann@host", "cli", reason="mail server is back")
    record(cursor, operator, "dead retry", filter={"queue": "emails"}, count=5000, details={"canary": True})
    (change,) = list_changes(cursor, limit=10)
    assert (change.operator, change.via, change.action, change.count) == ("ann@host", "cli", "dead retry", 5000)
    assert (change.filter, change.reason) == ({"queue": "emails"}, "mail server is back")
    assert change.details == {"canary": True}
    assert change.changed_at.tzinfo is not None


def test_a_change_exists_exactly_if_its_transaction_commits(cursor):
    record(cursor, operator_of_shell(), "queues pause", filter={"queue": "emails"}, count=1)
    cursor.connection.rollback()
    assert list_changes(cursor, limit=10) == []


def test_changes_come_newest_first_by_page_and_by_action(cursor):
    for action in ("dead retry", "queues pause", "dead discard", "deadline move"):
        record(cursor, operator_of_shell(), action, filter={}, count=1)
    newest, *_ = page = list_changes(cursor, limit=2)
    assert [change.action for change in page] == ["deadline move", "dead discard"]
    rest = list_changes(cursor, limit=10, before_id=page[-1].audit_id)
    assert [change.action for change in rest] == ["queues pause", "dead retry"]
    assert [change.action for change in list_changes(cursor, action="dead", limit=10)] == ["dead discard", "dead retry"]
    assert list_changes(cursor, since=newest.changed_at, limit=10)


@pytest.mark.parametrize(("name", "reason"), [("a" * 201, None), ("ann", "\0"), ("ann", "x" * 1001)])
def test_a_name_or_reason_that_cannot_be_kept_is_refused(name, reason):
    with pytest.raises(InvalidRequest, match=r"operator|reason"):
        Operator(name, "api", reason)

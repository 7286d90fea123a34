"""How a message becomes the text that is stored."""

from __future__ import annotations

import json

import dramatiq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from callboard.broker.sending.row import OutgoingRow
from callboard.errors import InvalidMessage

# Whatever JSON can say, but for what Postgres cannot hold.
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda values: st.lists(values, max_size=3) | st.dictionaries(TEXTS, values, max_size=3),
)


def message(*args, **kwargs):
    return dramatiq.Message(queue_name="jobs", actor_name="job", args=args, kwargs=kwargs, options={})


def row_of(message):
    return OutgoingRow.of(message, delay_ms=None, default_priority=0)


@given(st.lists(VALUES, max_size=3), st.dictionaries(TEXTS, VALUES, max_size=3))
def test_the_stored_text_is_what_dramatiq_would_write(args, kwargs):
    sent = message(*args, **kwargs)
    assert row_of(sent).message == sent.encode().decode()
    assert json.loads(row_of(sent).message)["kwargs"] == kwargs


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object(), {1, 2}, b"bytes"])
def test_what_is_no_json_is_refused(value):
    with pytest.raises(InvalidMessage, match="is no JSON"):
        row_of(message(value))


def test_a_message_that_contains_itself_is_refused():
    loop = []
    loop.append(loop)
    with pytest.raises(InvalidMessage, match="is no JSON"):
        row_of(message(loop))

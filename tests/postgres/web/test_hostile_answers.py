"""No answer of the API lets a stranger's text steer the terminal of who reads it, or leaves the encoding."""

from __future__ import annotations

import json

import pytest

from callboard.web.requests.answers import JsonAnswer
from tests.acceptance.hostile_rows import HOSTILE, trouble_in, write_hostile_rows
from tests.postgres.web.test_routes import filled, get_paths


@pytest.mark.parametrize("text", [HOSTILE, "\ud800", "\x7f", "a\u202eb", "\U000e0041", "Ж é 中 🙂"])
def test_a_text_is_written_so_that_it_means_the_same_and_steers_nothing(text):
    body = JsonAnswer({text: [text]}).body.decode()
    assert trouble_in(body) == set() and json.loads(body) == {text: [text]}


def test_every_route_shows_hostile_rows_as_escapes(api, connection):
    # Given hostile text in every column
    ids = write_hostile_rows(connection)
    paths = [path for path in get_paths(api.app) if path != "/metrics"]
    # When each address is asked, also for what is there, and for what cannot be there
    asked = [
        *map(filled, paths),
        *(f"/api/v1/messages/{id_}{more}" for id_ in ids.values() for more in ("", "/explanation")),
        *(f"/api/v1/dead/{id_}" for id_ in ids.values()),
        *(f"{path.partition('{')[0]}%E2%80%AE%C2%9B31m%1B[2J" for path in paths if "{" in path),
    ]
    answers = {path: api.get(path) for path in asked}
    # Then nothing comes through, in body or headers, and nothing fails of it
    through = {
        path: found
        for path, answer in answers.items()
        if (found := trouble_in(answer.content.decode() + "".join(answer.headers.values())))
    }
    assert through == {}
    assert [path for path, answer in answers.items() if answer.status_code >= 500] == []
    # And it is there, as it is
    assert HOSTILE in json.dumps(answers["/api/v1/queues"].json()) or any(
        HOSTILE in str(row.values()) or HOSTILE in row.values()
        for row in answers["/api/v1/queues"].json().get("items", [])
    )

"""Bodies are measured before anything parses them, in time that no body can stretch."""

from __future__ import annotations

import json
import time

import pytest

from callboard.web.requests.guard import DEPTH_MAX, _is_too_deep

BODY_MAX = 256 * 1024


@pytest.mark.parametrize("depth", [1, DEPTH_MAX])
def test_what_nests_within_the_limit_passes(depth):
    assert not _is_too_deep(b"[" * depth + b"]" * depth)


@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'[{"a":'])
def test_what_nests_deeper_is_refused(opening):
    assert _is_too_deep(opening * (DEPTH_MAX + 1))


def test_brackets_inside_of_text_do_not_count():
    assert not _is_too_deep(json.dumps({"text": '[{"' * 100 + "\\"}).encode())


def test_text_that_ends_a_quote_early_hides_no_depth():
    assert _is_too_deep(b'{"a": "\\\\", "b": ' + b"[" * 40)


@pytest.mark.parametrize(
    "body",
    [
        b"[" * BODY_MAX,
        b'"\\' * (BODY_MAX // 2),
        b'"' * BODY_MAX,
        b"\\" * BODY_MAX,
        b'\\"' * (BODY_MAX // 2),
        b"[]" * 99_999,
    ],
)
def test_no_body_takes_long_to_measure(body):
    # Not a benchmark: what is quadratic here takes minutes.
    started = time.process_time()
    _is_too_deep(body)
    assert time.process_time() - started < 2

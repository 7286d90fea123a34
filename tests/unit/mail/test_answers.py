"""What mail servers say, each answer judged; the same list goes through a real conversation in test_answers_over_smtp."""

from __future__ import annotations

import pytest

from callboard.mail.answer_rules import RULES, rule_for
from callboard.mail.answers import Reply
from tests.unit.mail.answer_corpus import CORPUS


def rows():
    for line in CORPUS.strip().splitlines():
        if line and not line.startswith("#"):
            phase, fate, rule, answer = line.split(" | ", 3)
            yield pytest.param(phase.replace("END", "end of mail"), fate, rule, answer.replace(r"\n", "\n"), id=f"{phase}-{answer[:60]}")


def reply_of(phase, answer):
    lines = answer.split("\n")
    return Reply.read(phase, int(lines[-1][:3]), "\n".join(line[4:] for line in lines))


@pytest.mark.parametrize(("phase", "fate", "rule", "answer"), list(rows()))
def test_what_servers_say_is_judged_by_code_and_sentence(phase, fate, rule, answer):
    found = rule_for(reply_of(phase, answer))
    assert (found.fate, found.name) == (fate, rule)

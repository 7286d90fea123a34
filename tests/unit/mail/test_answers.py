"""What mail servers say, each answer judged; test_answers_over_smtp has the same in a real conversation."""

from __future__ import annotations

from pathlib import Path

import pytest

from callboard.mail.answers.answer import OPENING, TRANSACTION, Reply
from callboard.mail.answers.rules import RULES, rule_for
from tests.unit.pages import rows_of

DECISION = "docs/decisions/0004-what-a-mail-servers-answer-means.md"


def rows():
    for line in Path(__file__).with_name("answers.txt").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            phase, fate, rule, answer = line.split(" | ", 3)
            verb = phase.replace("END", "end of mail")
            yield pytest.param(verb, fate, rule, answer.replace(r"\n", "\n"), id=f"{phase}-{answer[:60]}")


def reply_of(phase, answer):
    lines = answer.split("\n")
    return Reply.read(phase, int(lines[-1][:3]), "\n".join(line[4:] for line in lines))


@pytest.mark.parametrize(("phase", "fate", "rule", "answer"), list(rows()))
def test_what_servers_say_is_judged_by_code_and_sentence(phase, fate, rule, answer):
    found = rule_for(reply_of(phase, answer))
    assert (found.fate, found.name) == (fate, rule)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_each_rule_of_the_decision_decides_about_its_example(rule):
    found = {phase: rule_for(reply_of(phase, rule.example)) for phase in sorted(TRANSACTION | OPENING)}
    assert rule in found.values()
    assert {phase for phase, by in found.items() if by is rule} <= rule.phases


def test_the_table_of_the_decision_is_that_of_the_code():
    table = [row for row in rows_of(DECISION, section="The rules") if len(row) == 5]
    assert [[cell.strip("`") for cell in row] for row in table] == [
        [str(number), rule.name, rule.example, rule.fate, rule.source] for number, rule in enumerate(RULES, start=1)
    ]


def test_every_rule_has_an_answer_from_the_world_that_it_decides_about():
    assert {rule.name for rule in RULES} == {row.values[2] for row in rows()}


@pytest.mark.parametrize("name", ["try-again-later", "quota.exceeded", "sender-not-allowed", "relay.denied", "spf"])
def test_the_words_of_an_address_or_a_link_decide_nothing(name):
    for text in (f"no mailbox <{name}@x.test>", f"no mailbox {name}@x.test", f"no mailbox, see https://x.test/{name}"):
        assert rule_for(Reply.read("RCPT", 550, text)).fate == "refused"


def test_an_answer_is_one_line_without_what_a_terminal_obeys():
    reply = Reply.read("RCPT", 550, "5.1.1 no\x1b[31m such\n5.1.1 mailbox\x9b here")
    assert str(reply) == "550 5.1.1 no [31m such mailbox here"
    assert reply.enhanced == "5.1.1"


@pytest.mark.parametrize(
    ("verb", "code", "enhanced", "rule"),
    [
        ("RCPT", 552, "5.2.2", "mailbox full"),
        ("end of mail", 452, "4.2.2", "mailbox full"),
        ("RCPT", 550, "5.4.5", "sending limit"),
        ("end of mail", 454, "4.7.28", "sending limit"),
        ("RCPT", 450, "4.2.122", "mailbox gets too much"),
        ("RCPT", 550, "5.7.133", "recipient takes no mail from us"),
        ("end of mail", 554, "5.6.1", "content"),
        ("end of mail", 552, "5.3.4", "mail too large"),
        ("MAIL", 550, "5.7.26", "domain without SPF, DKIM or DMARC"),
        ("RCPT", 553, "5.1.8", "sender not allowed"),
        ("MAIL", 451, "4.7.10", "encryption required"),
        ("RCPT", 554, "5.7.57", "login needed or refused"),
        ("RCPT", 550, "5.7.64", "relaying refused"),
        ("RCPT", 550, "5.7.25", "host refused"),
        ("RCPT", 550, "5.1.1", "no such mailbox"),
        ("end of mail", 452, "4.3.1", "server in trouble"),
        ("RCPT", 451, "4.7.1", "not now, not for you"),
    ],
)
def test_an_enhanced_code_decides_where_the_sentence_says_nothing(verb, code, enhanced, rule):
    for text in (
        f"{enhanced} Sorry",
        f"{enhanced} \u0418\u0437\u0432\u0438\u043d\u0438\u0442\u0435",
        enhanced,
        f"Sorry (#{enhanced})",
    ):
        assert rule_for(Reply.read(verb, code, text)).name == rule


def test_every_rule_with_enhanced_codes_is_among_those_that_decide_by_them():
    cases = test_an_enhanced_code_decides_where_the_sentence_says_nothing.pytestmark[0].args[1]
    assert {rule.name for rule in RULES if rule.enhanced is not None} == {rule for *_, rule in cases}

"""What people of other queues type is understood, or answered with the words that help."""

from __future__ import annotations

import re

import pytest

from callboard.cli.command_line import habits
from tests.unit.pages import commands


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("queue:work --queue=high,default --memory=256", "work --queues=high,default --max-rss=256"),
        ("work --queue high --max-jobs=3", "work --queues high --max-jobs=3"),
        ("queue:retry all", "retry all"),
        ("retry --id 5", "retry 5"),
        ("failed --id=5", "failed 5"),
        ("queue:flush --hours=48", "flush --hours=48"),
        ("clear emails", "queues discard emails"),
        ("pause --all", "queues pause --all"),
        ("queue:clear --queue=emails --force", "queues discard emails --force"),
        ("clear --queue emails", "queues discard emails"),
        ("size --queue=emails", "size emails"),
        ("messages show --id=5", "messages show 5"),
        ("jobs cancel --id 5", "jobs cancel 5"),
        ("retry --queue emails", "retry --queue emails"),
        ("dead retry --queue=emails", "dead retry --queue=emails"),
        ("tail", "logs -f"),
        ("list", "messages list"),
        ("dead list --queue emails", "dead list --queue emails"),
        ("", ""),
    ],
)
def test_a_habit_becomes_our_command(typed, meant):
    assert habits.translated(typed.split()) == meant.split()


def test_every_habit_leads_to_a_command_that_exists():
    verbs = set(commands())
    missing = {
        typed: own
        for typed, own in habits.VERBS.items()
        if not any(" ".join(own) == verb or " ".join(own[:-1]) == verb for verb in verbs)
    }
    assert missing == {}


def test_no_habit_hides_a_command_of_ours():
    assert not habits.VERBS.keys() & {verb.split()[0] for verb in commands()}


@pytest.mark.parametrize("option", sorted(habits.ANSWERS))
def test_an_option_of_other_workers_is_answered(option):
    said = habits.answer_to(["work", f"{option}=3"])
    assert said is not None and said.startswith(f"{option} is no option here.")
    assert re.search(r"[A-Z_]{8,}|\w+=\d|callboard ", said), "It names the setting, option or command that helps."


def test_other_verbs_and_options_are_left_alone():
    assert habits.answer_to(["work", "--once"]) is None
    assert habits.answer_to(["queues", "pause", "--force"]) is None
    assert habits.answer_to([]) is None


def test_a_misspelled_habit_is_guessed():
    assert habits.meant("queue:wrk") == "work"
    assert habits.meant("zzz") is None


@pytest.mark.parametrize("typed", ["celery", "clera", "cleaner", "flusj", "forge", "queue:clean", "paused", "purged"])
def test_nobody_who_misspells_is_led_to_a_verb_that_throws_away(typed):
    assert habits.meant(typed) not in {"queues discard", "dead purge", "flush", "forget", "queues pause"}

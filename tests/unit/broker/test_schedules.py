"""Declaring periodic messages, and what a worker's start refuses."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta, timezone

import dramatiq
import pytest
from dramatiq.brokers.stub import StubBroker

import callboard
from callboard.broker import PostgresBroker, schedule
from callboard.broker.schedules.declaration import check_schedules, declared_on
from callboard.errors import ConfigurationError
from middleware.worker_boot import WorkerBoot

SLOT = datetime(2026, 11, 24, 3, tzinfo=UTC)


@pytest.fixture(params=["postgres", "stub"])
def broker(request):
    # Declaring and checking connects to nothing.
    return StubBroker() if request.param == "stub" else PostgresBroker(url="postgresql://nowhere.invalid/none")


def declare(broker, name="daily", actor_name="job", **options):
    actor = dramatiq.actor(lambda **_: None, actor_name=actor_name, broker=broker, queue_name="jobs", priority=7)
    return schedule(name, **{"cron": "0 6 * * *", **options})(actor)


def test_a_declaration_is_kept_beside_its_actor_and_the_actor_stays_what_it_is(broker):
    actor = declare(broker, timezone="Europe/Moscow", kwargs={"kind": "register"}, catch_up="all", dedupe_key="one")
    assert isinstance(actor, dramatiq.Actor)
    (own,) = declared_on(broker)
    assert (own.name, own.actor_name, own.queue_name, own.priority) == ("daily", "job", "jobs", 7)
    assert (own.cron, own.timezone, own.catch_up, own.dedupe_key) == ("0 6 * * *", "Europe/Moscow", "all", "one")
    check_schedules(broker)


def test_an_actor_may_have_several_schedules_and_its_own_slots_by_plain_call(broker):
    actor = declare(broker)
    assert callboard.schedule("hourly", cron="0 * * * *", kwargs={"kind": "hour"})(actor) is actor
    assert [own.name for own in declared_on(broker)] == ["daily", "hourly"]
    check_schedules(broker)


def test_a_message_has_one_id_whoever_makes_it_and_tells_its_slot(broker):
    declare(broker, kwargs={"kind": "register"}, dedupe_key="one")
    (own,) = declared_on(broker)
    message = own.message(SLOT, sent_at=SLOT + timedelta(seconds=3))
    assert message.message_id == own.message(SLOT.astimezone(timezone(timedelta(hours=3)))).message_id
    assert message.message_id != own.message(SLOT + timedelta(seconds=1)).message_id
    assert uuid.UUID(message.message_id).version == 5
    assert message.options == {"schedule": "daily", "slot_at": "2026-11-24T03:00:00+00:00", "dedupe_key": "one"}
    assert message.kwargs == {"kind": "register"}
    assert message.message_timestamp == (SLOT + timedelta(seconds=3)).timestamp() * 1000


def test_what_is_no_actor_is_refused_where_it_stands():
    with pytest.raises(TypeError, match=r"'daily'.*above @actor"):
        schedule("daily", cron="0 6 * * *")(lambda: None)


@pytest.mark.parametrize(
    ("options", "value", "advice"),
    [
        ({"cron": "0 25 * * *"}, "'0 25 * * *'", "five fields"),
        ({"cron": None}, "None", "five fields"),
        ({"timezone": "Europe/Moskau"}, "'Europe/Moskau'", "Europe/Moscow"),
        ({"kwargs": {"since": datetime(2026, 1, 1, tzinfo=UTC)}}, "datetime.datetime(2026", "no JSON"),
        ({"kwargs": {"note": "a\0b"}}, "'a\\x00b'", "NUL"),
        ({"kwargs": {"text": "x" * 300_000}}, "'xxx", "the limit is 262144"),
        ({"kwargs": ["register"]}, "['register']", "by name"),
        ({"kwargs": {1: 2}}, "{1: 2}", "by name"),
        ({"kwargs": {"ratio": float("nan")}}, "nan", "no JSON"),
        ({"catch_up": "some"}, "'some'", "none, latest, all"),
        ({"dedupe_key": ""}, "''", "1 to 255"),
        ({"name": "every day"}, "'every day'", "such as daily-report"),
        ({"name": ""}, "''", "such as daily-report"),
        ({"name": None}, "None", "such as daily-report"),
        ({"name": "x" * 101}, "xxx", "such as daily-report"),
    ],
)
def test_what_can_never_be_sent_is_refused_with_name_value_and_advice(broker, options, value, advice):
    declare(broker, **options)
    with pytest.raises(ConfigurationError) as caught:
        check_schedules(broker)
    (problem,) = caught.value.problems
    assert problem.startswith(f"Schedule {options.get('name', 'daily')!r} ")
    assert value in problem and advice in problem
    assert len(problem) < 1000


def test_all_problems_are_named_at_once(broker):
    declare(broker, "one", "a", cron="x", timezone="y", catch_up="z")
    declare(broker, "two", "b", cron="* * *")
    with pytest.raises(ConfigurationError) as caught:
        check_schedules(broker)
    assert [problem.split()[1] for problem in caught.value.problems] == ["'one'", "'one'", "'one'", "'two'"]


def test_a_name_is_given_once_on_a_broker(broker):
    declare(broker, "daily", "a")
    declare(broker, "daily", "b", cron="0 7 * * *")
    with pytest.raises(ConfigurationError, match=r"'daily'.*'a'.*'0 6 \* \* \*'.*'b'.*'0 7 \* \* \*'.*another name"):
        check_schedules(broker)


def test_two_brokers_may_use_one_name():
    first, second = StubBroker(), StubBroker()
    declare(first)
    declare(second, cron="0 7 * * *")
    check_schedules(first)
    check_schedules(second)


def test_the_services_worker_does_not_start_with_a_wrong_schedule(broker, capsys):
    declare(broker, cron="0 25 * * *")
    with pytest.raises(SystemExit) as caught:
        WorkerBoot(lambda: None).before_worker_boot(broker, None)
    assert caught.value.code == 2
    assert "Schedule 'daily' has cron '0 25 * * *'" in capsys.readouterr().err

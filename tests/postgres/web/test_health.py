"""Health and metrics: what they say when all is well and when it is not."""

from __future__ import annotations

import socket
from datetime import datetime

import pytest
from prometheus_client.parser import text_string_to_metric_families

from callboard.db import Pool
from tests.postgres.web.conftest import NO_DATABASE


def test_health_has_the_fields_the_old_worker_had(shared_api):
    health = shared_api.get("/health", token=None).json()
    assert set(health) == {"status", "service", "timestamp", "uptime"}
    assert (health["status"], health["service"]) == ("ok", "api")
    assert datetime.fromisoformat(health["timestamp"]).tzinfo is not None
    assert isinstance(health["uptime"], float)


def test_a_lost_database_makes_the_api_unready_but_not_dead(make_api):
    api = make_api(used_pool=Pool(NO_DATABASE))
    assert [api.get(f"/health{path}").status_code for path in ("", "/live", "/ready", "/queue")] == [200, 200, 503, 503]
    assert api.get("/health/queue").json()["status"] == "unhealthy"
    assert "nobody" not in api.get("/health/ready").text


def test_a_database_that_never_answers_makes_the_api_unready(make_api):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        api = make_api(used_pool=Pool(f"postgresql://x@127.0.0.1:{silent.getsockname()[1]}/x"))
        assert api.get("/health/ready").status_code == 503
        assert api.get("/health/live").status_code == 200


def test_an_older_schema_makes_the_api_unready_and_names_the_command(make_api, connection):
    connection.cursor().execute("UPDATE callboard.schema_version SET version_num = '0001'")
    answer = make_api().get("/health/ready")
    assert (answer.status_code, "callboard db upgrade" in answer.json()["error"]) == (503, True)


QUEUE = """
    INSERT INTO callboard.workers (worker_id, hostname, pid, queues, threads, version, beat_at) VALUES
        ('00000000-0000-4000-8000-000000000001', 'h', 1, '{emails,payments}', 8, '1', now()),
        ('00000000-0000-4000-8000-000000000002', 'h', 2, '{emails}', 8, '1', now() - interval '1 minute');
    INSERT INTO dramatiq.queue (message_id, queue_name, state, message, available_at, lease_id, worker_id, claimed_at)
    SELECT gen_random_uuid(), queue_name, state::dramatiq.state, '{}', now() + available, lease, worker::uuid,
        now() - ran
    FROM (VALUES
        ('emails', 'queued', interval '-90 s', NULL::bigint, NULL, NULL::interval),
        ('emails', 'queued', '1 hour', NULL, NULL, NULL),
        ('emails', 'running', '0', 1, '00000000-0000-4000-8000-000000000001', '1 minute'),
        ('emails', 'running', '0', 2, '00000000-0000-4000-8000-000000000001', '2 hours'),
        ('emails', 'running', '0', 3, '00000000-0000-4000-8000-000000000002', '1 minute'),
        ('reports', 'running', '0', 4, '00000000-0000-4000-8000-000000000003', '1 minute')
    ) AS given (queue_name, state, available, lease, worker, ran);
    INSERT INTO callboard.dead_letters (
        message_id, reason, queue_name, message, priority, attempt, retries, lost_workers, generation, enqueued_at)
    VALUES (gen_random_uuid(), 'permanent', 'payments', '{}', 0, 1, 0, 0, 0, now());
"""


def test_the_health_of_queues_counts_what_waits_failed_and_is_stuck(api, connection):
    connection.cursor().execute(QUEUE)
    health = api.get("/health/queue", token=None).json()
    assert (health["status"], health["pending"], health["failed"], health["stuck"]) == ("healthy", 2, 1, 3)
    emails = health["queues"]["emails"]
    assert (emails["ready"], emails["delayed"], emails["running"], emails["stuck"]) == (1, 1, 3, 2)
    assert 89 < emails["oldest_ready_s"] < 300
    assert health["queues"]["payments"]["failed"] == 1


PAUSE = """
    INSERT INTO callboard.queue_controls (queue_name, is_paused, paused_until, reason, changed_by) VALUES
        ('emails', true, '2999-01-01', 'secret', 'ann@host'), ('reports', true, now() - interval '1 second', NULL, NULL)
"""


HISTORY = """
    INSERT INTO callboard.message_history (
        message_id, outcome, queue_name, message, priority, attempt, retries, lost_workers, generation, enqueued_at,
        available_at, started_at)
    SELECT gen_random_uuid(), 'done', 'payments', '{}', 0, 1, 0, 0, 0, now(), now(), now() - interval '10 s'
    FROM generate_series(1, 30)
"""


def test_the_health_of_queues_tells_pauses_but_not_why(api, connection):
    connection.cursor().execute(QUEUE + PAUSE)
    answer = api.get("/health/queue", token=None)
    queues = answer.json()["queues"]
    assert (queues["emails"]["paused"], queues["emails"]["paused_until"][:10]) == (True, "2999-01-01")
    assert (queues["reports"]["paused"], queues["reports"]["paused_until"]) == (False, None)
    assert "secret" not in answer.text and "ann@host" not in answer.text


def test_more_than_ten_stuck_messages_are_a_warning(api, connection):
    for _ in range(4):
        connection.cursor().execute(
            QUEUE.partition("INSERT INTO dramatiq")[1] + QUEUE.partition("INSERT INTO dramatiq")[2]
        )
    assert api.get("/health/queue").json()["status"] == "warning"


def samples(api):
    families = text_string_to_metric_families(api.get("/metrics").text)
    return {(item.name, *sorted(item.labels.values())): item.value for family in families for item in family.samples}


def test_metrics_show_the_queues(api, connection):
    connection.cursor().execute(QUEUE)
    shown = samples(api)
    assert shown["callboard_queue_depth", "emails", "ready"] == 1
    assert shown["callboard_queue_depth", "emails", "stuck"] == 2
    assert shown["callboard_oldest_ready_seconds", "emails"] > 89
    assert shown["callboard_dead_letters_kept", "payments"] == 1
    assert (shown["callboard_workers_alive", "emails"], shown["callboard_workers_alive", "reports"]) == (1, 0)
    assert shown["callboard_scrape_errors_total",] == 0


def test_metrics_show_the_threads_that_are_needed_and_the_pauses(api, connection):
    connection.cursor().execute(f"{QUEUE}; {PAUSE}; {HISTORY}")
    shown = samples(api)
    assert (shown["callboard_queue_paused", "emails"], shown["callboard_queue_paused", "payments"]) == (1, 0)
    assert shown["callboard_workers_needed", "payments"] == pytest.approx(30 / 300 * 10, rel=0.05)
    # Messages came and none has ended: nobody knows
    assert ("callboard_workers_needed", "emails") not in shown


def test_with_the_database_away_the_gauges_are_absent_and_the_error_counted(make_api):
    shown = samples(make_api(used_pool=Pool(NO_DATABASE)))
    assert shown["callboard_scrape_errors_total",] == 1
    assert not [name for name in shown if name[0].startswith("callboard_queue_depth")]


def test_scrapers_share_one_look_at_the_database(api, connection):
    samples(api)
    connection.cursor().execute(QUEUE)
    assert not [name for name in samples(api) if "emails" in name and name[0] == "callboard_queue_depth"]

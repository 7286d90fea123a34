from __future__ import annotations

from callboard.ops.workers import JOBS_MAX, list_workers


def test_a_worker_shows_what_it_runs_longest_first(cursor, scene):
    worker = scene.worker("emails", "reports", threads=8, pid=1)
    scene.worker("emails", pid=2)
    short, long = scene.running(worker, run_s=5), scene.running(worker, "reports", run_s=500)
    cursor.execute("UPDATE callboard.workers SET rss_bytes = 123456789 WHERE worker_id = %s", (worker,))
    first, second = list_workers(cursor)
    assert (first.hostname, first.pid, first.queues, first.threads) == ("node-1", 1, ["emails", "reports"], 8)
    assert (first.rss_bytes, first.version, first.is_suspect, second.rss_bytes) == (123456789, "1.2", False, None)
    assert [(job.message_id, job.queue_name, round(job.run_s)) for job in first.jobs] == [
        (long, "reports", 500),
        (short, "emails", 5),
    ]
    assert (first.running, second.running, second.jobs) == (2, 0, [])


def test_a_silent_and_a_suspected_worker_are_marked(cursor, scene):
    scene.worker("emails", pid=1, silent_s=21)
    suspected = scene.worker("emails", pid=2)
    scene.worker("emails", pid=3)
    cursor.execute("UPDATE callboard.workers SET suspected_at = now() WHERE worker_id = %s", (suspected,))
    assert [worker.is_suspect for worker in list_workers(cursor)] == [True, True, False]
    assert list_workers(cursor)[0].silent_s > 20


def test_a_process_that_holds_thousands_names_the_longest_only(cursor, scene):
    worker = scene.worker("emails")
    for _ in range(JOBS_MAX + 5):
        scene.running(worker)
    (found,) = list_workers(cursor)
    assert (found.running, len(found.jobs)) == (JOBS_MAX + 5, JOBS_MAX)


def test_without_workers_there_are_none(cursor):
    assert list_workers(cursor) == []

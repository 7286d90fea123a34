"""Reports: state, file, and the signed link."""

from __future__ import annotations

import json
import socket
import threading
import time
from datetime import UTC, datetime
from uuid import uuid4

import requests

from callboard.db import Pool
from tests.postgres.web.conftest import error_of


def test_a_report_is_shown_to_the_bearer_of_the_token(api, connection):
    report_id = str(uuid4())
    connection.cursor().execute(
        "INSERT INTO callboard.reports (report_id, kind, formats) VALUES (%s, 'payments_register', '{pdf}')",
        (report_id,),
    )
    view = api.get(f"/reports/{report_id}").json()
    assert (view["state"], view["kind"], view["files"]) == ("requested", "payments_register", {})
    assert error_of(api.get(f"/reports/{report_id}?format=pdf")) == (409, "not_ready")
    assert error_of(api.get(f"/reports/{report_id}?format=csv")) == (409, "not_ready")


def test_a_report_that_is_not_there_is_not_found(shared_api):
    assert error_of(shared_api.get(f"/reports/{uuid4()}")) == (404, "not_found")


def test_a_signed_link_opens_its_file_and_no_other(make_api, connection, tmp_path):
    from callboard import reports

    api = make_api(encryption_key="A" * 43 + "=", report_storage_url=tmp_path.as_uri(), api_base_url="http://x")
    report_id = str(uuid4())
    stored = reports.store(api.service.settings.report_storage_url, f"{report_id}/register.pdf", b"%PDF-1.7 test")
    files = json.dumps({"pdf": {"path": stored.path, "size_bytes": stored.size_bytes, "sha256": stored.sha256}})
    connection.cursor().execute(
        "INSERT INTO callboard.reports (report_id, state, kind, formats, files, finished_at)"
        " VALUES (%s, 'ready', 'register', '{pdf}', %s, now())",
        (report_id, files),
    )
    link = reports.report_link(api.service.settings, report_id, "pdf", datetime.now(UTC)).removeprefix("http://x")
    file = api.get(link, token=None)
    assert (file.content, file.headers["Content-Type"]) == (b"%PDF-1.7 test", "application/pdf")
    assert file.headers["Content-Disposition"].startswith("attachment")
    # And whoever only looks at the link fetches nothing, so that a storage that is away keeps nobody waiting
    reports.remove_files(api.service.settings.report_storage_url, report_id)
    head = requests.head(api.url + link, timeout=10)
    assert (head.status_code, head.content) == (200, b"")
    told = ("Content-Type", "Content-Disposition", "Content-Length", "Cache-Control")
    assert [head.headers[name] for name in told] == [file.headers[name] for name in told]
    assert api.get(link, token=None).status_code == 404
    assert api.get(link.replace("format=pdf", "format=csv"), token=None).status_code == 401
    assert api.get(link[:-1] + ("0" if link[-1] != "0" else "1"), token=None).status_code == 401
    assert api.get(link.split("?")[0], token=None).status_code == 401


def test_a_page_is_answered_while_other_requests_wait_for_the_database(make_api):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        api = make_api(used_pool=Pool(f"postgresql://x@127.0.0.1:{silent.getsockname()[1]}/x"))
        waiting = [threading.Thread(target=api.get, args=(f"/payments/{uuid4()}",)) for _ in range(5)]
        for thread in waiting:
            thread.start()
        started = time.monotonic()
        assert api.get("/health/live").status_code == 200
        # Only that it does not wait for the five: they end after seconds.
        assert time.monotonic() - started < 2
        for thread in waiting:
            thread.join()

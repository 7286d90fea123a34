"""What answers in the storage's place: a proxy's page is no word of the storage, and refusals are waited for."""

from __future__ import annotations

import hashlib

import pytest

from callboard.errors import NotFound, TemporaryError
from callboard.metrics import STORAGE, STORAGE_OPERATIONS, STORAGE_OUTCOMES
from callboard.reports import (
    StorageMisconfigured,
    StorageRejected,
    StorageUnavailable,
    fetch,
    probe,
    remove_files,
    store,
)
from callboard.reports.storage import answers
from callboard.reports.storage import files as storage
from tests.dripping import Dripping
from tests.unit.payments.stranger import HTML, Stranger
from tests.unit.reports.test_storage import s3  # noqa: F401 - a fixture

OPERATIONS = {"store": lambda url: store(url, "a.pdf", b"x"), "fetch": lambda url: fetch(url, "a.pdf"), "probe": probe}
OPERATIONS["remove"] = lambda url: remove_files(url, "id")
STATUSES = (301, 302, 400, 401, 403, 404, 405, 407, 409, 410, 429, 451, 500, 502, 503, 504)


@pytest.fixture
def stranger(monkeypatch):
    monkeypatch.setattr(storage, "_S3_TRIES", 1)
    with Stranger() as stranger:
        yield stranger


@pytest.fixture
def url(stranger, s3):  # noqa: F811 - the fixture
    return s3(stranger.url.removesuffix("/v3"))


PAGES = {
    "HTML": (HTML, "text/html"),
    "XHTML": (b'<?xml version="1.0"?><html><body><Code>NoSuchKey</Code></body></html>', "application/xml"),
    "nothing": (b"", None),
    "JSON": (b'{"error": "forbidden"}', "application/json"),
    "half of XML": (b"<Error><Code>NoSuchKey</Co", "application/xml"),
}


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_page_that_is_not_of_the_storage_says_nothing_about_it(stranger, url, operation, page):
    for status in STATUSES:
        stranger.say(status, *PAGES[page])
        with pytest.raises(Exception, match=r"\w") as failed:
            OPERATIONS[operation](url)
        assert failed.type is StorageUnavailable, (status, failed.value)


def own(code):
    text = f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code><Message>No.</Message></Error>'
    return text.encode(), "application/xml"


OWN = [
    (403, "AccessDenied", StorageMisconfigured),
    (403, "InvalidAccessKeyId", StorageMisconfigured),
    (403, "SignatureDoesNotMatch", StorageMisconfigured),
    (400, "ExpiredToken", StorageMisconfigured),
    (400, "InvalidToken", StorageMisconfigured),
    (401, "Unauthorized", StorageMisconfigured),
    (404, "NoSuchBucket", StorageMisconfigured),
    (400, "EntityTooLarge", StorageRejected),
    (400, "KeyTooLongError", StorageRejected),
    (503, "SlowDown", StorageUnavailable),
    (500, "InternalError", StorageUnavailable),
]


@pytest.mark.parametrize("answer", OWN, ids=[code for _, code, _ in OWN])
@pytest.mark.parametrize("operation", ["store", "fetch", "remove"])
def test_what_the_storage_says_itself_is_believed_and_nothing_of_it_ends_a_report(stranger, url, operation, answer):
    status, code, meaning = answer
    stranger.say(status, *own(code))
    with pytest.raises(meaning) as failed:
        OPERATIONS[operation](url)
    assert failed.type is meaning
    assert isinstance(failed.value, TemporaryError)


def test_only_the_storage_itself_can_say_that_a_file_is_not_there(stranger, url):
    stranger.say(404, *own("NoSuchKey"))
    with pytest.raises(NotFound):
        fetch(url, "a.pdf")


def counted(outcome):
    return STORAGE.labels("fetch", outcome)._value.get()


def test_a_storage_that_is_to_be_looked_at_is_one_line_until_it_answers_again(stranger, url, caplog, monkeypatch):
    monkeypatch.setitem(answers._found, "state", "answered")
    caplog.set_level("INFO", "callboard.reports.storage.answers")
    shown = {tuple(sample.labels.values()) for metric in STORAGE.collect() for sample in metric.samples}
    assert {(operation, outcome) for operation in STORAGE_OPERATIONS for outcome in STORAGE_OUTCOMES} <= shown
    before = counted("misconfigured")
    for answer in [(403, "AccessDenied")] * 3 + [(404, "NoSuchKey")] + [(403, "AccessDenied")]:
        stranger.say(answer[0], *own(answer[1]))
        with pytest.raises((StorageMisconfigured, NotFound)):
            fetch(url, "a.pdf")
    assert counted("misconfigured") == before + 4
    lines = [record.getMessage() for record in caplog.records]
    assert lines == [
        "report storage needs a look",
        "report storage answers again",
        "report storage needs a look",
    ]
    stranger.say(404, *own("NoSuchKey"))
    with pytest.raises(NotFound):
        fetch(url, "a.pdf")


def test_bytes_come_as_they_are(stranger, url):
    stranger.say(200, b"content", "application/pdf")
    assert hashlib.sha256(fetch(url, "a.pdf")).digest() == hashlib.sha256(b"content").digest()


LISTING = b"""<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>shop</Name>
<KeyCount>1</KeyCount><IsTruncated>false</IsTruncated><Contents><Key>reports/id/a.pdf</Key><Size>1</Size>
<LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents></ListBucketResult>"""


def test_a_file_that_the_storage_keeps_is_not_taken_for_removed(stranger, url):
    # Given a storage that says yes to everything, and shows the file all the same
    stranger.say(200, LISTING, "application/xml")
    with pytest.raises(StorageMisconfigured, match=r"keeps 1 files .*reports/id/a\.pdf"):
        remove_files(url, "id")


@pytest.mark.parametrize("page", [(HTML, "text/html"), (b"", None), (b"<html/>", "application/xml")])
def test_a_page_in_place_of_a_file_ends_no_report(stranger, url, page):
    stranger.say(200, *page)
    with pytest.raises(StorageUnavailable, match="look at who answers there"):
        store(url, "a.pdf", b"x")


@pytest.mark.parametrize("first", [b"HTTP/1.1 200 OK\r\nContent-Length: 90000\r\n\r\n", b"HTTP/1.1 200 OK\r\nX-Long: "])
@pytest.mark.parametrize("operation", ["store", "fetch", "remove"])
def test_a_storage_that_sends_a_byte_now_and_then_holds_no_call_beyond_its_time(s3, monkeypatch, operation, first):  # noqa: F811 - the fixture
    monkeypatch.setattr(storage, "CALL_TIMEOUT_S", 1)
    with Dripping(b"a", first=first) as server:
        with pytest.raises(StorageUnavailable):
            OPERATIONS[operation](s3(f"http://127.0.0.1:{server.port}"))
        assert not server.was_heard_out

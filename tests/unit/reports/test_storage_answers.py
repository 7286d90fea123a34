"""What answers in the storage's place: a proxy's page is no word of the storage, and refusals are waited for."""

from __future__ import annotations

import hashlib

import pytest

from callboard.errors import NotFound, TemporaryError
from callboard.metrics import STORAGE, STORAGE_OPERATIONS, STORAGE_OUTCOMES
from callboard.reports import StorageMisconfigured, StorageRejected, StorageUnavailable, fetch, probe, storage, store
from tests.unit.payments.stranger import HTML, Stranger
from tests.unit.reports.test_storage import s3  # noqa: F401 - a fixture

OPERATIONS = {"store": lambda url: store(url, "a.pdf", b"x"), "fetch": lambda url: fetch(url, "a.pdf"), "probe": probe}
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
@pytest.mark.parametrize("operation", ["store", "fetch"])
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


def test_a_storage_that_is_to_be_looked_at_is_one_line_until_it_answers_again(stranger, url, caplog):
    caplog.set_level("INFO", "callboard.reports.storage_answers")
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

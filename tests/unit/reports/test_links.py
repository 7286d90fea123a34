"""Links to files: valid for a week, for one report and one format, and only with our signature."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import pytest

from callboard.reports import check_signature, report_link
from callboard.settings import load_settings

NOW = datetime(2026, 11, 23, 9, tzinfo=UTC)
ID = "0f1c1a52-5a3c-4d8e-9a3e-111111111111"


@pytest.fixture
def settings():
    return load_settings(encryption_key="A" * 43 + "=", api_base_url="https://jobs.shop.example/")


def parts(link):
    query = parse_qs(urlsplit(link).query)
    return {name: query[name][0] for name in ("format", "expires", "signature")}


def check(settings, link, now=NOW, **changes):
    given = {"report_id": ID, **parts(link), **changes}
    return check_signature(settings, given["report_id"], given["format"], given["expires"], given["signature"], now)


def test_a_link_opens_its_report_for_a_week(settings):
    link = report_link(settings, ID, "pdf", NOW)
    assert link.startswith(f"https://jobs.shop.example/reports/{ID}?format=pdf&expires=")
    assert check(settings, link)
    assert check(settings, link, NOW + timedelta(days=7, seconds=-1))
    assert not check(settings, link, NOW + timedelta(days=7))


@pytest.mark.parametrize(
    "changes",
    [
        {"report_id": ID.replace("0f", "1f")},
        {"format": "csv"},
        {"format": None},
        {"expires": "99999999999"},
        {"expires": None},
        {"expires": "soon"},
        {"expires": " 1"},
        {"expires": "١٢٣"},
        {"expires": "9" * 5000},
        {"signature": None},
        {"signature": ""},
        {"signature": "0" * 64},
        {"signature": "ы\ud800"},
    ],
)
def test_whatever_is_altered_closes_the_link(settings, changes):
    assert not check(settings, report_link(settings, ID, "pdf", NOW), **changes)


def test_expires_may_come_as_a_number(settings):
    link = report_link(settings, ID, "pdf", NOW)
    assert check(settings, link, expires=int(parts(link)["expires"]))


def test_another_key_signs_otherwise(settings):
    assert not check(load_settings(encryption_key="B" * 42 + "A="), report_link(settings, ID, "pdf", NOW))


def test_without_a_key_the_link_is_plain_and_no_signature_is_valid(settings):
    keyless = load_settings(api_base_url="https://jobs.shop.example")
    assert report_link(keyless, ID, "pdf", NOW) == f"https://jobs.shop.example/reports/{ID}?format=pdf"
    assert not check(keyless, report_link(settings, ID, "pdf", NOW))

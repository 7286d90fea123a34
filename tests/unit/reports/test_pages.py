"""HTML pages: every text escaped, nothing loaded, nothing run."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest

from callboard.reports import render
from tests.unit.reports.samples import HOSTILE, payment, receipt, register


class Page(HTMLParser):
    def __init__(self, content):
        super().__init__()
        self.tags, self.text = set(), ""
        self.feed(content.decode())

    def handle_starttag(self, tag, _attrs):
        self.tags.add(tag)

    def handle_data(self, data):
        self.text += data


@pytest.mark.parametrize("hostile", HOSTILE, ids=lambda text: ascii(text[:12]))
def test_hostile_text_adds_no_element(hostile):
    known = Page(render("payments_register", "html", register(payment()))).tags
    page = Page(render("payments_register", "html", register(payment(order_id=hostile, customer=hostile))))
    assert page.tags == known
    assert "script" not in Page(render("receipt", "html", receipt(customer_name=hostile, order_id=hostile))).tags


def test_markup_is_shown_as_it_was_written():
    page = Page(render("payments_register", "html", register(payment(order_id="<b>{{ 7 * 7 }}</b>"))))
    assert "<b>{{ 7 * 7 }}</b>" in page.text


def test_a_page_forbids_itself_to_load_anything():
    content = render("receipt", "html", receipt()).decode()
    assert "default-src 'none'" in content
    assert "http" not in content.replace("http-equiv", "")


def test_a_receipt_page_shows_what_was_paid():
    text = Page(render("receipt", "html", receipt(items=[{"name": "Билет", "amount": "1234.50"}]))).text
    assert "1,234.50\u00a0₽" in text
    assert "Билет" in text

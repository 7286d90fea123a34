"""HTML pages of reports: one file each, readable without anything else."""

from __future__ import annotations

from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined


def render_page(template: str, view: dict[str, Any]) -> bytes:
    """Return templates/<template> with the view's texts, every one escaped."""
    return _environment().get_template(template).render(view).encode()


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("callboard.reports"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )

"""What the API loads before it answers: YooKassa's SDK where there is a shop, and nothing that only workers need."""

from __future__ import annotations

import subprocess
import sys

import pytest

WORKERS_OWN = ("typst", "xlsxwriter", "css_inline", "fsspec", "s3fs", "boto3", "jinja2", "alembic", "rich", "typer")
SDK = ("yookassa", "requests")
CODE = """
import sys
from callboard.web import create_app
create_app()
print(*(name for name in {names!r} if name in sys.modules))
"""


@pytest.mark.parametrize("has_shop", [False, True], ids=["without a shop", "with a shop"])
def test_the_sdk_of_yookassa_loads_at_the_start_and_only_where_there_is_a_shop(has_shop, tmp_path, monkeypatch):
    # Given a folder without .env
    monkeypatch.chdir(tmp_path)
    if has_shop:
        monkeypatch.setenv("YUKASSA_SHOP_ID", "100500")
        monkeypatch.setenv("YUKASSA_SECRET_KEY", "test_of_nobody")
    # When the app is built
    code = CODE.format(names=(*SDK, *WORKERS_OWN))
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    # Then it has what it needs, and no more
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == (list(SDK) if has_shop else [])

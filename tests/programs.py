"""Programs that some tests need beside Python: PgBouncer, Prometheus, Postfix."""

from __future__ import annotations

import os
import shutil

import pytest

#: Debian's package of each program, which .ci/run installs.
PACKAGES = {"pgbouncer": "pgbouncer", "prometheus": "prometheus", "promtool": "prometheus", "postfix": "postfix"}


def program(name: str) -> str:
    """Return the path of a program; without it the test is skipped with its package's name, and in CI it fails."""
    # An ordinary user's PATH leaves out where Debian puts servers.
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    if path is not None:
        return path
    missing = f"{name} is not installed, so this was not tested. On Debian it is in the package {PACKAGES[name]}."
    return pytest.fail(missing, pytrace=False) if os.environ.get("CI") else pytest.skip(missing)

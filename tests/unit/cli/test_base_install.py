"""A command whose imports miss something says what, in one sentence."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from callboard.cli.command_line.base_install import refusal
from tests.acceptance.processes import REPOSITORY


def test_a_machine_without_a_folder_for_temporary_files_is_told_so(tmp_path):
    # Given a root that nobody may write, without /tmp
    code = (
        "import runpy, sys, tempfile\n"
        "tempfile._candidate_tempdir_list = lambda: ['/proc/nowhere']\n"
        "sys.argv = ['callboard', 'status']\n"
        "runpy.run_module('callboard.cli', run_name='__main__')\n"
    )
    # When any command runs
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
    )
    # Then it says so in a sentence
    assert done.returncode == 2 and "TMPDIR" in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr


@pytest.mark.parametrize("error", [ModuleNotFoundError("x", name="their_module"), FileNotFoundError(2, "No such file")])
def test_what_no_sentence_is_for_is_raised(error):
    with pytest.raises(type(error)):
        refusal(error)

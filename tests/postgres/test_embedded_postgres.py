"""The embedded Postgres: started whatever was left behind, shared, and without opening anybody's folders."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest

from callboard.dev.postgres import UNPRIVILEGED_USER, Server, project_server, state_dir
from tests.conftest import is_running, wait_until

REPOSITORY = Path(__file__).resolve().parents[2]
as_root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root's server runs as another user")


@contextlib.contextmanager
def open_folder(name: str = "project") -> Iterator[Path]:
    """Lend a folder that every user may enter, as a checkout below /srv is."""
    place = Path(tempfile.mkdtemp(prefix="callboard-embedded-", dir="/tmp"))
    place.chmod(0o755)
    project = place / name
    project.mkdir()
    try:
        yield project
    finally:
        shutil.rmtree(place, ignore_errors=True)


@pytest.fixture
def project() -> Iterator[Path]:
    with open_folder() as folder:
        yield folder


def postmaster_pid(server: Server) -> int:
    return int((server.data_dir / "postmaster.pid").read_text().splitlines()[0])


def query(server: Server, statement: str) -> object:
    with contextlib.closing(psycopg2.connect(server.url())) as connection, connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchone()[0]


def kill_postmaster(server: Server) -> None:
    """End the server without a word, and wait until its own children have noticed."""
    pid = postmaster_pid(server)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not is_running(pid), what="the postmaster's end")


def modes(path: Path) -> dict[str, int]:
    return {str(folder): stat.S_IMODE(folder.stat().st_mode) for folder in (path, *path.parents)}


def test_a_pid_file_whose_number_is_another_program_now_does_not_stop_the_start(project):
    # Given the files of a server that was killed, and its number given to another program
    with project_server(project) as server:
        kill_postmaster(server)
        pid_file = server.data_dir / "postmaster.pid"
        # Of the server's own user: Postgres itself sees through a number that belongs to another one's program.
        user = UNPRIVILEGED_USER if os.geteuid() == 0 else None
        somebody = subprocess.Popen(["sleep", "600"], user=user, extra_groups=[] if user else None)
        try:
            lines = pid_file.read_text().splitlines() if pid_file.exists() else ["", str(server.data_dir)]
            pid_file.write_text("\n".join([str(somebody.pid), *lines[1:]]) + "\n")
            # When it is started again
            server.start()
            # Then it runs, and the other program has not been touched
            assert server.answers()
            assert postmaster_pid(server) != somebody.pid
            assert somebody.poll() is None
        finally:
            somebody.kill()
            somebody.wait()


def test_a_server_that_was_killed_starts_again_with_what_was_committed(project):
    # Given a server that dies right after a commit
    with project_server(project) as server:
        with contextlib.closing(psycopg2.connect(server.url())) as connection, connection.cursor() as cursor:
            cursor.execute("CREATE TABLE kept (n integer)")
            cursor.execute("INSERT INTO kept VALUES (42)")
            connection.commit()
        kill_postmaster(server)
        assert not server.answers()
        # When it is started again
        wait_until(lambda: _starts(server), 20, "the restart")
        # Then nothing is missing
        assert query(server, "SELECT n FROM kept") == 42


def _starts(server: Server) -> bool:
    server.start()
    return server.answers()


def test_a_second_user_shares_the_server_and_the_last_one_stops_it(project):
    with project_server(project) as first:
        pid = postmaster_pid(first)
        with project_server(project) as second:
            assert postmaster_pid(second) == pid
        assert first.answers()
    assert not first.answers()
    wait_until(lambda: not is_running(pid), what="the server's end")


def test_a_user_that_was_killed_does_not_keep_the_server_from_being_stopped(project):
    # Given a user of the server in another process, killed in the middle
    code = (
        "import sys\nfrom pathlib import Path\nfrom callboard.dev.postgres import project_server\n"
        "with project_server(Path(sys.argv[1])):\n    print('runs', flush=True)\n    sys.stdin.read()\n"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(project)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=REPOSITORY
    )
    assert other.stdout is not None
    assert other.stdout.readline() == b"runs\n"
    with project_server(project) as server:
        other.kill()
        other.communicate()
        assert server.answers()
    # Then the one that is left stops it
    assert not server.answers()


def test_a_path_that_is_too_long_for_a_socket_works():
    with open_folder("a-long-name-" * 12) as project:
        assert len(str(project)) > 107
        with project_server(project) as server:
            assert query(server, "SELECT 1") == 1
        shutil.rmtree(server._socket_dir)


def test_a_path_with_blanks_and_quotes_works():
    with open_folder("Ann's shop & co") as project, project_server(project) as server:
        assert query(server, "SELECT 1") == 1


def test_nobody_else_may_read_the_data(project):
    with project_server(project) as server:
        assert stat.S_IMODE(server.data_dir.stat().st_mode) == 0o700
        assert query(server, "SHOW listen_addresses") == ""


def run_as(user: pwd.struct_passwd, folder: Path, code: str) -> subprocess.CompletedProcess[str]:
    """Run Python as another user; with the system's one where ours lies in a home that nobody else may enter."""
    packages = os.pathsep.join([str(REPOSITORY), sysconfig.get_path("purelib")])
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    for python in (sys.executable, f"/usr/bin/python{version}"):
        with contextlib.suppress(PermissionError, FileNotFoundError):
            return subprocess.run(
                [python, "-c", code],
                cwd=folder,
                env={"PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONPATH": packages},
                user=user.pw_uid,
                group=user.pw_gid,
                extra_groups=[],
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
    return pytest.skip(f"no Python {version} that {user.pw_name} may run")


@as_root_only
def test_an_ordinary_user_runs_a_server_of_its_own(project):
    # Given an ordinary user with a folder and a home
    user = pwd.getpwnam("nobody")
    os.chown(project, user.pw_uid, user.pw_gid)
    code = (
        "import os\nfrom pathlib import Path\nfrom callboard.dev.postgres import project_server\n"
        "with project_server(Path.cwd()) as server:\n"
        "    assert server.answers()\n"
        "    print((server.data_dir / 'postmaster.pid').stat().st_uid)\n"
        "assert not server.answers()\n"
    )
    # When that user starts a server
    done = run_as(user, project, code)
    # Then it runs as that user, in that folder
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{user.pw_uid}\n"


@as_root_only
def test_roots_private_folders_stay_private(tmp_path):
    # Given a project in a folder that only root may enter, such as root's home
    home = tmp_path / "home"
    project = home / "project"
    project.mkdir(parents=True)
    home.chmod(0o700)
    before, wheel_before = modes(project), modes(Path(sys.prefix))
    try:
        # When its server runs, as another user
        with project_server(project) as server:
            assert query(server, "SELECT 1") == 1
            assert server.data_dir.stat().st_uid != 0
            # Then no folder on the way has been opened
            assert modes(project) == before
            assert modes(Path(sys.prefix)) == wheel_before
        assert modes(project) == before
    finally:
        shutil.rmtree(state_dir(project))


@as_root_only
def test_a_state_folder_that_somebody_else_made_is_refused(tmp_path):
    # Given that another user took the name of our folder below /var/tmp
    tmp_path.chmod(0o700)
    place = state_dir(tmp_path)
    try:
        os.chown(place, pwd.getpwnam("nobody").pw_uid, -1)
        with pytest.raises(Exception, match="belongs to somebody else"), project_server(tmp_path):
            pass
    finally:
        shutil.rmtree(place)

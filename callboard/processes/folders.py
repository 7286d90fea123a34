"""The folders that worker processes share, and who lives there: told by locks, which the kernel frees at a death.

The number of a process tells nothing of the kind. It may be a zombie's or a stranger's by now, and where two
containers share /tmp, one's numbers mean other processes to the other. A lock holds across all of that.
"""

from __future__ import annotations

import contextlib
import fcntl
import multiprocessing
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from callboard.errors import ConfigurationError

#: How long a lock that must be free is waited for, s: whoever looks takes it for a moment.
LOCK_PATIENCE_S = 5.0
LOCK_LOOK_S = 0.01

#: The locks this process holds to its end, by their file or folder.
_held: dict[Path, int] = {}


def make_folder(given: str | None = None) -> Path:
    """Make a folder for the processes of one supervisor, hold it to this process's end, and remove abandoned ones.

    given: one that whoever started the supervisor has made for it already.
    Raises: ConfigurationError where none can be made.
    """
    with _explained():
        if given and _hold_folder(Path(given)):
            return Path(given)
        parent = _parent()
        _remove_abandoned(parent)
        while True:
            place = Path(tempfile.mkdtemp(dir=parent))
            if _hold_folder(place):
                return place


def join_folder(place: Path | None = None) -> Path:
    """Live in a folder from now on, by default in the one of this process's master, and return it.

    Raises: ConfigurationError where that cannot be.
    """
    with _explained():
        if place is None:
            place = _parent() / _master_name()
            _remove_abandoned(place.parent, besides=place)
            _empty_abandoned(place)
        while True:
            place.mkdir(mode=0o700, exist_ok=True)
            if _hold_folder(place):
                break
        if not hold(_life_lock(place, os.getpid()), patience_s=LOCK_PATIENCE_S):
            raise ConfigurationError(
                f"{place} is in use by a process {os.getpid()} of another container. "
                "Give each a folder of its own: leave PROMETHEUS_MULTIPROC_DIR unset, or set it to one."
            )
    return place


def lives_in(place: Path) -> bool:
    """Tell whether any process holds a folder."""
    with _free(place, fcntl.LOCK_EX) as is_free:
        return not is_free


def living(place: Path) -> list[int]:
    """Return the numbers of the processes that live in a folder."""
    found = []
    for lock, pid in _life_locks(place):
        with _free(lock) as is_free:
            if not is_free:
                found.append(pid)
    return found


def forget_dead(place: Path) -> None:
    """Drop what dead processes leave behind in a folder; their counters stay, they happened."""
    for lock, pid in _life_locks(place):
        # Held meanwhile: a new process that got the number waits, and then makes its files anew.
        with _free(lock) as is_free:
            if is_free:
                _forget(place, pid)
                lock.unlink(missing_ok=True)


def _forget(place: Path, pid: int) -> None:
    from prometheus_client.multiprocess import mark_process_dead

    with contextlib.suppress(FileNotFoundError):
        mark_process_dead(pid, str(place))
    (place / f"health-{pid}.json").unlink(missing_ok=True)


def hold(file: Path, *, patience_s: float = 0.0) -> bool:
    """Hold the lock of a file to this process's end, and tell whether it could be had; forked children do not."""
    until = time.monotonic() + patience_s
    while file not in _held:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if _lock(descriptor, fcntl.LOCK_EX) and _is_still(file, descriptor):
            _keep(file, descriptor)
            break
        os.close(descriptor)
        if time.monotonic() >= until:
            return False
        time.sleep(LOCK_LOOK_S)
    return True


def pid_namespace() -> str:
    """Return what numbers of processes are counted in here; the same text all over a machine without containers."""
    with contextlib.suppress(OSError):
        return str(Path("/proc/self/ns/pid").readlink())
    return ""


def _hold_folder(place: Path) -> bool:
    """Hold a folder among others; False where it was removed meanwhile."""
    if place in _held and _is_still(place, _held[place]):
        return True
    try:
        descriptor = os.open(place, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    until = time.monotonic() + LOCK_PATIENCE_S
    # The folder itself, not a file in it: systemd-tmpfiles leaves a folder alone that is locked.
    while not _lock(descriptor, fcntl.LOCK_SH):
        if time.monotonic() > until:
            os.close(descriptor)
            raise ConfigurationError(
                f"{place} is being removed by a process that hangs. Find and end it: fuser {place}"
            )
        time.sleep(LOCK_LOOK_S)
    if _is_still(place, descriptor):
        _keep(place, descriptor)
        return True
    os.close(descriptor)
    return False


def _keep(path: Path, descriptor: int) -> None:
    if not _held:
        os.register_at_fork(after_in_child=_let_go)
    _held[path] = descriptor


def _let_go() -> None:
    # Closed, not unlocked: the lock is the parent's, and a child that inherits it would hold it beyond its death.
    for descriptor in _held.values():
        with contextlib.suppress(OSError):
            os.close(descriptor)
    _held.clear()


def _lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_still(path: Path, descriptor: int) -> bool:
    """Tell whether a path is what was opened: it may have been removed before it was locked."""
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(descriptor), path.stat())
    return False


@contextlib.contextmanager
def _free(path: Path, kind: int = fcntl.LOCK_SH) -> Iterator[bool]:
    """Tell whether a lock is free, and keep it so in the block; what is not there is free."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield True
        return
    try:
        yield _lock(descriptor, kind)
    finally:
        os.close(descriptor)


def _life_lock(place: Path, pid: int) -> Path:
    return place / f"process-{pid}.lock"


def _life_locks(place: Path) -> Iterator[tuple[Path, int]]:
    for lock in sorted(place.glob("process-*.lock")):
        number = lock.stem.removeprefix("process-")
        if number.isdecimal():
            yield lock, int(number)


def _parent() -> Path:
    """Return this user's folder of such folders, made if need be."""
    parent = Path(tempfile.gettempdir()) / f"callboard-workers-{os.geteuid()}"
    parent.mkdir(mode=0o700, exist_ok=True)
    # Anybody may make a folder of that name in /tmp, and would read and write what we keep there.
    if parent.is_symlink() or parent.stat().st_uid != os.geteuid():
        raise ConfigurationError(f"{parent} belongs to somebody else. Remove it, or set TMPDIR to a folder of yours.")
    return parent


def _master_name() -> str:
    """Name the folder of Dramatiq's master, which each of its processes finds by itself."""
    master = multiprocessing.parent_process()
    pid = os.getppid() if master is None or master.pid is None else master.pid
    namespace = "".join(filter(str.isdecimal, pid_namespace())) or "0"
    return f"{pid}-{_started(pid)}-{namespace}"


def _started(pid: int) -> str:
    """Tell two processes that had the same number apart, where /proc shows when each began."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19]
    except (OSError, IndexError):
        return "0"


def _remove_abandoned(parent: Path, besides: Path | None = None) -> None:
    for old in parent.iterdir():
        if old != besides:
            _empty_abandoned(old, remove=True)


def _empty_abandoned(place: Path, *, remove: bool = False) -> None:
    """Empty a folder that nobody lives in, or remove it."""
    # Several processes that start at once clean up the same folders.
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), _free(place, fcntl.LOCK_EX) as is_free:
        if is_free:
            for file in place.iterdir():
                file.unlink(missing_ok=True)
            if remove:
                place.rmdir()


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        where = error.filename or "the temporary folder"
        raise ConfigurationError(
            f"Worker processes share a folder for metrics and health, and it cannot be had: {where}: {error.strerror}. "
            "Make /tmp writable, also under a read-only root, or set TMPDIR to a folder that is."
        ) from error

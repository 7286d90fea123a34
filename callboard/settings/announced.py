"""What `callboard dev` or `callboard demo` runs with, told to the other commands of its folder while it runs."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

#: Below the folder; whoever announces holds a lock on it, so that one that was left behind says nothing.
ANNOUNCED_FILE = Path(".callboard") / "environment.json"
#: Say how the stack's own processes are run, and nothing that another command should do alike.
_NOT_FOR_OTHERS = frozenset({"DATABASE_URL", "LOG_FORMAT"})


@contextmanager
def announced(project_dir: Path, environment: Mapping[str, str]) -> Iterator[None]:
    """Let the commands of this folder use these variables during the block, unless another stack does so already.

    The database is announced by its own file, as it may run without a stack.
    """
    import fcntl

    path = project_dir / ANNOUNCED_FILE
    path.parent.mkdir(exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield
            return
        kept = {name: value for name, value in environment.items() if value and name not in _NOT_FOR_OTHERS}
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(kept, indent=2).encode(), 0)
        try:
            yield
        finally:
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
    finally:
        os.close(descriptor)


def read_announced() -> dict[str, str]:
    """Return the variables that a running stack announces in this folder; none where no stack runs."""
    try:
        import fcntl

        with ANNOUNCED_FILE.open(encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                content = json.load(file)
                return content if isinstance(content, dict) else {}
    except (ImportError, OSError, ValueError):
        pass  # Nothing is announced; or it is just being written or removed.
    return {}

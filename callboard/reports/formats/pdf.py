"""PDFs, set in a process of their own that can be killed.

typst cannot be interrupted, so it runs outside the worker: started anew, never forked (a fork would hold
the worker's database sockets and locks), kept warm because starting it costs more than a page.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import struct
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from callboard.log import get_logger
from callboard.reports.errors import ReportTooSlow, TypesetterLost, TypesettingFailed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

log = get_logger(__name__)

#: Wall-clock time for one document, s: over a hundred times what 200 rows take.
LIMIT_S = 30.0
#: A process is replaced after this many documents or bytes of data: typst's caches keep about 1 KB of memory a byte.
DOCUMENTS_A_PROCESS = 200
DATA_A_PROCESS_BYTES = 500_000
#: Processes at work at a time; one is kept when idle.
PROCESSES = 2
_SCRIPT = Path(__file__).with_name("typesetting.py")
#: All that the process gets of our environment: where Python and its packages are, no secret.
_ENVIRONMENT = ("PATH", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "HOME", "TMPDIR", "LANG", "TZ")


def typeset(template: str, view: dict[str, Any], *, as_of: datetime, limit_s: float = LIMIT_S) -> bytes:
    """Return the PDF that templates/<template> makes of the view; as_of dates it, so that its bytes are stable.

    Raises: ReportTooSlow, TypesettingFailed, TypesetterLost.
    """
    request = {
        "template": template,
        "data": json.dumps(view, ensure_ascii=False),
        "timestamp": as_of.replace(microsecond=0).isoformat(),  # typst takes whole seconds.
        # The process's own alarm is the second line, for a worker that died meanwhile.
        "limit_s": limit_s + 1,
    }
    with _processes.lend(limit_s) as process:
        return process.typeset(json.dumps(request, ensure_ascii=False).encode(), limit_s)


class TypesettingProcess:
    """One running typesetting.py."""

    def __init__(self) -> None:
        environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        # -P keeps this folder off sys.path, where our module names would hide others.
        self._process = subprocess.Popen(  # noqa: S603 - our own file, with our own interpreter
            [sys.executable, "-P", str(_SCRIPT)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
        )
        self.documents = 0
        self._data_bytes = 0
        self._is_overdue = False

    @property
    def pid(self) -> int:
        """Return its process id."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Return whether it still runs."""
        return self._process.poll() is None

    @property
    def is_worn(self) -> bool:
        """Return whether its caches have grown enough."""
        return self.documents >= DOCUMENTS_A_PROCESS or self._data_bytes >= DATA_A_PROCESS_BYTES

    def typeset(self, request: bytes, limit_s: float) -> bytes:
        """Send one request and wait for its PDF; after any exception but TypesettingFailed the process is spent."""
        self.documents += 1
        self._data_bytes += len(request)
        alarm = threading.Timer(limit_s, self._expire)
        alarm.daemon = True
        alarm.start()
        try:
            status, payload = self._exchange(request)
        except (OSError, EOFError) as error:
            if self._is_overdue:
                raise ReportTooSlow(
                    f"Typesetting took longer than {limit_s:g} s and was stopped. It is tried again; if it repeats, "
                    "ask for fewer rows or for csv."
                ) from error
            raise TypesetterLost(
                f"The typesetting process ended with exit code {self._process.wait(5)} before its answer. "
                "It is tried again; if it repeats, look for a memory limit that is too low."
            ) from error
        finally:
            alarm.cancel()
        if status != b"P":
            raise TypesettingFailed(f"typst refused the template: {payload.decode(errors='replace').strip()}")
        return payload

    def close(self) -> None:
        """End the process and release its pipes."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):  # What was still buffered for a dead process.
                if pipe is not None:
                    pipe.close()

    def _expire(self) -> None:
        self._is_overdue = True
        self._process.kill()

    def _exchange(self, request: bytes) -> tuple[bytes, bytes]:
        if self._process.stdin is None or self._process.stdout is None:
            raise EOFError
        self._process.stdin.write(struct.pack(">I", len(request)) + request)
        self._process.stdin.flush()
        head = self._process.stdout.read(5)
        if len(head) < 5:  # noqa: PLR2004 - status and length
            raise EOFError
        size_bytes = struct.unpack(">I", head[1:])[0]
        payload = self._process.stdout.read(size_bytes)
        if len(payload) < size_bytes:
            raise EOFError
        return head[:1], payload


class TypesettingProcesses:
    """The typesetting processes of this process: at most PROCESSES at work, one kept when idle."""

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._idle: list[TypesettingProcess] = []
        self._lock = threading.Lock()
        self._free = threading.BoundedSemaphore(PROCESSES)

    @contextmanager
    def lend(self, limit_s: float) -> Iterator[TypesettingProcess]:
        """Lend an idle process or a new one; one that failed is not lent again."""
        if self._pid != os.getpid():
            self._reset()  # After a fork the pipes belong to the parent.
        if not self._free.acquire(timeout=2 * limit_s):
            raise TypesetterLost(
                f"All {PROCESSES} typesetting processes were busy for {2 * limit_s:g} s. It is tried again."
            )
        try:
            process = self._take() or TypesettingProcess()
            try:
                yield process
            except TypesettingFailed:
                self._keep(process)
                raise
            except BaseException:
                process.close()
                log.warning("typesetting process replaced", pid=process.pid, documents=process.documents)
                raise
            self._keep(process)
        finally:
            self._free.release()

    def close(self) -> None:
        """End the idle process."""
        if self._pid == os.getpid():
            while (process := self._take()) is not None:
                process.close()

    def _take(self) -> TypesettingProcess | None:
        with self._lock:
            process = self._idle.pop() if self._idle else None
        if process is not None and not process.is_alive:
            process.close()  # Killed while idle, as by a memory limit: no report need fail for that.
            return None
        return process

    def _keep(self, process: TypesettingProcess) -> None:
        with self._lock:
            if not self._idle and not process.is_worn:
                self._idle.append(process)
                return
        process.close()


_processes = TypesettingProcesses()
atexit.register(_processes.close)

"""What `callboard work` changes of Dramatiq's own command loses no line."""

from __future__ import annotations

import multiprocessing
import threading

from callboard.processes import dramatiq_command


def test_what_a_process_said_last_is_read_although_the_end_has_come(tmp_path):
    # Given a process that has said why it ends, and is gone
    reads, writes = multiprocessing.Pipe(duplex=False)
    also_reads, _kept_open = multiprocessing.Pipe(duplex=False)
    for number in range(3):
        writes.send_bytes(f"last words {number}\n".encode())
    writes.close()
    # When the reader of logs is told to end before it has looked
    stop = threading.Event()
    stop.set()
    dramatiq_command._watch_logs_until_told(str(tmp_path / "log"), [reads, also_reads], stop)
    # Then all of it is there
    assert (tmp_path / "log").read_text() == "last words 0\nlast words 1\nlast words 2\n"

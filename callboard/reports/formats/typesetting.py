"""The typesetting process: reads requests on stdin, writes PDFs on stdout.

callboard.reports.formats.pdf starts this file by its path, never as a module: it imports nothing of ours, so that
the process holds no connection, no secret and no more memory than typst needs. It ends when its stdin does,
which is also what happens when the worker that owns it is killed.

Request: length (4 bytes), JSON {"template", "data", "timestamp", "limit_s"}.
Reply: b"P" or b"E" (error), length (4 bytes), the PDF or a sentence.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import struct
import sys
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

import typst

TEMPLATES = Path(__file__).parents[1] / "templates"
MEMORY_LIMIT_BYTES = 2 << 30


def main() -> None:
    """Serve until stdin ends."""
    # Ctrl-C and a service manager's SIGTERM reach the whole group, while the worker still finishes its reports.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_LIMIT_BYTES, MEMORY_LIMIT_BYTES))
    requests = sys.stdin.buffer
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # Whatever a library prints must not end up inside a PDF.
    compiler = typst.Compiler(root=str(TEMPLATES), ignore_system_fonts=True)
    while (head := requests.read(4)) and len(head) == 4:  # noqa: PLR2004 - the length's own size
        request = json.loads(requests.read(struct.unpack(">I", head)[0]))
        # SIGALRM's default action ends even a process that is deep in native code, with nobody left to kill it.
        signal.setitimer(signal.ITIMER_REAL, request["limit_s"])
        try:
            answer(replies, b"P", typeset(compiler, request))
        except typst.TypstError as error:
            answer(replies, b"E", f"{error.message} {' '.join(error.hints)}".encode())
        signal.setitimer(signal.ITIMER_REAL, 0)


def typeset(compiler: typst.Compiler, request: dict[str, str]) -> bytes:
    """Return the PDF; the data travels as a JSON text and is never markup."""
    pdf = compiler.compile(
        input=str(TEMPLATES / request["template"]),
        format="pdf",
        sys_inputs={"data": request["data"]},
        timestamp=datetime.fromisoformat(request["timestamp"]),
        # No pdf_standards: PDF/A and PDF/UA refuse the whole document for one letter that the fonts lack.
        pdf_tags=True,
    )
    if not isinstance(pdf, bytes):
        raise TypeError(f"typst returned {type(pdf).__name__} where one PDF was expected.")
    return pdf


def answer(replies: BinaryIO, status: bytes, payload: bytes) -> None:
    """Write one reply."""
    replies.write(status + struct.pack(">I", len(payload)) + payload)
    replies.flush()


if __name__ == "__main__":
    main()

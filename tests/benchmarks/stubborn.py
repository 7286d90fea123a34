"""A worker that passes the gate and does not go when it is asked to."""

import signal
import time

from benchmarks import tally

if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    tally.gate()
    tally.note()
    time.sleep(60)

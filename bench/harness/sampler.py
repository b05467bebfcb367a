"""Watches what a process uses while something else happens."""

import os
import threading
import time

PAGE = os.sysconf("SC_PAGE_SIZE")
TICKS = os.sysconf("SC_CLK_TCK")
SAMPLE_S = 0.05
# Reading smaps takes the child's memory map lock for milliseconds, so not every sample does it.
CHILD_SAMPLE_S = 0.5


def _read(path):
    try:
        with open(path, encoding="latin-1") as file:
            return file.read()
    except OSError:  # the process has just ended
        return ""


def resident(pid):
    fields = _read(f"/proc/{pid}/statm").split()
    return int(fields[1]) * PAGE if fields else 0


def children(pid):
    return [int(word) for word in _read(f"/proc/{pid}/task/{pid}/children").split()]


def private(pid):
    """Bytes that only this process has: of a forked child, what was copied since and what it made itself."""
    total = 0
    for line in _read(f"/proc/{pid}/smaps_rollup").splitlines():
        if line.startswith(("Private_Clean:", "Private_Dirty:")):
            total += int(line.split()[1]) * 1024
    return total


def cpu_seconds(pid):
    """User and system time of a process with its threads and of the children that have ended."""
    fields = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return sum(int(field) for field in fields[11:15]) / TICKS if fields else 0.0


class MemoryWatch:
    """The most memory that a process and its forked children had since the start, a page counted once."""

    def __init__(self, pid):
        self._pid = pid
        self._stop = threading.Event()
        self.first = resident(pid)
        self.peak = self.first
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        child_bytes, child_due = 0, 0.0
        while not self._stop.wait(SAMPLE_S):
            pids = children(self._pid)
            if not pids:
                child_bytes = 0
            elif time.monotonic() >= child_due:
                child_bytes = sum(private(pid) for pid in pids)
                child_due = time.monotonic() + CHILD_SAMPLE_S
            self.peak = max(self.peak, resident(self._pid) + child_bytes)

    def stop(self):
        """The peak in bytes."""
        if not self._stop.is_set():
            self._stop.set()
            self._thread.join()
        return self.peak

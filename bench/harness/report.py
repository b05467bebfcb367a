"""Collects results: JSON lines on disk, a table on the terminal."""

import json
import statistics


class Report:
    """`run` records a measurement, `summary` a finished figure; both go to the file at once."""

    def __init__(self, path):
        self._file = open(path, "a", encoding="utf-8")
        self.path = path

    def close(self):
        self._file.close()

    def write(self, row):
        self._file.write(json.dumps(row) + "\n")
        self._file.flush()

    def run(self, suite, case, server, **fields):
        self.write({"kind": "run", "suite": suite, "case": case, "server": server, **fields})

    def summary(self, suite, case, **fields):
        self.write({"kind": "summary", "suite": suite, "case": case, **fields})


def paired_ratio(ours, theirs):
    """Median of the ratios of neighbouring runs: what a slow minute does to both cancels out."""
    pairs = [a / b for a, b in zip(ours, theirs) if b > 0]
    return statistics.median(pairs) if pairs else None


def figure(value, digits=2):
    """A number for a table; "-" for None."""
    if value is None:
        return "-"
    if isinstance(value, str):
        return value
    return f"{value:,.{digits}f}"


def print_table(title, head, rows, notes=()):
    """Left-aligns the first column, right-aligns the rest."""
    widths = [max(len(str(row[i])) for row in [head, *rows]) for i in range(len(head))]
    print(f"\n{title}")
    for row in [head, ["-" * w for w in widths], *rows]:
        cells = [str(row[0]).ljust(widths[0])] + [str(c).rjust(w) for c, w in zip(row[1:], widths[1:])]
        print("  ".join(cells).rstrip())
    for note in notes:
        print(f"  {note}")
    print(flush=True)

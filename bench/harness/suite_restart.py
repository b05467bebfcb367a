"""Time from exec to the first correct answer, and until everything is in memory again. The files are in
the page cache for everybody: they were just written."""

import statistics
import time

from . import load
from .report import figure, print_table
from .servers import Cairnd, Redis, START_SECONDS

REPETITIONS = 3


def restart(server, kill):
    """Ends the server, starts it, answers (seconds to end, to the first correct answer, until warm)."""
    ended = server.stop(kill)
    began = server.launch()
    server.wait_for(server.has_sentinel, START_SECONDS, "gives no correct answer", pause=0.002)
    first = time.monotonic() - began
    if isinstance(server, Cairnd):
        server.wait_for(server.warm, START_SECONDS, "does not get warm", pause=0.01)
    return ended, first, time.monotonic() - began


def measure(setup, report, server, case, kill=False, prepare=None):
    shape = {"keys": setup.items, "key_size": 32, "value_size": 100}
    found = []
    with server:
        load.load(setup, server, shape)
        server.put_sentinel()
        server.wait_caught_up()
        if prepare:
            prepare(server)
        for repetition in range(REPETITIONS):
            ended, first, warm = restart(server, kill)
            report.run("restart", case, server.label, repetition=repetition, items=setup.items,
                       shutdown_s=ended, first_answer_s=first, warm_s=warm, rss=server.rss_bytes())
            found.append((first, warm))
        load.verify(setup, server, shape, 0)
    return tuple(statistics.median(column) for column in zip(*found))


def save(server):
    server.save()


def let_append_sync(_):
    time.sleep(2)  # appendfsync everysec


def run(setup, report):
    results = {}
    if "cairnd" in setup.servers:
        results["cairnd, clean end"] = measure(setup, report, Cairnd(setup, sync="interval"), "clean")
        results["cairnd, kill -9"] = measure(setup, report, Cairnd(setup, sync="interval"), "kill", kill=True)
    if "redis" in setup.servers:
        results["redis, RDB"] = measure(setup, report, Redis(setup), "rdb", kill=True, prepare=save)
        results["redis, AOF"] = measure(setup, report, Redis(setup, append="everysec"), "aof",
                                        prepare=let_append_sync)
    rows = []
    base = results.get("redis, RDB")
    for name, (first, warm) in results.items():
        ratios = (first / base[0], warm / base[1]) if base else (None, None)
        report.summary("restart", name, first_answer_s=first, warm_s=warm, ratio_first=ratios[0],
                       ratio_warm=ratios[1])
        rows.append([name, figure(first, 3), figure(warm, 3), *(figure(r) for r in ratios)])
    print_table(f"Restart with {setup.items:,} items, seconds from exec: median of {REPETITIONS}",
                ["", "first correct answer", "all warm", "first/redis RDB", "warm/redis RDB"], rows,
                ["redis answers nothing until all is loaded; its AOF is not rewritten before the restart"])

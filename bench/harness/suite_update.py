"""Online update: how long START, REVERT and COMPLETE take, and how long clients wait because of them.
Peers have nothing of the kind, so cairnd is compared with itself without an update."""

import time

from . import load
from .report import figure, print_table
from .servers import BenchError, Cairnd

CHANGE_RATE = 100_000  # sets per second: the probe on the same CPU must not starve
QUIET_SECONDS = 0.5


class Phases:
    """Runs each step under a probe of 1,000 reads a second and keeps what the probe saw."""

    def __init__(self, setup, report, server, shape):
        self._context = (setup, server, shape)
        self._report = report
        self.rows = []

    def run(self, name, action):
        setup, server, shape = self._context
        probe = load.Probe(setup, server, shape)
        time.sleep(QUIET_SECONDS)
        began = time.monotonic()
        try:
            result = action()
        except BaseException:
            probe.abandon()
            raise
        seconds = time.monotonic() - began
        time.sleep(QUIET_SECONDS)
        seen = probe.stop()
        if isinstance(result, float):
            seconds = result
        cpu_us = result["server"]["cpu_us_per_key"] if isinstance(result, dict) else None
        latency = seen["latency_us"]
        self._report.run("update", name, "cairnd", seconds=seconds, cpu_us_per_set=cpu_us, probe=seen)
        self.rows.append((name, seconds, latency, cpu_us))

    def print(self, items, changed):
        base = {}
        rows = []
        for name, seconds, latency, cpu_us in self.rows:
            base = base or latency
            rows.append([name, figure(seconds, 4), figure(cpu_us), figure(latency["p50"], 0),
                         figure(latency["p99"], 0), figure(latency["max"], 0),
                         figure(latency["max"] / base["max"], 1)])
        print_table(f"Online update, {items:,} items, {changed:,} of them changed",
                    ["", "seconds", "CPU us/set", "probe p50 us", "p99 us", "max us", "max/idle max"], rows,
                    ["probe: 1,000 reads/s on schedule from a second process, 0.5 s before to 0.5 s after",
                     "START, REVERT, COMPLETE: seconds until the answer"])


def run(setup, report):
    if "cairnd" not in setup.servers:
        raise BenchError("suite update needs cairnd among --servers")
    shape = {"keys": setup.items, "key_size": 32, "value_size": 100}
    changed = min(setup.changed, setup.items)

    def change(version):
        return lambda: load.load(setup, server, shape, ops=changed, version=version, rate=CHANGE_RATE)

    with Cairnd(setup, sync="interval") as server:
        load.load(setup, server, shape)
        server.wait_caught_up()
        phases = Phases(setup, report, server, shape)
        phases.run("idle", lambda: time.sleep(2))
        phases.run("change, no update", change(0))
        server.wait_caught_up()
        phases.run("START", lambda: server.online_update("start"))
        phases.run("change, update open", change(1))
        server.wait_for(server.queue_empty, 120, "does not write its log", pause=0.1)
        phases.run("REVERT", lambda: server.online_update("revert"))
        load.verify(setup, server, shape, 0)
        server.wait_merged()
        phases.run("START again", lambda: server.online_update("start"))
        phases.run("change again", change(2))
        phases.run("COMPLETE", lambda: server.online_update("complete"))
        load.verify(setup, server, shape, 2, ops=changed)
        phases.run("until merged", server.wait_merged)
    phases.print(setup.items, changed)
    for name, seconds, latency, cpu_us in phases.rows:
        report.summary("update", name, seconds=seconds, cpu_us_per_set=cpu_us, probe_p50_us=latency["p50"],
                       probe_p99_us=latency["p99"], probe_max_us=latency["max"])

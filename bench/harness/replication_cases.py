"""The measurements of suite replication, each for one pair of servers. What they mean: docs/benchmarks.md."""

import signal
import socket
import statistics
import time

from . import load, pairs, sampler
from .servers import BenchError

SHAPE = {"key_size": 32, "value_size": 100}
ITEM_BYTES = SHAPE["key_size"] + SHAPE["value_size"]
# Requests sent together by the paced load, so that its own CPU leaves room for what is measured.
DEPTH = 10
BEFORE_SECONDS = 5
PROBE_KEY = b"bench-replication-lag"
LAG_PAUSE_S = 0.01
LAG_GIVE_UP_S = 5.0
KILL_AT = 0.9


def shape_of(setup):
    return {"keys": setup.items, **SHAPE}


def load_all(setup, pair):
    load.run(setup, pair.active, load=True, depth=30, protocol=pair.protocol, max_seconds=900, **shape_of(setup))
    pair.settle()


def paced_sets(setup, pair, rate, depth=DEPTH, **options):
    """Sets keys drawn from all of them, on schedule, in a process of its own."""
    return load.Background(setup, pair.active, op="set", rate=rate, depth=depth, version="random",
                           protocol=pair.protocol, **shape_of(setup), **options)


def verify_replica(setup, pair):
    """Every key is there with a value of its own, and not one more."""
    counts = pair.counts()
    if counts[0] != counts[1]:
        raise BenchError(f"{pair.name}: {counts[0]} items on the active, {counts[1]} on the replica")
    load.run(setup, pair.replica, order="once", depth=30, protocol=pair.protocol, verify=True, misses_are_errors=True,
             replica=pair.protocol == "binary", max_seconds=900, **shape_of(setup))


class CpuMark:
    """CPU seconds of both nodes since it was made."""

    def __init__(self, pair):
        self._pids = (pair.active.pid, pair.replica.pid)
        self._before = [sampler.cpu_seconds(pid) for pid in self._pids]

    def used(self):
        return [sampler.cpu_seconds(pid) - before for pid, before in zip(self._pids, self._before)]


def initial_sync(setup, pair, rate):
    """(a) A new replica for an active with all items, with `rate` sets a second on the active."""
    pair.add_replica()
    sets = paced_sets(setup, pair, rate) if rate else None
    try:
        watch = sampler.MemoryWatch(pair.active.pid)
        probe = load.Probe(setup, pair.active, shape_of(setup))
        time.sleep(BEFORE_SECONDS)
        before, quiet = watch.stop(), probe.stop()
        watch = sampler.MemoryWatch(pair.active.pid)
        probe = load.Probe(setup, pair.active, shape_of(setup))
        time.sleep(0.5)
        pair.forget_longest_op()
        cpu, began = CpuMark(pair), time.monotonic()
        pair.follow()
        pair.wait_in_sync()
        seconds, cpu_used, longest_op_us = time.monotonic() - began, cpu.used(), pair.longest_op_us()
        seen, peak = probe.stop(), watch.stop()
        paced = sets.stop() if sets else None
    finally:
        for run in (sets, locals().get("probe")):
            if run is not None:
                run.__exit__()
    pair.wait_in_sync()
    verify_replica(setup, pair)
    result = {
        "seconds": seconds, "extra_bytes": max(peak - before, 0), "rss_before": before, "rss_peak": peak,
        "probe_max_us": seen["latency_us"]["max"], "probe_p99_us": seen["latency_us"]["p99"],
        "idle_max_us": quiet["latency_us"]["max"], "longest_op_us": longest_op_us,
        "cpu_active_s": cpu_used[0], "cpu_replica_s": cpu_used[1],
        "paced": paced, "replica_rss": pair.replica.rss_bytes(), **pair.counters()}
    pair.drop_replica()
    return result


class LagProbe:
    """Sets one key on the active and asks the replica for it until it is there. The lag counts from the active's
    answer to the replica's; it is not known better than one round trip to the replica."""

    def __init__(self, pair):
        self._pair = pair
        self._sockets = []
        for server in (pair.active, pair.replica):
            connection = socket.create_connection(("127.0.0.1", server.port), timeout=20)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._sockets.append(connection)
        self._read = pair.read_replica(PROBE_KEY)
        self.lags_us = []
        self.from_sending_us = []
        self.polls_us = []

    def close(self):
        for connection in self._sockets:
            connection.close()

    def once(self, number):
        active, replica = self._sockets
        value = b"%020d" % number
        began = time.perf_counter()
        active.sendall(self._pair.write_active(PROBE_KEY, value))
        if not active.recv(4096).startswith((b"STORED", b"+OK")):
            raise BenchError(f"{self._pair.name}: the lag probe's key was not stored")
        written = time.perf_counter()
        while True:
            asked = time.perf_counter()
            replica.sendall(self._read)
            answer = replica.recv(4096)
            now = time.perf_counter()
            self.polls_us.append((now - asked) * 1e6)
            if value in answer:
                self.lags_us.append((now - written) * 1e6)
                self.from_sending_us.append((now - began) * 1e6)
                return
            if now - written > LAG_GIVE_UP_S:
                raise BenchError(f"{self._pair.name}: a key did not arrive within {LAG_GIVE_UP_S} s: {answer!r}")

    def run(self, seconds):
        end, number = time.monotonic() + seconds, 0
        while time.monotonic() < end:
            number += 1
            self.once(number)
            time.sleep(LAG_PAUSE_S)


def percentile(values, share):
    return sorted(values)[min(int(len(values) * share), len(values) - 1)]


def lag(setup, pair, rate, seconds):
    """(b) How long after the active's answer a replica has a key."""
    sets = paced_sets(setup, pair, rate) if rate else None
    probe = LagProbe(pair)
    try:
        time.sleep(1)
        probe.run(seconds)
        paced = sets.stop() if sets else None
    finally:
        probe.close()
        if sets is not None:
            sets.__exit__()
    pair.wait_in_sync()
    return {"p50_us": statistics.median(probe.lags_us), "p99_us": percentile(probe.lags_us, 0.99),
            "max_us": max(probe.lags_us), "from_sending_p50_us": statistics.median(probe.from_sending_us), "samples": len(probe.lags_us),
            "resolution_us": statistics.median(probe.polls_us), "paced": paced}


def away(setup, pair, proxy, case):
    """(c) The replica cannot reach the active for a while: what is sent when it is back."""
    rate, seconds, distribution = case
    proxy.refuse()
    changed = load.run(setup, pair.active, op="set", rate=rate, depth=DEPTH, version="random", seconds=seconds,
                       protocol=pair.protocol, distribution=distribution, count_distinct=True,
                       max_seconds=seconds + 60, **shape_of(setup))
    counters, sent, began = pair.counters(), proxy.passed()[1], time.monotonic()
    proxy.refuse(False)
    pair.wait_in_sync()
    result = {"seconds": time.monotonic() - began, "bytes": proxy.passed()[1] - sent, "sets": changed["keys"],
              "changed": changed["distinct_sets"], "counters_before": counters, "counters_after": pair.counters()}
    result["per_changed_byte"] = result["bytes"] / max(result["changed"] * ITEM_BYTES, 1)
    verify_replica(setup, pair)
    return result


def killed(setup, pair, proxy):
    """(d) kill -9 of the replica at 90 % of the initial sync's bytes; it comes back with what it has on disk."""
    pair.add_replica()
    before = proxy.passed()[1]
    pair.follow(proxy.port)
    pair.wait_in_sync()
    whole = proxy.passed()[1] - before
    pair.drop_replica()

    pair.add_replica()
    before = proxy.passed()[1]
    pair.follow(proxy.port)
    while proxy.passed()[1] - before < KILL_AT * whole:
        time.sleep(0.001)
    pair.replica.stop(kill=True)
    proxy.cut()
    first = proxy.passed()[1] - before
    began = time.monotonic()
    pair.replica.start()
    pair.follow(proxy.port)
    pair.wait_in_sync()
    result = {"seconds": time.monotonic() - began, "whole_bytes": whole, "before_kill_bytes": first,
              "after_kill_bytes": proxy.passed()[1] - before - first}
    result["after_share"] = result["after_kill_bytes"] / whole
    result["sent_share"] = (result["after_kill_bytes"] + first) / whole
    verify_replica(setup, pair)
    return result


def stalled(setup, pair, rate, seconds):
    """(e) The replica's process stops (SIGSTOP), connection open, with writes on the active."""
    with paced_sets(setup, pair, rate) as sets:
        watch, probe = sampler.MemoryWatch(pair.active.pid), load.Probe(setup, pair.active, shape_of(setup))
        with probe:
            time.sleep(BEFORE_SECONDS)
            before, quiet = watch.stop(), probe.stop()
        watch, probe = sampler.MemoryWatch(pair.active.pid), load.Probe(setup, pair.active, shape_of(setup))
        pair.replica.process.send_signal(signal.SIGSTOP)
        try:
            with probe:
                time.sleep(seconds)
                seen, peak = probe.stop(), watch.stop()
        finally:
            pair.replica.process.send_signal(signal.SIGCONT)
        began = time.monotonic()
        pair.wait_in_sync()
        caught_up = time.monotonic() - began
        paced = sets.stop()
    pair.wait_in_sync()
    verify_replica(setup, pair)
    return {"rss_before": before, "rss_peak": peak, "extra_bytes": max(peak - before, 0), "sets": paced["keys"],
            "quiet_p99_us": quiet["latency_us"]["p99"], "probe_p99_us": seen["latency_us"]["p99"],
            "quiet_max_us": quiet["latency_us"]["max"], "probe_max_us": seen["latency_us"]["max"],
            "catch_up_s": caught_up}


def cpu_of_sets(setup, pair, rate, seconds):
    """CPU microseconds per set of the active, and of the replica when there is one that follows."""
    cpu = CpuMark(pair)
    run = load.run(setup, pair.active, op="set", rate=rate, depth=30, version="random", seconds=seconds,
                   protocol=pair.protocol, max_seconds=seconds + 60, **shape_of(setup))
    used = cpu.used()
    return {"sets": run["keys"], "active_us": used[0] * 1e6 / run["keys"], "replica_us": used[1] * 1e6 / run["keys"],
            "unsent": run["unsent"], "active_busy": used[0] / run["seconds"]}


def cost(setup, pair, rate, seconds, repetitions):
    """(f) What a replica costs: the same paced sets without and with it, in turn."""
    pair.add_replica()
    without, with_replica = [], []
    for _ in range(repetitions):
        without.append(cpu_of_sets(setup, pair, rate, seconds))
        pair.follow()
        pair.wait_in_sync()
        pair.settle()
        with_replica.append(cpu_of_sets(setup, pair, rate, seconds))
        pair.wait_in_sync()
        pair.unfollow()
    added = statistics.median(b["active_us"] - a["active_us"] for a, b in zip(without, with_replica))
    replica = statistics.median(b["replica_us"] for b in with_replica)
    result = {"without": without, "with": with_replica, "added_us": added, "replica_us": replica}
    with pairs.proxy(setup, pair.replica_port()) as proxy:
        pair.follow(proxy.port)
        pair.wait_in_sync()
        before = proxy.passed()[1]
        run = load.run(setup, pair.active, op="set", rate=rate, depth=30, version="random", seconds=seconds,
                       protocol=pair.protocol, max_seconds=seconds + 60, **shape_of(setup))
        pair.wait_in_sync()
        result["bytes_beyond"] = (proxy.passed()[1] - before) / run["keys"] - ITEM_BYTES
        pair.unfollow()
    pair.drop_replica()
    return result

"""Replication against redis-server: initial sync, lag, return after an absence, a killed and a stalled replica,
and what a replica costs. Method: docs/benchmarks.md."""

import os
import types

from . import pairs, replication_cases as cases
from .report import figure, print_table
from .servers import BenchError

MIB = 1 << 20
SYNC_RATES = (0, 40_000)
LAG_RATES = (0, 20_000)
AWAY_RATE = 10_000
STALL_RATE = 20_000
COST_RATE = 60_000
# What a replica costs does not grow with the items; fewer of them make following anew quick.
COST_ITEMS_MAX = 1_000_000
PARTS = ("sync", "lag", "away", "killed", "stalled", "cost")


def unpinned(setup, **changes):
    """All processes on all CPUs: an initial sync has work for more than one on both sides, redis' child included."""
    every = ",".join(str(cpu) for cpu in sorted(os.sched_getaffinity(0)))
    return types.SimpleNamespace(**{**vars(setup), "server_cpus": every, "client_cpu": None, **changes})


def makers_of(setup, *redis):
    makers = [pairs.cairn] if "cairnd" in setup.servers else []
    return makers + (list(redis) if "redis" in setup.servers else [])


class Suite:
    def __init__(self, setup, report):
        self.setup = unpinned(setup)
        self.report = report

    def record(self, part, case, name, result):
        self.report.run("replication", f"{part} {case}".strip(), name, items=self.setup.items, **result)
        return result

    def table(self, title, head, found, row, notes=()):
        """One row for each (case, server); `row` answers the cells behind them, ratios to each redis first."""
        rows = [[f"{case}, {name}" if case else name, *row(case, name, result)]
                for (case, name), result in found.items()]
        print_table(title, ["", *head], rows, notes)
        for (case, name), result in found.items():
            self.report.summary("replication", case, server=name, **result)

    def ratio(self, found, case, name, field):
        """Ours over theirs, for the rows of redis; "-" in our own."""
        ours = found.get((case, "cairnd"))
        if ours is None or name == "cairnd" or not found[(case, name)][field]:
            return "-"
        return figure(ours[field] / found[(case, name)][field])

    # --- the parts ---

    def sync(self):
        found = {}
        for maker in makers_of(self.setup, pairs.redis_default, pairs.redis_no_save, pairs.redis_best):
            with maker(self.setup) as pair:
                cases.load_all(self.setup, pair)
                for rate in SYNC_RATES:
                    case = f"{rate:,} sets/s" if rate else "idle"
                    result = cases.initial_sync(self.setup, pair, rate)
                    found[(case, pair.name)] = self.record("sync", case, pair.name, result)
        data = self.setup.items * cases.ITEM_BYTES

        def row(case, name, r):
            return [self.ratio(found, case, name, "seconds"), figure(r["seconds"]),
                    figure(100 * r["extra_bytes"] / r["rss_before"], 0) + " %", figure(r["extra_bytes"] / MIB, 0),
                    figure(r["probe_max_us"] / 1000, 1), figure(r["idle_max_us"] / 1000, 1),
                    "-" if r["longest_op_us"] is None else figure(r["longest_op_us"] / 1000, 1),
                    figure(r["cpu_active_s"]), figure(r["cpu_replica_s"])]

        ordered = dict(sorted(found.items(), key=lambda entry: entry[0][0] != "idle"))
        self.table(f"Initial sync of {self.setup.items:,} items ({data / MIB:,.0f} MiB of keys and values)",
                   ["cairnd/this", "seconds", "memory", "MiB", "stall ms", "before", "in server", "CPU active",
                    "replica"],
                   ordered, row,
                   ["seconds: from the order to follow until the replica has what the active has",
                    "memory: the active's peak beyond its size before, a forked child's own pages included",
                    "stall: slowest of 1,000 reads/s on the active meanwhile, and in 5 s before",
                    "in server: the longest operation on the active by its own clock, ms; CPU in seconds"])

    def lag(self):
        found = {}
        setup = unpinned(self.setup, items=min(self.setup.items, COST_ITEMS_MAX))
        for maker in makers_of(setup, pairs.redis_default, pairs.redis_best):
            with maker(setup) as pair:
                cases.load_all(setup, pair)
                pair.add_replica()
                pair.follow()
                pair.wait_in_sync()
                for rate in LAG_RATES:
                    case = f"{rate:,} sets/s" if rate else "idle"
                    result = cases.lag(setup, pair, rate, self.setup.lag_seconds)
                    found[(case, pair.name)] = self.record("lag", case, pair.name, result)

        def row(case, name, r):
            return [self.ratio(found, case, name, "p50_us"), self.ratio(found, case, name, "p99_us"),
                    figure(r["p50_us"], 0), figure(r["p99_us"], 0), figure(r["max_us"], 0),
                    figure(r["resolution_us"], 0), figure(r["from_sending_p50_us"], 0), r["samples"]]

        ordered = dict(sorted(found.items(), key=lambda entry: entry[0][0] != "idle"))
        self.table("Replication lag: from the active's answer to a set until the replica shows it, microseconds",
                   ["p50 cairnd/this", "p99 cairnd/this", "p50", "p99", "max", "resolution", "from sending", "samples"],
                   ordered, row, ["resolution: median round trip of the reads that ask for the key",
                                 "from sending: median from sending the set, so with the active's answer"])

    def behind_a_proxy(self, part):
        """away and stalled: one replica that is in sync at the beginning."""
        found = {}
        makers = (pairs.redis_default, pairs.redis_best) if part == "away" else (pairs.redis_best,)
        setup = self.setup if part == "away" else unpinned(self.setup, memory_mb=self.setup.stall_quota_mb,
                                                           items=self.setup.stall_items)
        for maker in makers_of(setup, *makers):
            with maker(setup) as pair, pairs.proxy(setup, pair.replica_port()) as proxy:
                cases.load_all(setup, pair)
                pair.add_replica()
                pair.follow(proxy.port)
                pair.wait_in_sync()
                if part == "stalled":
                    result = cases.stalled(setup, pair, STALL_RATE, setup.stall_seconds)
                    found[("", pair.name)] = self.record(part, "", pair.name, result)
                    continue
                for distribution in ("uniform", "zipf"):
                    result = cases.away(setup, pair, proxy, (AWAY_RATE, setup.away_seconds, distribution))
                    found[(distribution, pair.name)] = self.record(part, distribution, pair.name, result)
        return found

    def away(self):
        found = self.behind_a_proxy("away")

        def row(case, name, r):
            return [self.ratio(found, case, name, "bytes"), figure(r["per_changed_byte"]), figure(r["bytes"] / MIB, 1),
                    f"{r['changed']:,}", f"{r['sets']:,}", figure(r["seconds"])]

        ordered = dict(sorted(found.items()))
        self.table(f"A replica away for {self.setup.away_seconds} s at {AWAY_RATE:,} sets/s: sent when it is back",
                   ["cairnd/this", "per changed byte", "MiB", "changed keys", "sets", "seconds"], ordered, row,
                   [f"per changed byte: bytes sent / (changed keys × {cases.ITEM_BYTES} bytes of key and value)"])

    def killed(self):
        found = {}
        for maker in makers_of(self.setup, pairs.redis_best):
            with maker(self.setup) as pair, pairs.proxy(self.setup, pair.replica_port()) as proxy:
                cases.load_all(self.setup, pair)
                found[("", pair.name)] = self.record("killed", "", pair.name,
                                                     cases.killed(self.setup, pair, proxy))

        def row(case, name, r):
            return [self.ratio(found, case, name, "after_kill_bytes"), figure(100 * r["after_share"], 1) + " %",
                    figure(100 * r["sent_share"], 1) + " %", figure(r["seconds"]),
                    figure(r["whole_bytes"] / MIB, 0)]

        self.table("A replica killed (-9) when 90 % of the initial sync were sent",
                   ["cairnd/this", "sent after", "sent in all", "seconds", "whole sync MiB"], found, row,
                   ["10 % after it and 100 % in all would be nothing twice; seconds: from its start until in sync"])

    def stalled(self):
        found = self.behind_a_proxy("stalled")

        def row(_, __, r):
            return [figure(r["extra_bytes"] / MIB, 0), figure(r["rss_peak"] / MIB, 0),
                    figure(r["rss_peak"] / MIB / self.setup.stall_quota_mb), figure(r["quiet_p99_us"], 0),
                    figure(r["probe_p99_us"], 0), figure(r["quiet_max_us"] / 1000, 1),
                    figure(r["probe_max_us"] / 1000, 1), figure(r["catch_up_s"])]

        self.table(f"A replica that stands still (SIGSTOP) for {self.setup.stall_seconds} s at {STALL_RATE:,} sets/s, "
                   f"{self.setup.stall_items:,} items",
                   ["more MiB", "peak MiB", "peak/quota", "p99 us before", "p99 us", "max ms before", "max ms",
                    "catch-up s"], found, row,
                   [f"quota: --memory-quota {self.setup.stall_quota_mb}M of cairnd; redis has none"])

    def cost(self):
        found = {}
        # The active has a CPU of its own; the replica shares the other one with the load.
        setup = types.SimpleNamespace(**{**vars(self.setup), "server_cpus": "0", "client_cpu": 1,
                                         "items": min(self.setup.items, COST_ITEMS_MAX)})
        for maker in makers_of(setup, pairs.redis_best, pairs.redis_best_aof):
            with maker(setup) as pair:
                cases.load_all(setup, pair)
                pair.replica_cpus = str(setup.client_cpu)
                result = cases.cost(setup, pair, COST_RATE, setup.cost_seconds, setup.repetitions)
                found[("", pair.name)] = self.record("cost", "", pair.name, result)

        def row(case, name, r):
            return [self.ratio(found, case, name, "added_us"), self.ratio(found, case, name, "replica_us"),
                    figure(r["added_us"]), figure(r["replica_us"]), figure(r["bytes_beyond"], 1),
                    f"{100 * max(run['active_busy'] for run in r['with']):.0f} %"]

        self.table(f"What one replica costs, {COST_RATE:,} sets/s at depth 30, {setup.items:,} items",
                   ["active cairnd/this", "replica cairnd/this", "active us/set", "replica us/set",
                    "bytes beyond", "active busy"], found, row,
                   ["active: CPU per set with the replica minus without; replica: all its CPU per set, disk included",
                    "bytes beyond: sent per set beyond key and value"])


def run(setup, report):
    if not {"cairnd", "redis"} & set(setup.servers):
        raise BenchError("suite replication needs cairnd or redis among --servers")
    if "cairnd" in setup.servers and "--replica-of" not in setup.cairnd_flags:
        raise BenchError("this cairnd has no --replica-of")
    suite = Suite(setup, report)
    for part in setup.parts or PARTS:
        getattr(suite, part)()

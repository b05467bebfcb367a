"""What persistence costs: SETs with each policy. CPU is the whole process's, up to the moment at which
everything acknowledged has been persisted, so work that is put off is counted too."""

import contextlib
import statistics

from . import load
from .report import figure, paired_ratio, print_table
from .servers import Cairnd, Redis

ITEMS_MAX = 1_000_000

# label; which server; its policy.
SERVERS = [
    ("cairnd memory", "cairnd", None),
    ("cairnd none", "cairnd", "none"),
    ("cairnd interval", "cairnd", "interval"),
    ("cairnd always", "cairnd", "always"),
    ("redis memory", "redis", None),
    ("redis everysec", "redis", "everysec"),
    ("redis always", "redis", "always"),
]
CASES = [("SET depth 30", {"depth": 30}, 1), ("SET depth 1", {"depth": 1}, 10)]
# ours, theirs: CPU per SET, and rate.
RATIOS = [
    ("cairnd interval", "cairnd memory"),
    ("cairnd none", "cairnd memory"),
    ("cairnd interval", "redis everysec"),
    ("cairnd always", "redis always"),
]


def make(setup, label, kind, policy):
    if kind == "cairnd":
        return Cairnd(setup, label, sync=policy)
    return Redis(setup, label, append=policy)


def one_run(setup, server, shape, options, ops):
    cpu_before = server.cpu_seconds()
    run = load.run(setup, server, op="set", version="random", protocol=server.protocols["pipeline"], ops=ops,
                   **shape, **options)
    run["cpu_us_per_key_until_persisted"] = (server.wait_caught_up() - cpu_before) * 1e6 / run["keys"]
    return run


def summarize(report, results, case, labels):
    def column(label, field):
        return [run[field] for run in results[(case, label)]]

    rows = []
    for label in labels:
        cpu = column(label, "cpu_us_per_key_until_persisted")
        rate = column(label, "keys_per_s")
        rows.append([label, f"{figure(statistics.median(cpu))} ({figure(min(cpu))})",
                     f"{figure(statistics.median(rate), 0)} ({figure(max(rate), 0)})",
                     figure(statistics.median(r["latency_us"]["p50"] for r in results[(case, label)]), 0)])
    print_table(f"Persistence, {case}, 50 connections: median (best)",
                ["", "CPU us per SET", "SETs per second", "p50 us"], rows)
    rows = []
    for ours, theirs in RATIOS:
        if ours not in labels or theirs not in labels:
            continue
        cpu = paired_ratio(column(ours, "cpu_us_per_key_until_persisted"),
                           column(theirs, "cpu_us_per_key_until_persisted"))
        rate = paired_ratio(column(ours, "keys_per_s"), column(theirs, "keys_per_s"))
        report.summary("persist", f"{case}: {ours} / {theirs}", cpu_ratio=cpu, rate_ratio=rate)
        rows.append([f"{ours} / {theirs}", figure(cpu), figure(rate)])
    if rows:
        print_table(f"Ratios, {case}", ["", "CPU per SET", "rate"], rows)


def run(setup, report):
    shape = {"keys": min(setup.items, ITEMS_MAX), "key_size": 32, "value_size": 100}
    results = {}
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(make(setup, *what)) for what in SERVERS if what[1] in setup.servers]
        for server in servers:
            load.load(setup, server, shape)
            server.wait_caught_up()
        for repetition in range(setup.repetitions):
            for case, options, divisor in CASES:
                for server in servers:
                    run_result = one_run(setup, server, shape, options, setup.ops // divisor)
                    results.setdefault((case, server.label), []).append(run_result)
                    report.run("persist", case, server.label, repetition=repetition, load=run_result)
        labels = [server.label for server in servers]
    for case, *_ in CASES:
        summarize(report, results, case, labels)

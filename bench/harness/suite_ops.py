"""Server CPU per key: GET and SET without pipelining, pipelined, and multiget. Nothing persists here, on
any side; suite persist has the price of that."""

import contextlib
import statistics

from . import load
from .report import figure, paired_ratio, print_table
from .servers import Cairnd, Memcached, NullServer, Redis

DEPTH = 30
MULTIGET = 50
BUSY_MIN = 0.85

# name; which of a server's protocols; load; servers that take part, None for all.
CASES = [
    ("GET depth 1", "plain", {"op": "get"}, None),
    ("SET depth 1", "plain", {"op": "set"}, None),
    ("GET depth 30", "pipeline", {"op": "get", "depth": DEPTH}, None),
    ("SET depth 30", "pipeline", {"op": "set", "depth": DEPTH}, None),
    # Not memcached: it answers each pipelined text GET with a send of its own, which nobody should beat.
    ("GET depth 30, text", "text", {"op": "get", "depth": DEPTH}, ("cairnd", "redis")),
    ("SET depth 30, text", "text", {"op": "set", "depth": DEPTH}, None),
    ("multiget 50", "text", {"op": "get", "multiget": MULTIGET}, None),
]


def floor_options(shape, protocol_kind, options):
    """Makes the null server recognise these requests. Pipelines are RESP there: its requests have a fixed
    size, and the binary protocol cannot be answered without reading the opaque."""
    key = "key-" + "0" * (shape["key_size"] - 4)
    common = ["--key", key, "--value-size", str(shape["value_size"])]
    is_set = options["op"] == "set"
    if protocol_kind != "pipeline":
        if is_set:
            return "text", common + ["--reply", "stored", "--request-lines", "2"]
        return "text", common + ["--reply", "value", "--values", str(options.get("multiget", 1))]
    def bulk(size):
        return len(f"${size}\r\n") + size + 2
    size = len("*2\r\n") + bulk(3) + bulk(shape["key_size"]) + (bulk(shape["value_size"]) if is_set else 0)
    return "resp", common + ["--reply", "resp-ok" if is_set else "resp-value", "--request-bytes", str(size)]


def measure_floor(setup, shape, kind, options, ops):
    protocol, null_options = floor_options(shape, kind, options)
    with NullServer(setup, null_options) as server:
        return load.run(setup, server, protocol=protocol, ops=ops, **{**shape, "keys": 1}, **options)


def measure(setup, report, shape, servers, results):
    for repetition in range(setup.repetitions):
        for case, kind, options, only in CASES:
            ops = setup.ops if options.get("depth", options.get("multiget", 1)) > 1 else setup.ops // 4
            for server in servers:
                if only and server.name not in only:
                    continue
                run = load.run(setup, server, protocol=server.protocols[kind], ops=ops, verify=repetition == 0,
                               misses_are_errors=True, **shape, **options)
                results.setdefault((case, server.name), []).append(run)
                report.run("ops", case, server.name, repetition=repetition, load=run)
            run = measure_floor(setup, shape, kind, options, ops)
            results.setdefault((case, "floor"), []).append(run)
            report.run("ops", case, "floor", repetition=repetition, load=run)


def cpu(results, case, name):
    # The first repetition checks every value, which costs the client time: it warms up and does not count
    # unless it is the only one.
    runs = results.get((case, name), [])
    runs = runs[1:] if len(runs) > 1 else runs
    return [r["server"]["cpu_us_per_key"] for r in runs]


def cell(results, case, name):
    values = cpu(results, case, name)
    if not values:
        return "-"
    busy = statistics.median(r["server"]["busy"] for r in results[(case, name)])
    mark = "" if busy >= BUSY_MIN or name == "floor" else "~"
    return f"{mark}{figure(statistics.median(values))} ({figure(min(values))})"


def summarize(report, results, names):
    rows = []
    for case, *_ in CASES:
        ours = cpu(results, case, "cairnd")
        ratios = {peer: paired_ratio(ours, cpu(results, case, peer)) for peer in ("memcached", "redis")}
        rows.append([case, *(cell(results, case, n) for n in names), cell(results, case, "floor"),
                     figure(ratios["memcached"]), figure(ratios["redis"])])
        report.summary("ops", case, ratio_to_memcached=ratios["memcached"], ratio_to_redis=ratios["redis"],
                       median_us={n: statistics.median(cpu(results, case, n)) for n in [*names, "floor"]
                                  if cpu(results, case, n)})
    print_table("Server CPU, microseconds per key: median (best)",
                ["", *names, "floor", "cairnd/memcached", "cairnd/redis"], rows,
                ["~ the server was less than 85 % busy: something else had the CPUs, its figure is too high"])


def run(setup, report):
    shape = {"keys": setup.items, "key_size": 32, "value_size": 100}
    makers = {"cairnd": Cairnd, "memcached": Memcached, "redis": Redis}
    results = {}
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(makers[name](setup)) for name in setup.servers]
        for server in servers:
            report.run("ops", "load", server.name, load=load.load(setup, server, shape))
        measure(setup, report, shape, servers, results)
    summarize(report, results, setup.servers)

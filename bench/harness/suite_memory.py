"""Resident bytes per item beyond key and value."""

from . import load
from .report import figure, print_table
from .servers import Cairnd, Memcached, Redis

KEY_SIZE = 16
VALUE_SIZES = (32, 100)


def overhead(setup, report, server, value_size):
    shape = {"keys": setup.items, "key_size": KEY_SIZE, "value_size": value_size}
    with server:
        empty = server.stable_rss_bytes(15)
        load.load(setup, server, shape)
        loaded = server.rss_bytes()
        server.wait_caught_up()
        settled = server.stable_rss_bytes()
        # A store that dropped items to save memory would look good and be wrong.
        load.verify(setup, server, shape, 0)
    per_item = (settled - empty) / setup.items - KEY_SIZE - value_size
    report.run("memory", f"value {value_size}", server.label, items=setup.items, key_size=KEY_SIZE,
               value_size=value_size, rss_empty=empty, rss_loaded=loaded, rss_settled=settled,
               overhead_bytes_per_item=per_item)
    return per_item


def run(setup, report):
    makers = {
        "cairnd": lambda: Cairnd(setup, sync="interval"),
        "memcached": lambda: Memcached(setup),
        "redis": lambda: Redis(setup),
    }
    rows = []
    for value_size in VALUE_SIZES:
        found = {name: overhead(setup, report, makers[name](), value_size) for name in setup.servers}
        ratios = [found["cairnd"] / found[peer] if "cairnd" in found and peer in found else None
                  for peer in ("memcached", "redis")]
        report.summary("memory", f"value {value_size}", overhead_bytes_per_item=found,
                       ratio_to_memcached=ratios[0], ratio_to_redis=ratios[1])
        rows.append([f"16-byte key, {value_size}-byte value", *(figure(found[n], 1) for n in setup.servers),
                     *(figure(r) for r in ratios)])
    print_table(f"Resident bytes per item beyond key and value, {setup.items:,} items",
                ["", *setup.servers, "cairnd/memcached", "cairnd/redis"], rows,
                ["cairnd persists (--sync interval) and is measured after it has caught up; the peers do not"])

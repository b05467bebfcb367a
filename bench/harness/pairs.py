"""An active and its replica, of either server, under one face, for suite replication.

A position is what the server itself counts (redis: bytes of its stream; cairnd: the sum of its vbuckets' last
seqnos): it can be compared between the two nodes of a pair only.
"""

import os
import struct
import subprocess
import sys
import time

from . import wire
from .servers import BenchError, Cairnd, Redis, free_port

SYNC_SECONDS = 900
POLL_S = 0.01
# What the active had counts as reached if the replica has it within this time: under writes a replica is
# always behind by what is on its way.
BEHIND_S = 0.1


class Pair:
    """Starts an active; `add_replica`, `follow`, `unfollow` and `drop_replica` manage the other node."""

    name = "?"
    protocol = "?"

    def __init__(self, setup):
        self.setup = setup
        self.replica_cpus = None  # those of the active
        self.active = self.make("active")
        self.replica = None

    def __enter__(self):
        self.active.start()
        return self

    def __exit__(self, *_):
        try:
            self.drop_replica()
        finally:
            self.active.close()

    def make(self, label):
        raise NotImplementedError

    def replica_port(self):
        """Where replicas connect to."""
        raise NotImplementedError

    def follow(self, port=None):
        """Tells the replica to follow the active, through `port` when something stands between them."""
        raise NotImplementedError

    def unfollow(self):
        raise NotImplementedError

    def active_position(self):
        raise NotImplementedError

    def replica_position(self):
        """None while the initial sync runs."""
        raise NotImplementedError

    def counts(self):
        """Items of the active and of the replica."""
        raise NotImplementedError

    def counters(self):
        """What the servers themselves say about their streams; for the results file."""
        return {}

    def forget_longest_op(self):
        """`longest_op_us` counts from here on."""

    def longest_op_us(self):
        """What the longest operation on the active took by its own clock; None when it does not say."""
        return None

    def add_replica(self):
        self.replica = self.make("replica")
        self.replica.cpus = self.replica_cpus or self.replica.cpus
        self.replica.start()

    def drop_replica(self):
        if self.replica is not None:
            replica, self.replica = self.replica, None
            replica.close()

    def wait_in_sync(self, seconds=SYNC_SECONDS):
        """Until the replica has everything that the active had a moment ago."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for server in (self.active, self.replica):
                if server.process.poll() is not None:
                    raise BenchError(f"{self.name}, {server.label}: ended: {server.log_tail()}")
            looked = time.monotonic()
            wanted = self.active_position()
            while time.monotonic() < looked + BEHIND_S:
                try:
                    have = self.replica_position()
                except (OSError, wire.WireError):
                    have = None
                if have is not None and have >= wanted:
                    return
                time.sleep(POLL_S)
        raise BenchError(f"{self.name}: not in sync after {seconds} s: {self.replica.log_tail()}")

    def read_replica(self, key):
        """The request that reads a key on the replica, as bytes."""
        raise NotImplementedError

    def write_active(self, key, value):
        """The request that sets a key on the active, as bytes."""
        raise NotImplementedError


class RedisNode(Redis):
    """With the settings given, and nothing else: what is not set is as Debian ships it."""

    def __init__(self, setup, label, settings):
        super().__init__(setup, label)
        self.settings = settings

    def command(self):
        command = [self.setup.redis, "--bind", "127.0.0.1", "--port", str(self.port), "--dir", self.directory,
                   "--maxclients", "8192", "--daemonize", "no"]
        for name, value in self.settings.items():
            command += ["--" + name, value]
        return command


class RedisPair(Pair):
    protocol = "resp"

    def __init__(self, setup, name, settings):
        self.name = name
        self.settings = settings
        super().__init__(setup)

    def make(self, label):
        return RedisNode(self.setup, f"{self.name} {label}", self.settings)

    def replica_port(self):
        return self.active.port

    def follow(self, port=None):
        with self.replica.wire() as w:
            w.resp("REPLICAOF", "127.0.0.1", str(port or self.replica_port()))

    def unfollow(self):
        with self.replica.wire() as w:
            w.resp("REPLICAOF", "NO", "ONE")

    def active_position(self):
        with self.active.wire() as w:
            return int(w.info("replication")["master_repl_offset"])

    def replica_position(self):
        with self.replica.wire() as w:
            info = w.info("replication")
        if info.get("master_link_status") != "up":
            return None
        return int(info["slave_repl_offset"])

    def counts(self):
        found = []
        for server in (self.active, self.replica):
            with server.wire() as w:
                found.append(int(w.resp("DBSIZE")))
        return tuple(found)

    def counters(self):
        with self.active.wire() as w:
            info = w.info("stats")
        names = ("sync_full", "sync_partial_ok", "sync_partial_err", "total_net_repl_output_bytes")
        return {name: int(info[name]) for name in names if name in info}

    def settle(self):
        """Saves and rewrites that a load has set off are not part of what is measured next."""
        self.active.wait_for(self._no_child, 300, "does not stop saving", pause=0.5)

    def _no_child(self):
        with self.active.wire() as w:
            info = w.info("persistence")
        return info["rdb_bgsave_in_progress"] == "0" and info["aof_rewrite_in_progress"] == "0"

    def read_replica(self, key):
        return b"*2\r\n$3\r\nGET\r\n$%d\r\n%s\r\n" % (len(key), key)

    def write_active(self, key, value):
        return b"*3\r\n$3\r\nSET\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n" % (len(key), key, len(value), value)


class CairnNode(Cairnd):
    def __init__(self, setup, label):
        super().__init__(setup, label, sync="interval")
        self.tap_port = free_port()
        self.admin_port = free_port()

    def command(self):
        command = super().command()
        for flag, port in (("--tap-port", self.tap_port), ("--admin-port", self.admin_port)):
            if flag in command:
                del command[command.index(flag):command.index(flag) + 2]
            command += [flag, str(port)]
        return command

    def control(self, *words):
        """cairnctl for this node's admin service; what it printed."""
        command = [os.path.join(os.path.dirname(self.setup.cairnd), "cairnctl"), "--admin",
                   f"127.0.0.1:{self.admin_port}", *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode != 0:
            raise BenchError(f"{' '.join(command)}: {(done.stderr or done.stdout).strip()}")
        return done.stdout


class CairnPair(Pair):
    name = "cairnd"
    protocol = "binary"
    ALL_SEQNOS = 0x48
    GET_REPLICA = 0x83

    def make(self, label):
        return CairnNode(self.setup, f"{self.name} {label}")

    def replica_port(self):
        return self.active.tap_port

    def follow(self, port=None):
        self._source = f"127.0.0.1:{port or self.replica_port()}"
        self.replica.control("replicate", "add", self._source)

    def unfollow(self):
        self.replica.control("replicate", "remove", self._source)

    def _position(self, server, state):
        with server.wire() as w:
            status, value = w.binary(self.ALL_SEQNOS, extras=struct.pack(">I", state))
        if status != 0:
            raise BenchError(f"GET_ALL_VB_SEQNOS: {value.decode('latin-1')}")
        return {vbucket: seqno for vbucket, seqno in struct.iter_unpack(">HQ", value)}

    def active_position(self):
        return sum(self._position(self.active, state=1).values())

    def replica_position(self):
        seqnos = self._position(self.replica, state=2)
        return sum(seqnos.values()) if len(seqnos) == self.setup.vbuckets else None

    def counts(self):
        # One that has just been started counts its items while it loads them.
        self.replica.wait_for(self.replica.warm, 300, "does not get warm")
        return tuple(int(server.stat("curr_items")) for server in (self.active, self.replica))

    def forget_longest_op(self):
        with self.active.wire() as w:
            w.command("stats reset")

    def longest_op_us(self):
        with self.active.wire() as w:
            return int(w.stats("timings")["op_max_us"])

    def settle(self):
        self.active.wait_caught_up()

    def read_replica(self, key):
        return struct.pack(">BBHBBHIIQ", 0x80, self.GET_REPLICA, len(key), 0, 0, 0, len(key), 0, 0) + key

    def write_active(self, key, value):
        return b"set %s 0 0 %d\r\n%s\r\n" % (key, len(value), value)


# Debian's redis.conf, as far as it is about replication and saving, equals what redis does without a file.
REDIS_DEFAULT = {}
REDIS_NO_SAVE = {"save": ""}
REDIS_BEST = {
    "save": "", "repl-diskless-sync": "yes", "repl-diskless-sync-delay": "0", "repl-diskless-load": "swapdb",
    "rdbcompression": "no", "rdbchecksum": "no", "repl-backlog-size": "512mb",
}
REDIS_BEST_AOF = {**REDIS_BEST, "appendonly": "yes", "appendfsync": "everysec",
                  "auto-aof-rewrite-percentage": "0"}


def cairn(setup):
    return CairnPair(setup)


def redis_default(setup):
    return RedisPair(setup, "redis defaults", REDIS_DEFAULT)


def redis_no_save(setup):
    return RedisPair(setup, 'redis save ""', REDIS_NO_SAVE)


def redis_best(setup):
    return RedisPair(setup, "redis best", REDIS_BEST)


def redis_best_aof(setup):
    return RedisPair(setup, "redis best, AOF", REDIS_BEST_AOF)


def proxy(setup, port):
    """The tests' TCP proxy in front of `port`: it counts bytes and cuts connections."""
    folder = os.path.join(setup.root, "tests", "integration")
    if folder not in sys.path:
        sys.path.insert(0, folder)
    import tap_proxy  # pylint: disable=import-outside-toplevel,import-error
    return tap_proxy.TapProxy(port)

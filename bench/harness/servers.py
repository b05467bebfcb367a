"""The servers under test. Each runs on a free loopback port, pinned, with a directory of its own, and is
ended by its own process id."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time

from . import wire

START_SECONDS = 120
STOP_SECONDS = 120
CATCH_UP_SECONDS = 600
MERGE_STATS = ("ep_merge_backlog_bytes", "ep_merge_passes", "ep_merged_operations")
MERGE_REST_SECONDS = 11  # checkpoints are closed by age after 5 s, and passes are 5 s apart
SENTINEL = ("bench-sentinel", "the-right-answer")


class BenchError(Exception):
    """Why a run cannot go on; the text is for the user."""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """One process and its data directory. `start` may follow `stop`: the data is kept until `close`."""

    name = "?"
    # What a case may ask for: the protocol of plain requests, of pipelines, and of the sets.
    protocols = {}

    def __init__(self, setup, label=None):
        self.setup = setup
        self.label = label or self.name
        self.port = free_port()
        self.cpus = setup.server_cpus
        self.process = None
        os.makedirs(setup.work_dir, exist_ok=True)
        self.directory = tempfile.mkdtemp(prefix=f"{self.name}-", dir=setup.work_dir)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.close()

    @property
    def pid(self):
        return self.process.pid

    def command(self):
        raise NotImplementedError

    def answers(self):
        """True when the server answers a harmless command."""
        raise NotImplementedError

    def launch(self):
        """Starts the process and does not wait. Answers the time just before exec."""
        # taskset replaces itself by the server, so the process id is the server's.
        command = ["taskset", "-c", self.cpus] + self.command()
        self.log_path = os.path.join(self.directory, "server.log")
        with open(self.log_path, "ab") as log:
            started = time.monotonic()
            self.process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        return started

    def start(self):
        self.launch()
        self.wait_for(self.answers, START_SECONDS, "does not answer")

    def wait_for(self, condition, seconds, complaint, pause=0.02):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise BenchError(f"{self.label} ended with {self.process.returncode}: {self.log_tail()}")
            try:
                if condition():
                    return
            except (OSError, wire.WireError):
                pass
            time.sleep(pause)
        raise BenchError(f"{self.label} {complaint} after {seconds} s: {self.log_tail()}")

    def log_tail(self):
        with open(self.log_path, "rb") as log:
            return log.read()[-600:].decode("latin-1").strip() or "(it wrote nothing)"

    def stop(self, kill=False):
        """Ends the process; answers the seconds that took."""
        if self.process is None:
            return 0.0
        began = time.monotonic()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL if kill else signal.SIGTERM)
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise BenchError(f"{self.label} did not end within {STOP_SECONDS} s of SIGTERM") from None
            finally:
                self.process = None
        self.process = None
        return time.monotonic() - began

    def close(self):
        try:
            self.stop()
        finally:
            shutil.rmtree(self.directory, ignore_errors=True)

    def wire(self, timeout=60.0):
        return wire.Wire(self.port, timeout)

    # What the process has used.

    def cpu_seconds(self):
        with open(f"/proc/{self.pid}/stat", encoding="latin-1") as file:
            fields = file.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def rss_bytes(self):
        with open(f"/proc/{self.pid}/status", encoding="latin-1") as file:
            for line in file:
                if line.startswith("VmRSS:"):
                    return int(line.split()[1]) * 1024
        raise BenchError(f"{self.label} has no resident size")

    def stable_rss_bytes(self, seconds=90):
        """Resident size once it has moved by less than 0.2 % in 3 s (allocators give back with delay)."""
        history = [self.rss_bytes()]
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(1)
            history.append(self.rss_bytes())
            last = history[-4:]
            if len(last) == 4 and max(last) - min(last) <= 0.002 * max(last):
                break
        return history[-1]

    # What differs between servers; the defaults are those of a server without persistence.

    def caught_up(self):
        """True when nothing that was acknowledged waits to be persisted."""
        return True

    def wait_caught_up(self):
        """Answers the CPU seconds the process had used when it had caught up."""
        self.wait_for(self.caught_up, CATCH_UP_SECONDS, "has not caught up", pause=0.5)
        return self.cpu_seconds()

    def has_sentinel(self, timeout=5.0):
        """True when the server gives the right answer for the key that put_sentinel wrote."""
        with self.wire(timeout) as w:
            return w.text_get(SENTINEL[0]) == SENTINEL[1]

    def put_sentinel(self):
        with self.wire() as w:
            w.text_set(*SENTINEL)


class Memcached(Server):
    name = "memcached"
    protocols = {"plain": "text", "pipeline": "binary", "text": "text"}

    def command(self):
        command = [self.setup.memcached, "-l", "127.0.0.1", "-p", str(self.port), "-U", "0", "-t", "1"]
        # -R: by default a connection is set aside after 20 requests, in the middle of a pipeline of 30.
        command += ["-c", "8192", "-m", str(self.setup.memory_mb), "-R", "200"]
        if os.geteuid() == 0:
            command += ["-u", "root"]
        return command

    def answers(self):
        with self.wire(5) as w:
            return w.command("version").startswith("VERSION")


class Redis(Server):
    name = "redis"
    protocols = {"plain": "resp", "pipeline": "resp", "text": "resp"}

    def __init__(self, setup, label=None, append=None):
        """`append`: None for no persistence, else the appendfsync policy."""
        super().__init__(setup, label)
        self.append = append

    def command(self):
        command = [self.setup.redis, "--bind", "127.0.0.1", "--port", str(self.port), "--dir", self.directory]
        command += ["--save", "", "--loglevel", "warning", "--maxclients", "8192", "--daemonize", "no"]
        if self.append is None:
            return command + ["--appendonly", "no"]
        # No rewriting of the append-only file in the middle of a run: its best case.
        return command + ["--appendonly", "yes", "--appendfsync", self.append,
                          "--auto-aof-rewrite-percentage", "0"]

    def answers(self):
        with self.wire(5) as w:
            return w.resp("PING") == "PONG"

    def has_sentinel(self, timeout=5.0):
        with self.wire(timeout) as w:
            return w.resp("GET", SENTINEL[0]) == SENTINEL[1]

    def put_sentinel(self):
        with self.wire() as w:
            w.resp("SET", *SENTINEL)

    def save(self):
        with self.wire(300) as w:
            w.resp("SAVE")


class Cairnd(Server):
    name = "cairnd"
    protocols = {"plain": "text", "pipeline": "binary", "text": "text"}

    def __init__(self, setup, label=None, sync=None):
        """`sync`: None for --memory-only, else the sync policy."""
        super().__init__(setup, label)
        self.sync = sync
        self._merge_progress = None
        self._merge_moved_at = 0.0
        self._cpu_at_move = 0.0

    def command(self):
        command = [self.setup.cairnd, "--listen", "127.0.0.1", "--port", str(self.port), "--threads", "1"]
        command += ["--memory-quota", f"{self.setup.memory_mb}M", "--vbuckets", str(self.setup.vbuckets)]
        for flag in ("--tap-port", "--admin-port"):
            if flag in self.setup.cairnd_flags:
                command += [flag, "0"]
        if self.sync is None:
            return command + ["--memory-only"]
        return command + ["--data-dir", os.path.join(self.directory, "data"), "--sync", self.sync]

    def answers(self):
        with open(self.log_path, "rb") as log:
            if b"cairnd ready" not in log.read():
                return False
        with self.wire(5) as w:
            return w.command("version").startswith("VERSION")

    def stat(self, name):
        with self.wire() as w:
            stats = w.stats()
        if name not in stats:
            raise BenchError(f"cairnd's stats have no {name}")
        return stats[name]

    def caught_up(self):
        if self.sync is None:
            return True
        if not self.queue_empty():
            self._merge_progress = None
            return False
        return self.merge_rests()

    def merge_rests(self):
        # No figure says "merged up to here": its backlog is 0 while a pass runs, and checkpoints that are
        # still open are left alone until their age closes them. So: nothing has moved for long enough.
        with self.wire() as w:
            stats = w.stats()
        progress = [stats.get(name) for name in MERGE_STATS]
        if self._merge_progress != progress:
            self._merge_progress, self._merge_moved_at = progress, time.monotonic()
            self._cpu_at_move = self.cpu_seconds()
        return time.monotonic() - self._merge_moved_at > MERGE_REST_SECONDS

    def wait_caught_up(self):
        self._merge_progress = None  # rest counts from now, not from before the load
        # Not what it uses while it is watched for having come to rest.
        cpu = super().wait_caught_up()
        return cpu if self.sync is None else self._cpu_at_move

    def wait_merged(self):
        """Waits until the merge rests; answers the seconds from now to its last move."""
        began = time.monotonic()
        self._merge_progress = None
        self.wait_for(self.merge_rests, CATCH_UP_SECONDS, "does not stop merging", pause=0.1)
        return max(self._merge_moved_at - began, 0.0)

    def queue_empty(self):
        """True when all operations are in the log; the merge may rest, as in an open online update."""
        return int(self.stat("ep_queue_size")) == 0

    def warm(self):
        return self.stat("ep_warmup_state") == "done"

    def online_update(self, what):
        """Runs `online_update <what>`; answers the seconds until the answer."""
        with self.wire(300) as w:
            began = time.monotonic()
            reply = w.command(f"online_update {what}")
            seconds = time.monotonic() - began
        if not reply.startswith("OK"):
            raise BenchError(f"online_update {what}: {reply}")
        return seconds


class NullServer(Server):
    """The floor, set up for one kind of request. The load must use one key (--keys 1)."""

    name = "floor"

    def __init__(self, setup, options):
        super().__init__(setup)
        self.options = options

    def command(self):
        return [self.setup.nullserver, "--port", str(self.port)] + self.options

    def answers(self):
        with open(self.log_path, "rb") as log:
            return b"nullserver ready" in log.read()

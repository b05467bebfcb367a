"""Several cairnd that replicate, for tests: nodes that keep their ports and their data over restarts, a client whose
writes are recorded, and what it takes to compare copies. CAIRND and CAIRNCTL name the binaries.
"""

import contextlib
import json
import os
import random
import signal
import struct
import subprocess
import threading
import time

import harness
from harness import Cairnd, eventually, free_port
from history import History, vbucket_of

CAIRNCTL = os.path.abspath(os.environ.get("CAIRNCTL", ""))
VBUCKETS = 16
# Short, so that a test sees many checkpoints end; digests are compared at each.
FLAGS = ["--checkpoint-items", "200", "--checkpoint-age-ms", "200", "--sync-interval-ms", "50"]
WAIT_S = 30

SET, DELETE, GET_REPLICA, ALL_SEQNOS = 0x01, 0x04, 0x83, 0x48
OK, NOT_FOUND, NOT_MY_VBUCKET, BUSY, TMPFAIL, IMPOSSIBLE, AMBIGUOUS = 0x00, 0x01, 0x07, 0x85, 0x86, 0xA1, 0xA3
ACTIVE, REPLICA, PENDING, DEAD = 1, 2, 3, 4


class Node:
    """One cairnd. `start` may follow `stop` or `kill`: ports and data stay. Killed at the latest by `close`."""

    def __init__(self, directory, name, *flags):
        self.name = name
        self.data = os.path.join(directory, name)
        self.port, self.tap_port, self.admin_port = free_port(), free_port(), free_port()
        self.flags = [*FLAGS, "--tap-port", str(self.tap_port), "--admin-port", str(self.admin_port), *flags]
        self.server = None

    @property
    def tap(self):
        return f"127.0.0.1:{self.tap_port}"

    @property
    def admin(self):
        return f"127.0.0.1:{self.admin_port}"

    @property
    def pid(self):
        return self.server.process.pid

    def start(self, *flags):
        server = Cairnd(*self.flags, *flags, data_dir=self.data, port=self.port)
        server.args[server.args.index("--vbuckets") + 1] = str(VBUCKETS)
        self.server = server.__enter__()
        return self

    def stop(self):
        """SIGTERM; the exit code must be 0."""
        server, self.server = self.server, None
        try:
            code = server.end()
            assert code == 0, f"{self.name} ended with {code}\n{server.log()[-2000:]}"
        finally:
            server.__exit__()

    def kill(self):
        server, self.server = self.server, None
        server.process.kill()
        server.process.wait()
        server.__exit__()

    def close(self):
        if self.server is not None:
            self.kill()

    def alive(self):
        return self.server is not None and self.server.process.poll() is None

    def connect(self):
        return self.server.connect()

    # --- cairnctl ---

    def ctl(self, *words, check=True, timeout_s=60):
        """cairnctl --json for this node; the decoded answer, or the whole result with check=False."""
        command = [CAIRNCTL, "--json", "--server", f"127.0.0.1:{self.port}", "--admin", self.admin, *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
        if not check:
            return done
        assert done.returncode == 0, f"{self.name}: {' '.join(words)}: {done.returncode} {done.stdout} {done.stderr}"
        return json.loads(done.stdout) if done.stdout.strip() else None

    def follow(self, source, *words):
        """`source`: a Node, or the port of something before one."""
        port = source.tap_port if isinstance(source, Node) else source
        return self.ctl("replicate", "add", f"127.0.0.1:{port}", *words)

    def unfollow(self, source):
        port = source.tap_port if isinstance(source, Node) else source
        return self.ctl("replicate", "remove", f"127.0.0.1:{port}")

    def connections(self, direction="from"):
        found = self.ctl("replicate", "list")["connections"]
        return [connection for connection in found if connection["direction"] == direction]

    def verify(self, other, wait_s=WAIT_S):
        """Digests, seqnos and items of all vbuckets are the same on both; the text of a difference otherwise."""
        done = self.ctl("replicate", "verify", "--peer", other.admin, "--wait", str(wait_s), check=False)
        return None if done.returncode == 0 else f"{self.name} and {other.name}: {done.stdout}{done.stderr}"

    # --- the engine, through the binary protocol ---

    def seqnos(self, *states):
        """{vbucket: last seqno} of those in one of the states, by default of all."""
        found = {}
        with self.connect() as client:
            for state in states or (ACTIVE, REPLICA, PENDING, DEAD):
                client.send(harness.binary(ALL_SEQNOS, extras=struct.pack(">I", state)))
                _, status, _, _, _, _, body = harness.read_binary(client)
                assert status == OK, f"GET_ALL_VB_SEQNOS: {status:#x}"
                found.update(struct.iter_unpack(">HQ", body))
        return found

    def read(self, keys):
        """What this node, active or replica, has of `keys`: one dict for each vbucket."""
        states = [{} for _ in range(VBUCKETS)]
        with self.connect() as client:
            client.send(b"".join(harness.binary(GET_REPLICA, key.encode()) for key in keys))
            for key in keys:
                _, status, _, _, _, _, value = harness.read_binary(client)
                if status == OK:
                    states[vbucket_of(key, VBUCKETS)][key] = value.decode()
                else:
                    assert status == NOT_FOUND, f"{self.name}: {key}: {status:#x} {value!r}"
        return states


def wait_until(condition, what, timeout_s=WAIT_S):
    assert eventually(condition, timeout_s), f"not within {timeout_s} s: {what}"


def equally_far(one, other):
    with contextlib.suppress(OSError, AssertionError):
        seqnos = one.seqnos()
        return len(seqnos) == VBUCKETS and seqnos == other.seqnos()
    return False


class Recorder:
    """A client that writes in batches and knows what each vbucket may look like because of it."""

    def __init__(self, dice, keys=200, prefix="key-"):
        self.dice = dice
        self.keys = [f"{prefix}{number}" for number in range(keys)]
        self.history = History(VBUCKETS)
        self.counter = 0
        self.answered = 0

    def operations(self, count):
        """Keys with their new values; None: deleted."""
        for _ in range(count):
            self.counter += 1
            value = f"{self.counter}-" + "x" * self.dice.randint(0, 200)
            yield self.dice.choice(self.keys), None if self.dice.random() < 0.15 else value

    def batch(self, client, count=None, safe=False):
        """Sends one batch and reads its answers. A lost connection is passed on; what it leaves unanswered may or may
        not have happened. `safe`: what was answered OK may not be lost. Answers the statuses."""
        pending = list(self.operations(count or self.dice.randint(1, 40)))
        statuses = []
        try:
            client.send(b"".join(self.encode(key, value) for key, value in pending))
            while pending:
                status = harness.read_binary(client)[1]
                statuses.append(status)
                self.settle(*pending.pop(0), status, safe)
        finally:
            for key, value in pending:
                self.history.write(key, value)
        return statuses

    @staticmethod
    def encode(key, value):
        if value is None:
            return harness.binary(DELETE, key.encode())
        return harness.binary(SET, key.encode(), value.encode(), b"\0" * 8)

    def settle(self, key, value, status, safe):
        if status in (OK, AMBIGUOUS) or (status == NOT_FOUND and value is None):
            vbucket, index = self.history.write(key, value)
            if status != AMBIGUOUS:
                self.answered += 1
                if safe:
                    self.history.is_safe(vbucket, index)
        else:
            assert status in (NOT_MY_VBUCKET, BUSY, TMPFAIL, IMPOSSIBLE), f"{key}: status {status:#x}"


class Load(threading.Thread):
    """A Recorder that writes to a node until told to stop, the connection is lost, or a write is refused."""

    def __init__(self, recorder, node, safe=False, pause_s=0.0):
        super().__init__(daemon=True)
        self.recorder, self.node, self.safe, self.pause_s = recorder, node, safe, pause_s
        self.stopping = threading.Event()
        self.lost = None
        self.failure = None
        self.start()

    def run(self):
        try:
            with self.node.connect() as client:
                while not self.stopping.is_set():
                    self.recorder.batch(client, safe=self.safe)
                    if self.pause_s:
                        self.stopping.wait(self.pause_s)
        except OSError as error:
            self.lost = error
        except AssertionError as error:
            # The harness says so when the stream ends in the middle of an answer.
            self.lost, self.failure = error, None if "closed" in str(error) else error

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        self.stopping.set()
        self.join(harness.READ_TIMEOUT_S + 10)
        assert not self.is_alive(), "the load does not end"
        if self.failure:
            raise self.failure


class ClusterCase(harness.DirectoryCase):
    """A test with nodes. The seed is printed by what fails."""

    SEED = int(os.environ.get("CAIRN_REPLICATION_SEED", "1"))

    def setUp(self):
        super().setUp()
        self.dice = random.Random(f"{self.SEED} {self.id()}")
        self.nodes = []
        self.addCleanup(self.close_nodes)

    def close_nodes(self):
        for node in self.nodes:
            node.close()

    def node(self, name, *flags, start=True):
        node = Node(self.directory, name, *flags)
        self.nodes.append(node)
        return node.start() if start else node

    def pair(self, *flags):
        """An active, and a replica that follows it."""
        active = self.node("a", *flags)
        replica = self.node("b", "--replica-of", active.tap, *flags)
        return active, replica

    def in_sync(self, active, *replicas):
        """Nobody writes: waits until all have everything."""
        for replica in replicas:
            if not eventually(lambda r=replica: equally_far(active, r), WAIT_S):
                self.fail(f"{replica.name} is not as far as {active.name}\n{self.standing(active, replica)}")

    @staticmethod
    def standing(*nodes):
        lines = []
        for node in nodes:
            if node.alive():
                lines.append(f"{node.name}: {node.ctl('replicate', 'list', check=False).stdout[:1500]}")
                lines.append(node.server.log()[-4000:])
        return "\n".join(lines)

    def same(self, *nodes, recorder=None):
        """Digests are equal on all of them; and with a recorder, data is what was last written."""
        self.in_sync(nodes[0], *nodes[1:])
        for node in nodes[1:]:
            self.equal_digests(nodes[0], node)
        if recorder is None:
            return
        wanted = recorder.history.all_now()
        for node in nodes:
            found = {key: value for state in node.read(recorder.keys) for key, value in state.items()}
            self.assertEqual(found, wanted, f"on {node.name}")

    def equal_digests(self, one, other):
        """A replica that has not met its restarted source yet is as far as it, but on the branch before."""
        difference = one.verify(other)
        deadline = time.monotonic() + WAIT_S
        while difference and "another branch of history" in difference and time.monotonic() < deadline:
            time.sleep(0.05)
            difference = one.verify(other)
        self.assertIsNone(difference)

    def adopt(self, recorder, node):
        """Checks that `node` is in a state that may have come back, and goes on from there."""
        found = node.read(recorder.keys)
        wrong = recorder.history.wrong(found)
        self.assertIsNone(wrong, f"on {node.name}: {wrong}\n{node.server.log()[-1500:]}")
        recorder.history.reset(found)

    def verified(self, active, replica, recorder):
        """The replica compares digests in every vbucket, and all are equal. That happens at a checkpoint's end, so all of
        them are written to first."""
        with active.connect() as client:
            recorder.batch(client, 500)

        def done():
            connections = replica.connections()
            self.assertEqual([c["mismatched"] for c in connections], [0] * len(connections))
            return connections and all(c["connected"] and c["verified"] == c["streams_total"] for c in connections)
        wait_until(done, f"digests compared on {replica.name}")


class RecordedCase(ClusterCase):
    """A test with one client, which writes to any node and knows what a revert takes back."""

    def setUp(self):
        super().setUp()
        self.begin_anew()

    def begin_anew(self):
        """Other nodes follow, which know nothing of what was written."""
        self.recorder = Recorder(self.dice)
        self.before = None  # states at START, while an online update is open

    def write(self, node, operations=1000):
        with node.connect() as client:
            self.recorder.batch(client, operations)

    @staticmethod
    def step(node, what):
        with node.connect() as client:
            answer = client.ask(f"online_update {what}\r\n".encode())
        assert answer.startswith(b"OK"), f"{what} on {node.name}: {answer!r}"

    def start(self, node):
        self.step(node, "start")
        self.before = [dict(self.recorder.history.now(vbucket)) for vbucket in range(VBUCKETS)]

    def decide(self, node, decision):
        """`decision`: revert or complete."""
        self.step(node, decision)
        if decision == "revert":
            self.recorder.history.reset(self.before)
        self.before = None


@contextlib.contextmanager
def paused(node):
    """Stops the process while the block runs; its connections stay open."""
    os.kill(node.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(node.pid, signal.SIGCONT)

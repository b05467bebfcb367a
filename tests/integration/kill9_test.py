"""SIGKILLs the real cairnd again and again, at random moments and at named points, and compares what comes back
with what clients were told (docs/durability.md).

One connection writes, so the order of its writes is the order of each vbucket's history. After a restart every
vbucket must be in a state it was in after one of its writes, not before the last one known to be durable; with
--sync always that is the last answered one. An online update is all or nothing. No CAS ever names two versions.

CAIRN_KILL9_CYCLES sets the cycles for each policy, CAIRN_KILL9_SEED the first seed.
"""

import os
import random
import socket
import subprocess
import time
import unittest

import harness
from history import History, vbucket_of

CYCLES = int(os.environ.get("CAIRN_KILL9_CYCLES", "100"))
SEED = int(os.environ.get("CAIRN_KILL9_SEED", "1"))
VBUCKETS = 16
END_SECONDS = 20
KEYS = [f"key-{i}" for i in range(120)]
CRASH_POINTS = [
    "flusher.before_write", "flusher.after_write", "flusher.before_sync", "merger.before_data",
    "merger.before_flush", "merger.before_cut", "merger.after_cut", "update.after_move",
    "update.before_open_record", "update.after_open_record", "update.before_decision",
    "update.after_decision", "update.before_close", "recovery.before_update",
]


class Lost(Exception):
    """The process is gone."""


class Cycle:
    """From one start of the process to its death."""

    def __init__(self, test, server, history, dice, policy):
        self.test, self.server, self.history, self.dice, self.policy = test, server, history, dice, policy
        self.client = server.connect()
        self.update_sent = None     # a step whose answer has not come
        self.at_start = None        # states when START was sent
        self.start_index = None

    def run(self, seconds):
        end = time.monotonic() + seconds
        try:
            while time.monotonic() < end:
                if self.dice.random() < 0.04:
                    self.step_update()
                else:
                    self.write_batch()
        except (AssertionError, OSError, Lost):
            # Its connections close before it is gone, on a busy machine by long: its last thread may be an idle one.
            try:
                self.server.process.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                pass
            if self.server.process.poll() is None:
                raise

    def write_batch(self):
        request, written = b"", []
        for _ in range(self.dice.randint(1, 30)):
            key = self.dice.choice(KEYS)
            if self.dice.random() < 0.15:
                request += f"delete {key}\r\n".encode()
                written.append(self.history.write(key, None))
            else:
                value = f"{self.test.counter}-" + "x" * self.dice.randint(0, 200)
                self.test.counter += 1
                request += f"set {key} 0 0 {len(value)}\r\n{value}\r\n".encode()
                written.append(self.history.write(key, value))
        self.client.send(request)
        for vbucket, index in written:
            answer = self.client.read_until(b"\r\n")
            if answer not in (b"STORED\r\n", b"DELETED\r\n", b"NOT_FOUND\r\n"):
                raise AssertionError(f"unexpected answer {answer!r}")
            if self.policy == "always":
                self.history.is_safe(vbucket, index)

    def step_update(self):
        if self.test.update_open:
            step = self.dice.choice(["complete", "revert"])
        else:
            step = "start"
            self.at_start = [dict(self.history.now(v)) for v in range(VBUCKETS)]
            self.test.at_start = self.at_start
            self.start_index = [len(states) - 1 for states in self.history.states]
        self.update_sent = step
        answer = self.client.ask(f"online_update {step}\r\n".encode())
        if not answer.startswith(b"OK"):
            raise AssertionError(f"{step}: {answer!r}")
        self.update_sent = None
        self.test.update_open = step == "start"
        if step == "start":
            self.history.floor = [max(a, b) for a, b in zip(self.history.floor, self.start_index)]
        elif step == "revert":
            self.history.reset([dict(state) for state in self.test.at_start])


class Kill9Test(harness.DirectoryCase):
    def setUp(self):
        super().setUp()
        self.counter = 0
        self.update_open = False
        self.at_start = None
        self.cas_seen = {}

    def start(self, policy, fault=None):
        flags = ["--sync", policy, "--sync-interval-ms", "100"]
        server = harness.Cairnd(*flags, data_dir=self.data_dir())
        server.args[server.args.index("--vbuckets") + 1] = str(VBUCKETS)
        if fault:
            os.environ["CAIRN_FAULT"] = fault
        try:
            return server.__enter__()
        finally:
            os.environ.pop("CAIRN_FAULT", None)

    def read_back(self, server):
        states = [{} for _ in range(VBUCKETS)]
        with server.connect() as client:
            client.send(f"gets {' '.join(KEYS)}\r\n".encode())
            while True:
                line = client.read_until(b"\r\n").decode().split()
                if line[0] == "END":
                    break
                self.assertEqual(line[0], "VALUE", line)
                value = client.read(int(line[3]) + 2)[:-2].decode()
                states[vbucket_of(line[1], VBUCKETS)][line[1]] = value
                known = self.cas_seen.setdefault((line[1], line[4]), value)
                self.assertEqual(known, value, f"CAS {line[4]} of {line[1]} names two versions")
            update = client.stats("online_update")["online_update_state"]
        return states, update

    def check(self, history, cycle, states, update):
        self.assertIn(update, ("normal", "updating"))
        if cycle and cycle.update_sent == "revert" and update == "normal":
            self.assertEqual(states, self.at_start, "a revert was neither done nor undone")
        else:
            wrong = history.wrong(states)
            if wrong:
                self.fail(wrong)
        if self.update_open and not (cycle and cycle.update_sent):
            self.assertEqual(update, "updating", "an open update was forgotten")
        if cycle and not cycle.update_sent and not self.update_open:
            self.assertEqual(update, "normal")
        self.update_open = update == "updating"
        history.reset(states)

    def run_policy(self, policy):
        for number in range(CYCLES):
            dice = random.Random(f"{SEED} {policy} {number}")
            if number == 0:
                history = History(VBUCKETS)
            fault = None
            if dice.random() < 0.5:
                fault = f"{dice.choice(CRASH_POINTS)}:{dice.randint(1, 6)}:crash"
            with self.subTest(policy=policy, cycle=number, fault=fault):
                cycle = self.one_life(policy, fault, history, dice)
                server = self.start(policy)
                try:
                    states, update = self.read_back(server)
                    self.check(history, cycle, states, update)
                finally:
                    clean = dice.random() < 0.5
                    if clean:
                        self.assertEqual(server.end(), 0)
                        history.everything_is_durable()
                    else:
                        server.process.kill()
                        server.process.wait()
                    server.__exit__()

    def one_life(self, policy, fault, history, dice):
        try:
            server = self.start(policy, fault)
        except AssertionError:
            return None  # the crash point lies in the start itself
        cycle = None
        try:
            cycle = Cycle(self, server, history, dice, policy)
            cycle.run(dice.uniform(0.02, 0.35))
        except (OSError, socket.timeout):
            pass
        finally:
            if cycle:
                cycle.client.close()
            server.process.kill()
            server.process.wait()
            server.__exit__()
        return cycle

    def test_sync_always_loses_nothing_that_was_answered(self):
        self.run_policy("always")

    def test_sync_interval_comes_back_in_a_state_it_was_in(self):
        self.run_policy("interval")

    def test_sync_none_survives_the_end_of_the_process_in_order(self):
        self.run_policy("none")


if __name__ == "__main__":
    unittest.main()

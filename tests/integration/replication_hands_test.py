"""Vbuckets change hands between real processes: promotion, the return of an old active, takeover under load, and
durable writes that survive the death of their active.
"""

import os
import socket
import threading
import time
import unittest
from unittest import mock

from cluster import (ACTIVE, AMBIGUOUS, ClusterCase, DEAD, IMPOSSIBLE, Load, NOT_MY_VBUCKET, OK, REPLICA, Recorder,
                     VBUCKETS, paused, wait_until)
import harness
from history import vbucket_of

CYCLES = int(os.environ.get("CAIRN_REPLICATION_CYCLES", "1"))


def vbucket_list(vbuckets):
    return ",".join(str(vbucket) for vbucket in sorted(vbuckets))


class Promotion(ClusterCase):
    def test_a_replica_becomes_active_and_the_old_active_is_fenced_and_follows(self):
        active, replica = self.pair()
        recorder = Recorder(self.dice)
        for _ in range(2 * CYCLES):
            with Load(recorder, active):
                time.sleep(self.dice.uniform(0.2, 0.5))
                active.kill()
            replica.ctl("promote")
            self.assertEqual(len(replica.seqnos(ACTIVE)), VBUCKETS)
            self.adopt(recorder, replica)
            with Load(recorder, replica) as load:
                time.sleep(0.2)
            self.assertIsNone(load.lost)
            # It comes back with a tail that nobody else has, and takes itself for the active until it is told.
            active.start()
            wait_until(lambda a=active: len(a.seqnos(DEAD)) == VBUCKETS, "the old active gives its vbuckets up")
            with active.connect() as client:
                self.assertEqual(set(Recorder(self.dice).batch(client, 30)), {NOT_MY_VBUCKET})
            active.follow(replica)
            self.same(replica, active, recorder=recorder)
            active, replica = replica, active
        self.verified(active, replica, recorder)

    def test_a_promoted_node_stays_active_over_restarts(self):
        active, replica = self.pair()
        recorder = Recorder(self.dice)
        with active.connect() as client:
            recorder.batch(client, 500)
        self.in_sync(active, replica)
        active.kill()
        replica.ctl("promote")
        with replica.connect() as client:
            recorder.batch(client, 200)
        replica.stop()
        replica.start()
        self.assertEqual(len(replica.seqnos(ACTIVE)), VBUCKETS)
        self.adopt(recorder, replica)
        with replica.connect() as client:
            self.assertLessEqual(set(recorder.batch(client, 100)), {OK, 1})

    def test_the_other_replica_follows_the_promoted_one(self):
        active, first = self.pair()
        second = self.node("c", "--replica-of", active.tap)
        recorder = Recorder(self.dice)
        with Load(recorder, active):
            time.sleep(0.4)
            active.kill()
        # The one that is behind in some vbuckets is promoted: the other has to roll back there.
        ahead = sum(first.seqnos().values()) > sum(second.seqnos().values())
        promoted, other = (second, first) if ahead else (first, second)
        promoted.ctl("promote")
        self.adopt(recorder, promoted)
        other.follow(promoted)
        with Load(recorder, promoted):
            time.sleep(0.2)
        self.same(promoted, other, recorder=recorder)


class Takeover(ClusterCase):
    def test_no_write_is_lost_and_nobody_else_is_active(self):
        giver = self.node("a")
        taker = self.node("b", "--replica-of", giver.tap)
        for _ in range(2 * CYCLES):
            writers = [Mover(self.dice.random(), giver, taker, number) for number in range(3)]
            time.sleep(0.3)
            answer = taker.ctl("takeover", giver.tap, "--wait", "30")
            self.assertEqual(answer["changed"], VBUCKETS, answer)
            time.sleep(0.2)
            for writer in writers:
                writer.stop()
            self.assertEqual(len(taker.seqnos(ACTIVE)), VBUCKETS)
            self.assertEqual(giver.seqnos(ACTIVE), {})
            for writer in writers:
                self.assertEqual(writer.missing(), [], "answered writes that are not there")
                self.assertGreater(writer.written_after, 0, "nothing was written behind the takeover")
            giver.follow(taker)
            self.same(taker, giver)
            giver, taker = taker, giver

    def test_some_vbuckets(self):
        giver = self.node("a")
        taker = self.node("b", "--replica-of", giver.tap)
        recorder = Recorder(self.dice)
        with giver.connect() as client:
            recorder.batch(client, 1000)
        taker.ctl("takeover", giver.tap, "--vbuckets", "3,5-7")
        self.assertEqual(sorted(taker.seqnos(ACTIVE)), [3, 5, 6, 7])
        self.assertEqual(sorted(giver.seqnos(ACTIVE)), [v for v in range(VBUCKETS) if v not in (3, 5, 6, 7)])
        giver.stop()
        taker.stop()
        giver.start()
        taker.start()
        self.assertEqual(sorted(taker.seqnos(ACTIVE)), [3, 5, 6, 7])
        self.assertEqual(sorted(taker.seqnos(REPLICA)), [v for v in range(VBUCKETS) if v not in (3, 5, 6, 7)])
        self.assertEqual(len(giver.seqnos(ACTIVE)), VBUCKETS - 4)
        # Each is a replica of the other now.
        giver.follow(taker, "--vbuckets", "3,5-7")
        self.same(giver, taker)

    def test_a_giver_that_is_killed_when_it_is_dead_completes_it_after_its_restart(self):
        giver = self.node("a")
        taker = self.node("b", "--replica-of", giver.tap)
        recorder = Recorder(self.dice)
        with giver.connect() as client:
            recorder.batch(client, 1000)
        giver.stop()
        with mock.patch.dict(os.environ, CAIRN_FAULT="handover.after_record:1:crash"):
            giver.start()
        with giver.connect() as client:
            recorder.batch(client, 200)
        answers = []
        asking = threading.Thread(
            target=lambda: answers.append(taker.ctl("takeover", giver.tap, "--wait", "30", check=False)))
        asking.start()
        wait_until(lambda: not giver.alive(), "the giver has written down that it is dead")
        giver.close()
        self.assertLess(len(taker.seqnos(ACTIVE)), VBUCKETS)
        giver.start()
        asking.join()
        self.assertEqual(answers[0].returncode, 0, answers[0].stdout + answers[0].stderr)
        self.assertEqual(len(taker.seqnos(ACTIVE)), VBUCKETS)
        self.assertEqual(giver.seqnos(ACTIVE), {})
        self.adopt(recorder, taker)
        giver.follow(taker)
        self.same(taker, giver, recorder=recorder)

    def test_a_node_that_is_told_to_stop_does_not_wait_for_it(self):
        _, taker = self.pair()
        nobody = "127.0.0.1:1"
        answers = []
        asking = threading.Thread(
            target=lambda: answers.append(taker.ctl("takeover", nobody, "--wait", "60", check=False, timeout_s=90)))
        asking.start()
        wait_until(lambda: [source["address"] for source in taker.connections()] == [nobody], "the takeover runs")
        begun = time.monotonic()
        taker.stop()
        self.assertLess(time.monotonic() - begun, 5)
        asking.join()
        self.assertIn("CANCELLED", answers[0].stderr + answers[0].stdout)
        taker.start()
        self.assertEqual(len(taker.seqnos(REPLICA)), VBUCKETS)

    def test_a_node_that_is_told_to_stop_does_not_wait_for_the_answer_of_a_source(self):
        giver, _ = self.pair()
        with socket.create_server(("127.0.0.1", 0)) as silent:
            silent.settimeout(30)
            address = f"127.0.0.1:{silent.getsockname()[1]}"
            answers = []
            asking = threading.Thread(
                target=lambda: answers.append(giver.ctl("replicate", "add", address, check=False, timeout_s=90)))
            asking.start()
            asked, _ = silent.accept()
            begun = time.monotonic()
            giver.stop()
            self.assertLess(time.monotonic() - begun, 3)
            asking.join()
            asked.close()
        self.assertIn("CANCELLED", answers[0].stderr + answers[0].stdout)


class Mover:
    """Writes each key of its own once, to whichever of two nodes takes it, and remembers what was answered."""

    def __init__(self, tag, one, other, number):
        self.prefix = f"mover-{number}-{tag}-"
        self.nodes = [one, other]
        self.after = other
        self.answered = []
        self.written_after = 0
        self.failure = None
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        clients = {node: node.connect() for node in self.nodes}
        try:
            number = 0
            while not self.stopping.is_set():
                key = f"{self.prefix}{number}"
                for node, client in clients.items():
                    client.send(Recorder.encode(key, f"value of {key}"))
                    status = harness.read_binary(client)[1]
                    if status == OK:
                        self.answered.append(key)
                        self.written_after += node is self.after
                        number += 1
                        break
                    if status != NOT_MY_VBUCKET:
                        self.failure = f"{key}: status {status:#x} from {node.name}"
                        return
        except (OSError, AssertionError) as error:
            self.failure = repr(error)
        finally:
            for client in clients.values():
                client.close()

    def stop(self):
        self.stopping.set()
        self.thread.join(30)
        assert not self.thread.is_alive() and self.failure is None, self.failure

    def missing(self):
        states = self.after.read(self.answered)
        return [key for key in self.answered
                if states[vbucket_of(key, VBUCKETS)].get(key) != f"value of {key}"][:10]


class Durability(ClusterCase):
    @staticmethod
    def answered(statuses):
        return not {IMPOSSIBLE, AMBIGUOUS} & set(statuses)

    def test_what_a_majority_has_survives_its_active(self):
        """Of three copies the active dies in the middle of durable writes. For each vbucket the replica that is
        further is promoted: nothing that was answered is missing."""
        active, first = self.pair()
        second = self.node("c", "--replica-of", active.tap)
        active.ctl("durability", "majority", "--copies", "3", "--timeout-ms", "5000")
        recorder = Recorder(self.dice)
        with active.connect() as client:
            wait_until(lambda: self.answered(recorder.batch(client, 20)), "replicas take part")
        for _ in range(CYCLES):
            with Load(recorder, active, safe=True) as load:
                time.sleep(self.dice.uniform(0.3, 0.8))
                active.kill()
            self.assertGreater(load.recorder.answered, 20)
            moved = self.promote_the_furthest(first, second)
            self.check_both(recorder, first, second)
            active.start()
            wait_until(lambda: len(active.seqnos(DEAD)) == VBUCKETS, "the old active is fenced")
            # The promoted halves come back together, and the old active follows: as at the beginning.
            if moved:
                first.ctl("takeover", second.tap, "--vbuckets", vbucket_list(moved), "--wait", "30")
            second.follow(first)
            active.follow(first)
            self.same(first, second, active, recorder=recorder)
            active, first = first, active
            active.ctl("durability", "majority", "--copies", "3", "--timeout-ms", "5000")
            with active.connect() as client:
                wait_until(lambda: self.answered(recorder.batch(client, 20)), "replicas take part again")

    @staticmethod
    def promote_the_furthest(first, second):
        one, other = first.seqnos(REPLICA), second.seqnos(REPLICA)
        best = {vbucket for vbucket in range(VBUCKETS) if one.get(vbucket, 0) >= other.get(vbucket, 0)}
        rest = set(range(VBUCKETS)) - best
        for node, mine, peer, theirs in ((first, best, second, rest), (second, rest, first, best)):
            if mine:
                node.ctl("promote", "--vbuckets", vbucket_list(mine))
            if theirs:
                node.follow(peer, "--vbuckets", vbucket_list(theirs))
        return rest

    def check_both(self, recorder, first, second):
        self.in_sync(first, second)
        self.adopt(recorder, first)
        self.assertIsNone(first.verify(second))

    def test_without_enough_copies_a_write_is_refused(self):
        active = self.node("a")
        active.ctl("durability", "majority", "--copies", "3", "--timeout-ms", "200")
        recorder = Recorder(self.dice)
        with active.connect() as client:
            self.assertEqual(set(recorder.batch(client, 5)), {IMPOSSIBLE})
        self.assertEqual(active.read(recorder.keys), [{}] * VBUCKETS, "what was refused was written")

    def test_a_copy_that_stands_still_makes_the_answer_ambiguous(self):
        active, replica = self.pair()
        recorder = Recorder(self.dice)
        active.ctl("durability", "majority", "--copies", "2", "--timeout-ms", "300")
        with active.connect() as client:
            wait_until(lambda: self.answered(recorder.batch(client, 5)), "the replica takes part")
            with paused(replica):
                self.assertEqual(set(recorder.batch(client, 5)), {AMBIGUOUS})
            self.same(active, replica, recorder=recorder)

    def test_persisted_by_a_majority_survives_all_of_them(self):
        active, replica = self.pair()
        active.ctl("durability", "persisted-majority", "--copies", "2", "--timeout-ms", "5000")
        recorder = Recorder(self.dice)
        with active.connect() as client:
            wait_until(lambda: self.answered(recorder.batch(client, 5)), "the replica takes part")
            for _ in range(5):
                self.assertTrue(self.answered(recorder.batch(client, 20, safe=True)))
        for node in (active, replica):
            node.kill()
        replica.start()
        self.adopt(recorder, replica)

    def test_who_waits_for_a_replicas_disk_does_not_wait_for_its_next_sync(self):
        active = self.node("a")
        replica = self.node("b", "--replica-of", active.tap, "--sync-interval-ms", "600000")
        active.ctl("durability", "persisted-majority", "--copies", "2", "--timeout-ms", "5000")
        recorder = Recorder(self.dice)
        with active.connect() as client:
            wait_until(lambda: self.answered(recorder.batch(client, 5)), "the replica takes part")
            for _ in range(20):
                self.assertTrue(self.answered(recorder.batch(client, 5)))
        self.same(active, replica, recorder=recorder)


if __name__ == "__main__":
    unittest.main()

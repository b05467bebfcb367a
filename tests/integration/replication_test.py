"""Replication between real processes: initial sync, live streams, either side killed, chains, and a network that
cuts, resets, delays and stalls (tap_proxy.py). What clients wrote is recorded, and each copy is compared with it.

CAIRN_REPLICATION_SEED sets the seed, CAIRN_REPLICATION_CYCLES how often the cases with chance are repeated.
"""

import os
import time
import unittest

from cluster import ClusterCase, Load, NOT_MY_VBUCKET, Recorder, paused, wait_until
import harness
from tap_proxy import Plan, TapProxy

CYCLES = int(os.environ.get("CAIRN_REPLICATION_CYCLES", "1"))


class Streams(ClusterCase):
    def written(self, node, operations, recorder=None):
        recorder = recorder or Recorder(self.dice)
        with node.connect() as client:
            for _ in range(operations // 50):
                recorder.batch(client, 50)
        return recorder

    def test_a_new_replica_gets_everything_and_then_what_is_written(self):
        active = self.node("a")
        recorder = self.written(active, 5000)
        active.stop()  # merged and synced: the first copy comes from disk
        active.start()
        recorder = self.written(active, 1000, recorder)
        replica = self.node("b", "--replica-of", active.tap)
        with Load(recorder, active) as load:
            wait_until(lambda: any(c["streaming"] for c in replica.connections()), "streams from memory")
            time.sleep(0.3)
        self.assertIsNone(load.lost)
        self.same(active, replica, recorder=recorder)
        self.verified(active, replica, recorder)

    def test_a_replica_refuses_clients(self):
        active, replica = self.pair()
        recorder = self.written(active, 500)
        self.in_sync(active, replica)
        with replica.connect() as client:
            self.assertEqual(set(recorder.batch(client, 20)), {NOT_MY_VBUCKET})
            client.send(harness.binary(0x00, recorder.keys[0].encode()))
            self.assertEqual(harness.read_binary(client)[1], NOT_MY_VBUCKET)
        self.same(active, replica, recorder=recorder)

    def test_a_restarted_pair_goes_on_where_it_was(self):
        active, replica = self.pair()
        recorder = self.written(active, 5000)
        self.same(active, replica, recorder=recorder)
        for order in ((replica, active), (active, replica)):
            for node in order:
                node.stop()
            for node in reversed(order):
                node.start()
            self.same(active, replica, recorder=recorder)
            sent = sum(c["backfilled_operations"] for c in replica.connections())
            self.assertEqual(sent, 0, "a replica that has everything was sent something again")
        recorder = self.written(active, 500, recorder)
        self.same(active, replica, recorder=recorder)

    def test_a_replica_killed_again_and_again(self):
        active, replica = self.pair()
        recorder = Recorder(self.dice)
        with Load(recorder, active, pause_s=0.002) as load:
            for _ in range(5 * CYCLES):
                time.sleep(self.dice.uniform(0.02, 0.4))
                replica.kill()
                replica.start()
        self.assertIsNone(load.lost)
        self.same(active, replica, recorder=recorder)
        replica.stop()
        replica.start()
        self.same(active, replica, recorder=recorder)

    def test_an_active_killed_again_and_again_takes_its_replicas_back_with_it(self):
        active, replica = self.pair()
        recorder = Recorder(self.dice)
        for _ in range(5 * CYCLES):
            with Load(recorder, active):
                time.sleep(self.dice.uniform(0.05, 0.4))
                active.kill()
            active.start()
            self.adopt(recorder, active)
            self.same(active, replica, recorder=recorder)
        self.verified(active, replica, recorder)
        replica.stop()
        replica.start()
        self.same(active, replica, recorder=recorder)

    def test_a_chain_carries_everything_to_its_end(self):
        active, middle = self.pair()
        last = self.node("c", "--replica-of", middle.tap)
        recorder = self.written(active, 2000)
        self.same(active, middle, last, recorder=recorder)
        with Load(recorder, active, pause_s=0.002):
            time.sleep(0.2)
            middle.kill()
            time.sleep(0.1)
            middle.start()
            time.sleep(0.2)
        self.same(active, middle, last, recorder=recorder)
        with Load(recorder, active):
            time.sleep(0.2)
            active.kill()
        active.start()
        self.adopt(recorder, active)
        self.same(active, middle, last, recorder=recorder)
        for node in (last, middle, active):
            node.stop()
        for node in (last, middle, active):
            node.start()
        self.same(active, middle, last, recorder=recorder)

    def test_a_replica_that_stands_still_costs_the_active_no_memory_and_catches_up(self):
        active, replica = self.pair()
        recorder = self.written(active, 2000)
        self.in_sync(active, replica)
        with active.connect() as client:
            before = int(client.stats()["mem_used"])
        value = b"v" * 4000
        with paused(replica), active.connect() as client:
            for round_number in range(30):  # 120 MB through a quota of 256 MB
                client.send(b"".join(b"set big-%d 0 0 4000 noreply\r\n%s\r\n" % (i + 1000 * (round_number % 3), value)
                                     for i in range(1000)))
                self.assertTrue(client.ask(b"version\r\n").startswith(b"VERSION"))
            used = int(client.stats()["mem_used"])
        # 3,000 keys of 4 kB stay, and checkpoints have a fifth of the quota.
        self.assertLess(used - before, 12e6 * 1.3 + 256 * 2**20 * 0.2)
        self.same(active, replica, recorder=recorder)


class BadNetwork(ClusterCase):
    def behind(self, proxy, name="b"):
        return self.node(name, "--replica-of", f"127.0.0.1:{proxy.port}")

    def loaded(self, active, batches=100, recorder=None):
        recorder = recorder or Recorder(self.dice)
        with active.connect() as client:
            for _ in range(batches):
                recorder.batch(client, 50)
        return recorder

    def test_cut_anywhere(self):
        """The connection is cut at random bytes of every phase; nothing is lost, doubled or mixed."""
        for cycle in range(CYCLES):
            active = self.node(f"a{cycle}")
            recorder = self.loaded(active)
            cuts = 12
            plans = [Plan.random(self.dice, 300_000) for _ in range(cuts)]
            with TapProxy(active.tap_port, lambda n, p=plans: p[n - 1] if n <= len(p) else Plan()) as proxy:
                replica = self.behind(proxy, f"b{cycle}")
                with Load(recorder, active, pause_s=0.005):
                    wait_until(lambda: proxy.connections > cuts, f"{cuts} cuts", 60)
                self.same(active, replica, recorder=recorder)
                self.verified(active, replica, recorder)
                replica.stop()
                replica.start()
                self.same(active, replica, recorder=recorder)
            active.close()
            replica.close()

    def test_cut_while_both_sides_are_killed_in_turn(self):
        active = self.node("a")
        recorder = self.loaded(active, 20)
        plans = [Plan.random(self.dice, 100_000) for _ in range(200)]
        with TapProxy(active.tap_port, lambda n: plans[n % len(plans)]) as proxy:
            replica = self.behind(proxy)
            for _ in range(4 * CYCLES):
                victim = self.dice.choice((active, replica))
                with Load(recorder, active):
                    time.sleep(self.dice.uniform(0.1, 0.4))
                    victim.kill()
                victim.start()
                if victim is active:
                    self.adopt(recorder, active)
            proxy.plan_for = lambda n: Plan()
            proxy.cut()
            self.same(active, replica, recorder=recorder)

    def test_a_slow_connection(self):
        active = self.node("a")
        recorder = self.loaded(active, 20)
        with TapProxy(active.tap_port) as proxy:
            proxy.delay_s = 0.03
            replica = self.behind(proxy)
            with Load(recorder, active, pause_s=0.001) as load:
                time.sleep(0.5)
            self.assertIsNone(load.lost)
            self.same(active, replica, recorder=recorder)

    def test_one_direction_stalls(self):
        """Writes on the active go on; when the way is free again the replica has everything."""
        active = self.node("a")
        recorder = self.loaded(active, 20)
        with TapProxy(active.tap_port) as proxy:
            replica = self.behind(proxy)
            self.in_sync(active, replica)
            for directions in (("down",), ("up",), ("down", "up")):
                with Load(recorder, active) as load, proxy.stalled(*directions):
                    time.sleep(0.4)
                self.assertIsNone(load.lost)
                self.same(active, replica, recorder=recorder)

    def test_away_for_a_while(self):
        active = self.node("a")
        recorder = self.loaded(active, 20)
        with TapProxy(active.tap_port) as proxy:
            replica = self.behind(proxy)
            self.in_sync(active, replica)
            proxy.refuse()
            before = replica.seqnos()
            self.loaded(active, 40, recorder)
            self.assertEqual(replica.seqnos(), before)
            wait_until(lambda: not replica.connections()[0]["connected"], "the replica knows that it is alone")
            proxy.refuse(False)
            self.same(active, replica, recorder=recorder)

    @unittest.skipUnless(CYCLES > 1, "takes longer than a dead peer's keepalive; runs with the label long")
    def test_a_pulled_cable_is_noticed(self):
        active = self.node("a")
        recorder = self.loaded(active, 20)
        with TapProxy(active.tap_port, lambda n: Plan(200_000, black_hole=True) if n == 1 else Plan()) as proxy:
            replica = self.behind(proxy)
            with Load(recorder, active, pause_s=0.01):
                wait_until(lambda: proxy.connections > 1, "the replica connects anew", 120)
            self.same(active, replica, recorder=recorder)


if __name__ == "__main__":
    unittest.main()

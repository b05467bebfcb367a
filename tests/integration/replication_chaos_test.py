"""Three nodes, a client that writes all the time, and chance: kills, restarts, cuts, failovers, takeovers and online
updates in any order. After every step that takes something away the copies must agree on a state that may have come
back; after every few steps all three must be equal, in memory and loaded from disk.

CAIRN_REPLICATION_SEED sets the seed, CAIRN_REPLICATION_STEPS the number of steps (60).
"""

import os
import time
import unittest

from cluster import ACTIVE, Load, RecordedCase, VBUCKETS, wait_until
from tap_proxy import Plan, TapProxy

STEPS = int(os.environ.get("CAIRN_REPLICATION_STEPS", "60"))
EQUAL_EVERY = 4


class Chaos(RecordedCase):
    def setUp(self):
        super().setUp()
        self.active = self.node("a")
        self.replicas = [self.node("b"), self.node("c")]
        # One in front of each node, so that every link can be cut and cables change with the roles.
        self.proxies = {node: self.enterContext(TapProxy(node.tap_port, self.plan)) for node in self.nodes}
        self.trouble = False
        for replica in self.replicas:
            self.point(replica, self.active)

    def plan(self, _):
        return Plan.random(self.dice, 200_000) if self.trouble else Plan()

    def point(self, node, source):
        """`node` follows `source` from now on, through its proxy, and nobody else."""
        node.follow(self.proxies[source].port)

    # --- steps ---

    def write_for_a_while(self):
        with Load(self.recorder, self.active, pause_s=self.dice.choice((0, 0.002))) as load:
            time.sleep(self.dice.uniform(0.05, 0.5))
        self.assertIsNone(load.lost)

    def kill_a_replica(self):
        victim = self.dice.choice(self.replicas)
        with Load(self.recorder, self.active):
            time.sleep(self.dice.uniform(0.02, 0.3))
            victim.kill()
            time.sleep(self.dice.uniform(0, 0.3))
            victim.start()

    def restart_a_node(self):
        node = self.dice.choice(self.nodes)
        node.stop()
        node.start()

    def cut(self):
        self.trouble = True
        with Load(self.recorder, self.active, pause_s=0.002):
            for proxy in self.proxies.values():
                proxy.cut(reset=self.dice.random() < 0.5)
            time.sleep(self.dice.uniform(0.1, 0.6))
        self.trouble = False
        for proxy in self.proxies.values():
            proxy.cut()

    def kill_the_active(self):
        """It comes back as the active, without its last writes."""
        with Load(self.recorder, self.active):
            time.sleep(self.dice.uniform(0.05, 0.4))
            self.active.kill()
        self.active.start()
        self.adopt(self.recorder, self.active)

    def fail_over(self):
        old = self.active
        # A replica that has only just begun to follow may have nothing yet. These have everything up to here.
        self.in_sync(old, *self.replicas)
        self.recorder.history.everything_is_durable()
        with Load(self.recorder, old):
            time.sleep(self.dice.uniform(0.05, 0.4))
            old.kill()
        new, other = self.dice.sample(self.replicas, 2)
        new.ctl("promote")
        self.assertEqual(len(new.seqnos(ACTIVE)), VBUCKETS)
        self.adopt(self.recorder, new)
        self.active, self.replicas = new, [other, old]
        self.point(other, new)
        self.write_for_a_while()
        old.start()
        wait_until(lambda: not old.seqnos(ACTIVE), "the old active is fenced")
        self.point(old, new)

    def take_over(self):
        if self.before is not None:
            return  # refused in the window of an online update
        old = self.active
        new, other = self.dice.sample(self.replicas, 2)
        with Load(self.recorder, old) as load:
            time.sleep(0.05)
            new.ctl("takeover", f"127.0.0.1:{self.proxies[old].port}", "--wait", "30")
        self.assertIsNone(load.lost)
        self.active, self.replicas = new, [other, old]
        for node in self.replicas:
            self.point(node, new)

    def update(self):
        if self.before is None:
            self.start(self.active)
            self.equal()  # from here on every node that may be promoted knows of it
        else:
            self.decide(self.active, self.dice.choice(("complete", "revert")))
            self.equal()

    def equal(self):
        self.same(self.active, *self.replicas, recorder=self.recorder)

    def test_anything_in_any_order(self):
        steps = [self.write_for_a_while, self.kill_a_replica, self.restart_a_node, self.cut, self.kill_the_active,
                 self.fail_over, self.take_over, self.update, self.update]
        done = []
        self.write_for_a_while()
        for number in range(STEPS):
            step = self.dice.choice(steps)
            done.append(step.__name__)
            try:
                step()
                if number % EQUAL_EVERY == 0:
                    self.equal()
            except Exception as error:
                error.add_note(f"seed {self.SEED}, step {number}: {' '.join(done)}\n"
                               f"{self.standing(self.active, *self.replicas)}")
                raise
        self.equal()
        for replica in self.replicas:
            self.verified(self.active, replica, self.recorder)


if __name__ == "__main__":
    unittest.main()

"""Online updates on replicated data: every copy goes through START, the window, REVERT or COMPLETE, whenever it joins
and whatever is killed.
"""

import os
import time
import unittest

from cluster import Load, RecordedCase, wait_until

CYCLES = int(os.environ.get("CAIRN_REPLICATION_CYCLES", "1"))


class OnlineUpdate(RecordedCase):
    @staticmethod
    def state(node):
        with node.connect() as client:
            return client.stats("online_update")["online_update_state"]

    def three(self):
        active, replica = self.pair()
        return active, replica, self.node("c", "--replica-of", active.tap)

    def test_revert_and_complete_on_every_copy(self):
        nodes = self.three()
        active = nodes[0]
        self.write(active)
        for _ in range(CYCLES):
            self.start(active)
            self.write(active)
            self.same(*nodes, recorder=self.recorder)
            self.decide(active, "revert")
            self.same(*nodes, recorder=self.recorder)
            self.start(active)
            self.write(active)
            self.decide(active, "complete")
            self.same(*nodes, recorder=self.recorder)
            self.write(active)
            self.same(*nodes, recorder=self.recorder)
        for node in nodes[1:]:
            self.verified(active, node, self.recorder)
        for node in nodes:
            node.stop()
        for node in nodes:
            node.start()
        self.same(*nodes, recorder=self.recorder)

    def test_clients_write_through_all_of_it(self):
        nodes = self.three()
        active = nodes[0]
        self.write(active)
        self.start(active)
        with Load(self.recorder, active):
            time.sleep(0.4)
        self.same(*nodes, recorder=self.recorder)
        with Load(self.recorder, active):
            self.step(active, "revert")
            time.sleep(0.2)
        # Which of these writes came before the decision only the node knows: its copies must agree with it.
        self.recorder.history.reset(active.read(self.recorder.keys))
        self.same(*nodes, recorder=self.recorder)

    def test_a_replica_that_joins_in_the_window(self):
        for decision in ("revert", "complete"):
            with self.subTest(decision=decision):
                active = self.node(f"a-{decision}")
                self.write(active)
                active.stop()
                active.start()
                self.start(active)
                self.write(active)
                replica = self.node(f"b-{decision}", "--replica-of", active.tap)
                self.same(active, replica, recorder=self.recorder)
                self.write(active, 200)
                self.decide(active, decision)
                self.same(active, replica, recorder=self.recorder)
                replica.stop()
                replica.start()
                self.same(active, replica, recorder=self.recorder)
                replica.close()
                active.close()
                self.begin_anew()

    def test_copies_killed_in_the_window(self):
        active, replica = self.pair()
        self.write(active)
        for _ in range(2 * CYCLES):
            self.same(active, replica, recorder=self.recorder)
            self.start(active)
            self.write(active, 300)
            replica.kill()
            self.write(active, 300)
            replica.start()
            self.same(active, replica, recorder=self.recorder)
            # Everything so far is durable, so the active comes back with the window open and all in it.
            wait_until(lambda: self.written_out(active), "the active has written everything")
            active.kill()
            active.start()
            self.assertEqual(self.state(active), "updating")
            self.same(active, replica, recorder=self.recorder)
            self.decide(active, self.dice.choice(("revert", "complete")))
            self.same(active, replica, recorder=self.recorder)

    @staticmethod
    def written_out(node):
        with node.connect() as client:
            return client.stats()["ep_queue_size"] == "0"

    def test_a_replica_that_was_away_for_the_decision(self):
        for decision in ("revert", "complete"):
            with self.subTest(decision=decision):
                active = self.node(f"a-{decision}")
                replica = self.node(f"b-{decision}", "--replica-of", active.tap)
                self.write(active)
                self.start(active)
                self.write(active)
                self.same(active, replica, recorder=self.recorder)
                replica.stop()
                self.decide(active, decision)
                self.write(active)
                replica.start()
                self.same(active, replica, recorder=self.recorder)
                replica.close()
                active.close()
                self.begin_anew()

    def test_a_replica_promoted_in_the_window_carries_it_on(self):
        for decision in ("revert", "complete"):
            with self.subTest(decision=decision):
                active = self.node(f"a-{decision}")
                replica = self.node(f"b-{decision}", "--replica-of", active.tap)
                self.write(active)
                self.start(active)
                self.write(active)
                self.same(active, replica, recorder=self.recorder)
                active.kill()
                replica.ctl("promote")
                self.assertEqual(self.state(replica), "updating")
                self.write(replica)
                self.decide(replica, decision)
                self.adopt(self.recorder, replica)
                active.start()
                wait_until(lambda a=active: not a.seqnos(1), "the old active is fenced")
                active.follow(replica)
                self.same(replica, active, recorder=self.recorder)
                replica.close()
                active.close()
                self.begin_anew()

    def test_an_update_that_another_node_ended_is_over_on_the_one_that_began_it(self):
        for decision in ("revert", "complete"):
            for restart in (False, True):
                with self.subTest(decision=decision, restart=restart):
                    self.begun_here_ended_there(decision, restart)

    def begun_here_ended_there(self, decision, restart):
        self.begin_anew()
        name = f"{decision}-{restart}"
        first = self.node(f"a-{name}")
        second = self.node(f"b-{name}", "--replica-of", first.tap)
        self.write(first)
        self.start(first)
        self.write(first)
        self.same(first, second, recorder=self.recorder)
        first.kill()
        second.ctl("promote")
        first.start()
        wait_until(lambda: not first.seqnos(1), "the old active is fenced")
        first.follow(second)
        self.same(second, first, recorder=self.recorder)
        self.decide(second, decision)
        self.same(second, first, recorder=self.recorder)
        if restart:
            first.stop()
            first.start()
        self.start(second)
        self.write(second)
        self.same(second, first, recorder=self.recorder)
        second.kill()
        first.ctl("promote")
        self.assertEqual(self.state(first), "updating")
        self.decide(first, "revert")
        self.adopt(self.recorder, first)
        self.assertEqual(self.state(first), "normal")
        first.close()
        second.close()


if __name__ == "__main__":
    unittest.main()

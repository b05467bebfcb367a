"""pymemcache, a client library that people use, against the real process."""

import unittest

from harness import Cairnd

try:
    from pymemcache.client.base import Client, PooledClient
    from pymemcache.exceptions import MemcacheServerError
    from pymemcache.serde import pickle_serde
except ImportError:
    Client = None


@unittest.skipIf(Client is None, "python3-pymemcache is not installed")
class Pymemcache(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Cairnd(memory_only=True).__enter__()
        cls.addClassCleanup(cls.server.__exit__)

    def setUp(self):
        self.client = Client(("127.0.0.1", self.server.port), serde=pickle_serde, timeout=10)
        self.addCleanup(self.client.close)
        self.client.flush_all(noreply=False)

    def test_values_of_all_kinds(self):
        for value in ("text", b"bytes", 42, 3.5, {"a": [1, 2]}, None, "ü" * 1000, b"x" * 900_000):
            self.client.set("key", value, noreply=False)
            self.assertEqual(self.client.get("key"), value)

    def test_store_modes(self):
        self.assertTrue(self.client.add("a", 1, noreply=False))
        self.assertFalse(self.client.add("a", 2, noreply=False))
        self.assertTrue(self.client.replace("a", 3, noreply=False))
        self.assertFalse(self.client.replace("b", 3, noreply=False))
        self.client.set("s", b"1", noreply=False)
        self.assertTrue(self.client.append("s", b"2", noreply=False))
        self.assertTrue(self.client.prepend("s", b"0", noreply=False))
        self.assertEqual(self.client.get("s"), b"012")

    def test_many(self):
        values = {f"many{i}": i for i in range(500)}
        self.assertEqual(self.client.set_many(values, noreply=False), [])
        self.assertEqual(self.client.get_many(list(values) + ["missing"]), values)
        self.assertEqual(len(self.client.gets_many(list(values))), 500)
        self.assertTrue(self.client.delete_many(list(values), noreply=False))
        self.assertEqual(self.client.get_many(list(values)), {})

    def test_cas(self):
        self.client.set("c", 1, noreply=False)
        value, cas = self.client.gets("c")
        self.assertEqual(value, 1)
        self.assertTrue(self.client.cas("c", 2, cas))
        self.assertFalse(self.client.cas("c", 3, cas))
        self.assertIsNone(self.client.cas("missing", 3, cas))

    def test_counters_touch_delete(self):
        self.client.set("n", 10, noreply=False)
        self.assertEqual(self.client.incr("n", 5), 15)
        self.assertEqual(self.client.decr("n", 50), 0)
        self.assertIsNone(self.client.incr("missing", 1))
        self.assertTrue(self.client.touch("n", 100, noreply=False))
        self.assertFalse(self.client.touch("missing", 100, noreply=False))
        self.assertTrue(self.client.delete("n", noreply=False))
        self.assertFalse(self.client.delete("n", noreply=False))

    def test_noreply_is_the_default_and_keeps_the_stream_right(self):
        for i in range(1000):
            self.client.set(f"k{i}", i)
        self.assertEqual(self.client.get("k999"), 999)

    def test_information(self):
        self.assertEqual(self.client.version(), b"1.6.18")
        self.assertIn(b"curr_items", self.client.stats())
        self.assertIn(b"item_size_max", self.client.stats("settings"))

    def test_too_large_is_an_error_and_the_connection_lives(self):
        with self.assertRaises(MemcacheServerError):
            self.client.set("big", b"x" * 2_000_000, noreply=False)
        self.client.set("k", 1, noreply=False)
        self.assertEqual(self.client.get("k"), 1)

    def test_pool(self):
        pool = PooledClient(("127.0.0.1", self.server.port), max_pool_size=4)
        pool.set("p", "v", noreply=False)
        self.assertEqual(pool.get("p"), b"v")
        pool.close()


if __name__ == "__main__":
    unittest.main()

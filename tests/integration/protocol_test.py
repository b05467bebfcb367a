"""What clients rely on, byte for byte, against the real process."""

import os
import shutil
import socket
import subprocess
import threading
import unittest

from harness import Cairnd, Client, DirectoryCase, binary, read_binary

# (request, answer) in order on one connection; lines of memcached 1.6.
ODD_LINES = [
    (b"get\r\n", b"ERROR\r\n"),
    (b"\r\n", b"ERROR\r\n"),
    (b"GET a\r\n", b"ERROR\r\n"),
    (b"get " + b"k" * 250 + b"\r\n", b"END\r\n"),
    (b"get " + b"k" * 251 + b"\r\n", b"CLIENT_ERROR bad command line format\r\n"),
    (b"set " + b"k" * 251 + b" 0 0 1\r\n", b"CLIENT_ERROR bad command line format\r\n"),
    (b"set a 0 0\r\n", b"ERROR\r\n"),
    (b"set a x 0 1\r\n", b"CLIENT_ERROR bad command line format\r\n"),
    (b"set a 0 0 -1\r\n", b"CLIENT_ERROR bad command line format\r\n"),
    (b"set a 0 0 3\r\nabcde\r\n", b"CLIENT_ERROR bad data chunk\r\nERROR\r\n"),
    (b"set a 0 0 0\r\n\r\n", b"STORED\r\n"),
    (b"get a\r\n", b"VALUE a 0 0\r\n\r\nEND\r\n"),
    (b"set a 4294967295 0 2\r\n\r\n\r\n", b"STORED\r\n"),
    (b"get a\r\n", b"VALUE a 4294967295 2\r\n\r\n\r\nEND\r\n"),
    (b"cas a 0 0 1 notanumber\r\n", b"CLIENT_ERROR bad command line format\r\n"),
    (b"cas missing 0 0 1 1\r\nx\r\n", b"NOT_FOUND\r\n"),
    (b"incr missing 1\r\n", b"NOT_FOUND\r\n"),
    (b"incr a x\r\n", b"CLIENT_ERROR invalid numeric delta argument\r\n"),
    (b"incr a 1\r\n", b"CLIENT_ERROR cannot increment or decrement non-numeric value\r\n"),
    (b"set n 0 0 20\r\n18446744073709551615\r\n", b"STORED\r\n"),
    (b"incr n 1\r\n", b"0\r\n"),
    (b"decr n 1\r\n", b"0\r\n"),
    (b"touch missing 0\r\n", b"NOT_FOUND\r\n"),
    (b"touch n x\r\n", b"CLIENT_ERROR invalid exptime argument\r\n"),
    (b"gat 0 missing\r\n", b"END\r\n"),
    (b"gat x n\r\n", b"CLIENT_ERROR invalid exptime argument\r\n"),
    (b"delete missing\r\n", b"NOT_FOUND\r\n"),
    (b"delete n 0\r\n", b"DELETED\r\n"),
    (b"delete n 0 noreply\r\nversion\r\n", b"VERSION 1.6.18\r\n"),
    (b"delete n 1\r\n", b"CLIENT_ERROR bad command line format.  Usage: delete <key> [noreply]\r\n"),
    (b"verbosity\r\n", b"ERROR\r\n"),
    (b"verbosity abc\r\n", b"CLIENT_ERROR bad command line format\r\n"),
    (b"verbosity 1\r\n", b"OK\r\n"),
    (b"flush_all abc\r\n", b"CLIENT_ERROR invalid exptime argument\r\n"),
    (b"flush_all 0\r\n", b"OK\r\n"),
    (b"set a 0 0 1\r\n1\r\nflush_all noreply\r\nset b 0 0 1\r\n2\r\nget a b\r\n",
     b"STORED\r\nSTORED\r\nVALUE b 0 1\r\n2\r\nEND\r\n"),
    (b"stats nosuchgroup\r\n", b"ERROR\r\n"),
    (b"stats detail on\r\n", b"OK\r\n"),
    (b"stats detail dump\r\n", b"END\r\n"),
    (b"shutdown\r\n", b"ERROR: shutdown not enabled\r\n"),
    (b"online_update\r\n", b"ERROR\r\n"),
    (b"online_update revert\r\n", None),
    (b"get a\n", b"END\r\n"),
    (b"version \r\n", b"VERSION 1.6.18\r\n"),
]


class Protocol(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Cairnd(memory_only=True).__enter__()
        cls.addClassCleanup(cls.server.__exit__)

    def connect(self):
        client = self.server.connect()
        self.addCleanup(client.close)
        return client

    def test_odd_lines(self):
        self.connect().ask(b"flush_all\r\n")
        for request, answer in ODD_LINES:
            with self.subTest(request=request[:60]):
                client = self.connect()
                client.send(request + b"quit\r\n")
                if answer is None:
                    self.assertTrue(client.rest().startswith(b"SERVER_ERROR NOT_SUPPORTED"))
                else:
                    self.assertEqual(client.rest(), answer)
                client.close()

    def test_everything_byte_by_byte(self):
        client = self.connect()
        request = (b"set slow 5 0 3\r\nabc\r\nget slow slow\r\nincr slow 1\r\nnonsense\r\n"
                   b"delete slow\r\nversion\r\n")
        answer = (b"STORED\r\nVALUE slow 5 3\r\nabc\r\nVALUE slow 5 3\r\nabc\r\nEND\r\n"
                  b"CLIENT_ERROR cannot increment or decrement non-numeric value\r\nERROR\r\n"
                  b"DELETED\r\nVERSION 1.6.18\r\n")
        for i in range(len(request)):
            client.send(request[i:i + 1])
        self.assertEqual(client.read(len(answer)), answer)

    def test_binary_byte_by_byte(self):
        client = self.connect()
        request = (binary(0x01, b"bin", b"value", b"\0\0\0\x05\0\0\0\0") + binary(0x0c, b"bin")
                   + binary(0x70, b"key", b"body") + binary(0x0a))
        for i in range(len(request)):
            client.send(request[i:i + 1])
        self.assertEqual(read_binary(client)[:2], (0x01, 0))
        self.assertEqual(read_binary(client)[4:], (b"\0\0\0\x05", b"bin", b"value"))
        self.assertEqual(read_binary(client)[:2], (0x70, 0x81))
        self.assertEqual(read_binary(client)[:2], (0x0a, 0))

    def test_huge_pipeline(self):
        client = self.connect()
        count = 50_000
        requests = b"".join(b"set p%d 0 0 5\r\nv%04d\r\nget p%d\r\n" % (i % 1000, i % 1000, i % 1000)
                            for i in range(count))
        writer = threading.Thread(target=client.send, args=(requests,))
        writer.start()
        for i in range(count):
            key = i % 1000
            expected = b"STORED\r\nVALUE p%d 0 5\r\nv%04d\r\nEND\r\n" % (key, key)
            self.assertEqual(client.read(len(expected)), expected)
        writer.join()

    def test_quiet_binary_pipeline(self):
        client = self.connect()
        count = 10_000
        sets = b"".join(binary(0x11, b"q%d" % i, b"v%d" % i, b"\0" * 8) for i in range(count))
        gets = b"".join(binary(0x0d, b"q%d" % i, opaque=i) for i in range(0, 2 * count, 2))
        writer = threading.Thread(target=client.send, args=(sets + gets + binary(0x0a),))
        writer.start()
        for i in range(0, count, 2):
            opcode, status, opaque, _, _, key, value = read_binary(client)
            self.assertEqual((opcode, status, opaque, key, value), (0x0d, 0, i, b"q%d" % i, b"v%d" % i))
        self.assertEqual(read_binary(client)[0], 0x0a)
        writer.join()

    def test_multiget_of_many_keys(self):
        client = self.connect()
        keys = [b"m%05d" % i for i in range(5000)]
        client.send(b"".join(b"set %s 0 0 1 noreply\r\nx\r\n" % key for key in keys[::2]))
        client.send(b"get " + b" ".join(keys) + b"\r\n")
        expected = b"".join(b"VALUE %s 0 1\r\nx\r\n" % key for key in keys[::2]) + b"END\r\n"
        self.assertEqual(client.read(len(expected)), expected)

    def test_oversize_values_are_swallowed(self):
        client = self.connect()
        for size in (1048577, 3_000_000):
            client.send(b"set big 0 0 %d\r\n" % size + b"x" * size + b"\r\n")
            self.assertEqual(client.read_until(b"\r\n"), b"SERVER_ERROR object too large for cache\r\n")
        self.assertEqual(client.ask(b"set ok 0 0 1048576\r\n" + b"y" * 1048576 + b"\r\n"), b"STORED\r\n")
        other = self.connect()
        other.send(binary(0x01, b"big", b"x" * 2_000_000, b"\0" * 8) + binary(0x0a))
        self.assertEqual(read_binary(other)[1], 3)
        self.assertEqual(read_binary(other)[0], 0x0a)

    def test_values_of_every_size_come_back(self):
        client = self.connect()
        for size in (1, 100, 16_383, 16_384, 16_385, 65_536, 300_000, 1_048_576):
            value = os.urandom(size)
            self.assertEqual(client.ask(b"set v 0 0 %d\r\n%s\r\n" % (size, value)), b"STORED\r\n")
            header = b"VALUE v 0 %d\r\n" % size
            client.send(b"get v v\r\n")
            expected = (header + value + b"\r\n") * 2 + b"END\r\n"
            self.assertEqual(client.read(len(expected)), expected)

    def test_http_verbs_close(self):
        for request in (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"POST /x HTTP/1.0\r\n\r\n"):
            client = self.connect()
            client.send(request)
            self.assertEqual(client.rest(), b"")

    def test_endless_lines_close(self):
        client = self.connect()
        client.send(b"x" * 100_000)
        self.assertIn(client.rest(), (b"CLIENT_ERROR line too long\r\n", b""))

    def test_wrong_magic_closes(self):
        client = self.connect()
        client.send(binary(0x0a))
        read_binary(client)
        client.send(b"\x00" * 24)
        self.assertEqual(client.rest(), b"")

    def test_slow_reader_is_not_buffered_without_bound(self):
        client = self.connect()
        client.ask(b"set large 0 0 1000000\r\n" + b"z" * 1_000_000 + b"\r\n")
        client.send(b"get large\r\n" * 500)
        # Others go on, and the server's memory does not hold the 500 MB that were asked for.
        other = self.connect()
        self.assertEqual(other.ask(b"version\r\n"), b"VERSION 1.6.18\r\n")
        with open(f"/proc/{self.server.process.pid}/status", encoding="ascii") as status:
            resident = [int(line.split()[1]) for line in status if line.startswith("VmRSS")][0]
        self.assertLess(resident, 200_000)
        expected = b"VALUE large 0 1000000\r\n" + b"z" * 1_000_000 + b"\r\nEND\r\n"
        for _ in range(500):
            self.assertEqual(len(client.read(len(expected))), len(expected))

    def test_stats_that_tools_read(self):
        client = self.connect()
        self.assertEqual(client.stats()["version"], "1.6.18")
        for group in ("settings", "items", "slabs", "timings", "checkpoint", "vbucket", "hash",
                      "online_update"):
            with self.subTest(group=group):
                client.stats(group)
        self.assertEqual(client.ask(b"stats reset\r\n"), b"RESET\r\n")
        self.assertEqual(client.stats()["cmd_get"], "0")

    def test_online_update(self):
        client = self.connect()
        client.ask(b"set price 1 0 3\r\nold\r\n")
        self.assertTrue(client.ask(b"online_update start spring\r\n").startswith(b"OK started id="))
        client.ask(b"set price 2 0 3\r\nnew\r\n")
        other = self.connect()
        other.send(binary(0x9b))
        self.assertEqual(read_binary(other)[1], 0x83, "START during an update")
        self.assertEqual(client.stats("online_update").get("ep_onlineupdate"), "true")
        self.assertTrue(client.ask(b"online_update revert\r\n").startswith(b"OK reverted id="))
        self.assertEqual(client.ask(b"get price\r\n", b"END\r\n"), b"VALUE price 1 3\r\nold\r\nEND\r\n")
        for opcode in (0x9b, 0x9c):
            other.send(binary(opcode))
            self.assertEqual(read_binary(other)[:2], (opcode, 0))

    @unittest.skipUnless(shutil.which("memccapable"), "libmemcached-tools is not installed")
    def test_memcapable(self):
        for flag in ("-a", "-b"):
            with self.subTest(protocol=flag):
                run = subprocess.run(
                    ["memccapable", "-h", "127.0.0.1", "-p", str(self.server.port), flag],
                    capture_output=True, text=True, timeout=60, check=False)
                self.assertEqual(run.returncode, 0, run.stdout + run.stderr)
                self.assertIn("All tests passed", run.stdout)
                self.assertNotIn("FAIL", run.stdout.upper())

    @unittest.skipUnless(os.path.exists("/usr/share/memcached/scripts/memcached-tool"), "no memcached-tool")
    def test_memcached_tool(self):
        client = self.connect()
        client.ask(b"set tool 0 0 1\r\n1\r\n")
        for command in ("stats", "settings", "display", "sizes", "dump"):
            with self.subTest(command=command):
                run = subprocess.run(
                    ["/usr/share/memcached/scripts/memcached-tool", f"127.0.0.1:{self.server.port}", command],
                    capture_output=True, text=True, timeout=30, check=False)
                self.assertEqual(run.returncode, 0, run.stderr)
                if command in ("stats", "settings"):
                    self.assertIn("evictions", run.stdout)
                if command == "dump":
                    self.assertIn("add tool 0", run.stdout)


class UnixSocket(DirectoryCase):
    def test_serves_and_cleans_up(self):
        path = os.path.join(self.directory, "s.sock")
        with Cairnd("--unix-socket", path, memory_only=True) as server:
            self.assertEqual(os.stat(path).st_mode & 0o777, 0o700)
            with Client(path, socket.AF_UNIX) as client:
                self.assertEqual(client.ask(b"set a 0 0 1\r\n1\r\n"), b"STORED\r\n")
            with server.connect() as client:
                self.assertEqual(client.ask(b"get a\r\n", b"END\r\n"), b"VALUE a 0 1\r\n1\r\nEND\r\n")
            self.assertEqual(server.end(), 0)
            self.assertFalse(os.path.exists(path))

    def test_replaces_what_a_killed_server_left(self):
        path = os.path.join(self.directory, "s.sock")
        with Cairnd("--unix-socket", path, memory_only=True) as server:
            server.process.kill()
            server.process.wait()
        self.assertTrue(os.path.exists(path))
        with Cairnd("--unix-socket", path, memory_only=True):
            with Client(path, socket.AF_UNIX) as client:
                self.assertEqual(client.ask(b"version\r\n"), b"VERSION 1.6.18\r\n")


if __name__ == "__main__":
    unittest.main()

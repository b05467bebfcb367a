"""cairnctl against the real cairnd, and against Debian's memcached where it is installed: what it prints, its
exit codes, and that it never hangs. CAIRND and CAIRNCTL name the binaries."""

import contextlib
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "integration"))
import harness  # noqa: E402

CAIRNCTL = os.path.abspath(os.environ.get("CAIRNCTL", ""))
TIMEOUT_S = 60

STANZAS = "".join(
    f"Package: pkg-{n}\nVersion: 1.{n}\nDescription: number {n}\n more of it\n\n" for n in range(3000))


class Tool:
    """cairnctl for one server."""

    def __init__(self, server):
        self.server = server

    def run(self, *args, text=None):
        return subprocess.run(
            [CAIRNCTL, "--server", self.server, *args], input=text, capture_output=True, text=True,
            timeout=TIMEOUT_S, check=False)

    def ok(self, *args, text=None):
        done = self.run(*args, text=text)
        if done.returncode != 0:
            raise AssertionError(f"{args}: exit code {done.returncode}: {done.stdout}{done.stderr}")
        return done.stdout

    def json(self, *args, text=None):
        return json.loads(self.run("--json", *args, text=text).stdout)


class Base(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="cairnctl-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)

    def write(self, name, text):
        path = self.folder / name
        path.write_text(text, encoding="utf-8")
        return str(path)

    def fails(self, code, words, done):
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        self.assertIn(words, done.stderr)


class DataTests:
    """Whatever speaks memcached's protocol; `tool` is set by the class that mixes this in."""

    tool = None

    def test_single_keys(self):
        self.assertEqual(self.tool.ok("set", "k", "v\n\x01", "--flags", "7"), "")
        self.assertEqual(self.tool.ok("get", "k"), "v\n\x01")
        self.assertEqual(self.tool.json("get", "k")["flags"], 7)
        self.assertEqual(self.tool.ok("set", "k", "-", text="from stdin"), "")
        self.assertEqual(self.tool.ok("get", "k"), "from stdin")
        self.fails(1, "no such key: other", self.tool.run("delete", "k", "other"))
        self.fails(1, "no such key: k", self.tool.run("get", "k"))

    def test_load_then_verify_finds_every_kind_of_difference(self):
        packages = self.write("Packages", STANZAS)
        loaded = self.tool.json("load", "--connections", "3", packages)
        self.assertEqual((loaded["stored"], loaded["refused"], loaded["bad_records"]), (3000, 0, 0))
        self.assertEqual(
            self.tool.ok("get", "pkg-7"), "Package: pkg-7\nVersion: 1.7\nDescription: number 7\n more of it")
        same = self.tool.ok("verify", packages)
        self.assertIn("the same: 3,000 equal, 0 different, 0 missing, 0 extra", same)
        self.tool.ok("set", "pkg-1", "Package: pkg-1\nVersion: 2")
        self.tool.ok("delete", "pkg-2")
        self.tool.ok("set", "pkg-3000", "extra")
        done = self.tool.run("--json", "verify", packages)
        self.assertEqual(done.returncode, 1)
        found = json.loads(done.stdout)
        counts = [found[name] for name in ("equal", "different", "missing", "extra")]
        self.assertEqual(counts, [2998, 1, 1, 1])
        self.assertEqual({d["key"] for d in found["differences"]}, {"pkg-1", "pkg-2", "pkg-3000"})
        without = self.tool.json("verify", "--no-extra", packages)
        self.assertNotIn("extra", without)

    def test_the_last_record_of_a_key_wins_over_many_connections(self):
        lines = [f"k{n % 10}\t{n}" for n in range(5000)]
        self.tool.ok("load", "--connections", "8", "-", text="\n".join(lines))
        for n in range(10):
            self.assertEqual(self.tool.ok("get", f"k{n}"), str(4990 + n))
        self.tool.ok("verify", self.write("twice.tsv", "\n".join(lines)))

    def test_dump_and_load_keep_every_byte_flag_and_expiry(self):
        soon = int(time.time()) + 10_000
        records = [
            {"key": "plain", "value": "v"},
            {"key": "grün \u20ac", "value": "tab\there\nnew line\\"},
            {"key": "bytes", "value_base64": "/wD+", "flags": 4294967295},
            {"key": "expires", "value": "", "flags": 1, "expiry": soon},
        ]
        source = self.write("in.jsonl", "\n".join(json.dumps(record) for record in records))
        self.tool.ok("load", source)
        for name in ("out.tsv", "out.jsonl"):
            dump = str(self.folder / name)
            self.tool.ok("dump", dump)
            self.tool.ok("verify", dump)
            self.tool.ok("delete", "plain", "grün \u20ac", "bytes", "expires")
            self.tool.ok("load", dump)
            self.tool.ok("verify", source)
        dumped = {}
        for line in (self.folder / "out.jsonl").read_text(encoding="utf-8").splitlines():
            record = json.loads(line)
            dumped[record["key"]] = record
        self.assertEqual(dumped["expires"]["expiry"], soon)
        self.assertEqual(dumped["bytes"], records[2])

    def test_a_prefix_keeps_data_sets_apart(self):
        first, second = self.write("a.tsv", "x\t1\ny\t2\n"), self.write("b.tsv", "x\t3\n")
        self.tool.ok("load", "--prefix", "a:", first)
        self.tool.ok("load", "--prefix", "b:", second)
        self.tool.ok("verify", "--prefix", "a:", first)
        self.tool.ok("verify", "--prefix", "b:", second)
        self.assertEqual(self.tool.ok("dump", "--prefix", "b:"), "b:x\t3\n")

    def test_bad_records_are_counted_and_the_rest_is_stored(self):
        done = self.tool.run("load", "-", text="good\t1\nbad\nfine\t2\n")
        self.fails(5, "line 2: 1 columns", done)
        self.assertIn("stored 2 items", done.stdout)
        self.fails(4, "TOO_BIG", self.tool.run("load", "-", text="k\t" + "x" * 3_000_000))
        self.fails(2, "line 1", self.tool.run("load", "-", text="nothing good\n"))
        self.fails(2, "No such file", self.tool.run("load", "/nonexistent"))

    def test_a_dump_that_fails_leaves_no_file(self):
        folder = self.folder / "dumps"
        folder.mkdir()
        self.fails(3, "cannot connect", Tool("127.0.0.1:1").run("dump", str(folder / "out.tsv")))
        self.assertEqual(list(folder.iterdir()), [])
        self.fails(2, "No such file", self.tool.run("dump", "/nonexistent/out.tsv"))

    def test_stats_of_a_group_that_is_not_there(self):
        self.assertIn("pid", self.tool.json("stats"))
        self.fails(4, "NOT_FOUND", self.tool.run("stats", "nonsense"))


class CairndTest(DataTests, Base):
    def setUp(self):
        super().setUp()
        self.socket_path = str(self.folder / "socket")
        self.server = self.enterContext(
            harness.Cairnd("--unix-socket", self.socket_path, data_dir=self.folder / "data"))
        self.tool = Tool(f"127.0.0.1:{self.server.port}")

    def test_revert_brings_everything_back(self):
        packages = self.write("Packages", STANZAS)
        self.tool.ok("load", packages)
        started = self.tool.json("update", "start", "--name", "two")
        self.assertEqual(started["online_update"]["state"], "updating")
        self.tool.ok("load", self.write("two.tsv", "".join(f"pkg-{n}\tnew\n" for n in range(2990, 3010))))
        self.tool.ok("delete", "pkg-1", "pkg-2", "pkg-3")
        status = self.tool.json("update", "status")
        changes = [status[name] for name in ("name", "added", "updated", "deleted")]
        self.assertEqual(changes, ["two", 10, 10, 3])
        self.assertNotEqual(status["digest_now"], status["digest_at_start"])
        table = self.tool.ok("update", "status")
        self.assertIn("REVERT would remove the 10 added, and bring back the 10 updated and 3 deleted", table)
        self.assertEqual(self.tool.run("verify", packages).returncode, 1)
        reverted = self.tool.json("update", "revert")["online_update"]
        self.assertEqual(reverted["state"], "normal")
        self.assertEqual(reverted["history"][0]["outcome"], "reverted")
        self.assertTrue(reverted["history"][0]["digest_equal"])
        self.assertEqual(reverted["digest_now"], status["digest_at_start"])
        self.tool.ok("verify", packages)

    def test_complete_keeps_everything_also_over_a_restart(self):
        self.tool.ok("load", "-", text="a\t1\nb\t2\n")
        self.tool.ok("update", "start")
        self.tool.ok("load", "-", text="a\tnew\nc\t3\n")
        self.tool.ok("delete", "b")
        self.assertIn("complete done in", self.tool.ok("update", "complete"))
        self.assertEqual(self.server.end(), 0)
        with harness.Cairnd(data_dir=self.folder / "data") as again:
            tool = Tool(f"127.0.0.1:{again.port}")
            tool.ok("verify", self.write("want.tsv", "a\tnew\nc\t3\n"))
            self.assertEqual(tool.json("update", "status")["history"][0]["outcome"], "completed")

    def test_steps_in_the_wrong_state_are_refused_by_name_and_change_nothing(self):
        for step in ("complete", "revert"):
            self.fails(4, "NOT_SUPPORTED (0x83)", self.tool.run("update", step))
        self.tool.ok("update", "start", "--name", "one")
        self.fails(4, "NOT_SUPPORTED (0x83)", self.tool.run("update", "start", "--name", "two"))
        self.fails(4, "NOT_SUPPORTED (0x83)", self.tool.run("update", "revert", "--id", "f" * 32))
        self.assertEqual(self.tool.json("update", "status")["name"], "one")

    def test_a_step_may_be_repeated_with_its_id(self):
        update = "000102030405060708090a0b0c0d0e0f"
        for _ in range(2):
            self.assertEqual(self.tool.json("update", "start", "--id", update)["online_update"]["id"], update)
        self.tool.ok("set", "k", "v")
        for _ in range(2):
            self.tool.ok("update", "revert", "--id", update)
        self.assertEqual(len(self.tool.json("update", "status")["history"]), 1)
        self.fails(1, "no such key", self.tool.run("get", "k"))

    def test_watch_ends_with_the_update(self):
        self.assertIn("no update is running", self.tool.ok("update", "watch"))
        self.tool.ok("update", "start", "--name", "seen")
        timer = threading.Timer(0.5, lambda: self.tool.run("update", "complete"))
        timer.start()
        lines = self.tool.ok("update", "watch", "--interval", "0.1").splitlines()
        timer.join()
        self.assertTrue(lines[0].startswith("updating seen"), lines)
        self.assertEqual(lines[-1], "no update is running; the last one, seen was completed")

    def test_tables_and_their_json(self):
        self.tool.ok("load", "-", text="a\t1\n")
        self.assertEqual(len(self.tool.json("vbuckets")), 64)
        self.assertEqual(self.tool.json("vbuckets", "--state", "replica"), [])
        self.assertEqual(sum(row["items"] for row in self.tool.json("vbuckets", "--state", "active")), 1)
        rows = self.tool.json("checkpoints", "5")
        self.assertEqual([row["vbucket"] for row in rows], [5])
        self.assertIn("persistence:remaining", rows[0])
        self.fails(4, "stats checkpoint 64", self.tool.run("checkpoints", "64"))
        status = self.tool.ok("status")
        for words in ("Cairn ", "64 active", "online update  normal", "persistence    running"):
            self.assertIn(words, status)
        self.assertEqual(self.tool.json("status")["curr_items"], 1)
        self.assertIn("Cairn", self.tool.ok("version"))

    def test_over_a_unix_socket(self):
        tool = Tool(f"unix:{self.socket_path}")
        tool.ok("set", "k", "v")
        self.assertEqual(self.tool.ok("get", "k"), "v")
        self.assertEqual(tool.ok("dump"), "k\tv\n")


@unittest.skipUnless(shutil.which("memcached"), "Debian's memcached is not installed (install-deps --bench)")
class MemcachedTest(DataTests, Base):
    def setUp(self):
        super().setUp()
        port = harness.free_port()
        user = ["-u", "nobody"] if os.geteuid() == 0 else []
        # Without its LRU maintainer: that moves items while they are listed, and a moved one may be left out.
        process = subprocess.Popen(
            ["memcached", "-l", "127.0.0.1", "-p", str(port), "-U", "0", "-o", "no_lru_maintainer", *user])
        self.addCleanup(process.wait, TIMEOUT_S)
        self.addCleanup(process.terminate)
        self.tool = Tool(f"127.0.0.1:{port}")
        for _ in range(200):
            if self.tool.run("version").returncode == 0:
                return
            time.sleep(0.05)
        self.fail("memcached did not start")

    def test_it_is_said_that_there_is_no_online_update(self):
        for step in ("start", "complete", "revert", "status"):
            self.fails(4, "this server has no online update", self.tool.run("update", step))
        self.assertIn("not known to this server", self.tool.ok("status"))


class NoServerTest(Base):
    COMMANDS = (["status"], ["get", "k"], ["update", "start"], ["update", "watch"], ["dump"], ["verify", "-"],
                ["load", "-"], ["stats"])

    def test_nobody_listens(self):
        tool = Tool(f"127.0.0.1:{harness.free_port()}")
        for command in self.COMMANDS:
            self.fails(3, "cannot connect to 127.0.0.1", tool.run(*command, text=""))

    def against(self, answer, words):
        """Each command against a server that sends `answer` to whatever comes, and then says nothing."""
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen(64)
            held = []

            def serve():
                with contextlib.suppress(OSError):
                    while True:
                        held.append(listener.accept()[0])
                        held[-1].sendall(answer)

            thread = threading.Thread(target=serve, daemon=True)
            thread.start()
            tool = Tool(f"127.0.0.1:{listener.getsockname()[1]}")
            for command in self.COMMANDS:
                begun = time.monotonic()
                done = tool.run("--timeout", "0.3", *command, text="k\tv\n")
                self.fails(3, words, done)
                self.assertLess(time.monotonic() - begun, 20, command)
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(TIMEOUT_S)
            for connection in held:
                connection.close()

    def test_a_server_that_never_answers_is_given_up(self):
        self.against(b"", "no answer for 300 ms")

    def test_a_server_of_another_protocol_is_recognised(self):
        self.against(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n", "does not speak memcached's")

    def test_a_length_that_cannot_be_is_not_waited_for(self):
        self.against(b"\x81" + b"\x00" * 7 + b"\xff" * 16, "does not speak memcached's")


if __name__ == "__main__":
    unittest.main()

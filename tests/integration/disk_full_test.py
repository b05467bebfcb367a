"""A real full disk: a small tmpfs. Writes go on in memory, then answer out of memory; when space returns everything
that was answered is on disk, and survives kill -9. Needs root to mount; elsewhere the fault-injecting file system of
tests/engine and tests/storage shows the same.
"""

import os
import subprocess
import tempfile
import time
import unittest

import harness

VALUE = b"x" * 1000


class DiskFullTest(unittest.TestCase):
    def setUp(self):
        self.mount_point = tempfile.mkdtemp(prefix="cairn-full-")
        self.addCleanup(os.rmdir, self.mount_point)
        mount = ["mount", "-t", "tmpfs", "-o", "size=200m", "tmpfs", self.mount_point]
        if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
            self.skipTest("cannot mount a tmpfs here")
        self.addCleanup(subprocess.run, ["umount", "-l", self.mount_point], check=False)
        self.filler = os.path.join(self.mount_point, "filler")
        with open(self.filler, "wb") as filler:
            filler.write(b"\0" * (150 << 20))

    def store_until_refused(self, client):
        """Stores keys until memory is full because the disk is. Before that, memory may be full for moments."""
        stored = 0
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            first, refused = stored, False
            keys = [f"key-{stored + i}".encode() for i in range(200)]
            client.send(b"".join(b"set %s 0 0 %d\r\n%s\r\n" % (k, len(VALUE), VALUE) for k in keys))
            for i, answer in enumerate([client.read_until(b"\r\n") for _ in keys]):
                if answer == b"STORED\r\n" and not refused:
                    stored = first + i + 1
                elif answer != b"STORED\r\n":
                    self.assertTrue(answer.startswith(b"SERVER_ERROR out of memory"), answer)
                    refused = True
            if not refused:
                continue
            if "NO_SPACE" in client.stats()["ep_persistence_error"]:
                for i in range(stored, first + len(keys)):  # some behind the first refusal may be there
                    client.ask(b"delete key-%d\r\n" % i)
                return stored
            time.sleep(0.05)
        return self.fail("the disk was never full")

    @staticmethod
    def is_persisted(stats):
        return stats["ep_queue_size"] == "0" and stats["ep_persistence_error"] == "none"

    def count(self, client, keys):
        found = 0
        for begin in range(0, keys, 500):
            names = b" ".join(b"key-%d" % i for i in range(begin, min(keys, begin + 500)))
            found += client.ask(b"get " + names + b"\r\n", b"END\r\n").count(b"VALUE ")
        return found

    def test_nothing_answered_is_lost_and_it_recovers_by_itself(self):
        data_dir = os.path.join(self.mount_point, "data")
        with harness.Cairnd("--memory-quota", "100m", data_dir=data_dir) as server:
            with server.connect() as client:
                stored = self.store_until_refused(client)
                self.assertIn("NO_SPACE", client.stats()["ep_persistence_error"])
                self.assertEqual(self.count(client, stored), stored)
                # Deletes and reads go on.
                self.assertEqual(client.ask(b"delete key-0\r\n"), b"DELETED\r\n")
                os.unlink(self.filler)
                # The queue alone may look empty while its last batch is being tried.
                self.assertTrue(harness.eventually(lambda: self.is_persisted(client.stats()), 60))
                self.assertEqual(self.count(client, stored), stored - 1)
                self.assertTrue(client.ask(b"online_update start\r\n").startswith(b"OK"))  # all is synced
            server.process.kill()
            server.process.wait()
        with harness.Cairnd("--memory-quota", "100m", data_dir=data_dir) as server, server.connect() as client:
            self.assertEqual(self.count(client, stored), stored - 1)
            self.assertTrue(client.ask(b"online_update revert\r\n").startswith(b"OK"))


if __name__ == "__main__":
    unittest.main()

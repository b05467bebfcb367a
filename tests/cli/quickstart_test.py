"""scripts/quickstart on a small package index: it succeeds, it can be run again, and it fails when the server
does not bring everything back. CAIRND and CAIRNCTL name the binaries."""

import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
TIMEOUT_S = 100

STANZAS = "\n\n".join(f"Package: pkg-{n}\nVersion: 1.{n}\nDescription: number {n}" for n in range(1, 501))

# Behaves as cairnctl, but right behind a revert somebody changes a value.
TAMPERING = """#!/bin/sh
"{cairnctl}" "$@" || exit $?
case "$*" in
  *"update revert"*) "{cairnctl}" "$1" "$2" set pkg-7 "not what it was" ;;
esac
"""


class QuickstartTest(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="quickstart-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.bin = self.folder / "bin"
        self.bin.mkdir()
        (self.bin / "cairnd").symlink_to(os.path.abspath(os.environ["CAIRND"]))
        (self.bin / "cairnctl").symlink_to(os.path.abspath(os.environ["CAIRNCTL"]))
        self.index = self.folder / "Packages"
        self.index.write_text(STANZAS + "\n", encoding="utf-8")

    def quickstart(self):
        return subprocess.run(
            [str(ROOT / "scripts/quickstart"), "--bin", str(self.bin), "--index", str(self.index), "--work",
             str(self.folder / "work")], capture_output=True, text=True, timeout=TIMEOUT_S, check=False)

    def test_twice_in_a_row(self):
        for _ in range(2):
            done = self.quickstart()
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
            self.assertIn("500 packages: 490 get a new version, 10 are gone, 5 are new", done.stdout)
            # After the load and after REVERT; after the update and after the restart.
            self.assertEqual(done.stdout.count("the same: 500 equal, 0 different, 0 missing, 0 extra"), 2)
            self.assertEqual(done.stdout.count("the same: 495 equal, 0 different, 0 missing, 0 extra"), 2)
            self.assertIn("cairnd has ended", done.stdout)

    def test_a_value_that_did_not_come_back_is_found_and_nothing_stays_behind(self):
        tampering = self.bin / "cairnctl"
        tampering.unlink()
        script = TAMPERING.format(cairnctl=os.path.abspath(os.environ["CAIRNCTL"]))
        tampering.write_text(script, encoding="utf-8")
        tampering.chmod(0o755)
        done = self.quickstart()
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("NOT THE SAME: 499 equal, 1 different", done.stdout)
        self.assertIn("failed: compare with the file after REVERT", done.stderr)
        server = int((self.folder / "work-data.pid").read_text(encoding="utf-8"))
        self.assertFalse(pathlib.Path(f"/proc/{server}").exists(), "the server still runs")


if __name__ == "__main__":
    unittest.main()

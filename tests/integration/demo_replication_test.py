"""scripts/demo-replication on a small package index: it succeeds, it can be run again, it fails when a copy is not
what the others are, and leaves no process behind. CAIRND and CAIRNCTL name the binaries.
"""

import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
TIMEOUT_S = 150

STANZAS = "\n\n".join(f"Package: pkg-{n}\nVersion: 1.{n}\nDescription: number {n}" for n in range(1, 501))

# Behaves as cairnctl, but of every third node it is asked about (the demo asks a, b, c in turn) it says that digests
# are other ones.
TAMPERING = """#!/bin/sh
case "$*" in
  *--json*vbuckets*) echo >>"{out}.count"
    "{cairnctl}" "$@" >"{out}" || exit $?
    if [ $(($(wc -l <"{out}.count") % 3)) -eq 0 ]; then sed -i 's/"digest": *"../"digest":"xx/g' "{out}"; fi
    cat "{out}" ;;
  *) exec "{cairnctl}" "$@" ;;
esac
"""


class DemoReplicationTest(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="demo-replication-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.bin = self.folder / "bin"
        self.bin.mkdir()
        (self.bin / "cairnd").symlink_to(os.path.abspath(os.environ["CAIRND"]))
        (self.bin / "cairnctl").symlink_to(os.path.abspath(os.environ["CAIRNCTL"]))
        self.index = self.folder / "Packages"
        self.index.write_text(STANZAS + "\n", encoding="utf-8")

    def demo(self):
        return subprocess.run(
            [str(ROOT / "scripts/demo-replication"), "--bin", str(self.bin), "--index", str(self.index), "--work",
             str(self.folder / "work")], capture_output=True, text=True, timeout=TIMEOUT_S, check=False)

    def left_behind(self):
        """Processes that use the demo's directory."""
        found = []
        for entry in pathlib.Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode("latin-1")
                except OSError:
                    continue
                if str(self.folder) in command and "cairnd" in command:
                    found.append(command)
        return found

    def test_succeeds_with_every_comparison_made(self):
        done = self.demo()
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn("all copies were equal at all 13 comparisons", done.stdout)
        self.assertEqual(self.left_behind(), [])
        # Three nodes in a comparison have one digest.
        for block in re.findall(r"(?:^  [abc] .*digest \w+\n){3}", done.stdout, re.MULTILINE):
            self.assertEqual(len(set(re.findall(r"digest (\w+)", block))), 1, block)

    def test_another_digest_is_found_and_nothing_stays_behind(self):
        tampering = self.bin / "cairnctl"
        tampering.unlink()
        script = TAMPERING.format(cairnctl=os.path.abspath(os.environ["CAIRNCTL"]), out=self.folder / "out")
        tampering.write_text(script, encoding="utf-8")
        tampering.chmod(0o755)
        done = self.demo()
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("DIFFER: vbucket", done.stdout, done.stderr)
        self.assertIn("failed: b and c equal a", done.stderr)
        self.assertEqual(self.left_behind(), [])


if __name__ == "__main__":
    unittest.main()

"""For tests of scripts/quickstart and scripts/demo-replication: runs them on a small package index, in a directory of
their own, with the binaries that CAIRND and CAIRNCTL name, or with something in cairnctl's place.
"""

import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
STANZAS = "\n\n".join(f"Package: pkg-{n}\nVersion: 1.{n}\nDescription: number {n}" for n in range(1, 501))


class DemoCase(unittest.TestCase):
    """`SCRIPT` in scripts/ is run with `TIMEOUT_S`."""

    SCRIPT = None
    TIMEOUT_S = 100

    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix=f"{self.SCRIPT}-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.bin = self.folder / "bin"
        self.bin.mkdir()
        self.cairnctl = os.path.abspath(os.environ["CAIRNCTL"])
        (self.bin / "cairnd").symlink_to(os.path.abspath(os.environ["CAIRND"]))
        (self.bin / "cairnctl").symlink_to(self.cairnctl)
        self.index = self.folder / "Packages"
        self.index.write_text(STANZAS + "\n", encoding="utf-8")

    def run_script(self):
        return subprocess.run(
            [str(ROOT / "scripts" / self.SCRIPT), "--bin", str(self.bin), "--index", str(self.index), "--work",
             str(self.folder / "work")], capture_output=True, text=True, timeout=self.TIMEOUT_S, check=False)

    def replace_cairnctl(self, shell):
        """From now on the script meets `shell` instead; {cairnctl} in it is the real one, {out} a file of its own."""
        path = self.bin / "cairnctl"
        path.unlink()
        path.write_text(shell.format(cairnctl=self.cairnctl, out=self.folder / "out"), encoding="utf-8")
        path.chmod(0o755)

    def left_behind(self):
        """Command lines of servers that use the script's directory."""
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

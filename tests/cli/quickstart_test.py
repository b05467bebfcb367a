"""scripts/quickstart on a small package index: it succeeds, it can be run again, and it fails when the server
does not bring everything back. CAIRND and CAIRNCTL name the binaries."""

import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "integration"))
from demo import DemoCase  # noqa: E402

# Behaves as cairnctl, but right behind a revert somebody changes a value.
TAMPERING = """#!/bin/sh
"{cairnctl}" "$@" || exit $?
case "$*" in
  *"update revert"*) "{cairnctl}" "$1" "$2" set pkg-7 "not what it was" ;;
esac
"""


class QuickstartTest(DemoCase):
    SCRIPT = "quickstart"

    def test_twice_in_a_row(self):
        for _ in range(2):
            done = self.run_script()
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
            self.assertIn("500 packages: 490 get a new version, 10 are gone, 5 are new", done.stdout)
            # After the load and after REVERT; after the update and after the restart.
            self.assertEqual(done.stdout.count("the same: 500 equal, 0 different, 0 missing, 0 extra"), 2)
            self.assertEqual(done.stdout.count("the same: 495 equal, 0 different, 0 missing, 0 extra"), 2)
            self.assertIn("cairnd has ended", done.stdout)

    def test_a_value_that_did_not_come_back_is_found_and_nothing_stays_behind(self):
        self.replace_cairnctl(TAMPERING)
        done = self.run_script()
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("NOT THE SAME: 499 equal, 1 different", done.stdout)
        self.assertIn("failed: compare with the file after REVERT", done.stderr)
        self.assertEqual(self.left_behind(), [])


if __name__ == "__main__":
    unittest.main()

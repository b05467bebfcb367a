"""scripts/demo-replication on a small package index: it succeeds, it can be run again, it fails when a copy is not
what the others are, and leaves no process behind. CAIRND and CAIRNCTL name the binaries.
"""

import re
import unittest

from demo import DemoCase

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


class DemoReplicationTest(DemoCase):
    SCRIPT = "demo-replication"
    TIMEOUT_S = 150

    def test_succeeds_with_every_comparison_made(self):
        done = self.run_script()
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn("all copies were equal at all 13 comparisons", done.stdout)
        self.assertEqual(self.left_behind(), [])
        # Three nodes in a comparison have one digest.
        for block in re.findall(r"(?:^  [abc] .*digest \w+\n){3}", done.stdout, re.MULTILINE):
            self.assertEqual(len(set(re.findall(r"digest (\w+)", block))), 1, block)

    def test_another_digest_is_found_and_nothing_stays_behind(self):
        self.replace_cairnctl(TAMPERING)
        done = self.run_script()
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("DIFFER: vbucket", done.stdout, done.stderr)
        self.assertIn("failed: b and c equal a", done.stderr)
        self.assertEqual(self.left_behind(), [])


if __name__ == "__main__":
    unittest.main()

"""cairnctl at an admin port with TLS, which is always mutual: what it does with certificates that fit, and that it says
what is wrong with those that do not. Nodes that follow each other through TLS are used for the commands that concern
two of them.
"""

import json
import os
import subprocess
import time
import unittest

from certificates import Authority
from cluster import CAIRNCTL, ClusterCase, Recorder, VBUCKETS, wait_until

WRONG_WORDS, NO_CONNECTION = 2, 3  # exit codes


class AdminTls(ClusterCase):
    def setUp(self):
        super().setUp()
        self.ca = Authority(self.directory, "ca")
        self.other_ca = Authority(self.directory, "other")
        self.own = self.ca.sign("node")
        self.tool = self.ca.sign("tool", "DNS:tool")
        self.secured = self.node("a", *self.own.flags())

    def ctl(self, *words, node=None):
        node = node or self.secured
        command = [CAIRNCTL, "--server", f"127.0.0.1:{node.port}", "--admin", node.admin, *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    def works(self, *words, node=None):
        done = self.ctl(*self.tool.flags(), *words, node=node)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done.stdout

    def streaming(self, node):
        """How many vbuckets of `node` follow another node's memory."""
        connections = json.loads(self.works("--json", "replicate", "list", node=node))["connections"]
        return sum(c["streaming"] for c in connections if c["direction"] == "from")

    def refused(self, code, text, *words, node=None):
        """It ends with `code` at once, says `text` in one line of its own, and the node goes on."""
        begun = time.monotonic()
        done = self.ctl(*words, "durability", node=node)
        self.assertEqual((done.returncode, done.stdout), (code, ""), done.stderr)
        self.assertTrue(done.stderr.startswith("cairnctl: "), done.stderr)
        self.assertIn(text, done.stderr)
        self.assertLess(time.monotonic() - begun, 8, "it waited for something")
        self.assertIn("copies", self.works("durability"))

    def test_every_kind_of_command_with_a_certificate_that_fits(self):
        replica = self.node("b", *self.own.flags(), "--replica-of", self.secured.tap)
        with self.secured.connect() as client:
            Recorder(self.dice).batch(client, 300)
        self.assertIn("majority", self.works("durability", "majority", "--copies", "2"))
        self.assertIn("b", self.works("tap"))
        self.assertIn(self.secured.tap, self.works("replicate", "list", node=replica))
        # Both nodes are asked, with the same certificate.
        self.assertIn("equal", self.works("replicate", "verify", "--peer", replica.admin, "--wait", "30"))
        self.works("replicate", "remove", self.secured.tap, node=replica)
        self.works("replicate", "add", self.secured.tap, node=replica)
        wait_until(lambda: self.streaming(replica) == VBUCKETS, "it follows again")
        self.works("takeover", self.secured.tap, "--wait", "30", node=replica)
        self.assertEqual(len(replica.seqnos(1)), VBUCKETS)
        self.works("promote", "--vbuckets", "0-3", node=replica)
        self.works("demote", "--to", "dead", "--vbuckets", "3", node=replica)
        self.assertEqual(len(replica.seqnos(1)), VBUCKETS - 1)

    def test_a_certificate_for_any_purpose_of_the_same_authority_is_enough(self):
        done = self.ctl(*self.own.flags(), "durability")
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_without_tls(self):
        self.refused(NO_CONNECTION, "wants TLS there (--tls-cert, --tls-key, --tls-ca)")

    def test_certificates_that_the_node_does_not_believe(self):
        believed = "does not believe the certificate (--tls-cert)"
        stranger = self.other_ca.sign("stranger")
        self.refused(NO_CONNECTION, believed, *stranger.flags(ca=self.ca.path))
        self.refused(NO_CONNECTION, believed, *self.ca.sign("late", days=0).flags())
        own_ca = Authority(self.directory, "itself")
        self.refused(NO_CONNECTION, believed, "--tls-cert", own_ca.path, "--tls-key", own_ca.file(".key"), "--tls-ca",
                     self.ca.path)

    def test_a_node_that_the_tool_does_not_believe(self):
        self.refused(NO_CONNECTION, "certificate verify failed", *self.tool.flags(ca=self.other_ca.path))
        elsewhere = self.node("c", *self.ca.sign("elsewhere", "DNS:elsewhere.example").flags())
        self.refused(NO_CONNECTION, "127.0.0.1 is not in peer certificate", *self.tool.flags(), node=elsewhere)

    def test_tls_at_a_node_that_has_none(self):
        plain = self.node("p")
        self.refused(NO_CONNECTION, "handshake failed", *self.tool.flags(), node=plain)

    def test_files_that_do_not_fit_are_named_before_anything_is_sent(self):
        text = os.path.join(self.directory, "text")
        with open(text, "w", encoding="ascii") as file:
            file.write("no certificate\n")
        missing = os.path.join(self.directory, "missing.pem")
        for name in ("certificate", "key", "ca"):
            with self.subTest(file=name):
                self.refused(WRONG_WORDS, f"cannot read {missing}: ", *self.tool.flags(**{name: missing}))
                self.refused(WRONG_WORDS, f"{text} holds no PEM", *self.tool.flags(**{name: text}))
        self.refused(WRONG_WORDS, f"{self.own.key} is not the private key of {self.tool.certificate}",
                     *self.tool.flags(key=self.own.key))
        self.refused(WRONG_WORDS, "--tls-cert requires --tls-ca", *self.tool.flags()[:4])
        self.refused(WRONG_WORDS, "--tls-ca requires --tls-cert", *self.tool.flags()[4:])


if __name__ == "__main__":
    unittest.main()

"""Starting, ending, limits of the process."""

import os
import resource
import signal
import socket
import subprocess
import time
import unittest

import harness
from harness import Cairnd, DirectoryCase, eventually


def run(*flags, cwd=None):
    return subprocess.run([harness.BINARY, *flags], capture_output=True, text=True, timeout=30, check=False,
                          cwd=cwd)


class Configuration(DirectoryCase):
    def refused(self, *flags):
        result = run(*flags, cwd=self.directory)
        self.assertEqual(result.returncode, 2, result)
        self.assertEqual(result.stdout, "")
        self.assertEqual(os.listdir(self.directory), [], "a refused start touches nothing")
        return result.stderr

    def test_errors_are_clear(self):
        self.assertIn("0 to 65535", self.refused("--port", "70000"))
        for flag in (("--tap-port", "11209"), ("--admin-port", "11212"), ("--replica-of", "a:1")):
            self.assertIn("needs a disk", self.refused("--memory-only", *flag))
        self.assertIn("mutual TLS", self.refused("--tap-port", "11209", "--tap-listen", "0.0.0.0"))
        self.assertIn("--allow-remote", self.refused("--listen", "0.0.0.0"))
        self.assertIn("power of two", self.refused("--vbuckets", "12"))
        self.assertIn("--bogus", self.refused("--bogus"))

    def test_help_and_version(self):
        self.assertEqual(run("--help").returncode, 0)
        self.assertIn("--memory-quota", run("--help").stdout)
        self.assertRegex(run("--version").stdout, r"^cairnd \d+\.\d+\.\d+\n$")

    def test_a_taken_port_is_a_failure(self):
        with Cairnd(memory_only=True) as server:
            result = run("--memory-only", "--listen", "127.0.0.1", "--port", str(server.port))
            self.assertEqual(result.returncode, 1)
            self.assertIn("in use", result.stderr)
            self.assertEqual(result.stdout, "", "no ready line")

    def test_a_bad_data_directory_is_a_failure(self):
        path = os.path.join(self.directory, "file")
        with open(path, "w", encoding="ascii"):
            pass
        result = run("--data-dir", path, "--port", str(harness.free_port()))
        self.assertEqual(result.returncode, 1)
        self.assertIn(path, result.stderr)

    def test_one_process_per_data_directory(self):
        with Cairnd(data_dir=self.data_dir()):
            result = run("--data-dir", self.data_dir(), "--port", str(harness.free_port()))
            self.assertEqual(result.returncode, 1)
            self.assertEqual(result.stdout, "")

    def test_configuration_file(self):
        path = os.path.join(self.directory, "cairnd.toml")
        with open(path, "w", encoding="ascii") as file:
            file.write('max-item-size = "2k"\nidle-timeout = 77\n')
        with Cairnd("--config", path, memory_only=True) as server, server.connect() as client:
            settings = client.stats("settings")
            self.assertEqual(settings["item_size_max"], "2048")
            self.assertEqual(settings["idle_timeout"], "77")

    def test_sighup_reads_the_log_level_again(self):
        path = os.path.join(self.directory, "cairnd.toml")

        def write(level):
            with open(path, "w", encoding="ascii") as file:
                file.write(f'log-level = "{level}"\n')

        write("info")
        with Cairnd("--config", path, memory_only=True) as server, server.connect() as client:
            self.assertEqual(client.stats("settings")["verbosity"], "1")
            write("debug")
            server.process.send_signal(signal.SIGHUP)
            self.assertTrue(eventually(lambda: client.stats("settings")["verbosity"] == "2"))
            write("nonsense")
            server.process.send_signal(signal.SIGHUP)
            self.assertTrue(eventually(lambda: "nothing was changed" in server.log()))
            self.assertEqual(client.ask(b"version\r\n"), b"VERSION 1.6.18\r\n")


class Ending(DirectoryCase):
    def test_the_ready_line(self):
        with Cairnd(memory_only=True) as server:
            self.assertRegex(server.ready_line, rf"^cairnd ready pid={server.process.pid} port={server.port} ")
            self.assertEqual(server.end(), 0)
            self.assertEqual(server.process.stdout.read(), "", "exactly one line on stdout")

    def test_signals_end_it_and_everything_is_kept(self):
        count = 2000
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
            with self.subTest(signal=number):
                tag = str(int(number)).encode()
                with Cairnd(data_dir=self.data_dir()) as server:
                    client = server.connect()
                    client.send(b"".join(b"set k%d 3 0 %d noreply\r\n%s\r\n" % (i, len(tag), tag)
                                         for i in range(count)))
                    self.assertEqual(client.ask(b"version\r\n"), b"VERSION 1.6.18\r\n")
                    self.assertEqual(server.end(number), 0, server.log())
                    client.close()
                with Cairnd(data_dir=self.data_dir()) as server, server.connect() as client:
                    for i in range(0, count, 37):
                        expected = b"VALUE k%d 3 %d\r\n%s\r\nEND\r\n" % (i, len(tag), tag)
                        self.assertEqual(client.ask(b"get k%d\r\n" % i, b"END\r\n"), expected)

    def test_sigterm_does_not_wait_for_clients(self):
        with Cairnd(memory_only=True) as server:
            clients = [server.connect() for _ in range(20)]
            clients[0].send(b"set a 0 0 100\r\npartial")
            self.assertEqual(server.end(timeout_s=10), 0)
            for client in clients:
                self.assertEqual(client.rest(), b"")
                client.close()

    def test_sigusr1_lets_a_request_finish(self):
        with Cairnd(memory_only=True) as server:
            idle, busy = server.connect(), server.connect()
            self.assertEqual(idle.ask(b"version\r\n"), b"VERSION 1.6.18\r\n")
            busy.send(b"set a 0 0 6\r\nabc")
            time.sleep(0.3)
            server.process.send_signal(signal.SIGUSR1)
            self.assertEqual(idle.rest(), b"")
            with self.assertRaises(ConnectionRefusedError):
                server.connect()
            self.assertEqual(busy.ask(b"def\r\n"), b"STORED\r\n")
            self.assertEqual(server.process.wait(timeout=10), 0)
            idle.close()
            busy.close()

    def test_sigterm_ends_a_drain(self):
        with Cairnd(memory_only=True) as server:
            busy = server.connect()
            busy.send(b"set a 0 0 6\r\nabc")
            time.sleep(0.3)
            server.process.send_signal(signal.SIGUSR1)
            time.sleep(0.3)
            self.assertIsNone(server.process.poll())
            self.assertEqual(server.end(signal.SIGTERM, timeout_s=10), 0)
            busy.close()

    def test_sync_always_answers_and_keeps(self):
        with Cairnd("--sync", "always", data_dir=self.data_dir()) as server, server.connect() as client:
            self.assertEqual(client.ask(b"set a 0 0 1\r\n1\r\n"), b"STORED\r\n")
            self.assertEqual(client.ask(b"get a\r\n", b"END\r\n"), b"VALUE a 0 1\r\n1\r\nEND\r\n")
            server.process.kill()
            server.process.wait()
        with Cairnd("--sync", "always", data_dir=self.data_dir()) as server, server.connect() as client:
            self.assertEqual(client.ask(b"get a\r\n", b"END\r\n"), b"VALUE a 0 1\r\n1\r\nEND\r\n")

    def test_an_open_update_survives_a_restart(self):
        with Cairnd(data_dir=self.data_dir()) as server, server.connect() as client:
            client.ask(b"set a 1 0 3\r\nold\r\n")
            self.assertTrue(client.ask(b"online_update start\r\n").startswith(b"OK started"))
            client.ask(b"set a 2 0 3\r\nnew\r\n")
            self.assertEqual(server.end(), 0)
        with Cairnd(data_dir=self.data_dir()) as server, server.connect() as client:
            self.assertEqual(client.ask(b"get a\r\n", b"END\r\n"), b"VALUE a 2 3\r\nnew\r\nEND\r\n")
            self.assertTrue(client.ask(b"online_update revert\r\n").startswith(b"OK reverted"))
            self.assertEqual(client.ask(b"get a\r\n", b"END\r\n"), b"VALUE a 1 3\r\nold\r\nEND\r\n")


class Limits(unittest.TestCase):
    def test_two_thousand_connections(self):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if hard < 4096:
            self.skipTest("the limit of open files is too small")
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 4096), hard))
        with Cairnd(memory_only=True) as server:
            clients = [server.connect() for _ in range(2000)]
            for client in clients:
                client.send(b"set k 0 0 1\r\n1\r\nget k\r\n")
            for client in clients:
                self.assertEqual(client.read_until(b"END\r\n"), b"STORED\r\nVALUE k 0 1\r\n1\r\nEND\r\n")
            self.assertEqual(clients[0].stats()["curr_connections"], "2000")
            for client in clients[1:]:
                client.close()
            self.assertTrue(eventually(lambda: clients[0].stats()["curr_connections"] == "1"))
            clients[0].close()

    def test_the_connection_limit_is_told(self):
        with Cairnd("--max-connections", "5", memory_only=True) as server:
            clients = [server.connect() for _ in range(5)]
            for client in clients:
                client.ask(b"version\r\n")
            extra = server.connect()
            self.assertEqual(extra.rest(), b"ERROR Too many open connections\r\n")
            clients.pop().close()
            self.assertTrue(eventually(lambda: clients[0].stats()["curr_connections"] == "4"))
            clients.append(server.connect())
            self.assertEqual(clients[-1].ask(b"version\r\n"), b"VERSION 1.6.18\r\n")
            self.assertEqual(clients[0].stats()["rejected_connections"], "1")
            for client in clients + [extra]:
                client.close()

    def test_running_out_of_descriptors_does_not_stop_the_listener(self):
        if harness.binary_has_ubsan():
            self.skipTest("UBSan's check of virtual calls opens a pipe, and takes its failure for a bad object")
        # The process needs some of the 48 for itself, so fewer remain than the 24 clients it would let in.
        with Cairnd("--threads", "8", memory_only=True, descriptors=48) as server:
            good = server.connect()
            self.assertEqual(good.ask(b"version\r\n"), b"VERSION 1.6.18\r\n")
            flood = []
            for _ in range(200):
                client = socket.create_connection(("127.0.0.1", server.port), timeout=10)
                flood.append(client)
            self.assertTrue(eventually(lambda: int(good.stats()["rejected_connections"]) >= 150))
            self.assertEqual(good.ask(b"version\r\n"), b"VERSION 1.6.18\r\n")
            for client in flood:
                client.close()
            self.assertTrue(eventually(lambda: good.stats()["curr_connections"] == "1"))
            late = server.connect()
            self.assertEqual(late.ask(b"version\r\n"), b"VERSION 1.6.18\r\n")
            late.close()
            good.close()


if __name__ == "__main__":
    unittest.main()

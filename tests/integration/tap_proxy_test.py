"""tap_proxy.py itself: that it does to a connection what a test asks for, and counts right."""

import socket
import threading
import unittest

from harness import eventually
from tap_proxy import Plan, TapProxy


class Echo:
    """Sends everything back, in a thread for each connection."""

    def __enter__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def accept(self):
        try:
            while True:
                threading.Thread(target=self.serve, args=(self.listener.accept()[0],), daemon=True).start()
        except OSError:
            pass

    @staticmethod
    def serve(connection):
        with connection:
            try:
                while data := connection.recv(65536):
                    connection.sendall(data)
            except OSError:
                pass


class TapProxyTest(unittest.TestCase):
    def setUp(self):
        self.echo = self.enterContext(Echo())

    def proxy(self, plan_for=None):
        return self.enterContext(TapProxy(self.echo.port, plan_for))

    def client(self, proxy):
        connection = socket.create_connection(("127.0.0.1", proxy.port), timeout=10)
        self.addCleanup(connection.close)
        return connection

    @staticmethod
    def read(connection, size):
        received = b""
        while len(received) < size:
            data = connection.recv(1 << 20)
            if not data:
                break
            received += data
        return received

    def test_passes_and_counts(self):
        proxy = self.proxy()
        connection = self.client(proxy)
        data = bytes(range(256)) * 40_000
        writer = threading.Thread(target=connection.sendall, args=(data,))
        writer.start()
        self.assertEqual(self.read(connection, len(data)), data)
        writer.join()
        self.assertEqual(proxy.passed(), (len(data), len(data)))

    def test_cuts_after_so_many_bytes(self):
        for reset in (False, True):
            with self.subTest(reset=reset):
                proxy = self.proxy(lambda n, r=reset: Plan(1000, reset=r) if n == 1 else Plan())
                connection = self.client(proxy)
                connection.sendall(b"x" * 700)  # of the answer 300 more bytes pass
                received = 0
                try:
                    while data := connection.recv(65536):
                        received += len(data)
                    ended = "closed"
                except ConnectionResetError:
                    ended = "reset"
                self.assertEqual(ended, "reset" if reset else "closed")
                self.assertLessEqual(received, 300)
                self.assertEqual(sum(proxy.passed()), 1000)
                again = self.client(proxy)
                again.sendall(b"abc")
                self.assertEqual(self.read(again, 3), b"abc", "the second connection has no plan")

    def test_a_black_hole_stays_open(self):
        proxy = self.proxy(lambda n: Plan(0, black_hole=True))
        connection = self.client(proxy)
        connection.sendall(b"abc")
        connection.settimeout(0.3)
        with self.assertRaises(TimeoutError):
            connection.recv(10)

    def test_stalls_one_direction(self):
        proxy = self.proxy()
        connection = self.client(proxy)
        connection.sendall(b"1")
        self.assertEqual(self.read(connection, 1), b"1")
        connection.settimeout(0.3)
        with proxy.stalled("down"):
            connection.sendall(b"2")
            with self.assertRaises(TimeoutError):
                connection.recv(1)
            self.assertEqual(proxy.passed()[0], 2, "the other direction goes on")
        connection.settimeout(10)
        self.assertEqual(self.read(connection, 1), b"2")

    def test_refuses_and_takes_up_again(self):
        proxy = self.proxy()
        connection = self.client(proxy)
        self.assertTrue(eventually(lambda: proxy.live() == 1))
        proxy.refuse()
        self.assertEqual(connection.recv(1), b"")
        self.assertEqual(self.client(proxy).recv(1), b"")
        proxy.refuse(False)
        again = self.client(proxy)
        again.sendall(b"x")
        self.assertEqual(self.read(again, 1), b"x")


if __name__ == "__main__":
    unittest.main()

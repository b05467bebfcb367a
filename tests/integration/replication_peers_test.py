"""What anybody can send to the TAP port: garbage, wrong HTTP/2, half a connection, hundreds of them. The node serves
clients and its replica meanwhile, says goodbye, and keeps neither memory nor descriptors.
"""

import contextlib
import os
import resource
import socket
import struct
import time
import unittest

from cluster import Load, RecordedCase, wait_until

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
FLOOD = 500


def frame(kind, flags, stream, payload):
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


SETTINGS = frame(4, 0, 0, b"")


def literal(name, value):
    """HPACK: literal without indexing, no Huffman code."""
    return b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value


def request_headers(path, content_type=b"application/grpc"):
    fields = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", path), (b":authority", b"x"),
              (b"te", b"trailers"), (b"content-type", content_type)]
    return b"".join(literal(name, value) for name, value in fields)


def message(body):
    return b"\0" + struct.pack(">I", len(body)) + body


def call(path, *bodies):
    """A gRPC call with these messages, as bytes."""
    data = b"".join(frame(0, 0, 1, message(body)) for body in bodies)
    return PREFACE + SETTINGS + frame(1, 4, 1, request_headers(path)) + data


REPLICATE = b"/cairn.tap.v1.Tap/Replicate"
BAD_STREAMS = {
    "nothing": b"",
    "a text command": b"stats\r\nget a\r\nquit\r\n",
    "HTTP/1": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "TLS": bytes.fromhex("16030100c8010000c40303") + bytes(200),
    "half a preface": PREFACE[:11],
    "a preface and garbage": PREFACE + bytes(range(256)) * 64,
    "a frame beyond every size": PREFACE + SETTINGS + b"\xff\xff\xff\x00\x00\x00\x00\x00\x01" + bytes(1000),
    "data without a stream": PREFACE + SETTINGS + frame(0, 0, 7, b"x" * 100),
    "headers that do not decode": PREFACE + SETTINGS + frame(1, 4, 1, b"\xff" * 50),
    "another method": call(b"/cairn.tap.v1.Tap/Nothing", b""),
    "a message that is no message": call(REPLICATE, b"\xff" * 64),
    "a first message without hello": call(REPLICATE, b"\x30\x01"),
    "an empty hello": call(REPLICATE, b"\x0a\x00"),
    "a hello with a name of the wrong form": call(REPLICATE, b"\x0a\x0c\x08\x01\x10\x01\x22\x06a b\n/c"),
    "a message of 64 MiB announced": PREFACE + SETTINGS + frame(1, 4, 1, request_headers(REPLICATE)) +
                                     frame(0, 0, 1, b"\0" + struct.pack(">I", 64 << 20) + b"x" * 4000),
    "settings without end": PREFACE + SETTINGS * 2000,
    "pings without end": PREFACE + SETTINGS + frame(6, 0, 0, b"12345678") * 2000,
    "resets without end": PREFACE + SETTINGS + b"".join(
        frame(1, 4, 2 * n + 1, request_headers(REPLICATE)) + frame(3, 0, 2 * n + 1, bytes(4)) for n in range(500)),
}


class BadPeers(RecordedCase):
    def setUp(self):
        super().setUp()
        self.active, self.replica = self.pair()
        self.write(self.active, 500)
        self.same(self.active, self.replica, recorder=self.recorder)

    def peer(self):
        connection = socket.create_connection(("127.0.0.1", self.active.tap_port), timeout=20)
        self.addCleanup(connection.close)
        return connection

    def send(self, connection, data):
        """True when all of it was taken."""
        try:
            connection.sendall(data)
            return True
        except (BrokenPipeError, ConnectionResetError):
            return False

    @staticmethod
    def closed(connection, timeout_s):
        """True when the peer ends the connection within the time."""
        connection.settimeout(0.2)
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            try:
                if connection.recv(65536) == b"":
                    return True
            except TimeoutError:
                continue
            except ConnectionResetError:
                return True
        return False

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.active.pid}/fd"))

    def given_back(self, before, spare):
        """None is kept for a peer; gRPC keeps a few event descriptors for each thread that has ever waited."""
        wait_until(lambda: self.descriptors() <= before + spare, "descriptors are given back")

    def resident(self):
        with open(f"/proc/{self.active.pid}/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * 4096

    def still_well(self):
        reconnects = sum(c["reconnects"] for c in self.replica.connections())
        self.assertEqual(reconnects, 0, "the real replica lost its connection")
        self.write(self.active, 200)
        self.same(self.active, self.replica, recorder=self.recorder)

    def test_every_kind_of_nonsense(self):
        self.talk_nonsense()  # threads that wait for the first time get their event descriptors now
        before = self.descriptors()
        self.talk_nonsense()
        self.given_back(before, spare=4)
        self.still_well()

    def talk_nonsense(self):
        for name, data in BAD_STREAMS.items():
            with self.subTest(stream=name):
                connection = self.peer()
                self.send(connection, data)
                with contextlib.suppress(OSError):  # it is closed already
                    connection.shutdown(socket.SHUT_WR)
                self.assertTrue(self.closed(connection, 15), "the connection is kept")
                connection.close()
                self.assertTrue(self.active.alive(), self.active.server.log()[-2000:])

    def test_random_bytes_behind_a_right_beginning(self):
        beginnings = (b"", PREFACE, PREFACE + SETTINGS, call(REPLICATE), call(REPLICATE, b"\x0a\x00"))
        for _ in range(200):
            connection = self.peer()
            self.send(connection, self.dice.choice(beginnings) + self.dice.randbytes(self.dice.randint(1, 3000)))
            connection.close()
        self.assertTrue(self.active.alive(), self.active.server.log()[-2000:])
        self.still_well()

    def test_a_flood_of_connections(self):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 2 * FLOOD)), hard))
        before, memory = self.descriptors(), self.resident()
        with Load(self.recorder, self.active, pause_s=0.005) as load:
            flood = []
            for number in range(FLOOD):
                connection = self.peer()
                self.send(connection, (b"", PREFACE + SETTINGS, PREFACE[:5])[number % 3])
                flood.append(connection)
            time.sleep(1)
            self.assertLess(self.resident() - memory, 100 << 20)
        self.assertIsNone(load.lost, "clients are served meanwhile")
        self.same(self.active, self.replica, recorder=self.recorder)
        for connection in flood:
            connection.close()
        self.given_back(before, spare=16)  # of 500
        self.still_well()

    def test_a_peer_that_says_nothing_is_closed(self):
        peers = {"silent": b"", "half a preface": PREFACE[:7], "a call without hello": call(REPLICATE)}
        connections = {name: self.peer() for name in peers}
        for name, connection in connections.items():
            self.send(connection, peers[name])
        for name, connection in connections.items():
            self.assertTrue(self.closed(connection, 30), f"{name}: the connection is kept")
        self.still_well()


if __name__ == "__main__":
    unittest.main()

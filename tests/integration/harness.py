"""Starts the real cairnd for tests: on a free loopback port, in a directory of its own, bounded in time.

The binary is named by the environment variable CAIRND, which CMake sets.
"""

import contextlib
import os
import random
import resource
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time
import unittest

BINARY = os.path.abspath(os.environ.get("CAIRND", ""))
READ_TIMEOUT_S = 20
PORTS_GIVEN = set()


def lowest_ephemeral_port():
    try:
        with open("/proc/sys/net/ipv4/ip_local_port_range", encoding="ascii") as file:
            return int(file.read().split()[0])
    except (OSError, ValueError, IndexError):
        return 32768


def free_port():
    """Of those that the kernel gives nobody's outgoing connection while the server that is to have it starts."""
    first = 10240
    last = max(lowest_ephemeral_port() - 1, first + 1000)
    while True:
        port = random.SystemRandom().randint(first, last)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in PORTS_GIVEN:
            PORTS_GIVEN.add(port)
            return port


class Cairnd:
    """One process. Ends with the `with` block, killed if it does not end by itself."""

    def __init__(self, *flags, data_dir=None, memory_only=False, descriptors=None, port=None):
        self.port = port or free_port()
        self.log_path = tempfile.mktemp(prefix="cairnd-log-")
        self.args = [BINARY, "--port", str(self.port), "--listen", "127.0.0.1", "--threads", "2"]
        self.args += ["--memory-quota", "256m", "--vbuckets", "64", "--log-file", self.log_path]
        self.args += ["--memory-only"] if memory_only else ["--data-dir", str(data_dir)]
        self.args += list(flags)
        self.descriptors = descriptors
        self.process = None

    def __enter__(self):
        def limit():
            if self.descriptors:
                resource.setrlimit(resource.RLIMIT_NOFILE, (self.descriptors, self.descriptors))

        self.process = subprocess.Popen(
            self.args, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=limit)
        self.ready_line = self.process.stdout.readline()
        if not self.ready_line.startswith("cairnd ready "):
            self.process.kill()
            _, errors = self.process.communicate()
            raise AssertionError(f"cairnd did not start: {self.ready_line!r} {errors!r}\n{self.log()}")
        return self

    def __exit__(self, *unused):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.process.stdout.close()
        self.process.stderr.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.log_path)

    def end(self, number=signal.SIGTERM, timeout_s=20):
        """Sends the signal and returns the exit code."""
        self.process.send_signal(number)
        return self.process.wait(timeout=timeout_s)

    def log(self):
        with contextlib.suppress(FileNotFoundError):
            with open(self.log_path, encoding="utf-8", errors="replace") as log:
                return log.read()
        return ""

    def connect(self):
        return Client(("127.0.0.1", self.port))


class Client:
    """A socket with the few reads that tests need."""

    def __init__(self, address, family=socket.AF_INET):
        self.socket = socket.socket(family, socket.SOCK_STREAM)
        self.socket.settimeout(READ_TIMEOUT_S)
        try:
            self.socket.connect(address)
        except OSError:
            self.socket.close()
            raise
        if family == socket.AF_INET:
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.close()

    def close(self):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def read_until(self, end):
        while end not in self.buffer:
            received = self.socket.recv(65536)
            if not received:
                raise AssertionError(f"closed while waiting for {end!r}; read {self.buffer[-200:]!r}")
            self.buffer += received
        position = self.buffer.index(end) + len(end)
        answer, self.buffer = self.buffer[:position], self.buffer[position:]
        return answer

    def read(self, size):
        while len(self.buffer) < size:
            received = self.socket.recv(1 << 20)
            if not received:
                raise AssertionError(f"closed after {len(self.buffer)} of {size} bytes")
            self.buffer += received
        answer, self.buffer = self.buffer[:size], self.buffer[size:]
        return answer

    def ask(self, request, end=b"\r\n"):
        self.send(request)
        return self.read_until(end)

    def rest(self):
        """Everything up to the end of the stream; a reset counts as its end."""
        try:
            while True:
                received = self.socket.recv(65536)
                if not received:
                    break
                self.buffer += received
        except ConnectionResetError:
            pass
        answer, self.buffer = self.buffer, b""
        return answer

    def stats(self, group=""):
        lines = self.ask(b"stats " + group.encode() + b"\r\n", b"END\r\n").decode().split("\r\n")
        return dict(line.split(" ", 2)[1:] for line in lines if line.startswith("STAT "))


def binary(opcode, key=b"", value=b"", extras=b"", vbucket=0, opaque=7, cas=0):
    """A request of the binary protocol."""
    body = extras + key + value
    header = struct.pack(">BBHBBHIIQ", 0x80, opcode, len(key), len(extras), 0, vbucket, len(body), opaque, cas)
    return header + body


def read_binary(client):
    """(opcode, status, opaque, cas, extras, key, value) of the next answer."""
    header = struct.unpack(">BBHBBHIIQ", client.read(24))
    magic, opcode, key_size, extras_size, _, status, body_size, opaque, cas = header
    assert magic == 0x81, header
    body = client.read(body_size)
    key_end = extras_size + key_size
    return opcode, status, opaque, cas, body[:extras_size], body[extras_size:key_end], body[key_end:]


class DirectoryCase(unittest.TestCase):
    """Gives each test a directory, removed afterwards."""

    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix="cairn-")
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)

    def data_dir(self):
        return os.path.join(self.directory, "data")


def binary_has_ubsan():
    with open(BINARY, "rb") as file:
        return b"__ubsan_handle" in file.read()


def eventually(condition, timeout_s=10):
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return False

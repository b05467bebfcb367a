"""A TCP proxy between two nodes that misbehaves on demand: cuts, resets, delays, stalls one direction, drops.

One thread per direction of a connection; bytes are counted. Everything random comes from the caller's
random.Random, so a failing run is repeated by its seed. It knows nothing of the protocol that it carries.
"""

import contextlib
import select
import socket
import struct
import threading
import time

CHUNK = 256 * 1024
POLL_S = 0.05


class Plan:
    """What happens to one connection. Direction "down" is from the producer, "up" to it.

    cut_after: bytes of both directions together after which both sides are cut; None: never.
    reset: cut with RST instead of FIN. delay_s: added to each piece. black_hole: after `cut_after` bytes nothing
    goes through any more, but the connection stays, as when a cable is pulled.
    """

    def __init__(self, cut_after=None, reset=False, delay_s=0.0, black_hole=False):
        self.cut_after = cut_after
        self.reset = reset
        self.delay_s = delay_s
        self.black_hole = black_hole

    @staticmethod
    def random(dice, bytes_max):
        """Cuts somewhere within bytes_max, with small positions as likely as large ones."""
        return Plan(cut_after=int(2 ** dice.uniform(0, max(bytes_max, 2).bit_length())), reset=dice.random() < 0.5,
                    delay_s=dice.choice((0.0, 0.0, 0.001, 0.02)))


class Link:
    """One connection through the proxy."""

    def __init__(self, proxy, client, server, plan):
        self.proxy, self.plan = proxy, plan
        self.sides = (client, server)
        self.passed = 0
        self.running = 2
        self.lock = threading.Lock()
        self.ended = threading.Event()
        self.threads = [
            threading.Thread(target=self._run, args=(client, server, "up"), daemon=True),
            threading.Thread(target=self._run, args=(server, client, "down"), daemon=True)]
        for thread in self.threads:
            thread.start()

    def cut(self, reset=False):
        """Tells both directions to end; the last one closes the sockets."""
        if reset:
            self.plan.reset = True
        self.ended.set()

    def wait(self):
        for thread in self.threads:
            thread.join()

    def _run(self, source, sink, direction):
        with contextlib.suppress(OSError):
            self._pump(source, sink, direction)
        self.ended.set()
        with self.lock:
            self.running -= 1
            if self.running > 0:
                return
        for side in self.sides:
            with contextlib.suppress(OSError):
                if self.plan.reset:  # with a linger time of 0, close() sends RST
                    side.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            side.close()

    def _allowed(self, size):
        """How many of `size` bytes may still pass, counted as passed."""
        with self.lock:
            allowed = size
            if self.plan.cut_after is not None:
                allowed = max(min(size, self.plan.cut_after - self.passed), 0)
            self.passed += allowed
            return allowed

    def _pump(self, source, sink, direction):
        buffer = bytearray(CHUNK)
        while not self.ended.is_set():
            readable = select.select([source], [], [], POLL_S)[0]
            if self.proxy.is_stalled(direction):
                time.sleep(POLL_S / 5)
                continue
            if not readable:
                continue
            size = source.recv_into(buffer)
            if size == 0:
                return
            if self.plan.delay_s or self.proxy.delay_s:
                time.sleep(self.plan.delay_s + self.proxy.delay_s)
            allowed = self._allowed(size)
            self._send(sink, memoryview(buffer)[:allowed])
            self.proxy.count(direction, allowed)
            if allowed < size:
                if self.plan.black_hole:
                    self.ended.wait()
                return

    def _send(self, sink, data):
        while data and not self.ended.is_set():
            if select.select([], [sink], [], POLL_S)[1]:
                data = data[sink.send(data, socket.MSG_DONTWAIT):]


class TapProxy:
    """Listens on a free loopback port and passes everything on to `target_port` there. Use as a context manager.

    plan_for(number) answers the Plan of the number-th connection; by default nothing happens to any.
    """

    def __init__(self, target_port, plan_for=None):
        self.target_port = target_port
        self.plan_for = plan_for or (lambda number: Plan())
        self.delay_s = 0.0
        self.connections = 0
        self.bytes = {"up": 0, "down": 0}
        self._stalled = set()
        self._refusing = False
        self._ending = False
        self._links = []
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *unused):
        self._ending = True
        self._thread.join()
        self._listener.close()
        self.cut()

    # What a test does to it.

    def cut(self, reset=False):
        """Cuts every connection that there is; new ones are let through."""
        for link in self._take_links():
            link.cut(reset)
            link.wait()

    def refuse(self, refusing=True):
        """While refusing, connections are cut and new ones are closed at once: the other node is away."""
        self._refusing = refusing
        if refusing:
            self.cut()

    def stall(self, direction):
        """Nothing goes through in that direction ("up", "down") until `resume`; the connection stays."""
        self._stalled.add(direction)

    def resume(self):
        self._stalled.clear()

    @contextlib.contextmanager
    def stalled(self, *directions):
        for direction in directions:
            self.stall(direction)
        try:
            yield
        finally:
            self.resume()

    def is_stalled(self, direction):
        return direction in self._stalled

    def count(self, direction, size):
        with self._lock:
            self.bytes[direction] += size

    def passed(self):
        """(up, down) bytes since the start."""
        with self._lock:
            return self.bytes["up"], self.bytes["down"]

    def live(self):
        with self._lock:
            return sum(not link.ended.is_set() for link in self._links)

    def _take_links(self):
        with self._lock:
            links, self._links = self._links, []
        return links

    def _accept(self):
        while not self._ending:
            if not select.select([self._listener], [], [], POLL_S)[0]:
                continue
            client, _ = self._listener.accept()
            if self._refusing:
                client.close()
                continue
            try:
                server = socket.create_connection(("127.0.0.1", self.target_port), timeout=5)
            except OSError:
                client.close()  # the other node is down: what its own port would say
                continue
            for side in (client, server):
                side.settimeout(None)
                side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.connections += 1
            link = Link(self, client, server, self.plan_for(self.connections))
            with self._lock:
                self._links = [old for old in self._links if not old.ended.is_set()] + [link]

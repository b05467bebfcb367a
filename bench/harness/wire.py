"""A blocking client of a few commands, to control servers; the load itself is cairn-loadgen's."""

import socket
import struct


class WireError(Exception):
    """The server answered an error, or nothing that can be understood."""


class Wire:
    """One connection to 127.0.0.1. Every call ends within `timeout` seconds or raises OSError."""

    def __init__(self, port, timeout=60.0):
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=timeout)
        self._file = self._socket.makefile("rb")

    def close(self):
        self._file.close()
        self._socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _line(self):
        line = self._file.readline()
        if not line.endswith(b"\r\n"):
            raise WireError("connection closed")
        return line[:-2].decode("latin-1")

    def command(self, text):
        """Sends one text protocol line, answers the first line of the reply."""
        self._socket.sendall(text.encode() + b"\r\n")
        return self._line()

    def stats(self, group=""):
        """The text protocol's `stats`, as a dict of strings."""
        line = self.command(f"stats {group}".rstrip())
        out = {}
        while line != "END":
            word, _, rest = line.partition(" ")
            if word != "STAT":
                raise WireError(line)
            name, _, value = rest.partition(" ")
            out[name] = value
            line = self._line()
        return out

    def text_set(self, key, value):
        reply = self.command(f"set {key} 0 0 {len(value)}\r\n{value}")
        if reply != "STORED":
            raise WireError(reply)

    def text_get(self, key):
        """The value, or None."""
        line = self.command(f"get {key}")
        if line == "END":
            return None
        if not line.startswith("VALUE "):
            raise WireError(line)
        value = self._file.read(int(line.split()[3]) + 2)[:-2].decode("latin-1")
        if self._line() != "END":
            raise WireError("no END")
        return value

    def binary(self, opcode, key=b"", extras=b"", value=b""):
        """One request of the binary protocol; (status, value)."""
        body = extras + key + value
        self._socket.sendall(
            struct.pack(">BBHBBHIIQ", 0x80, opcode, len(key), len(extras), 0, 0, len(body), 0, 0) + body)
        header = self._file.read(24)
        if len(header) < 24:
            raise WireError("connection closed")
        _, _, key_size, extras_size, _, status, size, _, _ = struct.unpack(">BBHBBHIIQ", header)
        return status, self._file.read(size)[extras_size + key_size:]

    def info(self, section):
        """redis: INFO as a dict of strings."""
        lines = self.resp("INFO", section).split("\r\n")
        return dict(line.split(":", 1) for line in lines if ":" in line)

    def resp(self, *words):
        """One RESP command; a simple string, number or bulk string as text, None for a null."""
        parts = [f"*{len(words)}\r\n"]
        parts += [f"${len(w.encode())}\r\n{w}\r\n" for w in words]
        self._socket.sendall("".join(parts).encode())
        line = self._line()
        if line[0] in "+:":
            return line[1:]
        if line[0] != "$":
            raise WireError(line)
        size = int(line[1:])
        return None if size < 0 else self._file.read(size + 2)[:-2].decode("latin-1")

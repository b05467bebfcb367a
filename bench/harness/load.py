"""Runs cairn-loadgen."""

import json
import signal
import subprocess

from .servers import BenchError

EXIT_ERRORS = 4


def arguments(setup, server, options):
    command = [setup.loadgen, "--port", str(server.port), "--json", "--server-pid", str(server.pid)]
    if setup.client_cpu is not None:
        command += ["--pin", str(setup.client_cpu)]
    for name, value in options.items():
        flag = "--" + name.replace("_", "-")
        if value is True:
            command.append(flag)
        elif value is not None and value is not False:
            command += [flag, str(value)]
    return command


def parse(command, process_output, returncode, complaint):
    try:
        result = json.loads(process_output)
    except json.JSONDecodeError:
        raise BenchError(f"{' '.join(command)}: {complaint.strip()}") from None
    if returncode != 0:
        problem = "wrong answers or errors" if returncode == EXIT_ERRORS else f"exit code {returncode}"
        raise BenchError(f"{' '.join(command)}: {problem}: {result['first_error']} {process_output.strip()}")
    return result


def run(setup, server, **options):
    """Runs to the end; the report as a dict. Anything but a complete run without errors raises."""
    limit = options.setdefault("max_seconds", 300)
    command = arguments(setup, server, options)
    done = subprocess.run(command, capture_output=True, text=True, timeout=limit + 60, check=False)
    return parse(command, done.stdout, done.returncode, done.stderr)


def load(setup, server, shape, **options):
    """Sets every key of `shape` exactly once, or its first `ops` keys."""
    return run(setup, server, load=True, depth=30, protocol=server.protocols["pipeline"], **shape, **options)


def verify(setup, server, shape, version, **options):
    """Reads every key of `shape` exactly once; any miss or wrong value raises."""
    return run(setup, server, order="once", depth=30, protocol=server.protocols["pipeline"],
               expect_version=version, misses_are_errors=True, **shape, **options)


class Background:
    """A run in a process of its own, until it is told to stop."""

    def __init__(self, setup, server, **options):
        options = dict({"seconds": 3000, "max_seconds": 3000}, **options)
        self._command = arguments(setup, server, options)
        self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def abandon(self):
        """Ends it without a report."""
        self._process.kill()
        self._process.communicate()

    def stop(self):
        """The report of the time between."""
        self._process.send_signal(signal.SIGINT)
        try:
            out, err = self._process.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            self.abandon()
            raise BenchError("a load run does not end") from None
        return parse(self._command, out, self._process.returncode, err)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self._process.poll() is None:
            self.abandon()


class Probe(Background):
    """Reads at a fixed rate while something else happens: how long clients wait."""

    def __init__(self, setup, server, shape, rate=1000):
        super().__init__(setup, server, protocol=server.protocols["text"], rate=rate, connections=10, **shape)

"""Where and with what a run was made."""

import os
import platform
import subprocess


def first_line(path):
    try:
        with open(path, encoding="utf-8") as file:
            return file.readline().strip()
    except OSError:
        return ""


def cpu_model():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()


def output(*command):
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except OSError:
        return ""
    return (done.stdout or done.stderr).strip().partition("\n")[0]


def describe(setup):
    root = setup.root
    return {
        "kind": "machine",
        "cpu": cpu_model(),
        "cpus": os.cpu_count(),
        "memory_mb": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20,
        "kernel": platform.release(),
        "tcp_congestion_control": first_line("/proc/sys/net/ipv4/tcp_congestion_control"),
        "transparent_hugepages": first_line("/sys/kernel/mm/transparent_hugepage/enabled"),
        "load_average": os.getloadavg()[0],
        "server_cpus": setup.server_cpus,
        "client_cpu": setup.client_cpu,
        "commit": output("git", "-C", root, "describe", "--always", "--dirty"),
        "cairnd": output(setup.cairnd, "--version") if os.path.exists(setup.cairnd) else "",
        "memcached": output(setup.memcached, "-V"),
        "redis": output(setup.redis, "--version"),
    }

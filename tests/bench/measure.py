"""What is measured of a running proxy."""

import json
import pathlib
import re
import resource
import socket
import subprocess
import time

from peers import CLIENT_CORE, HERE, HOST, PATH, REQUEST, fail, read_answer, tool

CONNECTIONS = 64
IDLE_CONNECTIONS = 1000
OPEN_LOOP_RATE = 2000


def cpu_seconds(program):
    """Time on a CPU of all threads of the process tree."""
    total = 0
    for pid in program.pids():
        for schedstat in pathlib.Path(f"/proc/{pid}/task").glob("*/schedstat"):
            try:
                total += int(schedstat.read_text().split()[0])
            except OSError:
                continue
    return total / 1e9


def rss_kib(program):
    """Resident memory of the process tree; what is shared is counted once for each process."""
    total = 0
    for pid in program.pids():
        match = re.search(r"VmRSS:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text())
        total += int(match.group(1)) if match else 0
    return total


def memory(program):
    """(MiB idle, KiB for each idle connection that has served a request)."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    idle = rss_kib(program)
    held = []
    for _ in range(IDLE_CONNECTIONS):
        connection = socket.create_connection(("127.0.0.1", program.port), 5)
        connection.sendall(REQUEST)
        reader = connection.makefile("rb")
        read_answer(reader)
        held.append((connection, reader))
    with_connections = rss_kib(program)
    for connection, reader in held:
        reader.close()
        connection.close()
    return idle / 1024, (with_connections - idle) / IDLE_CONNECTIONS


def wrk(program, seconds, *options):
    headers = ["-H", f"Host: {HOST}", "-H", "x-tenant: gold"]
    command = ["taskset", "-c", CLIENT_CORE, tool("wrk", "wrk"), "-t1", f"-c{CONNECTIONS}"]
    url = f"http://127.0.0.1:{program.port}{PATH}"
    command += [f"-d{seconds}s", *options, *headers, url]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def check(program):
    """A second of traffic in which every body is looked at; warms up as well."""
    output = wrk(program, 1, "-s", str(HERE / "configs" / "check.lua"))
    found = re.search(r"checked right=(\d+) wrong=(\d+)", output)
    if not found or int(found.group(1)) == 0 or int(found.group(2)) > 0:
        fail(f"{program.name} does not answer every request rightly:\n{output}")


def closed_loop(program, seconds):
    """As fast as the connections go."""
    check(program)
    cpu, started = cpu_seconds(program), time.monotonic()
    output = wrk(program, seconds, "--latency")
    cpu, elapsed = cpu_seconds(program) - cpu, time.monotonic() - started
    if "Non-2xx" in output or "Socket errors" in output:
        fail(f"{program.name} failed requests:\n{output}")
    requests = int(re.search(r"(\d+) requests in", output).group(1))
    return {
        "rps": requests / seconds,
        "cpu": cpu / requests * 1e6,
        "busy": cpu / elapsed,
        "p50": latency(output, "50%"),
        "p99": latency(output, "99%"),
    }


def latency(output, percentile):
    """Milliseconds."""
    number, unit = re.search(rf"{percentile}\s+([\d.]+)(us|ms|s)\b", output).groups()
    return float(number) * {"us": 0.001, "ms": 1, "s": 1000}[unit]


def open_loop(program, client, seconds):
    """At a fixed rate, whatever the answers; milliseconds."""
    command = ["taskset", "-c", CLIENT_CORE, client, str(program.port), str(OPEN_LOOP_RATE), str(seconds)]
    ran = subprocess.run(command, capture_output=True, text=True)
    if ran.returncode != 0:
        fail(f"{program.name} failed requests at a fixed rate:\n{ran.stderr}")
    found = json.loads(ran.stdout)
    return {f"open_{name}": found[name] for name in ("p50", "p99")}

"""What is measured of a running proxy."""

import json
import pathlib
import re
import resource
import subprocess
import time

from peers import CLIENT_CORE, HERE, HOST, PATH, ask, example, fail, tool

CONNECTIONS = 64
H2_CONNECTIONS, H2_STREAMS = 16, 8
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


def memory(program, connect):
    """(MiB idle, KiB for each idle connection that has served a request) of a program that is fresh."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    idle = rss_kib(program)
    held = []
    for _ in range(IDLE_CONNECTIONS):
        connection = connect()
        reader = connection.makefile("rb")
        ask(connection, reader)
        held.append((connection, reader))
    with_connections = rss_kib(program)
    for connection, reader in held:
        reader.close()
        connection.close()
    return idle / 1024, (with_connections - idle) / IDLE_CONNECTIONS


def costs(program, load):
    """What `load` reports, a number of requests among it, and what it cost the program."""
    cpu, started = cpu_seconds(program), time.monotonic()
    found = load()
    cpu, elapsed = cpu_seconds(program) - cpu, time.monotonic() - started
    cpu /= found.pop("requests")
    return found | {"cpu": cpu * 1e6, "per_core": 1 / cpu, "busy": cpu * found["rps"]}


def client(*command):
    """What a client prints that runs on its core."""
    ran = subprocess.run(["taskset", "-c", CLIENT_CORE, *command], capture_output=True, text=True)
    if ran.returncode != 0:
        fail(f"{command[0]}: {ran.stderr or ran.stdout}")
    return ran.stdout


def wrk(url, seconds, *options):
    headers = ["-H", f"Host: {HOST}", "-H", "x-tenant: gold"]
    return client(tool("wrk", "wrk"), "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", *options, *headers, url)


def wrk_window(program, url, seconds, *options):
    """A second of traffic in which every body is looked at, which warms up as well, then the window."""
    output = wrk(url, 1, *options, "-s", str(HERE / "configs" / "check.lua"))
    found = re.search(r"checked right=(\d+) wrong=(\d+)", output)
    if not found or int(found.group(1)) == 0 or int(found.group(2)) > 0:
        fail(f"{program.name} does not answer every request rightly:\n{output}")
    return costs(program, lambda: wrk_report(program, wrk(url, seconds, *options, "--latency"), seconds))


def wrk_report(program, output, seconds):
    if "Non-2xx" in output or "Socket errors" in output:
        fail(f"{program.name} failed requests:\n{output}")
    requests = int(re.search(r"(\d+) requests in", output).group(1))
    p50, p99 = (wrk_latency(output, percentile) for percentile in ("50%", "99%"))
    return {"requests": requests, "rps": requests / seconds, "p50": p50, "p99": p99}


def wrk_latency(output, percentile):
    """Milliseconds."""
    number, unit = re.search(rf"{percentile}\s+([\d.]+)(us|ms|s)\b", output).groups()
    return float(number) * {"us": 0.001, "ms": 1, "s": 1000}[unit]


def http(program, seconds):
    """HTTP/1.1 on connections that are kept, as fast as they go."""
    return wrk_window(program, f"http://127.0.0.1:{program.port}{PATH}", seconds)


def open_loop(program, seconds):
    """HTTP/1.1 at a fixed rate, whatever the answers."""
    found = json.loads(client(example("open-loop"), str(program.port), str(OPEN_LOOP_RATE), str(seconds)))
    return found | {"rps": found["requests"] / seconds}


def https(program, seconds):
    """The same as `http`, in TLS."""
    return wrk_window(program, f"https://localhost:{program.tls_port}{PATH}", seconds)


def h2(program, seconds):
    """HTTP/2 in TLS, several streams on each of a few connections."""
    h2load_report(program, h2load(program, "-n", "1000"))
    return costs(program, lambda: h2load_report(program, h2load(program, "-D", str(seconds)), seconds))


def h2load(program, *options):
    shape = ["-t1", f"-c{H2_CONNECTIONS}", f"-m{H2_STREAMS}", *options]
    to = [f"--connect-to=127.0.0.1:{program.tls_port}", "-H", "x-tenant: gold", f"https://{HOST}{PATH}"]
    return client(tool("h2load", "nghttp2-client"), *shape, *to)


def h2load_report(program, output, seconds=1):
    """Requests that were under way at the end of the time count as failed, and are no failures."""
    succeeded = int(re.search(r"(\d+) succeeded", output).group(1))
    right = int(re.search(r"status codes: (\d+) 2xx", output).group(1))
    wrong = sum(int(number) for number in re.findall(r"(\d+) [345]xx", output))
    body = int(re.search(r"\((\d+)\) data", output).group(1))
    if wrong or not succeeded or right < succeeded or not 1024 * succeeded <= body <= 1024 * (right + 1000):
        fail(f"{program.name} failed requests:\n{output}")
    return {"requests": succeeded, "rps": succeeded / seconds}


def handshake(program, seconds):
    """A new TLS connection for each request, with a full handshake."""
    handshakes(program, 1)
    return costs(program, lambda: handshakes(program, seconds))


def handshakes(program, seconds):
    found = json.loads(client(example("handshakes"), str(program.tls_port), str(seconds)))
    return found | {"rps": found["requests"] / seconds}


def resumption(program, seconds):
    """A new TLS connection for each request, that resumes the session of the one before: as wrk does."""
    return wrk_window(program, f"https://localhost:{program.tls_port}{PATH}", seconds, "-H", "Connection: close")


WORKLOADS = {
    "http": http,
    "open-loop": open_loop,
    "https": https,
    "h2": h2,
    "handshake": handshake,
    "resumption": resumption,
}

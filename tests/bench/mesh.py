"""Two pods on one machine: namespaces joined by a wire, with Istio's redirect rules in them."""

import os
import pathlib
import subprocess
import time

import peers
from peers import HOST, PATH, fail, tool

CLIENT, SERVER = "10.203.0.2", "10.203.0.3"
# Where the service is for the client; nothing but a proxy leads there.
SERVICE = "10.203.1.1"
HTTP, TCP, APPLICATION, SINK = 80, 5201, 8080, 5201
OUTBOUND, INBOUND = 15001, 15006
PROXY_USER = "1337"
TRUST = "spiffe://cluster.local/ns/default/sa"
PROXIES = ["mesh-agent", "envoy"]

RULES = f"""*nat
-A PREROUTING -p tcp --dport 15020:15021 -j RETURN
-A PREROUTING -p tcp -j REDIRECT --to-ports {INBOUND}
-A OUTPUT -o lo -s 127.0.0.6/32 -j RETURN
-A OUTPUT -m owner --uid-owner {PROXY_USER} -j RETURN
-A OUTPUT -o lo -j RETURN
-A OUTPUT -p tcp -j REDIRECT --to-ports {OUTBOUND}
COMMIT
"""


def run(*command, given=None):
    ran = subprocess.run(command, input=given, capture_output=True, text=True)
    if ran.returncode != 0:
        fail(f"{' '.join(command)}: {ran.stderr or ran.stdout}")
    return ran.stdout


class Pod:
    """A network namespace with an address."""

    def __init__(self, name, address):
        self.name, self.address = f"tg{os.getpid()}{name}", address
        run("ip", "netns", "add", self.name)
        run("ip", "-n", self.name, "link", "set", "lo", "up")

    def join(self, other):
        """Lays a wire to another pod."""
        wire = ["veth", "peer", "name", "eth0", "netns", other.name]
        run("ip", "link", "add", "eth0", "netns", self.name, "type", *wire)
        for pod in (self, other):
            run("ip", "-n", pod.name, "addr", "add", f"{pod.address}/24", "dev", "eth0")
            run("ip", "-n", pod.name, "link", "set", "eth0", "up")
            # The service's address is nobody's: what is not redirected goes nowhere.
            run("ip", "-n", pod.name, "route", "add", "10.203.1.0/24", "dev", "eth0")

    def redirect(self, on):
        """Has what comes and goes be redirected to a proxy, or not."""
        run(*self.inside(tool("iptables", "iptables"), "-t", "nat", "-F"))
        if on:
            run(*self.inside(tool("iptables-restore", "iptables"), "--noflush"), given=RULES)

    def inside(self, *command):
        return ["ip", "netns", "exec", self.name, *command]

    def remove(self):
        subprocess.run(["ip", "netns", "del", self.name], check=False)


def as_proxy(command):
    """As the user whose connections are not redirected."""
    return ["setpriv", "--reuid", PROXY_USER, "--regid", PROXY_USER, "--clear-groups", *command]


def make_identities(folder):
    """An authority, and a certificate for each side, where both proxies look for them."""
    openssl = tool("openssl", "openssl")
    curve = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes".split()
    root, root_key = folder / "root-cert.pem", folder / "root-key.pem"
    run(openssl, "req", "-x509", *curve, "-days", "30", "-subj", "/O=mesh", "-keyout", str(root_key), "-out", str(root))
    for name in ("client", "server"):
        own = folder / name
        own.mkdir()
        key, request, chain = own / "key.pem", own / "request.pem", own / "cert-chain.pem"
        run(openssl, "req", *curve, "-subj", "/", "-keyout", str(key), "-out", str(request))
        extensions = own / "extensions"
        extensions.write_text(f"subjectAltName=critical,URI:{TRUST}/{name}\nextendedKeyUsage=serverAuth,clientAuth\n")
        signed = ["-CA", str(root), "-CAkey", str(root_key), "-CAcreateserial", "-extfile", str(extensions)]
        run(openssl, "x509", "-req", "-in", str(request), "-days", "30", *signed, "-out", str(chain))
        (own / "root-cert.pem").write_text(root.read_text())
        for file in own.iterdir():
            os.chown(file, int(PROXY_USER), int(PROXY_USER))
        os.chmod(key, 0o600)
    return folder


class Proxy(peers.Program):
    """A proxy in a pod."""

    def __init__(self, name, pod, folder, command, configs, **values):
        self.pod = pod
        command = pod.inside(*as_proxy(command))
        super().__init__(name, folder, peers.PROXY_CORE, command, None, configs, **values)

    def wait_until_it_answers(self):
        deadline = time.monotonic() + 30
        ready = self.pod.inside("curl", "-fsS", "-o", "/dev/null", "-m", "1", "http://127.0.0.1:15021/healthz/ready")
        while time.monotonic() < deadline and self.process.poll() is None:
            if subprocess.run(ready, capture_output=True, check=False).returncode == 0:
                return
            time.sleep(0.05)
        fail(f"{self.name} does not get ready:\n{self.log.read_text()[-2000:]}")


def start(name, side, pod, folder, identities, mutual, binary=None):
    """Starts one of PROXIES as the sidecar of the client's or the server's pod."""
    values = {
        "SIDE": side,
        "CLIENT": CLIENT,
        "SERVER": SERVER,
        "SERVICE": SERVICE,
        "HTTP": HTTP,
        "TCP": TCP,
        "APPLICATION": APPLICATION,
        "SINK": SINK,
        "HOST": HOST,
        "IDENTITY": identities / side,
        "MODE": "STRICT" if mutual else "DISABLE",
        "TLS_MODE": "istio" if mutual else "disabled",
    }
    if name == "envoy":
        config = f"envoy-{side}{'-mtls' if mutual else ''}.yaml"
        write_envoy(folder, config, side, mutual, values)
        flags = ["--concurrency", "1", "--disable-hot-restart", "--log-level", "error"]
        command, configs = [peers.envoy(), "-c", str(folder / config), *flags], []
    else:
        command = [binary or mesh_agent(), "run", "--config", "mesh-agent.toml"]
        configs = ["mesh-agent.toml", "mesh.yaml"]
    return Proxy(f"{name}-{side}{'-mtls' if mutual else ''}", pod, folder, command, configs, **values)


def mesh_agent():
    peers.cargo("-p", "mesh-agent")
    return str(peers.TARGET / "release" / "mesh-agent")


def write_envoy(folder, name, side, mutual, values):
    """Envoy's configuration for one side: the listener of what it sends, or of what it receives."""
    text = (peers.HERE / "configs" / "envoy-sidecar.yaml").read_text()
    chosen = {side, f"{side}-mutual"} if mutual else {side}
    lines = []
    for line in text.splitlines():
        body, _, tags = line.partition("  #: ")
        if not tags or set(tags.split()) <= chosen:
            lines.append(body)
    text = "\n".join(lines) + "\n"
    for key, value in values.items():
        text = text.replace(f"@{key}@", str(value))
    (folder / name).write_text(text)


def start_backend(pod, folder):
    """nginx with 1 KiB, and iperf3 for bytes, beside each other in the server's pod."""
    nginx = tool("nginx", "nginx-light")
    command = pod.inside(nginx, "-p", ".", "-c", "backend-pod.conf", "-e", "stderr")
    backend = peers.Program(
        "backend", folder, peers.CLIENT_CORE, command, None, ["backend-pod.conf"], BACKEND=APPLICATION, BODY=peers.BODY
    )
    sink = pod.inside(tool("iperf3", "iperf3"), "-s", "-p", str(SINK))
    return [backend, peers.Program("sink", folder, peers.CLIENT_CORE, sink, None)]


def url(host=SERVICE):
    return f"http://{host}:{HTTP if host == SERVICE else APPLICATION}{PATH}"

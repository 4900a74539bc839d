"""Fills a cluster, and measures how long a change takes until it is served: scale.py API-SERVER GATEWAY fill|change NUMBER."""

import http.client
import json
import ssl
import sys
import threading
import time
from urllib.parse import urlsplit

CLIENTS = 8
ENDPOINTS_EACH = 10
KINDS = {
    "Service": ("v1", "/api/v1/namespaces/{}/services"),
    "EndpointSlice": ("discovery.k8s.io/v1", "/apis/discovery.k8s.io/v1/namespaces/{}/endpointslices"),
    "Gateway": ("networking.istio.io/v1", "/apis/networking.istio.io/v1/namespaces/{}/gateways"),
    "VirtualService": ("networking.istio.io/v1", "/apis/networking.istio.io/v1/namespaces/{}/virtualservices"),
}


class ApiServer:
    def __init__(self, url):
        # It is reached by an address of the test's own network.
        context = ssl._create_unverified_context()
        self.connection = http.client.HTTPSConnection(urlsplit(url).netloc, context=context)

    def ask(self, method, path, body, kind="application/json"):
        headers = {"Authorization": "Bearer admin", "Content-Type": kind}
        self.connection.request(method, path, json.dumps(body), headers)
        answer = self.connection.getresponse()
        text = answer.read()
        if answer.status not in (200, 201):
            sys.exit(f"{method} {path}: {answer.status} {text[:300]}")

    def create(self, kind, namespace, body):
        version, path = KINDS[kind]
        self.ask("POST", path.format(namespace), {"apiVersion": version, "kind": kind, **body})


def objects(number):
    name = f"service-{number}"
    addresses = [f"10.{number // 256 % 256}.{number % 256}.{last}" for last in range(ENDPOINTS_EACH)]
    port = {"name": "http", "port": 80, "targetPort": 9000, "protocol": "TCP"}
    destination = {"host": name, "port": {"number": 80}}
    return {
        "Service": {"metadata": {"name": name}, "spec": {"ports": [port]}},
        "EndpointSlice": {
            "metadata": {"name": name, "labels": {"kubernetes.io/service-name": name}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": [address], "conditions": {"ready": True}} for address in addresses],
            "ports": [{"name": "http", "port": 9000, "protocol": "TCP"}],
        },
        "VirtualService": {
            "metadata": {"name": name},
            "spec": {"hosts": [f"{name}.example.com"], "gateways": ["shop/scale"], "http": [{"route": [{"destination": destination}]}]},
        },
    }


def fill(url, number):
    server = {"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": ["*.example.com"]}
    gateway = {"metadata": {"name": "scale"}, "spec": {"selector": {"istio": "ingressgateway"}, "servers": [server]}}
    ApiServer(url).create("Gateway", "shop", gateway)

    def some(first):
        server = ApiServer(url)
        for one in range(first, number, CLIENTS):
            for kind, made in objects(one).items():
                server.create(kind, "scale", made)

    threads = [threading.Thread(target=some, args=(first,)) for first in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def change(url, gateway, number):
    server = ApiServer(url)
    client = http.client.HTTPConnection(urlsplit(gateway).netloc)
    _, path = KINDS["VirtualService"]
    path = path.format("shop") + "/shop"
    took = []
    for one in range(number):
        answer = {"match": [{"uri": {"exact": "/change"}}], "directResponse": {"status": 200, "body": {"string": str(one)}}}
        begun = time.monotonic()
        server.ask("PATCH", path, {"spec": {"http": [answer]}}, "application/merge-patch+json")
        body = None
        while body != str(one).encode():
            client.request("GET", "/change", headers={"Host": "shop.example.com"})
            body = client.getresponse().read()
        took.append((time.monotonic() - begun) * 1000)
        time.sleep(0.02)
    took.sort()
    median, high = took[number // 2], took[number * 99 // 100]
    print(f"from a change that is sent until it is served: p50 {median:.1f} ms, p99 {high:.1f} ms, of {number}")


def main():
    url, gateway, what, number = sys.argv[1:]
    match what:
        case "fill":
            fill(url, int(number))
        case "change":
            change(url, gateway, int(number))


main()

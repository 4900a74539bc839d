"""Holds connections that have each had an answer: `hold.py HOST COUNT` says `held`, and waits for the end of its input."""

import resource
import socket
import sys

from peers import ask

host, count = sys.argv[1], int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
held = []
for _ in range(count):
    connection = socket.create_connection((host, 80), 5)
    reader = connection.makefile("rb")
    status, _ = ask(connection, reader)
    if status != 200:
        sys.exit(f"answered {status}")
    held.append((connection, reader))
print("held", flush=True)
sys.stdin.read()

"""Two nodes behind Caddy that are restarted one after the other. No request may fail."""

import asyncio
import os
import signal
import socket
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path

from model import Broken, Unseen
from server import Server
from storm import Storm

# How many seconds a node keeps serving after it reports that it is not ready, as in compose.cluster.yaml.
GRACE = 3
# How many seconds a node must have run before the other one is stopped: Caddy checks every second.
SETTLED = 3


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


class Node(Server):
    """A server that listens on the same port after each start, because Caddy's configuration names it."""

    def __init__(self, server, program):
        super().__init__(program, server.folder, server.url)
        self.own_port = free_port()
        self.environment |= {
            "SHOKO_AUTH_LISTEN": f"127.0.0.1:{self.own_port}",
            "SHOKO_AUTH_SHUTDOWN_GRACE": f"{GRACE}s",
            "SHOKO_AUTH_TRUSTED_PROXIES": "127.0.0.1",
        }

    async def restart(self, program):
        await asyncio.to_thread(self.kill, signal.SIGTERM)
        if self.process.returncode != 0:
            raise Broken(f"a node stopped with {self.process.returncode}")
        self.program = program
        await asyncio.to_thread(self.start)


class Caddy:
    """Caddy with the site of compose.cluster.yaml, without TLS."""

    # Each request can reach another node than the one before.
    is_one_node = False

    def __init__(self, nodes, folder):
        self.nodes, self.port = nodes, free_port()
        text = Path("compose.cluster.yaml").read_text()
        site = text.split("{$$DOMAIN} {", 1)[1].split("\nsecrets:", 1)[0]
        for number, node in enumerate(nodes, start=1):
            site = site.replace(f"node{number}:8111", f"127.0.0.1:{node.own_port}")
        self.file = Path(folder, "Caddyfile")
        self.file.write_text(f"{{\nadmin off\nauto_https off\ndefault_bind 127.0.0.1\n}}\nhttp://127.0.0.1:{self.port} {{{site}")

    def __enter__(self):
        command = ["caddy", "run", "--adapter", "caddyfile", "--config", self.file]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()

    async def connect(self):
        return await asyncio.open_connection("127.0.0.1", self.port)

    def add_user(self, name, password):
        self.nodes[0].add_user(name, password)


async def rolling(lab, seed, rounds):
    """Restarts each of two nodes `rounds` times under load. With OLD_PROGRAM, both nodes first run that version, and the
    first round replaces them."""
    first = os.environ.get("OLD_PROGRAM", lab.program)
    server = lab.server()
    with ExitStack() as stack:
        nodes = [stack.enter_context(Node(server, first)) for _ in range(2)]
        for node in nodes:
            node.start()
        caddy = stack.enter_context(Caddy(nodes, lab.folder))
        storm = Storm(caddy, seed, pause=0.02)
        await asyncio.sleep(SETTLED)
        storm.start()
        served = []
        for _ in range(rounds):
            for node in nodes:
                await storm.wait(SETTLED)
                began = time.monotonic()
                await node.restart(lab.program)
                await storm.wait(SETTLED)
                served.append(len([1 for start, _, _ in storm.requests if start > began]))
        await storm.stop()
        statuses = storm.statuses()
        if set(statuses) - {200, 401}:
            raise Broken(f"the responses were {dict(statuses)}")
        if min(served) < 100:
            raise Unseen(f"during a restart there were only {min(served)} requests")
        await storm.check()
    versions = {"replaced": "an older version"} if first != lab.program else {}
    return {"restarts": 2 * rounds, "requests": sum(statuses.values()), "failed": 0, **versions, **storm.counts()}

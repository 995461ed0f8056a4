"""Measures how a leader still responds after it was stopped and resumed, until Patroni demotes it."""

import asyncio
import json
import secrets
import tempfile
import threading
import time
from contextlib import closing

import psycopg2
from client import Client, Lost
from model import Broken
from server import PASSWORD, Server

# How long the resumed leader is observed, in seconds.
OBSERVED = 10
# In seconds.
INTERVAL = 0.01


class StaleLeader:
    """Clients that have only the address of one leader: plain SQL, and a node whose URL names no other member.

    Start it before the leader is stopped, so that their connections are open when it is resumed.
    """

    def __init__(self, cluster, leader, program):
        self.cluster, self.leader = cluster, leader
        self.folder = tempfile.TemporaryDirectory()
        self.node = Server(program, self.folder.name, cluster.url([leader]))
        self.written, self.keys = [], []
        self.user = f"stale {secrets.token_hex(4)}"

    def start(self):
        with closing(self.leader.connect_as_server()) as connection, connection.cursor() as cursor:
            cursor.execute("CREATE TABLE IF NOT EXISTS failover_probe (number text PRIMARY KEY)")
        self.reads = Loop(self.leader, lambda cursor: cursor.execute("SELECT count(*) FROM failover_probe"))
        self.writes = Loop(self.leader, self.write)
        self.node.start()
        self.node.add_user(self.user, PASSWORD)

    def stop(self):
        if self.node.process:
            self.node.kill()
        self.folder.cleanup()

    def write(self, cursor):
        number = secrets.token_hex(8)
        cursor.execute("INSERT INTO failover_probe VALUES (%s)", [number])
        self.written.append(number)

    async def use(self):
        """Issues a key and verifies it, so that all connections of the node are in use before the fault."""
        client = Client(self.node)
        self.key = await log_in(client, self.user, "before")
        await verify(client, self.key)
        client.close()

    async def revoke(self, nodes):
        """Revokes the key through a node that has seen the new leader."""
        client = Client(nodes[0])
        status, _ = await client.request("DELETE", f"/api/auth?apikey={self.key}")
        client.close()
        if status != 200:
            raise Broken(f"after the promotion, a revocation had the status {status}")

    async def measure(self):
        """Queries the leader from just before it is resumed. Returns how it still responded."""
        self.reads.start()
        self.writes.start()
        verifications, logins = asyncio.create_task(self.verify()), asyncio.create_task(self.log_in())
        await asyncio.to_thread(self.leader.resume)
        resumed = time.monotonic()
        accepted, self.keys = await verifications, await logins
        return {
            "the resumed leader responded to reads for": f"{self.reads.answered_until(resumed):.2f} s",
            "a node whose URL names no other leader accepted the revoked key": f"{len(accepted)} times"
            + (f" for {accepted[-1] - resumed:.2f} s" if accepted else ""),
        }

    async def losses(self, nodes):
        """Returns how many writes the resumed leader has acknowledged, and how many of them are lost."""
        return {
            "acknowledged SQL writes": len(self.written),
            "of them lost": await asyncio.to_thread(self.lost_writes),
            "acknowledged logins of this node": len(self.keys),
            "of these lost": await self.lost_keys(nodes),
        }

    async def verify(self):
        """Returns when the node accepted the revoked key."""
        client, accepted = Client(self.node), []
        end = time.monotonic() + OBSERVED
        while time.monotonic() < end:
            try:
                if await verify(client, self.key) == 200:
                    accepted.append(time.monotonic())
            except Lost:
                pass
            await asyncio.sleep(INTERVAL)
        client.close()
        return accepted

    async def log_in(self):
        """Returns the keys that the node has issued."""
        client, keys = Client(self.node), []
        end = time.monotonic() + OBSERVED
        while time.monotonic() < end:
            try:
                keys.append(await log_in(client, self.user, secrets.token_hex(4)))
            except Lost:
                pass
            await asyncio.sleep(INTERVAL)
        client.close()
        return [key for key in keys if key]

    def lost_writes(self):
        with closing(self.cluster.leader().connect_as_server()) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT number FROM failover_probe")
            kept = {number for number, in cursor.fetchall()}
        return len(set(self.written) - kept)

    async def lost_keys(self, nodes):
        client = Client(nodes[0])
        statuses = [await verify(client, key) for key in self.keys]
        client.close()
        return sum(status != 200 for status in statuses)


class Loop(threading.Thread):
    """Runs a statement again and again on a connection that is opened now, until the connection fails."""

    def __init__(self, leader, statement):
        super().__init__(daemon=True)
        self.connection, self.statement, self.answered_at = leader.connect_as_server(), statement, 0.0

    def run(self):
        try:
            with self.connection.cursor() as cursor:
                while True:
                    self.statement(cursor)
                    self.answered_at = time.monotonic()
                    time.sleep(INTERVAL)
        except psycopg2.Error:
            self.connection.close()

    def answered_until(self, start):
        """Returns for how long after `start` the leader responded."""
        return max(0.0, self.answered_at - start)


async def log_in(client, user, device):
    """Returns a new key, or `None`."""
    body = {"user": user, "pass": PASSWORD, "device": device}
    status, response = await client.request("POST", "/api/auth", body)
    return json.loads(response)["apikey"] if status == 200 else None


async def verify(client, key):
    status, _ = await client.request("GET", "/api/auth/verify", key=key)
    return status

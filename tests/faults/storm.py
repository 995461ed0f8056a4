"""Clients that log in, verify and revoke keys, and change passwords: several for each of several users."""

import asyncio
import time
from collections import Counter
from itertools import count
from random import Random

from client import Client, Lost
from model import Unavailable, User
from server import PASSWORD

USERS = 8
CLIENTS_PER_USER = 3


class Storm:
    """Loads a server until it is stopped. Each client sends one request after the other."""

    def __init__(self, server, seed, pause=0.0, second_node=None, names="user"):
        """Half of the clients use the `second_node` on the same database, if there is one. `names` begins their names."""
        self.server, self.pause = server, pause
        self.nodes = [server, second_node or server]
        self.requests, self.tasks, self.stopping = [], [], False
        self.users = [
            User(f"{names} {number}", PASSWORD, Random(f"{seed} {number}"), count(number, USERS))
            for number in range(USERS)
        ]
        for user in self.users:
            server.add_user(user.name, PASSWORD)

    def start(self):
        self.stopping = False
        clients = [(user, self.nodes[number % 2]) for user in self.users for number in range(CLIENTS_PER_USER)]
        self.tasks = [asyncio.create_task(self.run(user, node)) for user, node in clients]

    def client(self, node):
        return Client(node, self.requests)

    async def run(self, user, node):
        client = self.client(node)
        while not self.stopping:
            try:
                await user.act(client)
            except (Lost, Unavailable):
                await asyncio.sleep(0.02)
            await asyncio.sleep(self.pause)
        client.close()

    async def wait(self, seconds, until=lambda: False):
        """Waits for `seconds`, until a condition holds, or until a promise is broken. Returns whether the condition holds."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and not until() and not any(task.done() for task in self.tasks):
            await asyncio.sleep(0.02)
        return until()

    async def stop(self):
        """Stops each client after its current request. Raises `Broken` if a client has found a broken promise."""
        self.stopping = True
        await asyncio.gather(*self.tasks)

    async def check(self, last=None):
        client = Client(self.server)
        for user in self.users:
            await user.check(client, last)
        client.close()

    def lost(self):
        return self.counts().get("lost", 0)

    def counts(self):
        """Returns how many requests of each kind were acknowledged or lost."""
        return dict(sum((Counter(user.counts) for user in self.users), Counter()))

    def seen(self):
        return dict(sum((Counter(user.seen) for user in self.users), Counter()))

    def statuses(self, after=0.0, before=float("inf")):
        """Returns how often each status occurred among requests that began and ended between two times."""
        within = [status for start, end, status in self.requests if start > after and end < before]
        return Counter(status or "none" for status in within)

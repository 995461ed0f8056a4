"""Clients that log in, verify, end keys and change passwords, several on each of several accounts."""

import asyncio
import time
from collections import Counter
from random import Random

from client import Client, Lost
from model import Account, Unfit
from server import PASSWORD

ACCOUNTS = 8
CLIENTS_EACH = 3


class Storm:
    """Blows on a server until it is told to stop, each client doing one thing after the other."""

    def __init__(self, server, seed, pause=0.0, other=None):
        """Half of the clients talk to the `other` server on the same database, if there is one."""
        self.server, self.pause = server, pause
        self.ports = [server.port, (other or server).port]
        self.answers, self.tasks, self.stopping = [], [], False
        self.accounts = [Account(f"user {number}", PASSWORD, Random(f"{seed} {number}")) for number in range(ACCOUNTS)]
        for account in self.accounts:
            server.add_user(account.name, PASSWORD)

    def begin(self):
        self.stopping = False
        clients = [(account, self.ports[number % 2]) for account in self.accounts for number in range(CLIENTS_EACH)]
        self.tasks = [asyncio.create_task(self.go_on(account, port)) for account, port in clients]

    async def go_on(self, account, port):
        client = Client(port, self.answers)
        while not self.stopping:
            try:
                await account.act(client)
            except (Lost, Unfit):
                await asyncio.sleep(0.02)
            await asyncio.sleep(self.pause)
        client.close()

    async def last(self, seconds):
        """Goes on for so long, or until a promise is broken."""
        until = time.monotonic() + seconds
        while time.monotonic() < until and not any(task.done() for task in self.tasks):
            await asyncio.sleep(0.02)

    async def end(self):
        """Each client stops when it has had its answer; a broken promise comes to light here."""
        self.stopping = True
        await asyncio.gather(*self.tasks)

    async def check(self, last=None):
        client = Client(self.server.port)
        for account in self.accounts:
            await account.check(client, last)
        client.close()

    def done(self):
        """What was acknowledged, in all."""
        return dict(sum((Counter(account.done) for account in self.accounts), Counter()))

    def statuses(self):
        return dict(Counter(status or "none" for _, _, status in self.answers))

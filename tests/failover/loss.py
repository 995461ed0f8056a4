"""Storms on two nodes. With asynchronous replication, broken promises are expected, so they are counted."""

import asyncio
import json
from collections import Counter

from client import Client, Lost
from model import Broken, Unavailable
from storm import Storm


class NodeStorm(Storm):
    """A storm that also records the requests of each node."""

    def __init__(self, nodes, seed, names="user"):
        self.by_node = {node: [] for node in nodes}
        super().__init__(nodes[0], seed, pause=0.02, second_node=nodes[1], names=names)

    def client(self, node):
        return Client(node, Tee(self.requests, self.by_node[node]))

    def clear(self):
        for log in [self.requests, *self.by_node.values()]:
            log.clear()

    def recovery(self, node, promoted_at):
        """Returns how long after the promotion the last request was sent that did not succeed."""
        failed = [start for start, _, status in self.by_node[node] if status not in (200, 401)]
        return max(0.0, max(failed, default=0.0) - promoted_at)


class Tee:
    def __init__(self, *logs):
        self.logs = logs

    def append(self, entry):
        for log in self.logs:
            log.append(entry)


class LossyStorm(NodeStorm):
    """A storm that continues after broken promises, and counts the lost changes at the end."""

    async def run(self, user, node):
        client = self.client(node)
        while not self.stopping:
            try:
                await user.act(client)
            except (Lost, Unavailable, Broken):
                await asyncio.sleep(0.02)
            await asyncio.sleep(self.pause)
        client.close()

    async def losses(self):
        """Returns which acknowledged changes no longer hold."""
        client, losses = Client(self.server), Counter()
        for user in self.users:
            for key in user.keys.values():
                status, _ = await client.request("GET", "/api/auth/verify", key=key.text)
                losses["lost keys"] += status == 401 and user.first_revocation_sent(key) == float("inf")
                losses["undone revocations"] += status == 200 and user.revoked_at(key) < float("inf")
            losses["undone password changes"] += not await is_current(client, user)
        client.close()
        return losses


async def is_current(client, user):
    """Returns whether the last acknowledged password, or a later one without a response, is accepted."""
    for password in filter(None, [user.passwords[-1], user.uncertain]):
        body = {"user": user.name, "pass": password, "device": "audit"}
        status, response = await client.request("POST", "/api/auth", body)
        if status == 200 and json.loads(response)["apikey"]:
            return True
    return False

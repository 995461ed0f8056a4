"""The model against which every experiment checks the server. It records the promises in the server's responses.

Several clients may work on one user at once, so a response is judged by the times when its request was sent and when it
arrived. A change that was acknowledged before a request was sent must hold for that request. A change that was requested
before the response arrived may hold.
"""

import asyncio
import json
import time

from client import Lost

NEVER = float("inf")
# How many seconds after its response a revocation on one node must hold on another.
PROPAGATION = 0.1


class Broken(Exception):
    """The server has broken a promise."""


class Unseen(Exception):
    """The fault did not occur, so the experiment has shown nothing."""


class Unavailable(Exception):
    """The response is 429 or 503, which says nothing about keys and passwords."""


class Key:
    """A key that was issued."""

    def __init__(self, text, version):
        self.text, self.version = text, version
        self.revocation_sent = NEVER
        # The time of the first response that the key is revoked, by server.
        self.revocations = {}


class User:
    """A user, with their passwords and keys as far as the responses show them."""

    def __init__(self, name, password, random, numbers):
        """The `numbers` are unique to the user. Each becomes a part of a new password."""
        self.name, self.random = name, random
        self.passwords = [password]
        # The filter of common passwords rejects 1 in 65,536 other passwords. A test in `src/secret/password/common.rs`
        # checks that it accepts the first 100,000 of those below.
        self.new_passwords = (f"changed {number} trombones" for number in numbers)
        # When each password change was sent, and when it was acknowledged by which server.
        self.changes_sent, self.changes = [], []
        self.keys = {}
        self.changing = asyncio.Lock()
        # A password that may be the current one, after a change without a response.
        self.uncertain = None
        self.counts = {"logins": 0, "verifications": 0, "revocations": 0, "changes": 0, "lost": 0}
        # Events that the experiments with several clients need: uses of a key while it is being revoked, rejected uses
        # of revoked keys, and rejected uses on another node than the one that revoked the key.
        self.seen = {"overlapping uses": 0, "rejected uses": 0, "rejected on the other node": 0}

    def first_revocation_sent(self, key):
        """Returns when the first request was sent that revokes this key."""
        change = self.changes_sent[key.version] if key.version < len(self.changes_sent) else NEVER
        return min(key.revocation_sent, change)

    def revocations(self, key):
        """Returns the acknowledged revocations of this key as (time, server)."""
        revoked = [(time, server) for server, time in key.revocations.items()]
        return revoked + self.changes[key.version : key.version + 1]

    def revoked_at(self, key):
        return min([time for time, _ in self.revocations(key)], default=NEVER)

    def must_reject(self, key, start, server):
        """Returns whether `server` must reject a revoked key in a request that is sent at `start`."""

        def delay(by):
            return 0 if by is server and server.is_one_node else PROPAGATION

        return any(time + delay(by) < start for time, by in self.revocations(key))

    def pick(self):
        """Returns one of the latest keys, which may be revoked."""
        keys = list(self.keys.values())[-6:]
        return self.random.choice(keys) if keys else None

    async def log_in(self, client, device):
        version, start = len(self.passwords) - 1, time.monotonic()
        body = {"user": self.name, "pass": self.passwords[version], "device": device}
        status, response = await self.request(client, "POST", "/api/auth", body)
        if status == 401:
            if version >= len(self.changes_sent):
                raise Broken(f"{self.name}: the correct password was rejected")
            return
        if version < len(self.changes) and self.changes[version][0] < start:
            raise Broken(f"{self.name}: a password was accepted that had been changed")
        text = json.loads(response)["apikey"]
        key = self.keys.setdefault(text, Key(text, version))
        if self.revoked_at(key) < start:
            raise Broken(f"{self.name}: a revoked key was issued")
        self.counts["logins"] += 1

    async def verify(self, client, key):
        start = time.monotonic()
        status, _ = await self.request(client, "GET", "/api/auth/verify", key=key.text)
        if status == 200 and self.must_reject(key, start, client.server):
            late = start - self.revoked_at(key)
            raise Broken(f"{self.name}: a key is valid {late:.6f} s after its revocation was acknowledged")
        if status == 401 and self.first_revocation_sent(key) == NEVER:
            raise Broken(f"{self.name}: a key that was never revoked is invalid")
        self.counts["verifications"] += 1
        if self.first_revocation_sent(key) < time.monotonic() and self.revoked_at(key) > start:
            self.seen["overlapping uses"] += 1
        if status == 401 and self.revoked_at(key) < start:
            self.seen["rejected uses"] += 1
            if all(server is not client.server for _, server in self.revocations(key)):
                self.seen["rejected on the other node"] += 1

    async def revoke(self, client, key):
        key.revocation_sent = min(key.revocation_sent, time.monotonic())
        await self.request(client, "DELETE", f"/api/auth?apikey={key.text}")
        key.revocations.setdefault(client.server, time.monotonic())
        self.counts["revocations"] += 1

    async def change_password(self, client, key):
        """Changes the password. One change at a time, so that there is one current password."""
        if self.changing.locked() or self.uncertain:
            return
        async with self.changing:
            password = next(self.new_passwords)
            self.changes_sent.append(time.monotonic())
            try:
                status, _ = await self.request(client, "POST", "/api/auth/ChangePassword", password, key.text)
            except (Lost, Unavailable):
                self.uncertain = password
                raise
            if status == 401:
                self.changes_sent.pop()
                if self.first_revocation_sent(key) == NEVER:
                    raise Broken(f"{self.name}: a key that was never revoked cannot change the password")
            else:
                self.record_change(password, client.server)

    def record_change(self, password, server):
        self.changes.append((time.monotonic(), server))
        self.passwords.append(password)
        self.counts["changes"] += 1

    async def act(self, client):
        """Sends a random request. A key is verified again as soon as its revocation is acknowledged."""
        key, chance = self.pick(), self.random.random()
        if key is None or chance < 0.25:
            await self.log_in(client, f"device {self.random.randrange(3)}")
        elif chance < 0.70:
            await self.verify(client, key)
        else:
            revoke = self.revoke if chance < 0.88 else self.change_password
            await revoke(client, key)
            await self.verify(client, key)

    async def resolve_uncertainty(self, client):
        """Checks that a password change without a response took effect as a whole or not at all."""
        if self.uncertain is None:
            return
        for password in (self.uncertain, self.passwords[-1]):
            body = {"user": self.name, "pass": password, "device": "after a lost change"}
            status, response = await self.request(client, "POST", "/api/auth", body)
            if status == 200:
                break
        else:
            raise Broken(f"{self.name}: neither the old nor the new password is accepted")
        if password == self.uncertain:
            self.record_change(password, client.server)
        else:
            self.changes_sent.pop()
        text = json.loads(response)["apikey"]
        self.keys.setdefault(text, Key(text, len(self.passwords) - 1))
        self.uncertain = None

    async def check(self, client, last=None):
        """Checks the password and all keys, or only the last keys, while no other client works on the user."""
        await self.resolve_uncertainty(client)
        await self.log_in(client, "check")
        for key in list(self.keys.values())[-last if last else 0 :]:
            await self.verify(client, key)

    async def request(self, client, method, path, body=None, key=None):
        try:
            status, response = await client.request(method, path, body, key)
        except Lost:
            self.counts["lost"] += 1
            raise
        if status in (429, 503):
            raise Unavailable(status)
        if status not in (200, 401):
            raise Broken(f"{method} {path.split('?')[0]} is {status}: {response[:300]!r}")
        return status, response

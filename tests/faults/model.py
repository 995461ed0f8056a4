"""What must be true of an account, by what the server has acknowledged: the model that every experiment checks against.

Several clients may work on one account at once, so an answer is judged by when its request was sent and when it came:
what was acknowledged before a request was sent must hold for it; what was asked for before its answer came may.
"""

import asyncio
import json
import time

from client import Lost

NEVER = float("inf")
# How late, in seconds, a server may hear of what was acknowledged by another.
HEARD = 0.1


class Broken(Exception):
    """The server has broken a promise."""


class Unfit(Exception):
    """An answer that says nothing about keys and passwords: 429, 503."""


class Key:
    """A key that was handed out."""

    def __init__(self, text, version):
        self.text, self.version = text, version
        self.end_sent = NEVER
        # When which server, by its port, has first answered that it has ended.
        self.ends = {}


class Account:
    """A user, and all that is known of the passwords and keys."""

    def __init__(self, name, password, random):
        self.name, self.random = name, random
        self.passwords = [password]
        # When each was sent; when each was answered, and by which server.
        self.change_sent, self.change_answered = [], []
        self.keys = {}
        self.changing = asyncio.Lock()
        # A password that may be the current one, after a change that nobody has answered.
        self.unsure = None
        self.done = {"logins": 0, "verifications": 0, "deletions": 0, "changes": 0, "unanswered": 0}

    # When the end of a key, or of a password, was asked for and acknowledged.

    def sent(self, key):
        return min(key.end_sent, self.change_sent[key.version] if key.version < len(self.change_sent) else NEVER)

    def answered(self, key):
        return min([end for end, _ in self.ends(key)], default=NEVER)

    def ends(self, key):
        return [(end, by) for by, end in key.ends.items()] + self.change_answered[key.version : key.version + 1]

    def is_dead(self, key, start, port):
        """Whether that server must know that a key has ended, when a request is sent to it."""
        return any(end + (0 if by == port else HEARD) < start for end, by in self.ends(key))

    def pick(self):
        """One of the keys, rather a late one: dead ones are among them."""
        keys = list(self.keys.values())[-6:]
        return self.random.choice(keys) if keys else None

    async def log_in(self, client, device):
        version, start = len(self.passwords) - 1, time.monotonic()
        body = {"user": self.name, "pass": self.passwords[version], "device": device}
        status, answer = await self.ask(client, "POST", "/api/auth", body)
        asked = version < len(self.change_sent)
        if status == 401:
            if not asked:
                raise Broken(f"{self.name}: the right password was refused")
            return
        if version < len(self.change_answered) and self.change_answered[version][0] < start:
            raise Broken(f"{self.name}: a password was accepted that had been changed")
        text = json.loads(answer)["apikey"]
        key = self.keys.setdefault(text, Key(text, version))
        if self.answered(key) < start:
            raise Broken(f"{self.name}: a key was handed out that had ended")
        self.done["logins"] += 1

    async def verify(self, client, key):
        start = time.monotonic()
        status, _ = await self.ask(client, "GET", "/api/auth/verify", key=key.text)
        if status == 200 and self.is_dead(key, start, client.port):
            raise Broken(f"{self.name}: a key works {start - self.answered(key):.6f} s after its end was answered")
        if status == 401 and self.sent(key) == NEVER:
            raise Broken(f"{self.name}: a key that nobody has ended does not work")
        self.done["verifications"] += 1

    async def delete(self, client, key):
        key.end_sent = min(key.end_sent, time.monotonic())
        await self.ask(client, "DELETE", f"/api/auth?apikey={key.text}")
        key.ends.setdefault(client.port, time.monotonic())
        self.done["deletions"] += 1

    async def change_password(self, client, key):
        """One change at a time, so that there is one current password."""
        if self.changing.locked() or self.unsure:
            return
        async with self.changing:
            password = f"changed {self.random.getrandbits(64):x}"
            self.change_sent.append(time.monotonic())
            try:
                status, _ = await self.ask(client, "POST", "/api/auth/ChangePassword", password, key.text)
            except (Lost, Unfit):
                self.unsure = password
                raise
            if status == 401:
                self.change_sent.pop()
                if self.sent(key) == NEVER:
                    raise Broken(f"{self.name}: a key that nobody has ended cannot change the password")
            else:
                self.changed_to(password, client.port)

    def changed_to(self, password, port):
        self.change_answered.append((time.monotonic(), port))
        self.passwords.append(password)
        self.done["changes"] += 1

    async def act(self, client):
        """One deed, by chance; the end of a key is looked at again as soon as it is answered."""
        key, chance = self.pick(), self.random.random()
        if key is None or chance < 0.25:
            await self.log_in(client, f"device {self.random.randrange(3)}")
        elif chance < 0.70:
            await self.verify(client, key)
        else:
            deed = self.delete if chance < 0.88 else self.change_password
            await deed(client, key)
            await self.verify(client, key)

    async def settle(self, client):
        """After a change of the password that nobody has answered: it was done, or it was not; nothing in between."""
        if self.unsure is None:
            return
        for password in (self.unsure, self.passwords[-1]):
            body = {"user": self.name, "pass": password, "device": "settle"}
            status, answer = await self.ask(client, "POST", "/api/auth", body)
            if status == 200:
                break
        else:
            raise Broken(f"{self.name}: neither the old nor the new password works")
        if password == self.unsure:
            self.changed_to(password, client.port)
        else:
            self.change_sent.pop()
        text = json.loads(answer)["apikey"]
        self.keys.setdefault(text, Key(text, len(self.passwords) - 1))
        self.unsure = None

    async def check(self, client, last=None):
        """Everything that is known, or of the keys the last so many, when nobody else is at it."""
        await self.settle(client)
        await self.log_in(client, "check")
        for key in list(self.keys.values())[-last if last else 0 :]:
            await self.verify(client, key)

    async def ask(self, client, method, path, body=None, key=None):
        try:
            status, answer = await client.request(method, path, body, key)
        except Lost:
            self.done["unanswered"] += 1
            raise
        if status in (429, 503):
            raise Unfit(status)
        if status not in (200, 401):
            raise Broken(f"{method} {path.split('?')[0]} is {status}: {answer[:300]!r}")
        return status, answer

"""Experiments in which the clock of a machine jumps while the server runs.

faketime changes what the server reads as the time of its machine. PostgreSQL and this program keep the right time.
"""

import asyncio
import http.client
import json
import os
import subprocess
import time
from datetime import datetime, timedelta, timezone
from email.utils import parsedate_to_datetime
from pathlib import Path

import defects
from client import Client
from model import Broken, Unseen
from server import PASSWORD, Server
from storm import Storm

# By how many seconds the clock is ahead, one after the other.
JUMPS_ON_SQLITE = [3600, -3600, 0]
JUMPS_ON_POSTGRES = [3600, -3600, 7, -7, 0]
# How many seconds a jump may take to show.
TIMEOUT = 15
# By how many seconds an expiry may be wrong.
MAX_ERROR = 2
# The limit of a client network, and how many seconds it then has to wait.
MAX_FAILURES, WINDOW = 20, 600
THROTTLED = {"SHOKO_AUTH_LOGIN_THROTTLE": "on", "SHOKO_AUTH_TRUSTED_PROXIES": "127.0.0.0/8"}


async def on_sqlite(lab, seed):
    """Sets the clock of the machine an hour forward and back, while keys expire and a network has to wait."""
    del seed
    clock, logged = FakeClock(lab.folder), 0
    with lab.server() as server:
        server.environment |= clock.environment | THROTTLED
        server.start()
        await fail(server, "192.0.2.1")
        for ahead in JUMPS_ON_SQLITE:
            await clock.jump(server, ahead)
            defects.restart(lab, server)
            if not lab.defect:
                logged = await wait_for_log(server, logged, f"has jumped by {ahead:+d}.0" if ahead else "has jumped back")
            await check_keys(lab, [server], server, ahead)
            await check_wait(server, "192.0.2.1", ahead)
        server.check_sqlite()
    return {"jumps": len(JUMPS_ON_SQLITE)}


async def on_postgres(lab, seed):
    """Sets the clock of one of two nodes wrong by an hour and by seconds, under load. Both nodes must behave alike."""
    clock = FakeClock(lab.folder)
    with lab.server() as server:
        server.start()
        url = defects.url_of_second_node(lab, server)
        with Server(lab.program, lab.folder, url) as other:
            other.environment |= clock.environment
            other.start()
            storm = Storm(server, seed, pause=0.01, second_node=other)
            storm.start()
            for ahead in JUMPS_ON_POSTGRES:
                await clock.jump(other, ahead)
                await storm.wait(0.5)
                await check_keys(lab, [server, other], other, ahead)
            await storm.stop()
            await storm.check()
    with lab.server() as server, Server(lab.program, lab.folder, server.url) as other:
        server.environment |= THROTTLED
        other.environment |= clock.environment | THROTTLED
        server.start()
        other.start()
        for number, ahead in enumerate(JUMPS_ON_POSTGRES):
            await clock.jump(other, ahead)
            for failing, checked in [(other, server), (server, other)]:
                address = f"192.0.2.{2 * number + (failing is other)}"
                await fail(failing, address)
                await check_wait(checked, address, ahead)
    return {"jumps": 2 * len(JUMPS_ON_POSTGRES), **storm.counts()}


class FakeClock:
    """The clock of the servers that have `environment`."""

    def __init__(self, folder):
        self.file = Path(folder) / "clock"
        self.set(0)
        library = subprocess.run(["faketime", "-m", "now", "printenv", "LD_PRELOAD"], check=True, capture_output=True, text=True)
        self.environment = {
            "LD_PRELOAD": library.stdout.strip(),
            "FAKETIME_TIMESTAMP_FILE": str(self.file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }

    def set(self, ahead):
        # In one step, because the server may read the file at any time.
        new = self.file.with_suffix(".new")
        new.write_text(f"{ahead:+d}\n")
        os.replace(new, self.file)

    async def jump(self, server, ahead):
        """Sets the clock and waits until the server reads it."""
        self.set(ahead)
        end = time.monotonic() + TIMEOUT
        while abs(clock_of(server) - time.time() - ahead) > MAX_ERROR:
            if time.monotonic() > end:
                raise Unseen(f"the clock of the server is not {ahead} s ahead")
            await asyncio.sleep(0.1)


def send(server, method, path, body=None, headers=None):
    """Sends a request on a new connection and returns status and headers."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=TIMEOUT)
    headers = {"Content-Type": "application/json"} | (headers or {})
    connection.request(method, path, body and json.dumps(body), headers)
    response = connection.getresponse()
    response.read()
    connection.close()
    return response.status, response.headers


def clock_of(server):
    """Returns the machine's time, which the server sends in each response."""
    _, headers = send(server, "GET", "/health/live")
    return parsedate_to_datetime(headers["Date"]).timestamp()


async def wait_for_log(server, position, text):
    """Waits for a line in the log after `position`, and returns the end of the log."""
    end = time.monotonic() + TIMEOUT
    while text.encode() not in server.read_log(position):
        if time.monotonic() > end:
            raise Broken(f"the log does not say that the clock {text}")
        await asyncio.sleep(0.05)
    return server.log_size()


async def check_keys(lab, nodes, issuer, ahead):
    """Checks that a key is accepted before its expiry and rejected after it, although a clock is wrong by `ahead` seconds."""
    client = Client(issuer)
    good, expired = [await issue(client, device, ahead) for device in ("good", "expired")]
    client.close()
    margin = abs(ahead) / 2 or 1800
    start = time.monotonic()
    expire(lab, issuer, "good", margin)
    expire(lab, issuer, "expired", -margin)
    # Until the changes have arrived at all nodes.
    await asyncio.sleep(0.2)
    for number, node in enumerate(nodes, start=1):
        client = Client(node)
        # The last one is in the cache.
        for key, expected in [(expired, 401), (good, 200), (good, 200)]:
            status, _ = await client.request("GET", "/api/auth/verify", key=key)
            if time.monotonic() - start > margin - 0.5:
                raise Unseen("the machine is too slow")
            if status != expected:
                raise Broken(f"node {number}: with a clock {ahead:+d} s ahead, a key gets {status} instead of {expected}")
        client.close()


async def issue(client, device, ahead):
    """Issues a key for half an hour and checks its expiry."""
    body = {"User": "Default", "Password": PASSWORD, "Device": device, "Expires": "30m"}
    status, response = await client.request("POST", "/api/v3/Auth/SignIn", body)
    if status != 200:
        raise Broken(f"a login is {status}: {response[:200]!r}")
    issued = json.loads(response)
    late = datetime.fromisoformat(issued["ExpiresAt"]).timestamp() - time.time() - 1800
    if abs(late) > MAX_ERROR:
        raise Broken(f"with a clock {ahead:+d} s ahead, a key for half an hour expires {late:+.1f} s late")
    return issued["Token"]


def expire(lab, server, device, seconds):
    """Makes the keys of a device expire in so many seconds by the right clock."""
    at = datetime.now(timezone.utc) + timedelta(seconds=seconds)
    text = at.strftime("%Y-%m-%d %H:%M:%S.%f")
    lab.sql(server, f"UPDATE api_keys SET expires_at = '{text}' WHERE device = '{device}'")


async def fail(node, address):
    """Fails as many logins from a client network as the throttle allows."""
    for number in range(MAX_FAILURES):
        # A name may fail only five times.
        status = log_in(node, address, f"user {number} at {address}")[0]
        if status != 401:
            raise Broken(f"failure {number} is {status}")


async def check_wait(node, address, ahead):
    """Checks that a client network that has just used up its failures has to wait as long as usual."""
    status, headers = log_in(node, address, f"user at {address}")
    wait = int(headers["Retry-After"] or 0)
    if status != 429 or not WINDOW - 60 <= wait <= WINDOW:
        raise Broken(f"with a clock {ahead:+d} s ahead, a throttled login gets {status} and has to wait {wait} s")


def log_in(node, address, user):
    body = {"user": user, "pass": "wrong", "device": "device"}
    return send(node, "POST", "/api/auth", body, {"X-Forwarded-For": address})

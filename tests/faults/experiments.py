"""The experiments: each breaks something under a storm and checks that what was acknowledged holds. It gives its figures,
or raises `Broken`."""

import asyncio
import os
import resource
import sqlite3
import time
from contextlib import ExitStack, closing, suppress
from random import Random

from client import FAULTS, Client
from model import Broken
from server import PASSWORD
from storm import Storm

# Of the keys, how many are looked at after each round; all are at the end.
RECENT = 100


async def kill(lab, seed, times):
    """`kill -9` of the server, so many times."""
    random, slowest = Random(seed), 0.0
    with lab.server() as server:
        server.start()
        storm = Storm(server, seed)
        for _ in range(times):
            storm.begin()
            await storm.last(random.uniform(0.1, 0.8))
            server.kill()
            await storm.end()
            slowest = max(slowest, server.start())
            await storm.check(RECENT)
        await storm.check()
        server.check_sqlite()
    return {"kills": times, **storm.done(), "slowest start": f"{slowest:.2f} s"}


async def postgres_away(lab, seed, times, seconds):
    """PostgreSQL killed with `-9` under load, away for so long, started again; so many times."""
    longest, longest_return = 0.0, 0.0
    with lab.server() as server:
        server.start()
        storm = Storm(server, seed, pause=0.01)
        for _ in range(times):
            storm.answers.clear()
            storm.begin()
            await storm.last(1)
            await asyncio.to_thread(lab.postgres.kill)
            gone = time.monotonic()
            await storm.last(seconds)
            await asyncio.to_thread(lab.postgres.start)
            back = time.monotonic()
            await storm.last(4)
            await storm.end()
            away = [status for start, end, status in storm.answers if start > gone + 0.5 and end < back - 0.5]
            if set(away) != {503}:
                raise Broken(f"while PostgreSQL was away the answers were {set(away)}")
            if None in {status for _, _, status in storm.answers}:
                raise Broken("a request had no answer")
            longest = max([longest, *(end - start for start, end, _ in storm.answers)])
            longest_return = max([longest_return, *(start - back for start, _, status in storm.answers if status == 503)])
            await storm.check(RECENT)
        await storm.check()
    figures = {"times": times, "seconds away": seconds, **storm.done()}
    figures |= {"longest answer": f"{longest:.2f} s", "last 503 after its return": f"{longest_return:.2f} s"}
    if longest > 5 or longest_return > 2:
        raise Broken(f"too slow: {figures}")
    return figures


async def disk_full(lab, seed, times):
    """No room for the database, so many times: ROOM is a small file system."""
    server = lab.server(os.environ["ROOM"])
    ballast = server.folder / "ballast"

    def fill():
        with open(ballast, "wb") as file:
            for size in (65536, 4096, 1):
                with suppress(OSError):
                    while True:
                        os.write(file.fileno(), bytes(size))

    return await no_room(server, seed, times, fill, ballast.unlink)


async def file_limit(lab, seed, times):
    """The same where no file may grow: another fault in SQLite's eyes, and one that needs no file system."""
    server = lab.server()
    return await no_room(server, seed, times, lambda: server.limit_files(1), lambda: server.limit_files(None))


async def no_room(server, seed, times, fill, free):
    longest_return, refused = 0.0, 0
    with server:
        server.start()
        storm = Storm(server, seed)
        for _ in range(times):
            storm.answers.clear()
            storm.begin()
            await storm.last(0.5)
            fill()
            await storm.last(2)
            full = time.monotonic()
            free()
            room = time.monotonic()
            await storm.last(3)
            await storm.end()
            late = [status for start, _, status in storm.answers if full - 1 < start < full]
            if set(late) - {200, 401, 503} or 200 not in late:
                raise Broken(f"while there was no room the answers were {set(late)}")
            refused += late.count(503)
            longest_return = max([longest_return, *(start - room for start, _, status in storm.answers if status == 503)])
            await storm.check(RECENT)
        await storm.check()
        server.check_sqlite()
    if not refused:
        raise Broken("nothing was refused, so there was room")
    if longest_return > 2:
        raise Broken(f"no service again {longest_return:.2f} s after there was room")
    return {"times": times, **storm.done(), "refused": refused, "last 503": f"{longest_return:.2f} s after there was room"}


async def slow_clients(lab, seed, number, seconds):
    """So many clients that send next to nothing, or as many as the limit of open files allows; meanwhile somebody logs
    in."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    number = min(number, most - 300)
    random = Random(seed)
    head = b"POST /api/auth HTTP/1.1\r\nHost: slow\r\nContent-Type: application/json\r\nContent-Length: 4000\r\n\r\n" + b" " * 4000
    connected, ended = 0, 0

    async def dawdle(sent):
        """Sends so much of a request at once, and then a byte now and then."""
        nonlocal connected, ended
        while True:
            with suppress(*FAULTS), closing((await asyncio.open_connection("127.0.0.1", server.port))[1]) as writer:
                connected += 1
                writer.write(head[:sent])
                for byte in head[sent:]:
                    await asyncio.sleep(2 + random.random())
                    writer.write(bytes([byte]))
                    await writer.drain()
            ended += 1

    with lab.server() as server:
        server.start()
        # Nothing at all, half a head, or a head and the beginning of a body.
        slow = [asyncio.create_task(dawdle((0, 40, 120)[each % 3])) for each in range(number)]
        while connected < number:
            await asyncio.sleep(0.1)
        answers, until = [], time.monotonic() + seconds
        client = Client(server.port, answers)
        while time.monotonic() < until:
            body = {"user": "Default", "pass": PASSWORD, "device": "a normal one"}
            # Now and then on a new connection, as a new client has it.
            client.close()
            await client.request("POST", "/api/auth", body)
            await asyncio.sleep(0.1)
        for task in slow:
            task.cancel()
        await asyncio.gather(*slow, return_exceptions=True)
    longest = max(end - start for start, end, _ in answers)
    figures = {"slow clients": number, "connections in all": connected, "cut off": ended, "logins": len(answers)}
    figures |= {"longest login": f"{longest:.2f} s"}
    if {status for _, _, status in answers} != {200} or longest > 2:
        raise Broken(f"a normal client could not log in: {figures}")
    return figures


async def interleavings(lab, seed, number, two_nodes=False):
    """So many keys and passwords ended while others use them, each looked at as soon as its end is answered."""
    with lab.server() as server, ExitStack() as others:
        server.start()
        other = others.enter_context(server.twin()) if two_nodes else None
        storm = Storm(server, seed, other=other)
        storm.begin()
        while sum(account.done["deletions"] + account.done["changes"] for account in storm.accounts) < number:
            await storm.last(0.1)
            if any(task.done() for task in storm.tasks):
                break
        await storm.end()
        await storm.check()
    if set(storm.statuses()) != {200, 401}:
        raise Broken(f"the answers were {storm.statuses()}")
    return storm.done()


async def two_nodes(lab, seed, number):
    """The same where some ask one server and some another: what one has ended, the other must know soon."""
    return await interleavings(lab, seed, number, two_nodes=True)


async def sabotage(lab, seed, number):
    """Can the experiments fail at all? A database that brings every so many deleted keys back must be found out."""
    with lab.server() as server:
        server.start()
        with sqlite3.connect(server.folder / "shoko-auth.db") as database:
            columns = "id, user_id, device, device_folded, hash, created_at"
            old = ", ".join(f"old.{column}" for column in columns.split(", "))
            database.execute(
                f"CREATE TRIGGER undead AFTER DELETE ON api_keys WHEN old.id % {number} = 0 "
                f"BEGIN INSERT INTO api_keys ({columns}) VALUES ({old}); END"
            )
        storm = Storm(server, seed)
        storm.begin()
        await storm.last(20)
        try:
            await storm.end()
        except Broken as broken:
            return {"found": broken}
    raise Broken("keys came back, and nobody saw it")

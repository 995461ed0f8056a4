"""The experiments. Each causes a fault under load and checks that every acknowledged change holds.

An experiment returns its figures. It raises `Broken` if the server breaks a promise. It raises `Unseen` if the fault did
not occur, because then the experiment proves nothing.
"""

import asyncio
import os
import resource
import sqlite3
import time
from contextlib import ExitStack, closing, contextmanager, suppress
from random import Random

import defects
from client import CONNECTION_ERRORS, Client, Lost
from model import Broken, Unseen
from server import PASSWORD
from storm import Storm

# How many of the latest keys of a user are checked after each round. The end of an experiment checks all.
RECENT = 100
# How many seconds a fault may take to show. The limit is reached only if something is wrong with the experiment.
FAULT_TIMEOUT = 60
# How many seconds after the end of a fault requests may still fail. The limit is generous, because the machine may be
# busy; docs/reliability.md has the figures of an idle one.
MAX_RECOVERY = 15
# How many seconds a login may take among slow clients. The limit is generous, because the machine may be busy.
MAX_LOGIN = 10


async def kill(lab, seed, times):
    """Kills the server with SIGKILL during requests, `times` times."""
    random, slowest, kills, hits = Random(seed), 0.0, 0, 0
    with lab.server() as server:
        server.start()
        storm = Storm(server, seed)
        while hits < times and kills < 3 * times:
            storm.requests.clear()
            storm.start()
            await storm.wait(random.uniform(0.1, 0.8))
            await defects.copy_keys(lab, server, storm)
            killed_at = time.monotonic()
            server.kill()
            await storm.stop()
            kills += 1
            # A kill counts only if it interrupted a request.
            hits += any(status is None and start < killed_at for start, _, status in storm.requests)
            slowest = max(slowest, server.start())
            defects.restore_keys(lab, server)
            await storm.check(RECENT)
        if hits < times:
            raise Unseen(f"only {hits} of {kills} kills hit a request")
        await storm.check()
        server.check_sqlite()
    return {"kills that hit requests": hits, **storm.counts(), "slowest start": f"{slowest:.2f} s"}


async def postgres_away(lab, seed, times, seconds):
    """Kills PostgreSQL with SIGKILL under load and starts it again after `seconds`, `times` times."""
    longest, longest_recovery, rejected = 0.0, 0.0, 0
    with lab.server() as server:
        server.start()
        storm = Storm(server, seed, pause=0.01)
        for _ in range(times):
            storm.requests.clear()
            storm.start()
            await storm.wait(1)
            await defects.copy_keys(lab, server, storm)
            await asyncio.to_thread(lab.postgres.kill)
            down = time.monotonic() + 0.5
            await storm.wait(seconds)
            saw = await storm.wait(FAULT_TIMEOUT, until=lambda: sum(storm.statuses(after=down).values()) > 10)
            away = storm.statuses(after=down)
            await asyncio.to_thread(lab.postgres.start)
            up = time.monotonic()
            defects.restore_keys(lab, server)
            await storm.wait(2)
            await storm.wait(MAX_RECOVERY, until=lambda: {200, 401} & set(storm.statuses(after=up)))
            await storm.stop()
            if not saw:
                raise Unseen(f"while PostgreSQL was down there were only {dict(away)} responses")
            if set(away) != {503}:
                raise Broken(f"while PostgreSQL was down the responses were {dict(away)}")
            if "none" in storm.statuses():
                raise Broken("a request had no response")
            rejected += away[503]
            longest = max([longest, *(end - start for start, end, _ in storm.requests)])
            longest_recovery = max([longest_recovery, recovery(storm, up)])
            await storm.check(RECENT)
        await storm.check()
    figures = {"outages": times, "seconds down": seconds, "rejected while down": rejected, **storm.counts()}
    figures |= {"longest response": f"{longest:.2f} s", "last 503 after the restart": f"{longest_recovery:.2f} s"}
    if longest > 20 or longest_recovery > MAX_RECOVERY:
        raise Broken(f"too slow: {figures}")
    return figures


def recovery(storm, end):
    """Returns how many seconds after the end of a fault the last rejected request was sent."""
    return max([0.0, *(start - end for start, _, status in storm.requests if status == 503)])


async def disk_full(lab, seed, times):
    """Fills the file system of the database, `times` times. The environment variable ROOM names a small file system.

    SQLite reuses free pages and its write-ahead log. A reader that holds an old snapshot keeps it from starting the log
    again, so the log must grow, which a full file system prevents.
    """
    server = lab.server(os.environ["ROOM"])
    ballast = server.folder / "ballast"

    @contextmanager
    def full():
        with closing(sqlite3.connect(server.database)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM users").fetchone()
            with open(ballast, "wb", buffering=0) as file:
                for size in (65536, 4096, 1):
                    with suppress(OSError):
                        while True:
                            file.write(bytes(size))
            try:
                yield
            finally:
                ballast.unlink()

    return await no_room(lab, server, seed, times, full)


async def file_limit(lab, seed, times):
    """Prevents the server's files from growing, `times` times. SQLite reports another error than on a full file system,
    and no small file system is needed."""
    server = lab.server()

    @contextmanager
    def limited():
        server.limit_file_size(1)
        try:
            yield
        finally:
            server.limit_file_size(None)

    return await no_room(lab, server, seed, times, limited)


async def no_room(lab, server, seed, times, fault):
    longest_recovery, rejected = 0.0, 0
    with server:
        server.start()
        storm = Storm(server, seed)
        for _ in range(times):
            storm.requests.clear()
            storm.start()
            await storm.wait(0.5)
            await defects.copy_keys(lab, server, storm)
            with fault():
                start = time.monotonic()
                saw = await storm.wait(FAULT_TIMEOUT, until=lambda: storm.statuses(after=start)[503] >= 10)
                served = await storm.wait(FAULT_TIMEOUT, until=lambda: storm.statuses(after=start)[200] > 0)
                during = storm.statuses(after=start)
            end = time.monotonic()
            defects.restore_keys(lab, server)
            await storm.wait(1)
            await storm.wait(MAX_RECOVERY, until=lambda: storm.statuses(after=end)[200] > 0)
            await storm.stop()
            if not saw:
                raise Unseen(f"writes succeeded without room: {dict(during)}")
            if set(during) - {200, 401, 503} or not served:
                raise Broken(f"without room the responses were {dict(during)}")
            rejected += during[503]
            longest_recovery = max(longest_recovery, recovery(storm, end))
            await storm.check(RECENT)
        await storm.check()
        server.check_sqlite()
    if longest_recovery > MAX_RECOVERY:
        raise Broken(f"requests were rejected for {longest_recovery:.2f} s after there was room")
    figures = {"times without room": times, "rejected without room": rejected, **storm.counts()}
    return figures | {"last 503": f"{longest_recovery:.2f} s after there was room"}


async def slow_clients(lab, seed, number, seconds):
    """Connects `number` clients that send almost nothing, or as many as the limit of open files allows. Meanwhile a
    normal client logs in."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    number = min(number, most - 300)
    random = Random(seed)
    head = b"POST /api/auth HTTP/1.1\r\nHost: slow\r\nContent-Type: application/json\r\nContent-Length: 4000\r\n\r\n" + b" " * 4000
    connections, open_now, most_at_once, disconnected = 0, 0, 0, 0

    async def send_slowly(sent):
        """Sends the first bytes of a request at once and then one byte every few seconds. Reconnects when disconnected."""
        nonlocal connections, open_now, most_at_once, disconnected
        while True:
            with suppress(*CONNECTION_ERRORS), closing((await server.connect())[1]) as writer:
                connections, open_now = connections + 1, open_now + 1
                most_at_once = max(most_at_once, open_now)
                try:
                    writer.write(head[:sent])
                    for byte in head[sent:]:
                        await asyncio.sleep(2 + random.random())
                        writer.write(bytes([byte]))
                        await writer.drain()
                finally:
                    open_now -= 1
                    disconnected += 1
            await asyncio.sleep(0.05)

    with lab.server() as server:
        server.start(open_files=defects.open_files(lab))
        # The clients send nothing, half a head, or a head and the beginning of a body.
        slow = [asyncio.create_task(send_slowly((0, 40, 120)[each % 3])) for each in range(number)]
        end = time.monotonic() + FAULT_TIMEOUT
        while most_at_once < number and time.monotonic() < end:
            await asyncio.sleep(0.1)
        logins, end = [], time.monotonic() + seconds
        client = Client(server, logins)
        # The loop ends once many clients have been disconnected, which takes the server's request timeout.
        while time.monotonic() < end or (disconnected < number // 10 and time.monotonic() < end + FAULT_TIMEOUT):
            # Each login uses a new connection, like that of a new client.
            client.close()
            body = {"user": "Default", "pass": PASSWORD, "device": "a normal client"}
            with suppress(Lost, asyncio.TimeoutError):
                await asyncio.wait_for(client.request("POST", "/api/auth", body), MAX_LOGIN)
            if logins[-1][2] != 200:
                break
            await asyncio.sleep(0.1)
        disconnected_by_server = disconnected
        for task in slow:
            task.cancel()
        await asyncio.gather(*slow, return_exceptions=True)
    longest = max(end - start for start, end, _ in logins)
    figures = {"slow clients at once": most_at_once, "connections": connections, "disconnected": disconnected_by_server}
    figures |= {"logins": len(logins), "longest login": f"{longest:.2f} s"}
    if {status for _, _, status in logins} != {200} or longest > MAX_LOGIN:
        raise Broken(f"a normal client could not log in: {figures}")
    if most_at_once < number or not disconnected_by_server:
        raise Unseen(f"{number} slow clients must be connected at once, and some must be disconnected: {figures}")
    return figures


async def interleavings(lab, seed, number, two_nodes=False):
    """Revokes keys and changes passwords, `number` times together, while other clients use them. Each key is used as soon
    as its revocation has been acknowledged."""
    must_see = ["overlapping uses", "rejected uses"] + ["rejected on the other node"] * two_nodes
    with lab.server() as server, ExitStack() as others:
        server.start()
        defects.plant_triggers(lab, server)
        second_node = others.enter_context(server.second_node()) if two_nodes else None
        storm = Storm(server, seed, second_node=second_node)
        storm.start()

        def is_done():
            counts, seen = storm.counts(), storm.seen()
            enough = counts.get("revocations", 0) + counts.get("changes", 0) >= number
            return enough and all(seen.get(what) for what in must_see)

        await storm.wait(10 * FAULT_TIMEOUT, until=is_done)
        await storm.stop()
        await storm.check()
    missing = [what for what in must_see if not storm.seen().get(what)]
    if missing:
        raise Unseen(f"there were no {', no '.join(missing)}: {storm.counts()}")
    if set(storm.statuses()) != {200, 401}:
        raise Broken(f"the responses were {dict(storm.statuses())}")
    return storm.counts() | {what: storm.seen()[what] for what in must_see}


async def two_nodes(lab, seed, number):
    """Runs `interleavings` with half of the clients on a second node, where revocations must take effect in time."""
    return await interleavings(lab, seed, number, two_nodes=True)

"""Experiments with several PostgreSQL servers and with a pooler."""

import asyncio
import json
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections import Counter
from contextlib import closing, contextmanager, suppress

import experiments
from client import Client
from lab import USER
from model import PROPAGATION, Broken, Unseen
from server import PASSWORD, Server
from storm import Storm

# How many seconds after a switch requests may still be rejected. The limit is generous, because the machine may be busy.
MAX_RECOVERY = 15
# How many seconds after the promotion the nodes must have found the new primary. A node gives up a silent connection
# after ten seconds, so it must not have waited for that.
MAX_SEARCH = 8
# How many seconds a fault may take to show. The limit is reached only if something is wrong with the experiment.
FAULT_TIMEOUT = 60


class Switch:
    """A TCP port that forwards each new connection to `target`, the socket of a PostgreSQL server."""

    def __init__(self, target):
        self.target = target
        # A thread of its own: some steps of an experiment block the loop.
        loop = asyncio.new_event_loop()
        threading.Thread(target=loop.run_forever, daemon=True).start()
        started = asyncio.run_coroutine_threadsafe(asyncio.start_server(self.forward, "127.0.0.1", 0), loop)
        self.server = started.result()
        self.port = self.server.sockets[0].getsockname()[1]

    async def forward(self, reader, writer):
        try:
            far_reader, far_writer = await asyncio.open_unix_connection(self.target)
        except OSError:
            writer.close()
            return
        await asyncio.gather(copy(reader, far_writer), copy(far_reader, writer))


async def copy(reader, writer):
    with suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


@contextmanager
def synchronous_standby(postgres, url):
    """Starts a standby and yields its folder. The primary waits until the standby has applied each change, so no
    acknowledged change may be missing. Afterwards, the standby is gone and the primary runs alone.
    """
    folder = postgres.folder / "standby"
    postgres.run("pg_basebackup", f"--host={postgres.folder}", f"--username={user_of(url)}", "--checkpoint=fast",
                 "--write-recovery-conf", "--pgdata=standby")
    postgres.run("pg_ctl", "start", "--wait", "--pgdata=standby", "--log=standby-log", f"--options=-k {folder}")
    settings = ["synchronous_standby_names = '*'", "synchronous_commit = remote_apply"]
    postgres.configure(url, [f"SET {setting}" for setting in settings])
    try:
        yield folder
    finally:
        postgres.run("pg_ctl", "stop", "--mode=immediate", "--pgdata=standby")
        # It may be stopped or dead.
        with suppress(ProcessLookupError, FileNotFoundError):
            postgres.kill()
        postgres.start()
        postgres.configure(url, ["RESET synchronous_standby_names", "RESET synchronous_commit"])
        shutil.rmtree(folder)


def user_of(url):
    return url[11:].split("@")[0]


async def standby(lab, seed, times):
    """Leads the server to a standby and back, and then to the standby as the new primary, without closing its connections."""
    postgres = lab.postgres
    url = postgres.new_database()
    name = url.rsplit("/", 1)[1]
    slowest = 0.0
    with synchronous_standby(postgres, url) as folder:
        await refused_without_synchronous_replication(lab, url)
        switch = Switch(str(postgres.folder / ".s.PGSQL.5432"))
        with Server(lab.program, lab.folder, f"postgres://{user_of(url)}@127.0.0.1:{switch.port}/{name}") as server:
            server.start()
            storm = Storm(server, seed, pause=0.01)
            for _ in range(times):
                storm.requests.clear()
                storm.start()
                await storm.wait(1)
                switch.target = str(folder / ".s.PGSQL.5432")
                await asyncio.to_thread(postgres.close_connections, url, name)
                away = time.monotonic() + 0.5
                await storm.wait(3)
                rejected = storm.statuses(after=away)
                # The connections to the standby stay open.
                switch.target = str(postgres.folder / ".s.PGSQL.5432")
                slowest = max(slowest, await recovery(storm))
                if not rejected[503]:
                    raise Unseen(f"on the standby, the responses were {dict(rejected)}")
                if set(rejected) != {503}:
                    raise Broken(f"on the standby, which may not have the latest revocations: {dict(rejected)}")
                await storm.check(100)
            storm.start()
            await storm.wait(1)
            switch.target = str(folder / ".s.PGSQL.5432")
            await asyncio.to_thread(postgres.kill)
            await asyncio.to_thread(postgres.run, "pg_ctl", "promote", "--wait", "--pgdata=standby")
            slowest = max(slowest, await recovery(storm))
            await storm.check()
    return {"switches": times + 1, **storm.counts(), "slowest recovery": f"{slowest:.2f} s"}


async def refused_without_synchronous_replication(lab, url):
    """Checks that a server that requires synchronous replication does not start while the standby is asynchronous."""
    postgres = lab.postgres
    await asyncio.to_thread(postgres.configure, url, ["RESET synchronous_standby_names"])
    server = Server(lab.program, lab.folder, url)
    server.environment["SHOKO_AUTH_SYNCHRONOUS_REPLICATION"] = "require"
    with server:
        try:
            server.start()
        except RuntimeError as error:
            if "synchronous_standby_names is empty" not in str(error):
                raise Broken(f"the message does not name the reason: {error}") from error
        else:
            raise Broken("the server started without synchronous replication")
        await asyncio.to_thread(postgres.configure, url, ["SET synchronous_standby_names = '*'"])
        server.start()


async def stopped(lab, seed):
    """Stops all processes of the primary, promotes the standby at once, and resumes the old primary. Nothing demotes
    the old primary, so both respond as primaries. Two nodes have the addresses of both.
    """
    postgres = lab.postgres
    url = postgres.new_database()
    with synchronous_standby(postgres, url) as folder:
        hosts = ",".join(str(host).replace("/", "%2F") for host in [postgres.folder, folder])
        name = url.rsplit("/", 1)[1]
        both = f"postgres://{user_of(url)}@{hosts}/{name}?target_session_attrs=read-write"
        with Server(lab.program, lab.folder, both) as server:
            server.start()
            with server.second_node() as second:
                storm = Storm(server, seed, pause=0.01, second_node=second)
                storm.start()
                await storm.wait(1)
                postgres.signal(signal.SIGSTOP)
                await asyncio.to_thread(postgres.run, "pg_ctl", "promote", "--wait", "--pgdata=standby")
                found = await asyncio.gather(search(server), search(second))
                await storm.stop()
                storm.requests.clear()
                storm.start()
                await storm.wait(1)
                postgres.signal(signal.SIGCONT)
                await storm.wait(3)
                await storm.stop()
                failed = {status: count for status, count in storm.statuses().items() if status not in (200, 401)}
                if failed:
                    raise Broken(f"after the old primary was resumed, there were {failed}")
                try:
                    await asyncio.to_thread(postgres.run, "pg_isready", f"--host={postgres.folder}")
                except RuntimeError as error:
                    raise Unseen("the resumed primary does not respond") from error
                await storm.check()
    return {**storm.counts(), "the nodes found the new primary after": " and ".join(f"{late:.2f} s" for late in found)}


async def search(node):
    """Returns after how many seconds the node accepts logins. Sends several requests at once, because each may be waiting
    for the stopped primary.
    """
    start, attempts = time.monotonic(), []
    while time.monotonic() - start < MAX_SEARCH:
        attempts.append(asyncio.create_task(log_in(node)))
        await asyncio.sleep(0.25)
        if any(attempt.done() and attempt.result() == 200 for attempt in attempts):
            late = time.monotonic() - start
            await asyncio.gather(*attempts)
            return late
    raise Broken(f"after {MAX_SEARCH} s, a node has not found the new primary")


async def log_in(node):
    """Logs in on a connection of its own, and returns the status."""
    client = Client(node)
    with closing(client):
        status, _ = await client.request("POST", "/api/auth", {"user": "Default", "pass": PASSWORD, "device": "search"})
        return status


async def recovery(storm):
    """Returns how many seconds pass until all kinds of requests succeed. Stops the storm."""
    back = time.monotonic()
    await storm.wait(4)
    await storm.stop()
    late = [start - back for start, _, status in storm.requests if status not in (200, 401) and start > back]
    last = max(late, default=0.0)
    if last > MAX_RECOVERY or not Counter(status for start, _, status in storm.requests if start > back + last)[200]:
        raise Broken(f"requests were still rejected after {last:.2f} s")
    return last


async def pooler(lab, seed, number, revocations):
    """Runs two nodes behind PgBouncer in transaction mode, and measures how long a revocation on one takes on the other.

    Then kills PostgreSQL, which may use numbers of transactions again after its recovery.
    """
    with PgBouncer(lab.postgres) as lab.pooler:
        figures = await experiments.two_nodes(lab, seed, number)
        with lab.server() as server:
            server.start()
            with server.second_node() as other:
                if "shares sessions" not in server.read_log(0).decode():
                    raise Unseen("the server has not detected that sessions are shared")
                server.add_user("user", PASSWORD)
                delays = sorted([await revocation_delay(server, other) for _ in range(revocations)])
                storm = Storm(server, seed, second_node=other)
                storm.start()
                await storm.wait(1)
                await asyncio.to_thread(lab.postgres.kill)
                if not await storm.wait(FAULT_TIMEOUT, until=lambda: storm.statuses()[503]):
                    raise Unseen("no request met the crash of PostgreSQL")
                await asyncio.to_thread(lab.postgres.start)
                recovered = await recovery(storm)
                await storm.check()
                delays = sorted(delays + [await revocation_delay(server, other) for _ in range(20)])
    p99 = delays[int(len(delays) * 0.99)]
    if p99 > PROPAGATION:
        raise Broken(f"of {len(delays)} revocations, 1% take {p99:.3f} s or more on the other node")
    median = delays[len(delays) // 2]
    figures |= {"revocation on the other node": f"median {1000 * median:.1f} ms, p99 {1000 * p99:.1f} ms"}
    return figures | {"recovery from a crash": f"{recovered:.2f} s"}


async def revocation_delay(server, other):
    """Returns how many seconds after the response to a revocation on `server` the last request was sent to `other` that
    still accepted the key, which is cached there."""
    one, two = Client(server), Client(other)
    try:
        status, response = await one.request("POST", "/api/auth", {"user": "user", "pass": PASSWORD, "device": "tv"})
        if status != 200:
            raise Broken(f"a login is {status}")
        key = json.loads(response)["apikey"]
        for _ in range(3):
            if (await two.request("GET", "/api/auth/verify", key=key))[0] != 200:
                raise Broken("a valid key was rejected")
        await one.request("DELETE", f"/api/auth?apikey={key}")
        sent = accepted = revoked = time.monotonic()
        while (await two.request("GET", "/api/auth/verify", key=key))[0] == 200:
            sent, accepted = time.monotonic(), sent
            if sent > revoked + MAX_RECOVERY:
                raise Broken("a key is still valid on the other node long after its revocation")
        return accepted - revoked
    finally:
        one.close()
        two.close()


class PgBouncer:
    """PgBouncer in transaction mode. Each transaction gets another of its few sessions than the one before."""

    def __init__(self, postgres):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.file = postgres.folder / "pgbouncer.ini"
        self.file.write_text(
            f"[databases]\n* = host={postgres.folder} port=5432 user={USER}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n"
            f"listen_port = {self.port}\nunix_socket_dir =\nauth_type = any\npool_mode = transaction\n"
            "default_pool_size = 8\nserver_round_robin = 1\nserver_login_retry = 0.2\nmax_client_conn = 500\n"
        )
        self.file.chmod(0o644)
        self.owner = postgres.owner()

    def __enter__(self):
        self.process = subprocess.Popen(["pgbouncer", "-q", self.file], stderr=subprocess.DEVNULL, **self.owner)
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
                return self.port
            time.sleep(0.05)
        raise RuntimeError("PgBouncer does not start")

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()

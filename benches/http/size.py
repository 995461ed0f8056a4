"""Measures what a server needs: memory, processor time and disk space. `scripts/measure-size` runs this program.

Processor time is that of the server's threads as Linux counts it, so the figures are almost the same on a busy machine.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from database import FIRST_LOGIN, LOGINS, Postgres, Sqlite, make_keys
from load import Keys, walk, wrk
from server import Connection, Server, login, verify

COUNTS = [1_000, 100_000, 1_000_000]
# The key cache holds at most this many keys.
CACHED = 100_000
# Each user logs in for the first time on this device.
USERS = range(FIRST_LOGIN, FIRST_LOGIN + 32)


def processor_seconds(server):
    """Returns the processor time that the threads of the server have used."""
    tasks = Path(f"/proc/{server.process.pid}/task")
    return sum(int((task / "schedstat").read_text("ascii").split()[0]) for task in tasks.iterdir()) / 1e9


def processor_time(server, steps, step):
    """Returns the processor time of the server for one request, in seconds. A step returns the number of its requests."""
    start = processor_seconds(server)
    requests = sum(map(step, steps))
    return (processor_seconds(server) - start) / requests


def parts(keys):
    """Yields the keys again and again until almost all are used."""
    while keys.count > 1000:
        yield keys


def expect(connection, request):
    """Sends a request until it succeeds, and returns 1. On a busy machine, the server may reject it for lack of time."""
    for _ in range(5):
        if (status := connection.ask(request)) == 200:
            return 1
        time.sleep(1)
    sys.exit(f"the response was {status}")


def disk(database):
    """Returns the size of the database in bytes."""
    if isinstance(database, Sqlite):
        return sum(path.stat().st_size for path in database.path.parent.glob("shoko-auth.db*"))
    psql = [os.path.join(os.environ["POSTGRES_BIN"], "psql"), "-XAtc", "SELECT pg_database_size(current_database())"]
    return int(subprocess.run([*psql, database.url], check=True, capture_output=True, text=True).stdout)


def measure(database, count, folder):
    keys = folder / f"keys-{count}"
    if not keys.exists():
        make_keys(keys, count)
    server = Server(database)
    server.stop()
    empty = disk(database)
    database.fill(keys, sealed=True)
    per_key = (disk(database) - empty) / count
    server.start()
    time.sleep(2)
    idle = server.memory()["now"]
    print(f"{database.name}, {count:,} keys: {idle:.1f} MiB when idle, {per_key:.0f} bytes on disk for each key", flush=True)
    if count == max(COUNTS):
        measure_load(server, database, Keys(keys, 1, min(count - 1, CACHED + 20_000)))
    server.stop()


def measure_load(server, database, keys):
    connection = Connection(server)
    expect(connection, verify(keys.first()))
    url = f"{server.url}/api/auth/verify"
    cached = processor_time(server, [3], lambda seconds: wrk(url, "one", seconds, key=keys.first())["requests"])
    logins = processor_time(server, USERS, lambda user: expect(connection, login(user)))
    looked_up = processor_time(server, parts(keys), lambda part: walk(url, 1, part)["requests"])
    memory = server.memory()
    print(f"{database.name}: a login takes {logins * 1000:.0f} ms of processor time, so a core handles {1 / logins:.1f} a second")
    print(f"{database.name}: a cached verification takes {cached * 1e6:.1f} µs, so a core handles {1 / cached:,.0f} a second")
    print(f"{database.name}: the first verification of a key takes {looked_up * 1e6:.0f} µs of the server's processor time")
    print(f"{database.name}: {memory['now']:.1f} MiB with a full key cache and after logins, at most {memory['most']:.1f} MiB",
          flush=True)


def main():
    counts = COUNTS[:2] if sys.argv[1:] == ["--quick"] else COUNTS
    COUNTS[:] = counts
    assert len(USERS) <= LOGINS
    try:
        for count in counts:
            with tempfile.TemporaryDirectory() as folder:
                measure(Sqlite(Path(folder) / "sqlite"), count, Path(folder))
                measure(Postgres(f"size_{count}"), count, Path(folder))
    finally:
        Server.stop_all()


main()

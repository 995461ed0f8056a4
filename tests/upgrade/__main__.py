"""Upgrades a database of version 0.1.0 while another process uses it like a node of that version. Measures how long the
other process has to wait. `scripts/test-upgrade` runs this program."""

import argparse
import hashlib
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

SCHEMA = Path("tests/schema")
USERS = 1000
FIRST_USER = 1000
SEALED = bytes(57)
NOW = "2026-11-22 00:00:00"
# Every tenth key expires, so that the index on the expiry is not empty.
EXPIRY = "2099-01-01 00:00:00"
SMALL, LARGE = 20_000, 1_000_000
# How long a login or a verification may wait, in seconds. It takes much less, but the machine may be busy. With LARGE, the
# upgrade from 0.1.0 takes longer, as the changelog says, so the wait is only printed.
LONGEST_WAIT = 5

KEY_COLUMNS = "user_id, device, device_folded, hash, sealed, created_at, expires_at"
# The queries of version 0.1.0, with its columns.
VERIFY = """SELECT k.id, u.name, u.is_admin, k.device, k.expires_at, k.is_renewable FROM api_keys k JOIN users u
    ON u.id = k.user_id WHERE k.hash = {hash} AND (k.expires_at IS NULL OR k.expires_at > '{now}') AND NOT u.is_disabled"""
FIND_SEALED = "SELECT sealed FROM api_keys WHERE user_id = {user} AND device_folded = '{device}' AND sealed IS NOT NULL"
INSERT_KEY = """INSERT INTO api_keys (user_id, device, device_folded, hash, sealed, created_at, is_renewable)
    VALUES ({user}, '{device}', '{device}', {hash}, {hash}, '{now}', FALSE)"""


def key_hash(text):
    return hashlib.sha256(text.encode()).digest()


class Sqlite:
    name = "SQLite"
    suffix = "sqlite"

    def __init__(self, folder, _program):
        self.path = folder / "sqlite.db"
        self.environment = {"DATABASE_URL": f"sqlite://{self.path}"}

    def create(self, dump, keys):
        database = sqlite3.connect(self.path)
        database.execute("PRAGMA journal_mode = WAL")
        database.executescript(dump.read_text("utf-8"))
        with database:
            database.executemany("INSERT INTO users (id, name, name_folded, password, created_at) VALUES (?, ?, ?, '!', ?)",
                                 ((FIRST_USER + n, f"user{n}", f"user{n}", NOW) for n in range(USERS)))
            database.executemany(f"INSERT INTO api_keys ({KEY_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)", self.rows(keys))
        database.execute("ANALYZE")
        database.close()

    @staticmethod
    def rows(keys):
        for n in range(keys):
            sealed, expiry = (None, EXPIRY) if n % 10 == 0 else (SEALED, None)
            yield FIRST_USER + n % USERS, f"Device {n}", f"device {n}", key_hash(str(n)), sealed, NOW, expiry

    def session(self):
        """Returns a function that runs statements on a connection of its own, and returns the rows of the last one."""
        # The program itself gives up after 5 seconds. This connection waits longer, so that the wait can be measured.
        database = sqlite3.connect(self.path, timeout=300, isolation_level=None, check_same_thread=False)
        database.execute("PRAGMA synchronous = FULL")
        return lambda statements: [database.execute(statement).fetchall() for statement in statements][-1]

    def login(self, **values):
        return ["BEGIN IMMEDIATE", FIND_SEALED.format(**values), INSERT_KEY.format(**values), "COMMIT"]

    @staticmethod
    def blob(data):
        return f"X'{data.hex()}'"


class Postgres:
    name = "PostgreSQL"
    suffix = "postgres"

    def __init__(self, _folder, _program):
        server = os.environ["TEST_DATABASE_URL"]
        self.url = f"{server.rsplit('/', 1)[0]}/upgrade"
        self.environment = {"DATABASE_URL": self.url}
        self.psql = [os.path.join(os.environ["POSTGRES_BIN"], "psql"), "-XqAt", "-v", "ON_ERROR_STOP=1"]
        self.run(server, "DROP DATABASE IF EXISTS upgrade")
        self.run(server, "CREATE DATABASE upgrade")

    def run(self, url, sql):
        subprocess.run([*self.psql, url], input=sql, text=True, check=True, stdout=subprocess.DEVNULL)

    def create(self, dump, keys):
        self.run(self.url, dump.read_text("utf-8"))
        self.run(self.url, f"""
            INSERT INTO users (id, name, name_folded, password, created_at)
                SELECT {FIRST_USER} + n, 'user' || n, 'user' || n, '!', '{NOW}' FROM generate_series(0, {USERS - 1}) n;
            INSERT INTO api_keys ({KEY_COLUMNS})
                SELECT {FIRST_USER} + n % {USERS}, 'Device ' || n, 'device ' || n, sha256(n::text::bytea),
                    CASE WHEN n % 10 > 0 THEN '\\x{SEALED.hex()}'::bytea END, '{NOW}',
                    CASE WHEN n % 10 = 0 THEN timestamp '{EXPIRY}' END
                FROM generate_series(0, {keys - 1}) n;
            VACUUM ANALYZE;
            CHECKPOINT""")

    def session(self):
        """Returns a function that runs statements on a connection of its own, and returns the rows of the last one."""
        psql = subprocess.Popen([*self.psql, self.url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

        def run(statements):
            psql.stdin.write(";\n".join([*statements, "\\echo END\n"]))
            psql.stdin.flush()
            rows = []
            while (line := psql.stdout.readline()) != "END\n":
                if not line:
                    raise RuntimeError("psql has exited")
                rows.append(line)
            return rows

        return run

    def login(self, **values):
        lock = f"SELECT password_version FROM users WHERE id = {values['user']} FOR UPDATE"
        return ["BEGIN", lock, FIND_SEALED.format(**values), INSERT_KEY.format(**values), "COMMIT"]

    @staticmethod
    def blob(data):
        return f"'\\x{data.hex()}'"


class OldNode:
    """Logs in and verifies keys on two connections, again and again."""

    def __init__(self, database, keys):
        self.database, self.keys = database, keys
        self.is_over = threading.Event()
        self.waits = {"login": [], "verification": []}
        self.errors = []
        steps = {"login": self.log_in, "verification": self.verify}
        self.threads = [threading.Thread(target=self.repeat, args=(name, step)) for name, step in steps.items()]
        for thread in self.threads:
            thread.start()

    def repeat(self, name, step):
        run, number = self.database.session(), 0
        try:
            while not self.is_over.is_set():
                start = time.monotonic()
                step(run, number)
                self.waits[name].append((start, time.monotonic() - start))
                number += 1
                self.is_over.wait(0.005)
        except Exception as error:  # noqa: BLE001 # any failure is a result
            self.errors.append(f"{name}: {error}")

    def log_in(self, run, number):
        digest = self.database.blob(key_hash(f"new {number}"))
        run(self.database.login(user=FIRST_USER + number % USERS, device=f"new {number}", hash=digest, now=NOW))

    def verify(self, run, number):
        rows = run([VERIFY.format(hash=self.database.blob(key_hash(str(number * 7919 % self.keys))), now=NOW)])
        if len(rows) != 1:
            raise RuntimeError(f"{len(rows)} rows instead of one")

    def stop(self):
        self.is_over.set()
        for thread in self.threads:
            thread.join()

    def longest(self, name, start, end):
        return max((wait for begin, wait in self.waits[name] if start <= begin + wait and begin <= end), default=0)


def start_server(program, environment):
    """Starts the program. Returns it with its address, and the seconds and the processor time until it listens."""
    settings = {"SHOKO_AUTH_LISTEN": "127.0.0.1:0", "RUST_LOG": "info"}
    start = time.monotonic()
    environment = {**os.environ, **environment, **settings}
    server = subprocess.Popen([program, "serve"], env=environment, stderr=subprocess.PIPE, text=True)
    log = []
    for line in server.stderr:
        log.append(line)
        if "listening on http://" in line:
            took = time.monotonic() - start, processor_seconds(server.pid)
            threading.Thread(target=server.stderr.read, daemon=True).start()
            return server, line.split("listening on ")[1].split()[0].rstrip("/"), took
    sys.exit("".join(log) + "the server has exited")


def processor_seconds(pid):
    fields = Path(f"/proc/{pid}/stat").read_text("ascii").rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def stop_server(server):
    server.terminate()
    if server.wait(60):
        sys.exit(f"the server has exited with {server.returncode}")


def count_keys(database):
    rows = database.session()(["SELECT count(*) FROM api_keys"])
    return int(rows[0][0] if isinstance(rows[0], tuple) else rows[0])


def check_keys(url, content):
    for key in content["valid"]:
        request = urllib.request.Request(f"{url}/api/v3/User/Current", headers={"apikey": key["key"]})
        with urllib.request.urlopen(request, timeout=30) as response:
            assert json.load(response)["Username"] == key["user"]


def measure(database, program, keys):
    content = json.loads((SCHEMA / f"0.1.0-{database.suffix}.json").read_text("utf-8"))
    database.create(SCHEMA / f"0.1.0-{database.suffix}.sql", keys)
    environment = {**database.environment, "SHOKO_AUTH_SECRET_KEY": content["sealingSecret"]}
    before = count_keys(database)
    node = OldNode(database, keys)
    time.sleep(3)
    start = time.monotonic()
    server, url, took = start_server(program, environment)
    end = time.monotonic()
    time.sleep(1)
    node.stop()
    check_keys(url, content)
    stop_server(server)
    server, url, took_again = start_server(program, environment)
    check_keys(url, content)
    stop_server(server)
    issued = len(node.waits["login"])
    found = count_keys(database)
    print(f"{database.name}, {keys:,} keys:", flush=True)
    for words, (seconds, processor) in {"with the migrations": took, "without": took_again}.items():
        print(f"  start {words}: {seconds:.2f} s, of which the server itself used the processor for {processor:.2f} s")
    print(f"  {issued:,} logins during the test")
    for name in node.waits:
        waits = node.longest(name, 0, start), node.longest(name, start, end)
        print(f"  longest {name}: {waits[0]:.3f} s before, {waits[1]:.3f} s during", flush=True)
    longest = max(node.longest(name, start, end) for name in node.waits)
    problems = list(node.errors)
    if found != before + issued:
        problems.append(f"{before + issued - found} keys are missing")
    if keys == SMALL and longest > LONGEST_WAIT:
        problems.append(f"a wait of {longest:.1f} s is too long")
    return [f"{database.name}: {problem}" for problem in problems]


def main():
    parser = argparse.ArgumentParser(prog="test-upgrade", description=__doc__)
    parser.add_argument("--large", action="store_true", help="use 1,000,000 keys instead of 20,000")
    arguments = parser.parse_args()
    program = os.environ["PROGRAM"]
    keys = LARGE if arguments.large else SMALL
    problems = []
    for kind in (Sqlite, Postgres):
        with tempfile.TemporaryDirectory() as folder:
            problems += measure(kind(Path(folder), program), program, keys)
    sys.exit("\n".join(problems) or 0)


main()

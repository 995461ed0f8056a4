"""Measures how the server scales with the number of nodes: called by scripts/measure-scaling, which explains it."""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import database
from database import Postgres, make_keys
from figures import table
from load import Node, Range, load, postgres_time
from server import Server

MAX_NODES = 3
# The keys that are requested again and again. All of them fit into the cache of a node.
CACHED = 10_000
# How many keys are looked up, and how many are revoked, in a second at most.
LOOKUPS, REVOCATIONS = 60_000, 8_000
# The users 2 to 97 have a password.
USERS = Range(database.FIRST_LOGIN, database.LOGINS)
CHEAP = 1000
# Each login comes from another client network, as in practice. Otherwise, all would wait for the count of one network.
NETWORKS = {"SHOKO_AUTH_TRUSTED_PROXIES": "127.0.0.1"}
HEADS = ["Nodes", "Per second", "Node, µs each", "PostgreSQL, µs each", "Cores in use", "p50 (ms)", "p99 (ms)"]

# The trigger without its notification. Nodes that poll read the changes from the table. Programs without polling have no
# such table.
WITHOUT_NOTIFICATIONS = """
    CREATE TABLE IF NOT EXISTS changes (user_id INTEGER);
    CREATE OR REPLACE FUNCTION shoko_auth_key_changed() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO changes (user_id) VALUES (OLD.user_id) ON CONFLICT DO NOTHING;
        RETURN NULL;
    END $$;
"""


def say(words):
    print(f"{time.strftime('%H:%M:%S')} {words}", file=sys.stderr, flush=True)


def options(names):
    parser = argparse.ArgumentParser(prog="scripts/measure-scaling", description=__doc__.split(":")[0] + ".")
    parser.add_argument("--quick", action="store_true", help="one short round: shows that everything runs")
    parser.add_argument("measurements", nargs="*", metavar="MEASUREMENT", help=", ".join(names))
    chosen = parser.parse_args()
    if unknown := set(chosen.measurements) - set(names):
        parser.error(f"unknown: {', '.join(unknown)}")
    chosen.seconds = 3 if chosen.quick else 5
    chosen.rounds = 1 if chosen.quick else 3
    return chosen


class Scaling:
    def __init__(self, chosen, folder):
        self.chosen, self.seconds, self.keys, self.script = chosen, chosen.seconds, folder / "keys", folder / "script"
        lookups = LOOKUPS * chosen.rounds * self.seconds
        revocations = 4 * REVOCATIONS * chosen.rounds * self.seconds
        count = CACHED + lookups + revocations
        make_keys(self.keys, 1 + database.OF_THOUSAND + count)
        self.rest = Range(1 + database.OF_THOUSAND, count, self.keys)
        self.cached, self.once = self.rest.take(CACHED), self.rest.take(lookups)
        self.database = Postgres("scaling")
        Node(self.database, {}).stop()
        self.database.fill(self.keys)
        say(f"created {count:,} keys")

    def sql(self, statements):
        self.database.psql(self.database.url, statements)

    def query(self, statement):
        program = os.path.join(os.environ["POSTGRES_BIN"], "psql")
        command = [program, "-XqtA", self.database.url, "-c", statement]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def nodes(self, count, settings=None):
        return [Node(self.database, settings or {}) for _ in range(count)]

    def add(self, title, rows):
        """Adds a table with the median round of each row."""
        lines = []
        for name, rounds in rows:
            figures = sorted(rounds, key=lambda figures: figures["rate"])[len(rounds) // 2]
            spread = f"{figures['rate']:,.0f} ({rounds_of(rounds)})" if len(rounds) > 1 else f"{figures['rate']:,.1f}"
            times = [f"{figures[name]:,.1f}" for name in ("server", "postgres")]
            lines.append([name, spread, *times, f"{figures['busy']:.2f}", f"{figures['p50']:.2f}", f"{figures['p99']:.2f}"])
        print(f"\n## {title}\n\n{table(HEADS, lines)}", flush=True)

    def rounds(self, measure):
        return [measure() for _ in range(self.chosen.rounds)]

    def cached_keys(self):
        """Verifies keys that each node has cached."""
        rows = []
        for count in range(1, MAX_NODES + 1):
            nodes = self.nodes(count)
            values = [self.cached] * count
            load(nodes, "verify", 1, values)
            rows.append((count, self.rounds(lambda: load(nodes, "verify", self.seconds, values))))
            stop(nodes)
        self.add("Verifications of cached keys", rows)

    def each_key_once(self):
        """Verifies each key once, so that no node has cached it."""
        rows = []
        for count in range(1, MAX_NODES + 1):
            nodes = self.nodes(count)
            keys, each = Range(self.once.start, self.once.count, self.keys), LOOKUPS * self.seconds
            rows.append((count, self.rounds(lambda: load(nodes, "once", self.seconds, keys.take(each).split(count)))))
            stop(nodes)
        self.add("Verifications of keys that are not cached", rows)

    def logins(self):
        """Logs in users, at the default cost of a hash."""
        self.measure_logins("Logins", {}, 4)

    def cheap_logins(self):
        """Logs in users whose hashes cost almost nothing, to measure everything but the hash."""
        database.ROUNDS = CHEAP
        self.sql(f"UPDATE users SET password = '{database.hash_password()}' WHERE password <> '!'")
        self.measure_logins(f"Logins with {CHEAP} rounds instead of 600,000", {"SHOKO_AUTH_PBKDF2_ROUNDS": str(CHEAP)}, 24)

    def measure_logins(self, title, settings, connections):
        rows, seconds = [], max(self.seconds, 4)
        for count in range(1, MAX_NODES + 1):
            nodes = self.nodes(count, NETWORKS | settings)
            values = USERS.split(count)
            # The first login of each user issues a key, and the network becomes known.
            load(nodes, "login", 2 if settings else seconds * 4, values, connections)
            rows.append((count, self.rounds(lambda: self.with_wal(nodes, "login", seconds, values, connections))))
            stop(nodes)
        self.add(title, rows)
        print(f"\nThe last round: {self.wal}.", flush=True)

    def with_wal(self, *arguments, **more):
        """Loads nodes, and also counts the commits and the bytes of the write-ahead log."""
        before = self.position()
        figures = load(*arguments, **more)
        # The statistics arrive late.
        time.sleep(1.1)
        commits, size = (now - then for now, then in zip(self.position(), before))
        requests = figures["requests"]
        self.wal = f"{commits / requests:.2f} transactions and {size / requests:,.0f} bytes for each operation"
        return figures

    def position(self):
        statement = "SELECT xact_commit, pg_current_wal_lsn() - '0/0' FROM pg_stat_database WHERE datname = 'scaling'"
        return [float(number) for number in self.query(statement).split("|")]

    def commits(self):
        """Commits inserted rows with PostgreSQL's own load generator, with and without a notification in each commit."""
        self.sql("CREATE TABLE probe (number BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, user_id INTEGER)")
        lines, seconds = [], max(self.seconds, 5)
        for clients in (1, 10, 30):
            for name, query in (("yes", "SELECT pg_notify('shoko_auth_changes', '1')"), ("no", "SELECT 1")):
                rounds = self.rounds(lambda: self.commit(query, clients, seconds))
                rate, each = sorted(rounds)[len(rounds) // 2]
                spread = f"{min(rounds)[0]:,.0f} to {max(rounds)[0]:,.0f}"
                lines.append([clients, name, f"{rate:,.0f} ({spread})", f"{each:,.0f}"])
        heads = ["Connections", "Notification", "Commits a second", "PostgreSQL, µs each"]
        print(f"\n## Commits of pgbench\n\n{table(heads, lines)}", flush=True)

    def commit(self, query, clients, seconds):
        """Returns the commits a second and PostgreSQL's processor time for each, in microseconds."""
        self.script.write_text(f"BEGIN;\nINSERT INTO probe (user_id) VALUES (1);\n{query};\nCOMMIT;\n", encoding="ascii")
        program, before = os.path.join(os.environ["POSTGRES_BIN"], "pgbench"), postgres_time()
        command = [program, "-n", f"-c{clients}", "-j1", f"-T{seconds}", f"-f{self.script}", self.database.url]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        # The time of a process counts when it has exited.
        time.sleep(0.2)
        done = int(re.search(r"transactions actually processed: ([0-9]+)", output)[1])
        return float(re.search(r"tps = ([0-9.]+)", output)[1]), (postgres_time() - before) * 1e6 / done

    def revocations(self):
        """Revokes keys, with the notifications and then without them."""
        self.measure_revocations("Revocations with notifications")
        self.sql(WITHOUT_NOTIFICATIONS)
        self.measure_revocations("Revocations without notifications")

    def measure_revocations(self, title):
        rows, idle_times = [], ""
        for count in (1, MAX_NODES):
            nodes = self.nodes(count)
            keys = REVOCATIONS * self.seconds
            measure = lambda: self.with_wal(nodes[:1], "revoke", self.seconds, [self.rest.take(keys)], idle=nodes[1:])
            rows.append((count, rounds := self.rounds(measure)))
            if count > 1:
                idle_times = f"{rounds[-1]['idle']:.1f} µs of each other node"
            stop(nodes)
        self.add(f"{title}, all on the first node", rows)
        print(f"\nThe last round: {self.wal}; {idle_times}.", flush=True)


def disk_speed(folder):
    """Returns how often the disk of the databases can be flushed in a second, one flush after the other."""
    program = os.path.join(os.environ["POSTGRES_BIN"], "pg_test_fsync")
    command = [program, "--secs-per-test=1", f"--filename={folder / 'flushed'}"]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return float(re.search(r"fdatasync\s+([0-9.]+) ops/sec", output)[1])


def rounds_of(rounds):
    rates = [figures["rate"] for figures in rounds]
    return f"{min(rates):,.0f} to {max(rates):,.0f}"


def stop(nodes):
    for node in nodes:
        node.stop()


def main():
    names = {name.replace("_", "-"): name for name in
             ("cached_keys", "each_key_once", "logins", "cheap_logins", "commits", "revocations")}
    chosen = options(names)
    with tempfile.TemporaryDirectory() as folder:
        try:
            scaling = Scaling(chosen, Path(folder))
            print(f"{os.cpu_count()} cores, {disk_speed(Path(folder)):,.0f} flushes of the disk a second")
            for name in chosen.measurements or names:
                say(name)
                getattr(scaling, names[name])()
        finally:
            Server.stop_all()


main()

"""Measures a server against a bare handler and against its peers: called by scripts/bench, which explains it."""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import peers
import picture
import revocation
import storm
import verification
from database import FIRST_LOGIN, LOGINS, Postgres, Sqlite, make_keys
from figures import Targets, rate, ratio, table
from load import Keys, walk, wrk
from server import PROGRAMS, Connection, Server, login

SMALL = 1000
NAMES = ["verify", "login", "storm", "revocation", "memory", "peers"]
PICTURE = Path(__file__).parents[2] / "docs/verify-during-logins.svg"


def say(words):
    print(f"{time.strftime('%H:%M:%S')} {words}", file=sys.stderr, flush=True)


def options():
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__.split(":")[0] + ".")
    parser.add_argument("--quick", action="store_true", help="short rounds, 100,000 keys: shows that everything runs")
    parser.add_argument("--rounds", type=int, help="number of rounds [5; quick: 2]")
    parser.add_argument("--seconds", type=int, help="seconds for each measurement [2; quick: 1]")
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES, metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--peers", metavar="DIR", type=Path, help="folder of the kit that starts and loads peers")
    parser.add_argument("--json", metavar="FILE", type=Path, help="file for all figures")
    chosen = parser.parse_args()
    if chosen.peers and not (chosen.peers / "start.sh").is_file():
        parser.error(f"--peers: no start.sh in {chosen.peers}")
    if not chosen.peers and chosen.only == ["peers"]:
        parser.error("--only peers needs --peers DIR")
    quick = chosen.quick
    chosen.keys = 100_000 if quick else 1_000_000
    chosen.rounds = chosen.rounds or (2 if quick else 5)
    chosen.seconds = chosen.seconds or (1 if quick else 2)
    chosen.calm, chosen.stormy = (4, 8) if quick else (10, 20)
    chosen.revocations, chosen.commands = (100, 30) if quick else (1000, 200)
    return chosen


class Bench:
    """One run: its databases, servers, measurements and targets."""

    def __init__(self, chosen, folder):
        self.chosen, self.folder = chosen, folder
        self.targets, self.raw, self.tables = Targets(), {"machine": machine(), "options": vars(chosen)}, []
        self.sizes = [SMALL, chosen.keys] if "verify" in chosen.only else [chosen.keys]
        self.files = {size: folder / f"keys-{size}" for size in [*self.sizes, "unknown"]}
        for size, path in self.files.items():
            make_keys(path, verification.CYCLED if size == "unknown" else size)
        self.servers = {}
        for size in self.sizes:
            for database in (Sqlite(folder / f"sqlite-{size}"), Postgres(f"bench_{size}")):
                self.servers[database.name, size] = self.seeded(database, size)

    def seeded(self, database, size):
        start = time.monotonic()
        server = Server(database)
        server.stop()
        database.fill(self.files[size])
        server.start()
        took = time.monotonic() - start
        say(f"{database.name} with {size:,} keys: created in {took:.0f} s")
        self.raw.setdefault("seeding_seconds", {})[f"{database.name}, {size}"] = took
        return server

    def large(self, database):
        return self.servers[database, self.chosen.keys]

    def verify(self):
        floor = Server()
        try:
            cells = list(verification.cells(floor, self.servers, self.files))
            rounds = verification.measure(cells, self.chosen.rounds, self.chosen.seconds, say)
        finally:
            floor.stop()
        self.raw["verify"] = rounds
        self.tables.append(("Verification", verification.report(cells, rounds)))
        verification.judge(self.targets, rounds, *self.sizes)

    def warm_logins(self, server):
        """Logs in every user with a password once. Then the device has a key, and the network is known."""
        connection = Connection(server)
        for number in range(FIRST_LOGIN, FIRST_LOGIN + LOGINS):
            if (status := connection.ask(login(number))) != 200:
                raise RuntimeError(f"a login returned {status}")

    def login(self):
        """Measures logins, and in each round the bare hash, too. Only a login from a new device issues a key."""
        users, seconds, rounds = Keys("bench", FIRST_LOGIN, LOGINS), max(4, self.chosen.seconds), []
        for number in range(self.chosen.rounds):
            say(f"login, round {number + 1} of {self.chosen.rounds}")
            hashes = subprocess.run([PROGRAMS / "examples/hash", str(seconds)], capture_output=True, check=True)
            measured = {"the bare hash": {"rps": float(hashes.stdout)}}
            for database in ("SQLite", "PostgreSQL"):
                url = self.large(database).url + "/api/auth"
                for what, kind in (("known device", "login"), ("new device", "new")):
                    users.path = f"round {number}"
                    measured[f"{database}: login, {what}"] = wrk(url, kind, seconds, users, connections=8)
            rounds.append(measured)
        self.raw["login"] = rounds
        rows = []
        for name in rounds[0]:
            share = ratio(rounds, name, "the bare hash")
            rows.append([name, f"{rate(rounds, name):.1f}", f"{share['median']:.3f}",
                         f"{share['least']:.3f} to {share['most']:.3f}"])
            if name.endswith("known device"):
                self.targets.at_least(f"{name}, of the bare hash on all cores", share, 0.95)
        self.tables.append(("Logins", table(["What", "Logins/s", "Share of the bare hash", "Lowest to highest"], rows)))

    def storm(self):
        storms, rows = {}, []
        mine = Keys(self.files[self.chosen.keys], 0, 1).first()
        for database in ("SQLite", "PostgreSQL"):
            say(f"storm of logins on {database}")
            storms[database] = storm.measure(self.large(database), mine, self.chosen.calm, self.chosen.stormy)
            for phase, seen in storms[database]["phases"].items():
                rows.append([database, phase, *(f"{seen[name]:.2f}" for name in ("p50_ms", "p99_ms", "max_ms"))])
            self.tables.append((f"Logins during the storm on {database}, by status", str(storms[database]["answers"])))
            self.targets.at_most(f"{database}: verify p99 while {storm.LOGGING_IN} log in",
                                 storms[database]["phases"]["during"]["p99_ms"], 10, "ms")
        self.raw["storm"] = storms
        heads = ["Database", "Storm", "p50 (ms)", "p99 (ms)", "Slowest (ms)"]
        self.tables.append(("Verification around a storm of logins", table(heads, rows)))
        picture.draw(storms, PICTURE)

    def revocation(self):
        seen, (postgres, sqlite) = {}, (self.large("PostgreSQL"), self.large("SQLite"))
        other, rows = Server(postgres.database), []
        delete = sqlite.database.delete()
        ways = [
            ("PostgreSQL: from node to node", postgres, self.chosen.revocations, revocation.by_another_node(other), 10),
            ("SQLite: from the command line", sqlite, self.chosen.commands,
             lambda number, _: sqlite.command("key", "revoke", "--id", str(number)), 50),
            ("SQLite: from plain SQL", sqlite, self.chosen.revocations, lambda number, _: delete(number), 50),
        ]
        left = dict.fromkeys(("PostgreSQL", "SQLite"), self.chosen.keys)
        try:
            for name, server, count, revoke_key, wanted in ways:
                say(f"revocation, {name}")
                last = left[server.database.name]
                left[server.database.name] -= count
                keys = self.keys_with_ids(last - count, count)
                seen[name] = revocation.measure(server, keys, revoke_key)
                for percent, most in ((50, wanted), (99, 100)):
                    what = f"{name}: revocation seen, p{percent}"
                    self.targets.at_most(what, seen[name][f"p{percent}_ms"], most, "ms")
                rows.append([name, count, *(f"{seen[name][f'{x}_ms']:.2f}" for x in ("p50", "p99", "max")),
                             seen[name]["seen_late"]])
        finally:
            other.stop()
        self.raw["revocation"] = seen
        heads = ["Revocation", "Keys", "p50 (ms)", "p99 (ms)", "Slowest (ms)", "Accepted once more"]
        self.tables.append(("Revocation", table(heads, rows)))

    def keys_with_ids(self, start, count):
        path = self.files[self.chosen.keys]
        return [(number + 1, Keys(path, number, 1).first()) for number in range(start, start + count)]

    def memory(self):
        seen, rows = {}, []
        for database in ("SQLite", "PostgreSQL"):
            server = self.large(database)
            say(f"memory on {database}")
            server.restart()
            time.sleep(2)
            idle = server.memory()["now"]
            keys = Keys(self.files[self.chosen.keys], 0, self.chosen.keys - verification.RESERVED)
            while keys.count > 1000:
                walk(server.url + verification.VERIFY, 2, keys)
            full = server.memory()
            seen[database] = {"idle": idle, "full": full}
            rows.append([database, f"{idle:.1f}", f"{full['now']:.1f}", f"{full['most']:.1f}"])
            self.targets.at_most(f"{database}: memory, idle", idle, 30, "MiB")
            self.targets.at_most(f"{database}: memory, every key seen", full["now"], 120, "MiB")
        self.raw["memory"] = seen
        self.tables.append(("Memory (MiB)", table(["Database", "Idle", "Every key seen", "Peak"], rows)))

    def peers(self):
        if not self.chosen.peers:
            self.tables.append(("Peers", "Not measured: start with `--peers DIR`."))
            return
        kit, rounds = peers.Kit(self.chosen.peers), []
        path = self.files[self.chosen.keys]
        users = Keys("", FIRST_LOGIN, LOGINS)
        try:
            kit.start()
            for number in range(self.chosen.rounds):
                say(f"peers, round {number + 1} of {self.chosen.rounds}")
                measured, users.path = {}, f"peers {number}"
                for database in ("SQLite", "PostgreSQL"):
                    url, load = self.large(database).url, {"threads": 1}
                    measured[f"{database} verify"] = wrk(
                        url + verification.VERIFY, "one", self.chosen.seconds, key=Keys(path, 0, 1).first(),
                        connections=peers.CONNECTIONS["verify"], **load)
                    measured[f"{database} login"] = wrk(
                        url + "/api/auth", "new", max(4, self.chosen.seconds), users,
                        connections=peers.CONNECTIONS["login"], **load)
                for peer in peers.PEERS:
                    measured[f"{peer} verify"] = kit.load(peer, "verify", self.chosen.seconds)
                    measured[f"{peer} login"] = kit.load(peer, "login", max(4, self.chosen.seconds))
                rounds.append(measured)
        finally:
            kit.stop()
        self.raw["peers"] = rounds
        self.report_peers(rounds)

    def report_peers(self, rounds):
        best = max(peers.PEERS, key=lambda peer: rate(rounds, f"{peer} verify"))
        rows = []
        for who in ("SQLite", "PostgreSQL", *peers.PEERS):
            ours = who not in peers.PEERS
            row = [f"shoko-auth on {who}" if ours else who]
            for what in ("verify", "login"):
                row.append(f"{rate(rounds, f'{who} {what}'):,.1f}")
            rows.append(row)
            if ours:
                self.targets.at_least(f"{who}: verify, of the best peer ({best})",
                                      ratio(rounds, f"{who} verify", f"{best} verify"), 10)
                self.targets.at_least(f"{who}: login of a new device, of {peers.EQUAL_COST} at equal hash cost",
                                      ratio(rounds, f"{who} login", f"{peers.EQUAL_COST} login"), 2)
        self.tables.append(("Peers", table(["Service", "Verifications/s", "Logins/s"], rows)))


def machine():
    output = lambda *command: subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    models = [line.split(":", 1)[1].strip() for line in lines if "model name" in line]
    return {
        "cores": os.cpu_count(),
        "processor": models[0] if models else platform.machine(),
        "system": platform.platform(),
        "memory_mib": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20,
        "load_before": os.getloadavg(),
        "commit": output("git", "describe", "--always", "--dirty"),
        "rustc": output("rustc", "--version"),
        "wrk": output("wrk", "-v").split(" Copyright")[0],
        "postgres": output(os.path.join(os.environ["POSTGRES_BIN"], "postgres"), "--version"),
        "python": platform.python_version(),
        "date": time.strftime("%Y-%m-%d %H:%M:%S %z"),
    }


def main():
    chosen = options()
    if "BENCH_PROGRAMS" not in os.environ:
        return
    with tempfile.TemporaryDirectory() as folder:
        try:
            bench = Bench(chosen, Path(folder))
            if {"login", "storm", "peers"} & set(chosen.only):
                for database in ("SQLite", "PostgreSQL"):
                    bench.warm_logins(bench.large(database))
            for name in NAMES:
                if name in chosen.only:
                    getattr(bench, name)()
        finally:
            Server.stop_all()
    bench.raw["targets"] = bench.targets.rows
    about = bench.raw["machine"]
    load = f"load before {about['load_before'][0]:.1f}"
    versions = (about[name] for name in ("processor", "postgres", "rustc", "wrk"))
    print(", ".join([f"{about['cores']} cores", *versions, load]))
    print(f"commit {about['commit']}, {chosen.rounds} rounds of {chosen.seconds} s")
    for head, words in bench.tables:
        print(f"\n## {head}\n\n{words}")
    rows = [[row["what"], row["seen"], row["wanted"], "yes" if row["met"] else "**no**"] for row in bench.targets.rows]
    print("\n## Targets\n\n" + table(["What", "Measured", "Target", "Met"], rows))
    if chosen.json:
        chosen.json.write_text(json.dumps(bench.raw, indent=1, default=str), encoding="utf-8")


if __name__ == "__main__":
    main()

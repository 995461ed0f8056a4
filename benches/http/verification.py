"""Measures verification with different servers and keys, and compares it with the bare handler."""

from database import OF_THOUSAND
from figures import rate, ratio, table
from load import Keys, walk, wrk

VERIFY = "/api/auth/verify"
# The number of keys that are requested again and again. All of them fit into the cache.
CYCLED = 10_000
# An upper limit for the number of keys that are requested in a second.
MOST_PER_SECOND = 70_000
# The number of keys at the end of a file that are reserved for revocations.
RESERVED = 3000


class Cell:
    """One line of the table."""

    def __init__(self, name, run, floor="floor"):
        self.name, self.run, self.floor = name, run, floor


class Walk:
    """Requests each key of a server once. When the keys run out, restarts the server to empty its cache."""

    def __init__(self, server, keys):
        self.server, self.all, self.keys = server, keys, Keys(keys.path, 0, 0)

    def __call__(self, seconds):
        if self.keys.count < seconds * MOST_PER_SECOND:
            self.keys = Keys(self.all.path, self.all.start, self.all.count)
            self.server.restart()
        result = walk(self.server.url + VERIFY, seconds, self.keys)
        if result["ran_out"]:
            raise RuntimeError(f"{self.all.count} keys are not enough for {seconds} s")
        return result


def cycle(server, keys, warm=True):
    def run(seconds):
        if warm:
            wrk(server.url + VERIFY, "cycle", 1, keys)
        return wrk(server.url + VERIFY, "cycle", seconds, keys)

    return run


def one(server, key, path=VERIFY):
    return lambda seconds: wrk(server.url + path, "one", seconds, key=key)


def cells(floor, servers, files):
    """Yields the rows of the table. `servers` is indexed by database and size, and `files` by size. The keys of the
    file "unknown" are in no database."""
    small, large = sorted(size for size in files if size != "unknown")
    everything = files[large]
    cycled = Keys(everything, 1 + OF_THOUSAND, CYCLED)
    yield Cell("floor", one(floor, Keys(everything, 0, 1).first()))
    yield Cell("floor, many keys", cycle(floor, cycled, warm=False))
    for database in ("SQLite", "PostgreSQL"):
        for size in (small, large):
            server, prefix = servers[database, size], f"{database}, {size:,} keys"
            mine = Keys(files[size], 0, 1).first()
            yield Cell(f"{prefix}: verify, one key", one(server, mine))
            yield Cell(f"{prefix}: User/Current, one key", one(server, mine, "/api/v3/User/Current"))
            yield Cell(f"{prefix}: verify, unknown keys", unknown(server, files["unknown"]), "floor, many keys")
        prefix, first = f"{database}, {large:,} keys", 1 + OF_THOUSAND
        of_thousand = Keys(everything, OF_THOUSAND, 1).first()
        yield Cell(f"{prefix}: verify, one key of {OF_THOUSAND:,}", one(server, of_thousand))
        yield Cell(f"{prefix}: verify, cached keys", cycle(server, cycled), "floor, many keys")
        rest = Keys(everything, first + CYCLED, large - first - CYCLED - RESERVED)
        yield Cell(f"{prefix}: verify, each key once", Walk(server, rest), "floor, many keys")


def unknown(server, path):
    keys = Keys(path, 0, CYCLED)
    return lambda seconds: wrk(server.url + VERIFY, "cycle", seconds, keys, refused=True)


def measure(cells, rounds, seconds, say):
    """Measures each cell once in each round."""
    measured = []
    for number in range(rounds):
        say(f"verification, round {number + 1} of {rounds}")
        measured.append({cell.name: cell.run(seconds) for cell in cells})
    return measured


def report(cells, rounds):
    floors = {cell.name: cell.floor for cell in cells}
    rows = []
    for name, floor in floors.items():
        shares = ratio(rounds, name, floor)
        p99 = sorted(measured[name]["p99_ms"] for measured in rounds)[len(rounds) // 2]
        spread = f"{shares['least']:.3f} to {shares['most']:.3f}"
        rows.append([name, f"{rate(rounds, name):,.0f}", f"{shares['median']:.3f}", spread, f"{p99:.2f}"])
    return table(["What", "Requests/s", "Share of the floor", "Lowest to highest", "p99 (ms)"], rows)


def judge(targets, rounds, small, large):
    """Adds the targets of verification, and whether they were met."""
    many = "floor, many keys"
    for database, uncached in (("SQLite", 0.40), ("PostgreSQL", 0.15)):
        prefix = f"{database}, {large:,} keys"
        cell = lambda what, size=large: f"{database}, {size:,} keys: verify, {what}"
        targets.at_least(f"{prefix}: one key, of the floor", ratio(rounds, cell("one key"), "floor"), 0.90)
        targets.at_least(f"{prefix}: cached keys, of the floor", ratio(rounds, cell("cached keys"), many), 0.90)
        targets.at_least(f"{prefix}: each key once, of the floor", ratio(rounds, cell("each key once"), many), uncached)
        thousand = cell(f"one key of {OF_THOUSAND:,}")
        targets.at_least(f"{prefix}: user with {OF_THOUSAND:,} keys / with 1",
                         ratio(rounds, thousand, cell("one key")), 0.95)
        for what, kind, least in (("one key", "cached", 0.95), ("unknown keys", "uncached", 0.75)):
            targets.at_least(f"{database}, {kind}: {large:,} keys / {small:,}",
                             ratio(rounds, cell(what), cell(what, small)), least)



"""Loads several nodes at once with wrk, and measures the processor time that they and PostgreSQL use meanwhile."""

import json
import os
import subprocess
import threading
import time
from pathlib import Path

from server import Connection, Server, verify

SCRIPT = Path(__file__).with_name("wrk.lua")
# A key that does not exist.
UNKNOWN = "00000000-0000-4000-8000-000000000000"
TICKS = os.sysconf("SC_CLK_TCK")


class Range:
    """Keys of a file, or numbers of users: `count` of them from `start` on."""

    def __init__(self, start, count, path="-"):
        self.start, self.count, self.path = start, count, path

    def split(self, parts):
        """Returns equal parts of the range."""
        each = self.count // parts
        return [Range(self.start + number * each, each, self.path) for number in range(parts)]

    def take(self, count):
        """Removes the first part of the range and returns it."""
        if count > self.count:
            raise RuntimeError("there are too few keys")
        taken = Range(self.start, count, self.path)
        self.start, self.count = self.start + count, self.count - count
        return taken


class Node(Server):
    """A node, with settings that differ from the defaults."""

    def __init__(self, database, settings):
        self.settings = settings
        super().__init__(database)

    def environment(self):
        return super().environment() | self.settings

    def processor_time(self):
        return sum(ticks(self.process.pid)[:2]) / TICKS


def ticks(process):
    """Returns the processor time of a process in user and kernel mode, and that of its children that have exited."""
    fields = Path(f"/proc/{process}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()
    return [int(field) for field in fields[11:15]]


def postgres_time():
    """Returns the processor time of all processes of PostgreSQL."""
    parent = int(Path(os.environ["POSTGRES_FOLDER"], "data/postmaster.pid").read_text(encoding="ascii").split()[0])
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text(encoding="ascii").split()
    total = sum(ticks(parent))
    for child in children:
        try:
            total += sum(ticks(child)[:2])
        except FileNotFoundError:
            # It has just exited, so the time of its parent includes it from now on.
            pass
    return total / TICKS


def wrk(node, what, seconds, values, connections, threads):
    arguments = [what, values.path, values.start, values.count, threads]
    command = ["wrk", f"-t{threads}", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s", "--latency", "-s", SCRIPT]
    command = [str(part) for part in [*command, f"{node.url}/api/auth", "--", *arguments]]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def result_of(process):
    output, _ = process.communicate()
    line = next((line for line in output.splitlines() if line.startswith("result ")), None)
    if process.returncode or line is None:
        raise RuntimeError(f"wrk failed: {output}")
    result = json.loads(line.removeprefix("result "))
    if not result["requests"] or result["errors"] or result["ran_out"]:
        raise RuntimeError(f"unexpected responses, or too few keys: {result}")
    return result


def keep_awake(node):
    """Verifies a key once a second, because the change feed would otherwise poll rarely. Returns an event that ends it."""
    end, connection = threading.Event(), Connection(node)

    def run():
        while not end.wait(1):
            connection.ask(verify(UNKNOWN))

    connection.ask(verify(UNKNOWN))
    threading.Thread(target=run, daemon=True).start()
    return end


def load(nodes, what, seconds, values, connections=32, idle=()):
    """Loads all `nodes` at once. `values` has a range for each node. `idle` nodes only receive changes.

    Returns the operations a second, and the processor time in microseconds for each operation.
    """
    threads = 2 if len(nodes) == 1 else 1
    start, times, database = time.monotonic(), [node.processor_time() for node in [*nodes, *idle]], postgres_time()
    awake = [keep_awake(node) for node in idle]
    runs = [wrk(node, what, seconds, part, connections // len(nodes), threads) for node, part in zip(nodes, values)]
    results = [result_of(run) for run in runs]
    # The feeds of other nodes may be late.
    time.sleep(0.2)
    for end in awake:
        end.set()
    used = [node.processor_time() - before for node, before in zip([*nodes, *idle], times)]
    database, elapsed = postgres_time() - database, time.monotonic() - start
    requests = sum(result["requests"] for result in results)
    each = lambda seconds: seconds * 1e6 / requests
    return {
        "requests": requests,
        "rate": sum(result["requests"] / result["seconds"] for result in results),
        "server": each(sum(used[: len(nodes)])),
        "idle": each(sum(used[len(nodes) :])) / max(len(idle), 1),
        "postgres": each(database),
        "busy": (sum(used) + database) / elapsed,
        "p50": max(result["p50"] for result in results),
        "p99": max(result["p99"] for result in results),
    }

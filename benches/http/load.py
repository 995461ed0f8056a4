"""Loads a server with wrk and parses its output."""

import json
import subprocess
from pathlib import Path

SCRIPT = Path(__file__).with_name("wrk.lua")
# The floor is fastest with these values. Every server is measured with the same values.
THREADS, CONNECTIONS = 2, 32


class Keys:
    """Lines of a file of keys, starting at `start`."""

    def __init__(self, path, start, count):
        self.path, self.start, self.count = path, start, count

    def first(self):
        with open(self.path, encoding="ascii") as file:
            file.seek(self.start * 37)
            return file.read(36)


def wrk(url, what, seconds, keys=None, threads=THREADS, connections=CONNECTIONS, key=None, refused=False):
    """Runs wrk once and returns its figures. All requests must succeed; with `refused`, all must be rejected."""
    arguments = [what, keys.path, keys.start, keys.count, threads] if keys else [what, "-", 0, 0, threads]
    header = ["-H", f"apikey: {key}"] if key else []
    command = ["wrk", f"-t{threads}", f"-c{connections}", f"-d{seconds}s", "--timeout", "20s", "-s", SCRIPT, *header]
    command = [str(part) for part in [*command, url, "--", *arguments]]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    line = next((line for line in run.stdout.splitlines() if line.startswith("result ")), None)
    if run.returncode or line is None:
        raise RuntimeError(f"wrk failed: {' '.join(command)}\n{run.stdout}{run.stderr}")
    result = json.loads(line.removeprefix("result "))
    result["rps"] = result["requests"] / result["seconds"]
    wanted = result["requests"] if refused else 0
    if not result["requests"] or result["socket_errors"] or result["status_errors"] != wanted:
        raise RuntimeError(f"unexpected responses: {result} from {' '.join(command)}")
    return result


def walk(url, seconds, keys, **more):
    """Requests each key at most once, until the time is over. Then removes the requested keys from `keys`."""
    result = wrk(url, "walk", seconds, keys, **more)
    used = min(result["used"], keys.count)
    keys.start, keys.count = keys.start + used, keys.count - used
    return result

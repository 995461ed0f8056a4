"""Loads a server with wrk, and reads what it says."""

import json
import subprocess
from pathlib import Path

SCRIPT = Path(__file__).with_name("wrk.lua")
# What the floor is fastest with; the same for everybody.
THREADS, CONNECTIONS = 2, 32


class Keys:
    """Lines of a file of keys, from `start` on."""

    def __init__(self, path, start, count):
        self.path, self.start, self.count = path, start, count

    def first(self):
        with open(self.path, encoding="ascii") as file:
            file.seek(self.start * 37)
            return file.read(36)


def wrk(url, what, seconds, keys=None, threads=THREADS, connections=CONNECTIONS, key=None, refused=False):
    """One run: requests a second and so on. Fails when an answer was not what it should be; `refused`: a refusal."""
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
        raise RuntimeError(f"not what was to be measured: {result} from {' '.join(command)}")
    return result


def walk(url, seconds, keys, **more):
    """Asks for each of these keys once, and takes those that were asked for off `keys`."""
    result = wrk(url, "walk", seconds, keys, **more)
    used = min(result["used"], keys.count)
    keys.start, keys.count = keys.start + used, keys.count - used
    return result

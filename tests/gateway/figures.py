"""Measures requests through nginx with and without the guard, in alternating rounds of one run."""

import re
import statistics
import subprocess

from lab import Lab
from misconfigured import VERIFY
from proxies import APP, Nginx, replace

ROUNDS, SECONDS = 7, 5
THREADS, CONNECTIONS = 2, 64
MIN_RATE = 5000
# wrk sends no server name to an address, so nginx must accept the handshake of its default server. It then chooses the
# server by `Host`, as usual.
ACCEPT_HANDSHAKE = (
    "    ssl_reject_handshake on;\n",
    "    ssl_certificate     /etc/ssl/example.org.pem;\n    ssl_certificate_key /etc/ssl/example.org.key;\n",
)
UNITS = {"us": 0.001, "ms": 1, "s": 1000}


class Service(Nginx):
    """A service with the lowest possible cost: nginx that returns a constant."""

    def __init__(self, folder):
        super().__init__(folder, 0, 0)
        self.texts = [f"server {{ listen 127.0.0.1:{self.port}; location / {{ return 200 ok; }} }}"]

    def listens(self):
        return self.is_open()


def load(port, key):
    """Returns the rate, the median and the 99th percentile in milliseconds, and the number of errors."""
    command = [
        "wrk",
        f"-t{THREADS}",
        f"-c{CONNECTIONS}",
        f"-d{SECONDS}s",
        "--latency",
        f"https://127.0.0.1:{port}/page",
    ]
    text = subprocess.run(
        [*command, "-H", f"Host: {APP}", "-H", f"apikey: {key}"], check=True, capture_output=True, text=True
    ).stdout
    rate = float(re.search(r"Requests/sec: +([\d.]+)", text)[1])
    errors = sum(map(int, re.findall(r"(?:connect|read|write|timeout) (\d+)", text)))
    errors += sum(map(int, re.findall(r"Non-2xx or 3xx responses: (\d+)", text)))
    percentiles = [percentile(text, name) for name in ("50%", "99%")]
    return rate, *percentiles, errors


def percentile(text, name):
    value, unit = re.search(rf"{name} +([\d.]+)(us|ms|s)", text).groups()
    return float(value) * UNITS[unit]


def guarded(text):
    return replace(text, *ACCEPT_HANDSHAKE)


def unguarded(text):
    return replace(guarded(text), VERIFY, "")


def measure(lab: Lab):

    rows = {"guarded": [], "unguarded": []}
    with Service(lab.folder) as service:
        app = service.port
        first, second = (Nginx(lab.folder, app, lab.auth, change) for change in (guarded, unguarded))
        with first, second:
            ports = {"guarded": first.port, "unguarded": second.port}
            for number in range(ROUNDS):
                for name, port in ports.items():
                    rows[name].append(load(port, lab.keys["bound"]))
                    rate, median, slowest, errors = rows[name][-1]
                    times = f"p50 {median:.2f} ms  p99 {slowest:.2f} ms"
                    print(f"round {number + 1}  {name:<9}  {rate:8.0f}/s  {times}  errors {errors}", flush=True)
                    if not rate:
                        raise SystemExit("missed: no request had a response")
    report(rows)


def report(rows):
    medians = {name: [statistics.median(column) for column in zip(*values)] for name, values in rows.items()}
    errors = sum(row[-1] for values in rows.values() for row in values)
    with_guard, without = medians["guarded"], medians["unguarded"]
    ratios = [one[0] / other[0] for one, other in zip(rows["guarded"], rows["unguarded"])]
    # Of both cores together.
    cost = 1e6 / with_guard[0] - 1e6 / without[0]
    print(f"guarded    {with_guard[0]:8.0f}/s  p50 {with_guard[1]:.2f} ms  p99 {with_guard[2]:.2f} ms")
    print(f"unguarded  {without[0]:8.0f}/s  p50 {without[1]:.2f} ms  p99 {without[2]:.2f} ms")
    print(f"share      {statistics.median(ratios):8.3f}  from {min(ratios):.3f} to {max(ratios):.3f}")
    print(f"a guarded request takes {cost:.0f} microseconds more; errors: {errors}")
    if errors or with_guard[0] < MIN_RATE:
        raise SystemExit(f"missed: {MIN_RATE} guarded requests per second without an error")

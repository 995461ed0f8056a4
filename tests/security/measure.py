"""What strangers can do to a running server, measured: called by scripts/measure-security as `measure.py WHAT URL PASSWORD PID`.

PASSWORD is that of the administrator "Default", PID the server's process. Everything on one machine: what is counted
and compared holds elsewhere, times do not.
"""

import asyncio
import http.client
import json
import multiprocessing
import os
import random
import re
import statistics
import sys
import threading
import time
from collections import Counter
from urllib.parse import urlsplit

WHAT, URL, PASSWORD, PID = sys.argv[1:5]
HOST, PORT = urlsplit(URL).hostname, urlsplit(URL).port
ADMIN = "Default"


class Client:
    """One connection, from an address of this machine's own."""

    def __init__(self, source="127.0.0.1"):
        self.source = source
        self.connection = None

    def request(self, method, path, body=None, headers=None):
        """Status, headers and body; the connection is made again when the server has closed it."""
        for attempt in range(2):
            if self.connection is None:
                self.connection = http.client.HTTPConnection(HOST, PORT, timeout=30, source_address=(self.source, 0))
            try:
                self.connection.request(method, path, body, headers or {})
                answer = self.connection.getresponse()
                return answer.status, answer.headers, answer.read()
            except (http.client.HTTPException, OSError):
                self.connection.close()
                self.connection = None
                if attempt:
                    raise

    def log_in(self, user, password, headers=None):
        body = json.dumps({"user": user, "pass": password, "device": "measure"})
        return self.request("POST", "/api/auth", body, {"Content-Type": "application/json", **(headers or {})})


def report(**figures):
    print("   ".join(f"{name.replace('_', ' ')} {value}" for name, value in figures.items()))


def fail(message):
    sys.exit(f"MISSED: {message}")


# --- Guessing ---------------------------------------------------------------------------------------------------------


def schedule(seconds):
    """How many tries the waits allow in so many seconds: 5, and one after each wait."""
    tries, at = 5, 0.0
    while (at := at + min(2 ** (tries - 5), 900)) <= seconds:
        tries += 1
    return tries


def guess(owner, guesser):
    """10,000 wrong passwords for one account; `guesser` sends the n-th. `owner` logs in before and during."""
    status, _, _ = owner()
    if status != 200:
        fail(f"the owner's first login is {status}")
    statuses, numbers, lock = Counter(), iter(range(10_000)), threading.Lock()
    start = time.monotonic()

    def work():
        client = Client()
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            status = guesser(client, number)
            with lock:
                statuses[status] += 1

    workers = [threading.Thread(target=work) for _ in range(16)]
    for worker in workers:
        worker.start()
    time.sleep(0.5)
    status, _, _ = owner()
    in_attack = any(worker.is_alive() for worker in workers)
    for worker in workers:
        worker.join()
    seconds = time.monotonic() - start
    allowed = schedule(seconds)
    report(seconds=f"{seconds:.1f}", checked=statuses[401], allowed=allowed, answers=dict(statuses), owner=status)
    if statuses[401] > allowed or set(statuses) - {401, 429, 503}:
        fail("more guesses reached the hash than the schedule allows, or something else was answered")
    if status != 200 or not in_attack:
        fail("the owner did not get in on the first try, during the attack")


def guess_spoofed():
    """From one peer that is no trusted proxy, with another spoofed address each time."""
    owner = Client("127.0.0.2")
    guess(
        lambda: owner.log_in(ADMIN, PASSWORD),
        lambda client, number: client.log_in(ADMIN, f"guess {number}", {"X-Forwarded-For": f"10.{number % 250}.2.3"})[0],
    )


def guess_distributed():
    """Through a trusted proxy, from 10,000 addresses."""
    proxy = Client()

    def address(number):
        return {"X-Forwarded-For": f"198.{18 + number // 62_500}.{number // 250 % 250}.{number % 250}"}

    guess(
        lambda: proxy.log_in(ADMIN, PASSWORD, {"X-Forwarded-For": "192.0.2.1"}),
        lambda client, number: client.log_in(ADMIN, f"guess {number}", address(number))[0],
    )


# --- Timing -----------------------------------------------------------------------------------------------------------


def rank_test(one, other):
    """The two-sided p of Mann and Whitney's U, by its normal approximation."""
    ranked = sorted([(value, 0) for value in one] + [(value, 1) for value in other])
    rank_sum = sum(rank for rank, (_, group) in enumerate(ranked, 1) if group == 0)
    n, m = len(one), len(other)
    u = rank_sum - n * (n + 1) / 2
    z = (u - n * m / 2) / (n * m * (n + m + 1) / 12) ** 0.5
    return 2 * (1 - statistics.NormalDist().cdf(abs(z)))


def timing():
    """400 logins each that fail for different reasons, interleaved."""
    kinds = {"known": (ADMIN, "wrong"), "unknown": ("nobody here", "wrong"), "disabled": ("disabled", "the right one")}
    client, times = Client(), {kind: [] for kind in kinds}
    for turn in range(410):
        order = list(kinds)
        random.shuffle(order)
        for kind in order:
            start = time.perf_counter()
            status, _, _ = client.log_in(*kinds[kind])
            took = time.perf_counter() - start
            if status != 401:
                fail(f"{kind} is {status}")
            if turn >= 10:
                times[kind].append(took)
    medians = {kind: statistics.median(values) * 1000 for kind, values in times.items()}
    report(**{kind: f"{value:.2f} ms" for kind, value in medians.items()})
    spread = max(medians.values()) / min(medians.values()) - 1
    ranks = {f"{a}/{b}": rank_test(times[a], times[b]) for a, b in [("known", "unknown"), ("known", "disabled")]}
    report(spread=f"{spread:.2%}", **{f"p {pair}": f"{p:.3f}" for pair, p in ranks.items()})
    if spread > 0.02 or min(ranks.values()) <= 0.01:
        fail("the reasons can be told apart")


# --- Overload ---------------------------------------------------------------------------------------------------------


LOGIN = json.dumps({"user": "overload", "pass": "the right one", "device": "measure"})
LOGIN_REQUEST = (
    f"POST /api/auth HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: application/json\r\n"
    f"Content-Length: {len(LOGIN)}\r\n\r\n{LOGIN}"
).encode()


async def hammer_once(polite, until, answers, refusals):
    """One connection: logins, one after the other; who is polite waits when told to."""
    reader, writer = await asyncio.open_connection(HOST, PORT)
    while (start := time.monotonic()) < until:
        writer.write(LOGIN_REQUEST)
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(int(re.search(rb"(?i)content-length: (\d+)", head)[1]))
        status = int(head[9:12])
        answers[status] += 1
        if status in (429, 503):
            refusals.append(time.monotonic() - start)
            if polite:
                await asyncio.sleep(int(re.search(rb"(?i)retry-after: (\d+)", head)[1]) * (1 + random.random()))
    writer.close()


def hammer(polite, until, results):
    """250 connections of 500."""

    async def all_of_them():
        answers, refusals = Counter(), []
        one = (hammer_once(polite, until, answers, refusals) for _ in range(250))
        for outcome in await asyncio.gather(*one, return_exceptions=True):
            if outcome is not None:
                answers[repr(outcome)] += 1
        results.put((answers, max(refusals, default=0)))

    asyncio.run(all_of_them())


def verify_until(until, key, times):
    """Asks 100 times a second whether a key works."""
    client, taken, others = Client(), [], []
    while time.monotonic() < until:
        start = time.perf_counter()
        status, _, _ = client.request("GET", "/api/auth/verify", headers={"apikey": key})
        taken.append(time.perf_counter() - start)
        if status != 200:
            others.append(status)
        time.sleep(0.01)
    times.put((taken, others))


def cpu_seconds():
    with open(f"/proc/{PID}/stat") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(field):
    with open(f"/proc/{PID}/status") as file:
        return next(int(line.split()[1]) / 1024 for line in file if line.startswith(field))


def overload(polite):
    """500 connections that log in for 30 seconds; what a service that verifies a key sees meanwhile."""
    _, _, body = Client().log_in(ADMIN, PASSWORD)
    key = json.loads(body)["apikey"]
    results, times = multiprocessing.Queue(), multiprocessing.Queue()
    until = time.monotonic() + 30
    storm = [multiprocessing.Process(target=hammer, args=(polite, until, results)) for _ in range(2)]
    prober = multiprocessing.Process(target=verify_until, args=(until, key, times))
    for process in [prober, *storm]:
        process.start()
    peak = 0.0
    while time.monotonic() < until:
        peak = max(peak, memory("VmRSS"))
        time.sleep(0.1)
    answers, slowest = Counter(), 0.0
    for counted, longest in [results.get() for _ in storm]:
        answers.update(counted)
        slowest = max(slowest, longest)
    taken, others = times.get()
    taken.sort()
    p99 = taken[int(len(taken) * 0.99)] * 1000
    time.sleep(3)
    before = cpu_seconds()
    time.sleep(1)
    idle = cpu_seconds() - before
    report(
        answers=dict(answers),
        verifications=len(taken),
        median=f"{statistics.median(taken) * 1000:.1f} ms",
        p99=f"{p99:.1f} ms",
        memory=f"{peak:.0f} MiB",
        slowest_refusal=f"{slowest:.2f} s",
        processor_after=f"{idle:.0%}",
    )
    if set(answers) - {200, 401, 429, 503} or others:
        fail("something else was answered")
    if p99 > (20 if polite else 100):
        fail("verifications are too slow")
    if peak > 100 or slowest > 2.5 or idle > 0.05:
        fail("too much memory, too slow a refusal, or still busy 3 s after")


{
    "guess-spoofed": guess_spoofed,
    "guess-distributed": guess_distributed,
    "timing": timing,
    "overload-polite": lambda: overload(True),
    "overload-rude": lambda: overload(False),
}[WHAT]()

"""Guesses passwords, finds users by response times, and overloads the server with logins.

Everything runs on one machine: counts and ratios hold elsewhere, times do not.
"""

import asyncio
import json
import multiprocessing
import random
import re
import statistics
import threading
import time
from collections import Counter

from server import ADMIN, ATTACK, FULL, HOST, PASSWORD, PORT, Client, cpu_seconds, fail, memory, report

# --- Guessing ---------------------------------------------------------------------------------------------------------


def schedule(seconds):
    """Returns how many attempts the throttle allows within `seconds`: 5, and one after each wait."""
    attempts, at = 5, 0.0
    while (at := at + min(2 ** (attempts - 5), 900)) <= seconds:
        attempts += 1
    return attempts


def guess(owner, guesser):
    """Sends 10,000 wrong passwords for one user with `guesser`. `owner` logs in before and during the attack."""
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
    report(seconds=f"{seconds:.1f}", checked=statuses[401], allowed=allowed, statuses=dict(statuses), owner=status)
    if statuses[401] > allowed or set(statuses) - {401, 429, 503}:
        fail("more guesses reached the hash than the schedule allows, or there was an unexpected status")
    if status != 200 or not in_attack:
        fail("the first login of the owner during the attack failed")


def guess_spoofed():
    """Guesses from one peer that is not a trusted proxy, with another spoofed address each time."""
    owner = Client("127.0.0.2")
    guess(
        lambda: owner.log_in(ADMIN, PASSWORD),
        lambda client, number: client.log_in(ADMIN, f"guess {number}", {"X-Forwarded-For": f"10.{number % 250}.2.3"})[0],
    )


def guess_distributed():
    """Guesses through a trusted proxy, from 10,000 addresses."""
    proxy = Client()

    def address(number):
        return {"X-Forwarded-For": f"198.{18 + number // 62_500}.{number // 250 % 250}.{number % 250}"}

    guess(
        lambda: proxy.log_in(ADMIN, PASSWORD, {"X-Forwarded-For": "192.0.2.1"}),
        lambda client, number: client.log_in(ADMIN, f"guess {number}", address(number))[0],
    )


# --- Timing -----------------------------------------------------------------------------------------------------------


def rank_test(one, other):
    """Returns the two-sided p of Mann and Whitney's U, by its normal approximation."""
    ranked = sorted([(value, 0) for value in one] + [(value, 1) for value in other])
    rank_sum = sum(rank for rank, (_, group) in enumerate(ranked, 1) if group == 0)
    n, m = len(one), len(other)
    u = rank_sum - n * (n + 1) / 2
    z = (u - n * m / 2) / (n * m * (n + m + 1) / 12) ** 0.5
    return 2 * (1 - statistics.NormalDist().cdf(abs(z)))


def timing():
    """Compares the times of logins that fail for different reasons: 400 for each reason, interleaved."""
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
        fail("the times reveal the reasons")


# --- Overload ---------------------------------------------------------------------------------------------------------


LOGIN = json.dumps({"user": "overload", "pass": "the right one", "device": "measure"})
LOGIN_REQUEST = (
    f"POST /api/auth HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: application/json\r\n"
    f"Content-Length: {len(LOGIN)}\r\n\r\n{LOGIN}"
).encode()


async def log_in_repeatedly(polite, until, statuses, rejections):
    """Logs in on one connection, one request after the other. A polite client waits as long as Retry-After says."""
    reader, writer = await asyncio.open_connection(HOST, PORT)
    while (start := time.monotonic()) < until:
        writer.write(LOGIN_REQUEST)
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(int(re.search(rb"(?i)content-length: (\d+)", head)[1]))
        status = int(head[9:12])
        statuses[status] += 1
        if status in (429, 503):
            rejections.append(time.monotonic() - start)
            if polite:
                await asyncio.sleep(int(re.search(rb"(?i)retry-after: (\d+)", head)[1]) * (1 + random.random()))
    writer.close()


def run_logins(polite, until, results):
    """Runs 250 of the 500 connections."""

    async def run_all():
        statuses, rejections = Counter(), []
        one = (log_in_repeatedly(polite, until, statuses, rejections) for _ in range(250))
        for outcome in await asyncio.gather(*one, return_exceptions=True):
            if outcome is not None:
                statuses[repr(outcome)] += 1
        results.put((statuses, max(rejections, default=0)))

    asyncio.run(run_all())


def verify_until(until, key, times):
    """Verifies a key 100 times a second."""
    client, taken, others = Client(), [], []
    while time.monotonic() < until:
        start = time.perf_counter()
        status, _, _ = client.request("GET", "/api/auth/verify", headers={"apikey": key})
        taken.append(time.perf_counter() - start)
        if status != 200:
            others.append(status)
        time.sleep(0.01)
    times.put((taken, others))


def overload(polite):
    """Logs in on 500 connections for 30 or 120 seconds and measures verifications meanwhile."""
    _, _, body = Client().log_in(ADMIN, PASSWORD)
    key = json.loads(body)["apikey"]
    results, times = multiprocessing.Queue(), multiprocessing.Queue()
    until = time.monotonic() + (120 if FULL else 30)
    storm = [multiprocessing.Process(target=run_logins, args=(polite, until, results)) for _ in range(2)]
    prober = multiprocessing.Process(target=verify_until, args=(until, key, times))
    for process in [prober, *storm]:
        process.start()
    peak = 0.0
    while time.monotonic() < until:
        peak = max(peak, memory("VmRSS"))
        time.sleep(0.1)
    statuses, slowest = Counter(), 0.0
    for counted, longest in [results.get() for _ in storm]:
        statuses.update(counted)
        slowest = max(slowest, longest)
    taken, others = times.get()
    taken.sort()
    p99 = taken[int(len(taken) * 0.99)] * 1000
    time.sleep(3)
    before = cpu_seconds()
    time.sleep(1)
    idle = cpu_seconds() - before
    report(
        statuses=dict(statuses),
        verifications=len(taken),
        median=f"{statistics.median(taken) * 1000:.1f} ms",
        p99=f"{p99:.1f} ms",
        memory=f"{peak:.0f} MiB",
        slowest_rejection=f"{slowest:.2f} s",
        processor_after=f"{idle:.0%}",
    )
    if set(statuses) - {200, 401, 429, 503} or others:
        fail("there was an unexpected status")
    if p99 > (20 if polite else 100):
        fail("verifications are too slow")
    if peak > 100 or slowest > 2.5 or idle > 0.05:
        fail("too much memory, a rejection too slow, or the server still busy after 3 s")


{
    "guess-spoofed": guess_spoofed,
    "guess-distributed": guess_distributed,
    "timing": timing,
    "overload-polite": lambda: overload(True),
    "overload-rude": lambda: overload(False),
}[ATTACK]()

"""Measures verification before, during and after a storm of logins."""

import multiprocessing
import threading
import time
from collections import Counter

from database import FIRST_LOGIN, LOGINS
from figures import percentile
from server import Connection, login, verify

LOGGING_IN = 48
PROBES_A_SECOND = 200
# How many seconds a client waits after a rejection. `Retry-After` has the same value.
REFUSED_SECONDS = 1
# Logins that begin during the storm end after it. So these seconds after the storm do not count as calm.
ENDING_SECONDS = 2


def probe(server, key, start, seconds, results):
    """Sends requests at a fixed rate. A request delayed by a late response is timed from when it was due."""
    connection, request, times = Connection(server), verify(key), []
    free = 0.0
    for number in range(int(seconds * PROBES_A_SECOND)):
        due = start + number / PROBES_A_SECOND
        if (pause := due - time.monotonic()) > 0:
            time.sleep(pause)
        began = due if free > due else time.monotonic()
        status = connection.ask(request)
        free = time.monotonic()
        if status != 200:
            raise RuntimeError(f"a verification got {status}")
        times.append((due - start, (free - began) * 1000))
    results.put(times)


def log_in_until(server, number, end, answers, lock):
    connection, counted = Connection(server), Counter()
    while time.monotonic() < end:
        status = connection.ask(login(number))
        counted[status] += 1
        if status != 200:
            time.sleep(REFUSED_SECONDS)
    with lock:
        answers.update(counted)


def storm(server, start, end, results):
    """Opens `LOGGING_IN` connections. On each, another user logs in again and again."""
    time.sleep(max(0, start - time.monotonic()))
    answers, lock = Counter(), threading.Lock()
    numbers = [FIRST_LOGIN + number % LOGINS for number in range(LOGGING_IN)]
    arguments = [(server, number, end, answers, lock) for number in numbers]
    threads = [threading.Thread(target=log_in_until, args=each) for each in arguments]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    results.put(answers)


def measure(server, key, calm, stormy):
    """Measures for `calm` seconds before and after a storm of `stormy` seconds. `calm` must exceed ENDING_SECONDS."""
    fork = multiprocessing.get_context("fork")
    times, answers = fork.Queue(), fork.Queue()
    start = time.monotonic() + 0.5
    begin, end = start + calm, start + calm + stormy
    prober = fork.Process(target=probe, args=(server, key, start, 2 * calm + stormy, times))
    stormer = fork.Process(target=storm, args=(server, begin, end, answers))
    prober.start()
    stormer.start()
    try:
        taken, counted = times.get(timeout=2 * calm + stormy + 60), answers.get(timeout=60)
    finally:
        for process in (prober, stormer):
            process.kill()
            process.join()
    if not counted[200]:
        raise RuntimeError(f"no login succeeded: {dict(counted)}")
    ended = calm + stormy + ENDING_SECONDS
    phases = {"before": (0, calm), "during": (calm, calm + stormy), "after": (ended, 2 * calm + stormy)}
    return {
        "phases": {
            name: summary([took for at, took in taken if since <= at < until]) for name, (since, until) in phases.items()
        },
        "answers": {str(status): count for status, count in counted.items()},
        "begin": calm,
        "end": calm + stormy,
        "times": [(round(at, 4), round(took, 4)) for at, took in taken],
    }


def summary(times):
    return {"p50_ms": percentile(times, 50), "p99_ms": percentile(times, 99), "max_ms": max(times), "probes": len(times)}

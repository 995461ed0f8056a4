"""Fills the server's log and its database with failed logins, and measures how much they grow."""

import contextlib
import os
import sqlite3
import subprocess
import threading
import time
from collections import Counter

from server import ATTACK, Client, fail, report

# A character that takes ten bytes in a log of text, and four in the database.
LONG_NAME = "\U0010fffe" * 255


def log_flood():
    """Logs in on 16 connections for 5 seconds from a network that is throttled, and measures the log meanwhile."""
    client = Client()
    for number in range(20):
        client.log_in(f"name {number}", "wrong")
    statuses, lock = Counter(), threading.Lock()
    before, until = os.path.getsize(os.environ["MEASURE_LOG"]), time.monotonic() + 5

    def work():
        client, counted = Client(), Counter()
        while time.monotonic() < until:
            counted[client.log_in(LONG_NAME, "wrong")[0]] += 1
        with lock:
            statuses.update(counted)

    workers = [threading.Thread(target=work) for _ in range(16)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    logged = os.path.getsize(os.environ["MEASURE_LOG"]) - before
    report(statuses=dict(statuses), log=f"{logged / 1000:.1f} kB")
    if set(statuses) != {429}:
        fail("there was an unexpected status")
    if logged >= 1_000_000:
        fail("the log grows too fast")


def database_bytes():
    """Returns the size of the pages in use by the counts on PostgreSQL, or by the whole database on SQLite."""
    if url := os.environ.get("MEASURE_POSTGRES"):
        query = "SELECT pg_total_relation_size('login_failures')"
        return int(subprocess.check_output(["psql", "--no-psqlrc", "--tuples-only", "--command", query, url]))
    with contextlib.closing(sqlite3.connect(os.environ["MEASURE_SQLITE"])) as database:
        pages, free, size = (database.execute(f"PRAGMA {name}").fetchone()[0] for name in PAGE_FIGURES)
        return (pages - free) * size


PAGE_FIGURES = ["page_count", "freelist_count", "page_size"]
FAILURES = 1000


def failure_storage():
    """Fails 1,000 logins, each with another name and another /64, as close together as the limits allow."""
    client, before = Client(), database_bytes()
    for number in range(FAILURES):
        # 50 for each /56 and 200 for each /48.
        site, subnet = number // 200, number % 200 // 50 * 256 + number % 50
        address = f"2001:db8:{site:x}:{subnet:x}::1"
        name = LONG_NAME[:-4] + f"{number:04}"
        status, _, _ = client.log_in(name, "wrong", {"X-Forwarded-For": address})
        if status != 401:
            fail(f"failure {number} is {status}")
    each = (database_bytes() - before) / FAILURES
    report(failures=FAILURES, bytes_each=f"{each:.0f}")
    if each >= 600:
        fail("a failed login takes too much room")


{
    "log-flood": log_flood,
    "failure-storage": failure_storage,
}[ATTACK]()

"""Fills the server's log and its database, and measures how much they grow and how the cleanup delays logins."""

import contextlib
import json
import os
import sqlite3
import statistics
import subprocess
import threading
import time
from collections import Counter

from server import ATTACK, FULL, Client, fail, report


def sql(statement):
    """Runs an SQL statement on the server's database and returns the first value of its result."""
    url = os.environ.get("DATABASE_URL")
    if url is None:
        database = sqlite3.connect(os.path.join(os.environ["SHOKO_AUTH_DATA_DIR"], "shoko-auth.db"), timeout=60)
        with contextlib.closing(database), database:
            row = database.execute(statement).fetchone()
            return row and row[0]
    psql = os.path.join(os.environ["POSTGRES_BIN"], "psql")
    command = [psql, "-XqtA", "-v", "ON_ERROR_STOP=1", url, "-c", statement]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


# A character that takes ten bytes in a log of text, and four in the database.
LONG_NAME = "\U0010fffe" * 255


def log_flood():
    """Logs in on 16 connections for 5 or 60 seconds from a throttled network, and measures the log meanwhile."""
    client = Client()
    for number in range(20):
        client.log_in(f"name {number}", "wrong")
    statuses, lock = Counter(), threading.Lock()
    before, until = os.path.getsize(os.environ["MEASURE_LOG"]), time.monotonic() + (60 if FULL else 5)

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
    if "DATABASE_URL" in os.environ:
        return int(sql("SELECT pg_total_relation_size('login_failures')"))
    pages, free, size = (sql(f"PRAGMA {name}") for name in ("page_count", "freelist_count", "page_size"))
    return (pages - free) * size


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


EXPIRED_KEYS = 1_000_000 if FULL else 200_000
KEY_COLUMNS = "user_id, device, device_folded, hash, created_at, expires_at"


def insert_expired_keys():
    values = "1, 'old', 'old', {hash}, '2001-01-01 00:00:00', '2001-01-02 00:00:00'"
    if "DATABASE_URL" in os.environ:
        values = values.format(hash="decode(md5(n::text) || md5((-n)::text), 'hex')")
        sql(f"INSERT INTO api_keys ({KEY_COLUMNS}) SELECT {values} FROM generate_series(1, {EXPIRED_KEYS}) AS n")
    else:
        values = values.format(hash="randomblob(32)")
        numbers = f"SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {EXPIRED_KEYS}"
        sql(
            f"WITH RECURSIVE numbers (n) AS ({numbers}) INSERT INTO api_keys ({KEY_COLUMNS}) "
            f"SELECT {values} FROM numbers"
        )


def sweep():
    """Logs in on many devices, one login after the other, while the server deletes 1,000,000 expired keys."""
    insert_expired_keys()

    def left():
        return int(sql("SELECT count(*) FROM api_keys WHERE expires_at < '2001-01-03 00:00:00'"))

    # The server sweeps once a minute.
    deadline = time.monotonic() + 90
    while left() == EXPIRED_KEYS:
        if time.monotonic() > deadline:
            fail("the server does not sweep")
        time.sleep(0.1)
    client, times, statuses = Client(), [], Counter()
    start = checked = time.monotonic()
    while True:
        # Counting the keys takes a while, so it must not happen too often.
        if time.monotonic() - checked > 2:
            if left() == 0:
                break
            checked = time.monotonic()
        body = json.dumps({"user": "overload", "pass": "the right one", "device": f"device {len(times) % 1000}"})
        before = time.monotonic()
        status, _, _ = client.request("POST", "/api/auth", body, {"Content-Type": "application/json"})
        times.append(time.monotonic() - before)
        statuses[status] += 1
    report(
        seconds=f"{time.monotonic() - start:.0f}",
        logins=len(times),
        median=f"{statistics.median(times) * 1000:.0f} ms",
        slowest=f"{max(times):.2f} s",
        statuses=dict(statuses),
    )
    if set(statuses) != {200}:
        fail("a login failed")
    if max(times) > 1:
        fail("a login took longer than a second")


{
    "log-flood": log_flood,
    "failure-storage": failure_storage,
    "sweep": sweep,
}[ATTACK]()

"""Uses up memory, hashing threads and locks as one client, and measures what is left for the others.

Everything runs on one machine: counts and ratios hold elsewhere, times do not.
"""

import json
import os
import socket
import threading
import time
from collections import Counter

from server import ADMIN, ATTACK, FULL, HOST, PASSWORD, PID, PORT, Client, cpu_seconds, fail, memory, report

MIB = 1024 * 1024
JSON = {"Content-Type": "application/json"}


def tcp_memory():
    """Returns the memory of all TCP sockets of this machine in MiB."""
    with open("/proc/net/sockstat") as file:
        fields = next(line.split() for line in file if line.startswith("TCP:"))
    return int(fields[fields.index("mem") + 1]) * os.sysconf("SC_PAGE_SIZE") / MIB


def unread():
    """Requests the largest file 60 times on each of 100 connections, and reads nothing. The kernel's memory must be
    free again when the server has disconnected these clients."""
    process, kernel = memory("VmRSS"), tcp_memory()
    held = []
    for _ in range(100):
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect((HOST, PORT))
        connection.sendall(60 * b"GET /swagger/swagger-ui-bundle.js HTTP/1.1\r\nHost: x\r\n\r\n")
        held.append(connection)
    time.sleep(2)
    process, at_most = memory("VmRSS") - process, tcp_memory() - kernel
    start = time.monotonic()
    while tcp_memory() - kernel > 1 and time.monotonic() - start < 70:
        time.sleep(1)
    left, seconds = tcp_memory() - kernel, time.monotonic() - start + 2
    report(
        process=f"{process:.1f} MiB",
        kernel=f"{at_most:.1f} MiB",
        kernel_afterwards=f"{left:.1f} MiB after {seconds:.0f} s",
    )
    if process > 40 or at_most > 40:
        fail("responses that are not read take more than 40 MiB")
    if left > 1:
        fail("the kernel still holds responses that are not read")


def heads():
    """Sends 125 KB of a request on each of 1,000 connections: first requests that are never complete, then complete ones
    on connections that stay open."""
    head = b"GET /health/live HTTP/1.1\r\nHost: x\r\nX-Padding: " + 125_000 * b"x"

    def is_open(connection):
        connection.setblocking(False)
        try:
            return bool(connection.recv(1))
        except BlockingIOError:
            return True
        except ConnectionError:
            return False

    def attack(end):
        held = [socket.create_connection((HOST, PORT), 10) for _ in range(1000)]
        for connection in held:
            try:
                connection.sendall(head + end)
                if end:
                    connection.recv(4096)
            except ConnectionError:
                pass
        peak, slowest = 0.0, 0.0
        for _ in range(20):
            start = time.monotonic()
            status, _, _ = Client().log_in(ADMIN, PASSWORD)
            slowest = max(slowest, time.monotonic() - start)
            if status != 200:
                fail(f"the login of another client gets {status}")
            peak = max(peak, memory("VmRSS"))
            time.sleep(0.1)
        opened = sum(is_open(connection) for connection in held)
        return f"{peak:.0f} MiB, {opened} left open, slowest login {slowest:.2f} s", peak

    (unfinished, peak), (finished, peak_after) = attack(b""), attack(b"\r\n\r\n")
    report(unfinished=unfinished, finished=finished)
    if max(peak, peak_after) > 60:
        fail("long request heads take the process beyond 60 MiB")


def others_log_in(attackers, seconds, attack):
    """Runs `attack` in a thread for each of the `attackers`, and logs in as the administrator meanwhile. Returns the
    statuses and the times in seconds of these logins, and the server's peak memory in MiB."""
    until = time.monotonic() + seconds
    statuses = Counter()

    def work(attacker):
        while time.monotonic() < until:
            statuses[attack(attacker)] += 1

    threads = [threading.Thread(target=work, args=(attacker,)) for attacker in attackers]
    for thread in threads:
        thread.start()
    owner, logins, times, peak = Client(), Counter(), [], 0.0
    time.sleep(0.5)
    while time.monotonic() < until:
        start = time.monotonic()
        status, _, _ = owner.log_in(ADMIN, PASSWORD)
        times.append(time.monotonic() - start)
        logins[status] += 1
        peak = max(peak, memory("VmRSS"))
        time.sleep(0.1)
    for thread in threads:
        thread.join()
    report(
        attack=dict(statuses),
        logins=dict(logins),
        slowest_login=f"{max(times):.2f} s",
        memory=f"{peak:.0f} MiB",
    )
    return logins, times, peak


def key_of_user():
    _, _, body = Client().log_in("overload", PASSWORD)
    return json.loads(body)["apikey"]


def patches():
    """Sends JSON Patches of 2 MB as an ordinary user on 4 connections: some with many items, some with a large text."""
    headers = {**JSON, "apikey": key_of_user()}
    tags = json.dumps([{"op": "add", "path": "/RestrictedTags", "value": [0] * 650_000}])
    avatar = json.dumps([{"op": "add", "path": "/Avatar", "value": "x" * 2_000_000}])
    attackers = [(Client(), body) for body in (tags, avatar, tags, avatar)]

    def attack(attacker):
        client, body = attacker
        return client.request("PATCH", "/api/v3/User/Current", body, headers)[0]

    logins, times, peak = others_log_in(attackers, 60 if FULL else 10, attack)
    if set(logins) != {200} or max(times) > 1 or peak > 200:
        fail("others' logins are rejected or take more than 1 s, or the memory exceeds 200 MiB")


def password_changes():
    """Sets one user's own password again and again on 60 connections."""
    headers = {**JSON, "apikey": key_of_user()}
    body = json.dumps({"Password": PASSWORD, "RevokeAPIKeys": False})

    def attack(client):
        return client.request("POST", "/api/v3/User/Current/ChangePassword", body, headers)[0]

    logins, _, _ = others_log_in([Client() for _ in range(60)], 60 if FULL else 15, attack)
    if logins[200] < 0.9 * logins.total():
        fail("fewer than 90 % of others' logins succeed")


def wake_ups():
    """Returns how often the server's threads have gone to sleep."""
    count = 0
    for thread in os.listdir(f"/proc/{PID}/task"):
        with open(f"/proc/{PID}/task/{thread}/status") as file:
            count += sum(int(line.split()[1]) for line in file if line.startswith("voluntary_ctxt_switches"))
    return count


def idle():
    """Sends nothing."""
    time.sleep(10)
    processor, wakes = cpu_seconds(), wake_ups()
    time.sleep(30)
    processor, wakes = (cpu_seconds() - processor) / 30, (wake_ups() - wakes) / 30
    report(processor=f"{processor:.2%}", wake_ups=f"{wakes:.1f}/s")
    if processor > 0.002 or wakes > 5:
        fail("the server is not idle")


{
    "unread": unread,
    "heads": heads,
    "patches": patches,
    "password-changes": password_changes,
    "idle": idle,
}[ATTACK]()

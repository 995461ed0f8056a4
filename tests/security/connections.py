"""A client of scripts/test-connections, which runs it in a network namespace.

    connections.py hold HOST PORT NUMBER [SOURCE...]
        Opens connections one after the other, from each source address in turn, and requests something on each. Prints
        how many are still open, keeps them open, and exits when its standard input is closed.
    connections.py begin HOST PORT NUMBER [SOURCE...]
        Like `hold`, but also begins a second request on each connection and never completes it, so none is idle.
    connections.py pipeline HOST PORT
        Sends a login to Zettelstore's dialect, and as many further requests as the server accepts before its response.
        Prints how many kilobytes of them it has sent, and exits when its standard input is closed.
    connections.py log-in HOST PORT PASSWORD
        Checks the server's health and logs in, each on its own connection. Prints how many seconds the slower request
        took.
"""

import base64
import http.client
import json
import select
import socket
import sys
import time

TIMEOUT = 10


def connect(host, port, source, begins):
    """Returns a connection, or None if the server closes it. If `begins` is set, its second request has begun."""
    try:
        connection = socket.create_connection((host, port), TIMEOUT, (source, 0) if source else None)
        connection.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
        if not connection.recv(4096).startswith(b"HTTP/1.1 200"):
            return None
        if begins:
            connection.sendall(b"GET /health/live HTTP/1.1\r\n")
        return connection
    except ConnectionError:
        return None


def is_open(connection):
    readable, _, _ = select.select([connection], [], [], 0)
    try:
        return not readable or bool(connection.recv(4096))
    except ConnectionError:
        return False


def hold(host, port, number, sources, begins):
    sources = sources or [None]
    held = [connect(host, port, sources[each % len(sources)], begins) for each in range(number)]
    print(sum(connection is not None and is_open(connection) for connection in held), flush=True)
    sys.stdin.read()


def pipeline(host, port):
    connection = socket.create_connection((host, port), TIMEOUT)
    credentials = base64.b64encode(b"nobody:wrong")
    connection.sendall(b"POST /a HTTP/1.1\r\nHost: x\r\nAuthorization: Basic " + credentials + b"\r\n\r\n")
    connection.settimeout(0.5)
    request = b"GET /health/live HTTP/1.1\r\nHost: x\r\nX-Padding: " + 900 * b"x" + b"\r\n\r\n"
    sent = 0
    try:
        while sent < 64 * 1024 * 1024:
            sent += connection.send(request[sent % len(request) :])
    except TimeoutError:
        pass
    print(sent // 1024, flush=True)
    sys.stdin.read()


def seconds(host, port, method, path, body=None):
    """Sends a request that must succeed, and returns how long it took."""
    start = time.monotonic()
    connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT)
    connection.request(method, path, body, {"Content-Type": "application/json"})
    status = connection.getresponse().status
    assert status == 200, f"{method} {path}: {status}"
    return time.monotonic() - start


def log_in(host, port, password):
    login = json.dumps({"user": "Default", "pass": password, "device": "d"})
    slowest = max(
        seconds(host, port, "GET", "/health/ready"),
        seconds(host, port, "POST", "/api/auth", login),
    )
    print(f"{slowest:.2f}")


if __name__ == "__main__":
    command, host, port, *arguments = sys.argv[1:]
    if command in ("hold", "begin"):
        hold(host, int(port), int(arguments[0]), arguments[1:], begins=command == "begin")
    elif command == "pipeline":
        pipeline(host, int(port))
    else:
        log_in(host, int(port), arguments[0])

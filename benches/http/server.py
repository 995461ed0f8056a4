"""Starts and stops servers of this repository."""

import http.client
import json
import os
import re
import socket
import subprocess
import tempfile
import time
from pathlib import Path

PROGRAMS = Path(os.environ.get("BENCH_PROGRAMS", ""))
PROGRAM = PROGRAMS / "shoko-auth"
# Every other setting has its default. The log contains warnings and the address on which the server listens.
SETTINGS = {
    "SHOKO_AUTH_ADMIN_PASSWORD": "the right one",
    # In large databases, users have more keys than the server allows by default.
    "SHOKO_AUTH_MAX_KEYS_PER_USER": "1000000",
    "RUST_LOG": "warn,shoko_auth::cli::serve=info",
}
# In seconds. The limit only stops a server that hangs.
START_TIMEOUT = 120


class Server:
    """A running server with a database, or the floor if there is no database."""

    started = []

    def __init__(self, database=None):
        self.started.append(self)
        self.database = database
        self.port = None
        self.process = None
        self.start()

    def environment(self):
        plain = {name: value for name, value in os.environ.items() if not name.startswith("SHOKO_AUTH_")}
        listen = {"SHOKO_AUTH_LISTEN": f"127.0.0.1:{self.port or 0}"}
        return plain | SETTINGS | listen | self.database.environment

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def start(self):
        """Starts the server on a port that the system chooses, so that no other program can take it."""
        self.port = None
        self.log = tempfile.NamedTemporaryFile()
        if self.database:
            self.process = subprocess.Popen([PROGRAM, "serve"], env=self.environment(), stdout=self.log, stderr=self.log)
        else:
            floor = [PROGRAMS / "examples/floor", "127.0.0.1:0"]
            self.process = subprocess.Popen(floor, stdout=self.log, stderr=self.log)
        end = time.monotonic() + START_TIMEOUT
        while time.monotonic() < end and self.process.poll() is None:
            listening = re.search(r"listening on http://127\.0\.0\.1:(\d+)/", self.read_log())
            if listening:
                self.port = int(listening[1])
                self.get("/health/ready" if self.database else "/api/auth/verify")
                return
            time.sleep(0.05)
        raise RuntimeError(f"the server did not start: {self.read_log()}")

    def read_log(self):
        return Path(self.log.name).read_text()

    def stop(self):
        if self.process:
            self.process.terminate()
            self.process.wait()

    @classmethod
    def stop_all(cls):
        for server in cls.started:
            server.stop()

    def restart(self):
        """Restarts the server. Its key cache is then empty."""
        self.stop()
        self.start()

    def command(self, *arguments):
        """Runs a command on the same database."""
        subprocess.run([PROGRAM, *arguments], env=self.environment(), check=True, stdout=subprocess.DEVNULL)

    def get(self, path):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request("GET", path)
        status = connection.getresponse().status
        connection.close()
        if status != 200:
            raise RuntimeError(f"{path} returned {status}")

    def memory(self):
        """Returns the resident memory, now and at its peak, in MiB."""
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as file:
            fields = dict(line.split(":", 1) for line in file)
        return {name: int(fields[field].split()[0]) / 1024 for name, field in [("now", "VmRSS"), ("most", "VmHWM")]}

    def version(self):
        return subprocess.run([PROGRAM, "--version"], capture_output=True, text=True, check=True).stdout.strip()


class Connection:
    """A keep-alive connection that sends bytes and returns the status, with as little work as possible."""

    def __init__(self, server):
        self.socket = socket.create_connection(("127.0.0.1", server.port), timeout=30)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, request):
        self.socket.sendall(request)
        answer = self.socket.recv(65536)
        while b"\r\n\r\n" not in answer:
            answer += self.more()
        head, _, body = answer.partition(b"\r\n\r\n")
        length = next((line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), b":0")
        missing = int(length.split(b":")[1]) - len(body)
        while missing > 0:
            missing -= len(self.more())
        return int(head[9:12])

    def more(self):
        data = self.socket.recv(65536)
        if not data:
            raise RuntimeError("the server has closed the connection")
        return data


def verify(key):
    return f"GET /api/auth/verify HTTP/1.1\r\nHost: bench\r\napikey: {key}\r\n\r\n".encode()


def revoke(key):
    return f"DELETE /api/auth?apikey={key} HTTP/1.1\r\nHost: bench\r\n\r\n".encode()


def login(number):
    body = json.dumps({"user": f"user{number}", "pass": "the right one", "device": "bench"})
    head = f"POST /api/auth HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    return f"{head}\r\n\r\n{body}".encode()

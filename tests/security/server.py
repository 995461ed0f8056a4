"""The server under attack: a client, the server's processor time and memory, and how a result is reported.

The programs that use this module are called with ATTACK URL PASSWORD PID. PASSWORD is that of the administrator
"Default" and of the user "overload", and PID is the server's process.
"""

import http.client
import json
import os
import sys
from urllib.parse import urlsplit

ATTACK, URL, PASSWORD, PID = sys.argv[1:5]
HOST, PORT = urlsplit(URL).hostname, urlsplit(URL).port
ADMIN = "Default"
# Whether storms have their full length and size.
FULL = "MEASURE_FULL" in os.environ


class Client:
    """One connection from an address of this machine."""

    def __init__(self, source="127.0.0.1"):
        self.source = source
        self.connection = None

    def request(self, method, path, body=None, headers=None):
        """Returns status, headers and body. Reconnects if the server has closed the connection."""
        for attempt in range(2):
            if self.connection is None:
                self.connection = http.client.HTTPConnection(HOST, PORT, timeout=30, source_address=(self.source, 0))
            try:
                self.connection.request(method, path, body, headers or {})
                response = self.connection.getresponse()
                return response.status, response.headers, response.read()
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


def cpu_seconds():
    with open(f"/proc/{PID}/stat") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(field):
    with open(f"/proc/{PID}/status") as file:
        return next(int(line.split()[1]) / 1024 for line in file if line.startswith(field))

"""Sends the requests of Zettelstore's Go client: a login, then a renewal before every call.

Called by scripts/test-clients as `zettelstore.py URL USER PASSWORD`. Compares the times of renewals and verifications.
"""

import http.client
import re
import statistics
import sys
import time
from urllib.parse import urlencode, urlsplit

URL, USER, PASSWORD = sys.argv[1:]
CALLS = 1000
connection = http.client.HTTPConnection(urlsplit(URL).netloc, timeout=10)


def request(method, path, body=None, headers=None):
    start = time.perf_counter()
    connection.request(method, path, body, headers or {})
    response = connection.getresponse()
    text = response.read().decode()
    return response.status, text, time.perf_counter() - start


def token(status, text):
    """Returns the scheme, the token and its lifetime in seconds, as the client reads them."""
    found = re.fullmatch(r'\("([A-Za-z]+)" "([^"\\]{4,})" (\d+)\)', text)
    assert status == 200 and found, (status, text)
    return found[1], found[2], int(found[3])


form = urlencode({"username": USER, "password": PASSWORD})
status, text, _ = request("POST", "/a", form, {"Content-Type": "application/x-www-form-urlencoded"})
scheme, value, lifetime = token(status, text)
assert (scheme, lifetime) == ("Bearer", 600), text
renewals, verifications = [], []
for _ in range(CALLS - 1):
    status, text, took = request("PUT", "/a", headers={"Authorization": f"{scheme} {value}"})
    scheme, value, _ = token(status, text)
    renewals.append(took)
    status, _, took = request("GET", "/api/auth/verify", headers={"Authorization": f"{scheme} {value}"})
    assert status == 200, status
    verifications.append(took)
status, _, _ = request("POST", "/x?cmd=authenticated", headers={"Authorization": f"{scheme} {value}"})
assert status == 204, status


def p99(times):
    return sorted(times)[int(len(times) * 0.99)] * 1000


print(f"ok      {CALLS} calls: a renewal takes {statistics.median(renewals) * 1000:.2f} ms (p99 {p99(renewals):.2f}), "
      f"a verification {statistics.median(verifications) * 1000:.2f} ms (p99 {p99(verifications):.2f})")
# Medians, because the slowest calls of a busy machine say nothing about the server.
assert statistics.median(renewals) <= 2 * statistics.median(verifications), "a renewal takes twice as long as a verification"

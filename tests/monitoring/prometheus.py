"""Parts of scripts/test-metrics: load on a server, a scrape, and the queries of the dashboard.

load URL SECONDS        logs in and verifies keys, valid and invalid ones
fetch URL               prints what the URL returns
query URL DASHBOARD     runs the queries of the dashboard on a Prometheus server, and fails if one returns no data
"""

import json
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

# The values that Grafana inserts for its variables.
VARIABLES = {"$__rate_interval": "30s", "$instance": ".*"}


def status(request):
    try:
        with urllib.request.urlopen(request) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def log_in(url, password, device):
    body = json.dumps({"user": "Default", "pass": password, "device": device}).encode()
    headers = {"Content-Type": "application/json"}
    return status(urllib.request.Request(url + "/api/auth", body, headers))


def load(url, seconds):
    end = time.monotonic() + float(seconds)
    code, body = log_in(url, "Tr0mbone-lake", "load")
    assert code == 200, body
    key = json.loads(body)["apikey"]
    verifications = 0
    while time.monotonic() < end:
        for presented, expected in ((key, 200), ("00000000-0000-4000-8000-000000000000", 401)):
            request = urllib.request.Request(url + "/api/auth/verify", headers={"apikey": presented})
            code, body = status(request)
            assert code == expected, (code, body)
            verifications += 1
        if verifications % 200 == 0:
            log_in(url, "Tr0mbone-lake", "load")
        time.sleep(0.005)
    code, _ = log_in(url, "wrong", "load")
    assert code == 401, code
    print(f"{verifications} verifications")


def fetch(url):
    code, body = status(url)
    assert code == 200, code
    sys.stdout.write(body.decode())


def query(url, dashboard):
    with open(dashboard, encoding="utf-8") as file:
        panels = json.load(file)["panels"]
    expressions = [target["expr"] for panel in panels for target in panel["targets"]]
    empty = []
    for expression in expressions:
        for name, value in VARIABLES.items():
            expression = expression.replace(name, value)
        code, body = status(f"{url}/api/v1/query?" + urllib.parse.urlencode({"query": expression}))
        if code != 200 or not json.loads(body)["data"]["result"]:
            empty.append(f"{expression}: {body.decode()}")
    print(f"{len(expressions) - len(empty)} of {len(expressions)} queries return data")
    if empty:
        sys.exit("\n".join(empty))


if __name__ == "__main__":
    {"load": load, "fetch": fetch, "query": query}[sys.argv[1]](*sys.argv[2:])

"""Prints how many valid requests of each operation had a 2xx response. An operation with none is a failure.

Called by scripts/test-contract as `report.py URL FILE` with the URL of the OpenAPI document and the file of schemathesis's
JSON report.
"""

import json
import sys
from urllib.request import urlopen

METHODS = {"get", "put", "post", "delete", "patch"}

# These operations serve only trusted proxies, and Zulip's development login, which this check uses, permits none.
# tests/contract/cases-gateway.json has their cases.
ONLY_FOR_PROXIES = {
    "GET /api/authz/auth-request",
    "GET /api/authz/ext-authz/{path}",
    "GET /api/authz/forward-auth",
}

url, file = sys.argv[1:]
with urlopen(url, timeout=30) as response:
    document = json.load(response)
with open(file) as opened:
    report = json.load(opened)
operations = [
    f"{method.upper()} {path}" for path, item in document["paths"].items() for method in item if method in METHODS
]
never = []
for operation in operations:
    phases = report["valid_rates"].get(operation, {}).values()
    accepted = sum(phase["accepted"] for phase in phases)
    valid = sum(sum(phase.values()) for phase in phases)
    print(f"{accepted:6} of {valid:6}  {accepted / max(valid, 1):4.0%}  {operation}")
    if operation in ONLY_FOR_PROXIES:
        if accepted:
            sys.exit(f"{operation} has served a client that is no proxy")
    elif not accepted:
        never.append(operation)
cases, failures = report["test_cases"], len(report["failures"])
print(
    f"{cases['generated']} requests, {failures} kinds of failures, {report['filtered'] or 0} ignored by the hooks, "
    f"{report['running_time']:.0f} s, seed {report['seed']}"
)
if never:
    sys.exit(f"never 2xx: {', '.join(never)}")

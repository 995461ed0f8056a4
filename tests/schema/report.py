"""Prints what schemathesis saw: how many valid requests of each operation were answered 2xx. None at all is a failure.

Called by scripts/test-contract as `report.py URL FILE`: of the OpenAPI document, and of schemathesis's report in JSON.
"""

import json
import sys
from urllib.request import urlopen

METHODS = {"get", "put", "post", "delete", "patch"}

url, file = sys.argv[1:]
with urlopen(url, timeout=30) as answer:
    document = json.load(answer)
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
    if not accepted:
        never.append(operation)
cases, failures = report["test_cases"], len(report["failures"])
print(
    f"{cases['generated']} requests, {failures} kinds of failures, {report['filtered'] or 0} let pass by the hooks, "
    f"{report['running_time']:.0f} s, seed {report['seed']}"
)
if never:
    sys.exit(f"never answered 2xx: {', '.join(never)}")

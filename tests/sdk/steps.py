"""The arguments and steps of the drivers of the Python SDKs. scripts/test-sdk explains them."""

import sys
import time
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path

URL, PASSWORD, EXPIRE = sys.argv[1:]


@contextmanager
def step(name):
    """Prints the name of the step, or exits if the step fails."""
    try:
        yield
    except Exception as error:
        sys.exit(f"FAILED  {name}: {type(error).__name__}: {error}")
    print(f"ok      {name}")


def check(condition, message):
    if not condition:
        raise AssertionError(message)


def expire_key(expires_at):
    """Checks that a key that was issued for a minute expires within this minute, and waits until it has expired."""
    left = (expires_at - datetime.now(timezone.utc)).total_seconds()
    check(0 < left <= 60, f"the key expires in {left} seconds")
    Path(EXPIRE).touch()
    while Path(EXPIRE).exists():
        time.sleep(0.05)

"""Measures how long a key is still accepted after another process has revoked it."""

import time

from figures import percentile
from server import Connection, revoke, verify


def until_refused(connection, request):
    """Returns the milliseconds until the first rejection, and the number of accepted requests before it."""
    start, accepted = time.perf_counter(), 0
    while (status := connection.ask(request)) == 200:
        accepted += 1
        if time.perf_counter() - start > 10:
            raise RuntimeError("a revoked key is still accepted after ten seconds")
    if status != 401:
        raise RuntimeError(f"a revoked key got {status}")
    return (time.perf_counter() - start) * 1000, accepted


def measure(server, keys, revoke_key):
    """Revokes each of the `keys`, pairs of an id and a key. `revoke_key(id, key)` must return after the revocation."""
    connection, times, late = Connection(server), [], 0
    for number, key in keys:
        request = verify(key)
        # The key is verified twice, so that the second request is a cache hit.
        for _ in range(2):
            if (status := connection.ask(request)) != 200:
                raise RuntimeError(f"a key got {status} before it was revoked")
        revoke_key(number, key)
        took, accepted = until_refused(connection, request)
        times.append(took)
        late += accepted > 0
    figures = {f"p{percent}_ms": percentile(times, percent) for percent in (50, 99)}
    return {**figures, "max_ms": max(times), "revocations": len(times), "seen_late": late, "times_ms": times}


def by_another_node(other):
    connection = Connection(other)

    def revoke_key(_, key):
        if (status := connection.ask(revoke(key))) != 200:
            raise RuntimeError(f"a revocation got {status}")

    return revoke_key

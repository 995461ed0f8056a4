"""Makes one experiment: `python3 tests/faults [--long] [--seed N] PROGRAM EXPERIMENT`, called by scripts/test-faults."""

import argparse
import asyncio
import secrets
import sys
import tempfile
import time

import experiments
from client import Lost
from lab import Lab
from model import Broken, Unfit

# The measures of each: of the short form and of the long one.
MEASURES = {
    "sabotage": (experiments.sabotage, {"number": (100, 1_000)}),
    "kill-sqlite": (experiments.kill, {"times": (5, 100)}),
    "kill-postgres": (experiments.kill, {"times": (5, 100)}),
    "postgres-away": (experiments.postgres_away, {"times": (1, 10), "seconds": (4, 30)}),
    "disk-full": (experiments.disk_full, {"times": (2, 20)}),
    "file-limit": (experiments.file_limit, {"times": (2, 20)}),
    "slow-clients": (experiments.slow_clients, {"number": (1_000, 10_000), "seconds": (12, 60)}),
    "interleavings-sqlite": (experiments.interleavings, {"number": (1_000, 100_000)}),
    "interleavings-postgres": (experiments.interleavings, {"number": (1_000, 100_000)}),
    "two-nodes-sqlite": (experiments.two_nodes, {"number": (1_000, 20_000)}),
    "two-nodes-postgres": (experiments.two_nodes, {"number": (1_000, 20_000)}),
}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--long", action="store_true")
    parser.add_argument("--seed", type=int, default=secrets.randbits(32))
    parser.add_argument("program")
    parser.add_argument("experiment", choices=MEASURES)
    options = parser.parse_args()
    experiment, measures = MEASURES[options.experiment]
    measures = {what: long if options.long else short for what, (short, long) in measures.items()}
    print(f"{options.experiment}: seed {options.seed}", flush=True)
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        lab = Lab(options.program, folder, on_postgres="postgres" in options.experiment)
        try:
            figures = asyncio.run(experiment(lab, options.seed, **measures))
        except (Broken, Lost, Unfit) as fault:
            sys.exit(f"BROKEN: {type(fault).__name__}: {fault}")
    figures = ", ".join(f"{what} {figure}" for what, figure in figures.items())
    print(f"    held in {time.monotonic() - start:.0f} s: {figures}", flush=True)


main()

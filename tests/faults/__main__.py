"""Runs one experiment: `python3 tests/faults [--long] [--seed N] [--defect] PROGRAM EXPERIMENT`. See scripts/test-faults."""

import argparse
import asyncio
import secrets
import sys
import tempfile
import time

import clocks
import experiments
import languages
import postgres_nodes
import rolling
from client import Lost
from lab import Lab
from model import Broken, Unavailable, Unseen

# For each experiment: its function, its parameters in the short and the long form, and the defect that it must find.
EXPERIMENTS = {
    "kill-sqlite": (experiments.kill, {"times": (5, 100)}, "lost writes"),
    "kill-postgres": (experiments.kill, {"times": (5, 100)}, "lost writes"),
    "postgres-away": (experiments.postgres_away, {"times": (1, 10), "seconds": (4, 30)}, "lost writes"),
    "disk-full": (experiments.disk_full, {"times": (2, 20)}, "lost writes"),
    "file-limit": (experiments.file_limit, {"times": (2, 20)}, "lost writes"),
    "slow-clients": (experiments.slow_clients, {"number": (1_000, 10_000), "seconds": (12, 60)}, "too few connections"),
    "interleavings-sqlite": (experiments.interleavings, {"number": (1_000, 100_000)}, "undone revocations"),
    "interleavings-postgres": (experiments.interleavings, {"number": (1_000, 100_000)}, "undone revocations"),
    "two-nodes-sqlite": (experiments.two_nodes, {"number": (1_000, 20_000)}, "lost notifications"),
    "two-nodes-postgres": (experiments.two_nodes, {"number": (1_000, 20_000)}, "lost notifications"),
    "clocks-sqlite": (clocks.on_sqlite, {}, "wrong clock"),
    "clocks-postgres": (clocks.on_postgres, {}, "wrong clock"),
    "standby-postgres": (postgres_nodes.standby, {"times": (1, 10)}, None),
    "stopped-postgres": (postgres_nodes.stopped, {}, None),
    "pooler-postgres": (postgres_nodes.pooler, {"number": (150, 10_000), "revocations": (150, 3_000)}, "lost notifications"),
    "rolling-postgres": (rolling.rolling, {"rounds": (2, 10)}, None),
    "languages-postgres": (languages.languages, {}, None),
}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--long", action="store_true")
    parser.add_argument("--seed", type=int, default=secrets.randbits(32))
    parser.add_argument("--defect", action="store_true", help="plant a defect that the experiment must find")
    parser.add_argument("program")
    parser.add_argument("experiment", choices=EXPERIMENTS)
    options = parser.parse_args()
    run, parameters, defect = EXPERIMENTS[options.experiment]
    if options.defect and defect is None:
        print(f"{options.experiment}: there is no defect to plant")
        return
    parameters = {name: long if options.long else short for name, (short, long) in parameters.items()}
    planted = f", with {defect}" if options.defect else ""
    print(f"{options.experiment}{planted}: seed {options.seed}", flush=True)
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        on_postgres = "postgres" in options.experiment
        lab = Lab(options.program, folder, on_postgres, defect if options.defect else None)
        try:
            figures = asyncio.run(run(lab, options.seed, **parameters))
        except Broken as broken:
            if not options.defect:
                sys.exit(f"BROKEN: {broken}")
            figures = {"found:": broken}
        except Unseen as unseen:
            sys.exit(f"UNSEEN, so the experiment proves nothing: {unseen}")
        except (Lost, Unavailable) as error:
            sys.exit(f"BROKEN: a request that must succeed failed: {error}")
        else:
            if options.defect:
                sys.exit("UNSEEN, so the experiment proves nothing: it did not find the defect")
    figures = ", ".join(f"{name} {figure}" for name, figure in figures.items())
    print(f"    ok in {time.monotonic() - start:.0f} s: {figures}", flush=True)


main()

"""Runs the experiment: `python3 tests/failover [OPTION...] PROGRAM`. See scripts/test-failover."""

import argparse
import asyncio
import os
import secrets
import sys
import tempfile
import time
from pathlib import Path

# The model, the clients and the storm.
sys.path.append(str(Path(__file__).parent.parent / "faults"))

# pylint: disable=wrong-import-position
from client import Lost  # noqa: E402
from cluster import Cluster  # noqa: E402
from model import Broken, Unavailable, Unseen  # noqa: E402
from rounds import Rounds  # noqa: E402
from server import Server  # noqa: E402


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--first", type=int, default=1, help="the number of the first round, which selects its fault")
    parser.add_argument("--seed", type=int, default=secrets.randbits(32))
    parser.add_argument("--strict", action="store_true", help="set synchronous_mode_strict")
    parser.add_argument("--asynchronous", action="store_true", help="switch synchronous_mode off, and count the losses")
    parser.add_argument("--logs", type=Path, help="the folder for the logs of etcd, Patroni and PostgreSQL")
    parser.add_argument("program")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="failover-", dir="/tmp") as folder:
        os.chmod(folder, 0o755)
        try:
            asyncio.run(experiment(options, folder))
        except Broken as broken:
            sys.exit(f"BROKEN: {broken}")
        except Unseen as unseen:
            sys.exit(f"UNSEEN, so the experiment proves nothing: {unseen}")
        except (Lost, Unavailable) as error:
            sys.exit(f"BROKEN: a request that must succeed failed: {error!r}")


async def experiment(options, folder):
    mode = "asynchronous" if options.asynchronous else "synchronous, strict" if options.strict else "synchronous"
    print(f"three members, {mode}: seed {options.seed}", flush=True)
    programs = Path(os.environ["POSTGRES_PROGRAMS"])
    cluster = await asyncio.to_thread(Cluster, folder, programs, not options.asynchronous, options.strict)
    data = Path(folder) / "server"
    data.mkdir()
    try:
        with Server(options.program, data, cluster.url()) as server:
            await asyncio.to_thread(server.start)
            with server.second_node() as second:
                await play(options, Rounds(cluster, [server, second], options))
    finally:
        cluster.stop(options.logs)


async def play(options, rounds):
    for number in range(options.first - 1, options.first - 1 + options.rounds):
        print(f"{number + 1:3}. {await rounds.play(number)}", flush=True)
    print(await rounds.summary(), flush=True)


main()

"""Other login services. A kit, a folder with several scripts, installs, starts, loads and stops them."""

import json
import os
import subprocess

from database import ROUNDS

# The number of connections for the peers and for shoko-auth. The kit uses wrk with one thread.
CONNECTIONS = {"verify": 16, "login": 4}
PEERS = ["knox", "betterauth", "pocketbase"]
# The peer whose password hash costs as much as that of shoko-auth.
EQUAL_COST = "knox"


class Kit:
    """The folder with install.sh, start.sh, bench.sh and stop.sh."""

    def __init__(self, folder):
        self.folder = folder
        self.environment = os.environ | {"PEER_PBKDF2": str(ROUNDS)}

    def run(self, script, *arguments):
        command = [self.folder / script, *map(str, arguments)]
        run = subprocess.run(command, env=self.environment, stdout=subprocess.PIPE, text=True, check=True)
        return run.stdout

    def start(self):
        self.run("install.sh", *PEERS)
        for peer in PEERS:
            self.run("start.sh", peer)

    def stop(self):
        self.run("stop.sh", "all")

    def load(self, peer, what, seconds):
        output = self.run("bench.sh", peer, what, CONNECTIONS[what], seconds)
        result = json.loads(output.splitlines()[-1])
        if result["not_2xx"] or result["socket_errors"] or not result["requests"]:
            raise RuntimeError(f"unexpected responses: {result}")
        return result

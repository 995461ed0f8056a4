"""What experiments are made with: servers, and a PostgreSQL that can be broken."""

import os
import secrets
import signal
import subprocess
import time
from pathlib import Path

from server import Server

USER = "shoko_auth_test"


class Lab:
    """Makes servers whose data is in `folder`, on SQLite or on PostgreSQL."""

    def __init__(self, program, folder, on_postgres):
        self.program, self.folder = program, folder
        self.postgres = Postgres() if on_postgres else None

    def server(self, folder=None):
        database = self.postgres and self.postgres.new_database()
        return Server(self.program, folder or self.folder, database)


class Postgres:
    """The throw-away PostgreSQL of scripts/lib.sh, to be killed and started again."""

    def __init__(self):
        self.programs, self.folder = Path(os.environ["POSTGRES_PROGRAMS"]), Path(os.environ["POSTGRES_FOLDER"])

    def run(self, program, *arguments):
        # As root it runs as the owner of its folder.
        owner = self.folder.stat()
        other = {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []} if os.geteuid() == 0 else {}
        command = [self.programs / program, *arguments]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, **other)
        if done.returncode:
            raise RuntimeError(f"{program}: {done.stderr}")

    def new_database(self):
        """Its URL."""
        name = f"test_{secrets.token_hex(4)}"
        self.run("createdb", f"--host={self.folder}", f"--username={USER}", name)
        return f"postgres://{USER}@{str(self.folder).replace('/', '%2F')}/{name}"

    def kill(self):
        """`kill -9` to all its processes at once."""
        parent = int((self.folder / "data" / "postmaster.pid").read_text().split()[0])
        children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        for process in [parent, *map(int, children)]:
            os.kill(process, signal.SIGKILL)
        while Path(f"/proc/{parent}").exists():
            time.sleep(0.01)

    def start(self):
        """Returns when it takes connections."""
        self.run("pg_ctl", "start", "--wait", "--pgdata=data", "--log=log")

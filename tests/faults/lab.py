"""Servers for the experiments, and a PostgreSQL that can be killed."""

import os
import secrets
import signal
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from server import Server

USER = "shoko_auth_test"


class Lab:
    """Creates servers with their data in `folder`, on SQLite or PostgreSQL, and plants a defect in them if one is given."""

    def __init__(self, program, folder, on_postgres, defect=None):
        self.program, self.folder, self.defect = program, folder, defect
        self.postgres = Postgres() if on_postgres else None
        # The port of a pooler between the servers and PostgreSQL, if there is one.
        self.pooler = None

    def server(self, folder=None):
        url = self.postgres and self.postgres.new_database()
        if self.pooler:
            url = f"postgres://{USER}@127.0.0.1:{self.pooler}/{url.rsplit('/', 1)[1]}"
        return Server(self.program, folder or self.folder, url)

    def sql(self, server, statements):
        """Runs SQL statements on a server's database as another program would."""
        if server.url:
            self.postgres.run("psql", "--quiet", "--set=ON_ERROR_STOP=1", f"--command={statements}", server.url)
        else:
            import sqlite3

            with sqlite3.connect(server.database, timeout=60) as database:
                database.executescript(statements)


class Postgres:
    """The throw-away PostgreSQL of scripts/lib.sh."""

    def __init__(self):
        self.programs, self.folder = Path(os.environ["POSTGRES_PROGRAMS"]), Path(os.environ["POSTGRES_FOLDER"])

    def owner(self):
        """Returns the arguments of `subprocess` that run a program as the owner of the folder.

        PostgreSQL refuses to run as root.
        """
        owner = self.folder.stat()
        return {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []} if os.geteuid() == 0 else {}

    def run(self, program, *arguments):
        command = [self.programs / program, *arguments]
        # Not a pipe: a server that `pg_ctl` starts would keep it open.
        with tempfile.TemporaryFile("w+") as errors:
            done = subprocess.run(command, cwd=self.folder, stdout=errors, stderr=errors, text=True, **self.owner())
            errors.seek(0)
            done.stderr = errors.read()
        if done.returncode:
            raise RuntimeError(f"{program}: {done.stderr}")

    def new_database(self):
        """Creates a database and returns its URL."""
        name = f"test_{secrets.token_hex(4)}"
        self.run("createdb", f"--host={self.folder}", f"--username={USER}", name)
        return f"postgres://{USER}@{str(self.folder).replace('/', '%2F')}/{name}"

    def configure(self, url, changes):
        """Changes settings of the server, such as `SET name = value`."""
        statements = [f"ALTER SYSTEM {change}" for change in changes] + ["SELECT pg_reload_conf()"]
        self.run("psql", "--quiet", "--set=ON_ERROR_STOP=1", *[f"--command={text}" for text in statements], url)

    def close_connections(self, url, name):
        """Closes the connections to a database."""
        where = f"datname = '{name}' AND pid <> pg_backend_pid()"
        self.run("psql", "--quiet", f"--command=SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {where}", url)

    def signal(self, number):
        """Sends a signal to all of its processes at once. Returns the parent of the others."""
        parent = int((self.folder / "data" / "postmaster.pid").read_text().split()[0])
        children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        for process in [parent, *map(int, children)]:
            # A child may have exited since.
            with suppress(ProcessLookupError):
                os.kill(process, number)
        return parent

    def kill(self):
        """Sends `kill -9` to all of its processes at once."""
        parent = self.signal(signal.SIGKILL)
        while Path(f"/proc/{parent}").exists():
            time.sleep(0.01)

    def start(self):
        """Starts the server and returns when it accepts connections."""
        self.run("pg_ctl", "start", "--wait", "--pgdata=data", "--log=log")

"""The program under test, as a process."""

import asyncio
import os
import re
import resource
import signal
import sqlite3
import subprocess
import tempfile
import time
from pathlib import Path

PASSWORD = "the first password"
# In seconds. The limit only stops a run that hangs.
START_TIMEOUT = 120


class Server:
    """A server with its data in `folder`, on the PostgreSQL database at `url` or else on SQLite."""

    # Whether a change holds for all later requests at once, because one process serves them.
    is_one_node = True

    def __init__(self, program, folder, url=None):
        self.program, self.folder, self.url, self.process = program, Path(folder), url, None
        # Set while the server runs. The system chooses a new port for each start, so that no other program can take it.
        self.port = None
        own_settings = ("SHOKO_AUTH_", "DATABASE_URL", "RUST_LOG")
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith(own_settings)} | {
            "SHOKO_AUTH_LISTEN": "127.0.0.1:0",
            "SHOKO_AUTH_DATA_DIR": str(self.folder),
            "SHOKO_AUTH_SECRET_KEY": "c2l4dGVlbiBieXRlcywgYW5kIHNpeHRlZW4gbW9yZSE=",
            "SHOKO_AUTH_ADMIN_PASSWORD": PASSWORD,
            "SHOKO_AUTH_PBKDF2_ROUNDS": "1000",
            # The experiments also log in with passwords that may be outdated.
            "SHOKO_AUTH_LOGIN_THROTTLE": "off",
            # The second part logs the address of the server.
            "RUST_LOG": "warn,shoko_auth::cli::serve=info",
            **({"DATABASE_URL": url} if url else {}),
        }
        # Not in the data folder, which may be full.
        self.log = tempfile.NamedTemporaryFile(prefix="server-", suffix=".log")

    @property
    def database(self):
        """The file of the SQLite database."""
        return self.folder / "shoko-auth.db"

    def start(self, open_files=None):
        """Starts the server and returns how many seconds that took. `open_files` limits the number of open files."""
        start = time.monotonic()
        logged = self.log_size()
        limit = None if open_files is None else lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (open_files, open_files))
        # Python ignores SIGXFSZ, and the server inherits that. With `restore_signals` the signal would kill the server.
        self.process = subprocess.Popen(
            [self.program, "serve"],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=self.log,
            restore_signals=False,
            preexec_fn=limit,
        )
        while True:
            listening = re.search(rb"listening on http://127\.0\.0\.1:(\d+)/", self.read_log(logged))
            if listening:
                break
            if self.process.poll() is not None or time.monotonic() - start > START_TIMEOUT:
                raise RuntimeError(f"the server did not start: {self.read_log(0)[-2000:].decode()}")
            time.sleep(0.005)
        self.port = int(listening[1])
        return time.monotonic() - start

    def log_size(self):
        return os.stat(self.log.name).st_size

    def read_log(self, position):
        return Path(self.log.name).read_bytes()[position:]

    async def connect(self):
        """Opens a connection. Fails at once while the server is down."""
        if self.port is None:
            raise ConnectionRefusedError("the server is down")
        return await asyncio.open_connection("127.0.0.1", self.port)

    def second_node(self):
        """Returns another running server on the same database."""
        node = Server(self.program, self.folder, self.url)
        node.start()
        return node

    def kill(self, with_signal=signal.SIGKILL):
        self.port = None
        self.process.send_signal(with_signal)
        self.process.wait()

    def add_user(self, name, password):
        command = [self.program, "user", "add", name, "--password-stdin"]
        subprocess.run(command, env=self.environment, input=password.encode(), check=True, capture_output=True)

    def limit_file_size(self, size):
        """Prevents files from growing beyond `size` bytes; `None` removes the limit."""
        resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE, (size or resource.RLIM_INFINITY, resource.RLIM_INFINITY))

    def check_sqlite(self):
        """Fails if SQLite finds the database damaged. Does nothing on PostgreSQL."""
        if self.url:
            return
        with sqlite3.connect(self.database) as database:
            found = database.execute("PRAGMA integrity_check").fetchall()
            found += database.execute("PRAGMA foreign_key_check").fetchall()
        if found != [("ok",)]:
            raise RuntimeError(f"the database is damaged: {found}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process and self.process.poll() is None:
            self.kill(signal.SIGTERM)

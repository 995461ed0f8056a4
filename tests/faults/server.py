"""The program under test, as a process."""

import os
import resource
import signal
import socket
import sqlite3
import subprocess
import tempfile
import time
from pathlib import Path

PASSWORD = "the first password"


class Server:
    """A server with its data in `folder`, on the database at `url`, else on SQLite."""

    def __init__(self, program, folder, url=None):
        self.program, self.folder, self.url, self.process = program, Path(folder), url, None
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        ours = ("SHOKO_AUTH_", "DATABASE_URL", "RUST_LOG")
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)} | {
            "SHOKO_AUTH_LISTEN": f"127.0.0.1:{self.port}",
            "SHOKO_AUTH_DATA_DIR": str(self.folder),
            "SHOKO_AUTH_SECRET_KEY": "c2l4dGVlbiBieXRlcywgYW5kIHNpeHRlZW4gbW9yZSE=",
            "SHOKO_AUTH_ADMIN_PASSWORD": PASSWORD,
            "SHOKO_AUTH_PBKDF2_ROUNDS": "1000",
            # The experiments log in with passwords that may be the old ones.
            "SHOKO_AUTH_LOGIN_THROTTLE": "off",
            "RUST_LOG": "warn",
            **({"DATABASE_URL": url} if url else {}),
        }
        # Not in the folder: that may be full.
        self.log = tempfile.NamedTemporaryFile(prefix="server-", suffix=".log")

    def start(self):
        """Returns when it is ready; how many seconds that took."""
        start = time.monotonic()
        # So that it ignores SIGXFSZ, as this program does.
        self.process = subprocess.Popen(
            [self.program, "serve"],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=self.log,
            restore_signals=False,
        )
        while subprocess.run([self.program, "healthcheck"], env=self.environment, capture_output=True).returncode:
            if self.process.poll() is not None or time.monotonic() - start > 60:
                raise RuntimeError(f"the server did not start: {self.last_words()}")
            time.sleep(0.01)
        return time.monotonic() - start

    def twin(self):
        """Another one on the same database, started."""
        twin = Server(self.program, self.folder, self.url)
        twin.start()
        return twin

    def kill(self, how=signal.SIGKILL):
        self.process.send_signal(how)
        self.process.wait()

    def add_user(self, name, password):
        command = [self.program, "user", "add", name, "--password-stdin"]
        subprocess.run(command, env=self.environment, input=password.encode(), check=True, capture_output=True)

    def limit_files(self, size):
        """No file may grow past so many bytes; `None`: any size."""
        resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE, (size or resource.RLIM_INFINITY, resource.RLIM_INFINITY))

    def check_sqlite(self):
        """What SQLite itself says of the file, or nothing on PostgreSQL."""
        if "DATABASE_URL" in self.environment:
            return
        with sqlite3.connect(self.folder / "shoko-auth.db") as database:
            found = database.execute("PRAGMA integrity_check").fetchall()
            found += database.execute("PRAGMA foreign_key_check").fetchall()
        if found != [("ok",)]:
            raise RuntimeError(f"the database is damaged: {found}")

    def last_words(self):
        return Path(self.log.name).read_text()[-2000:]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process and self.process.poll() is None:
            self.kill(signal.SIGTERM)

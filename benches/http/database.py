"""Creates databases with a given number of keys. The benchmark knows the keys."""

import base64
import hashlib
import os
import sqlite3
import subprocess
import uuid

PASSWORD = "the right one"
ROUNDS = 600_000
# user0 has one key, and user1 has OF_THOUSAND keys. The other users share the rest evenly. LOGINS users, from number
# FIRST_LOGIN on, have a password.
OF_THOUSAND = 1000
USERS = 1000
FIRST_LOGIN, LOGINS = 2, 96
NOW = "2026-11-22 00:00:00"


def make_keys(path, count):
    """Writes a file of keys, one on each line. Every run writes the same keys. Databases can share a file."""
    with open(path, "w", encoding="ascii") as file:
        for number in range(count):
            file.write(f"{key(path.stem, number)}\n")


def key(seed, number):
    return uuid.UUID(bytes=hashlib.md5(f"{seed} {number}".encode()).digest(), version=4)


def hash_password():
    """Returns the hash of PASSWORD in the form that the server stores: a PHC string."""
    salt = os.urandom(16)
    digest = hashlib.pbkdf2_hmac("sha256", PASSWORD.encode(), salt, ROUNDS)
    encode = lambda data: base64.b64encode(data).decode().rstrip("=")
    return f"$pbkdf2-sha256$i={ROUNDS},l=32${encode(salt)}${encode(digest)}"


def users():
    password = hash_password()
    for number in range(USERS):
        name = f"user{number}"
        can_log_in = FIRST_LOGIN <= number < FIRST_LOGIN + LOGINS
        yield 1000 + number, name, name, password if can_log_in else "!", NOW


def owner(number):
    """Returns the number of the user who owns a key: user0 owns the first key, and user1 the next OF_THOUSAND."""
    if number == 0:
        return 0
    return 1 if number <= OF_THOUSAND else 2 + number % (USERS - 2)


def rows(path):
    with open(path, encoding="ascii") as file:
        for number, line in enumerate(file):
            digest = hashlib.sha256(uuid.UUID(line.strip()).bytes).digest()
            yield number + 1, 1000 + owner(number), f"Device {number}", f"device {number}", digest, NOW


USER_COLUMNS = "id, name, name_folded, password, created_at"
KEY_COLUMNS = "id, user_id, device, device_folded, hash, created_at"
# For keys that a login has issued: a sealed copy of the usual length, and the id of the sealing secret.
SEALED_COLUMNS = f"{KEY_COLUMNS}, sealed, sealed_with"
SEALED = (bytes(57), "5d0f1c2e")


def key_rows(path, sealed):
    """Returns the columns and the rows of the keys in a file."""
    if not sealed:
        return KEY_COLUMNS, rows(path)
    return SEALED_COLUMNS, ((*row, *SEALED) for row in rows(path))


class Sqlite:
    """A database file in its own folder."""

    name = "SQLite"

    def __init__(self, folder):
        folder.mkdir()
        self.path = folder / "shoko-auth.db"
        self.environment = {"SHOKO_AUTH_DATA_DIR": str(folder)}

    def fill(self, path, sealed=False):
        columns, values = key_rows(path, sealed)
        marks = ", ".join("?" for _ in columns.split(","))
        database = sqlite3.connect(self.path, timeout=60)
        database.execute("PRAGMA cache_size = -500000")
        with database:
            database.executemany(f"INSERT INTO users ({USER_COLUMNS}) VALUES (?, ?, ?, ?, ?)", users())
            database.executemany(f"INSERT INTO api_keys ({columns}) VALUES ({marks})", values)
        database.execute("ANALYZE")
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        database.close()

    def delete(self):
        """Opens a connection, and returns a function that deletes a key by its id on this connection."""
        database = sqlite3.connect(self.path, timeout=60, isolation_level=None)
        return lambda number: database.execute("DELETE FROM api_keys WHERE id = ?", (number,))


class Postgres:
    """A new database on the server at TEST_DATABASE_URL. POSTGRES_BIN is the folder of psql."""

    name = "PostgreSQL"

    def __init__(self, name):
        server = os.environ["TEST_DATABASE_URL"]
        self.url = f"{server.rsplit('/', 1)[0]}/{name}"
        secret = base64.b64encode(os.urandom(32)).decode()
        self.environment = {"DATABASE_URL": self.url, "SHOKO_AUTH_SECRET_KEY": secret}
        self.psql(server, f"CREATE DATABASE {name}")

    def psql(self, url, command, lines=None):
        program = os.path.join(os.environ["POSTGRES_BIN"], "psql")
        command = [program, "-Xq", "-o", os.devnull, "-v", "ON_ERROR_STOP=1", url, "-c", command]
        with subprocess.Popen(command, stdin=subprocess.PIPE, text=True) as psql:
            for line in lines or ():
                psql.stdin.write(line)
            psql.stdin.close()
        if psql.returncode:
            raise RuntimeError("psql failed")

    def fill(self, path, sealed=False):
        columns, values = key_rows(path, sealed)

        def lines(rows):
            for row in rows:
                texts = (rf"\\x{value.hex()}" if isinstance(value, bytes) else str(value) for value in row)
                yield "\t".join(texts) + "\n"

        self.psql(self.url, f"COPY users ({USER_COLUMNS}) FROM STDIN", lines(users()))
        self.psql(self.url, f"COPY api_keys ({columns}) FROM STDIN", lines(values))
        for table in ("users", "api_keys"):
            self.psql(self.url, f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), max(id)) FROM {table}")
        # Otherwise the autovacuum would do this later, during a measurement.
        self.psql(self.url, "VACUUM ANALYZE")
        self.psql(self.url, "CHECKPOINT")

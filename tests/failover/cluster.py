"""A PostgreSQL cluster of three members under Patroni and etcd, each in a network namespace of its own.

The namespaces are connected by a bridge, on which the experiment itself has the address `HERE`. Run this in a network,
mount and process namespace that disappears with the script, as scripts/test-failover does.
"""

import json
import os
import pwd
import shutil
import signal
import subprocess
import threading
import time
from contextlib import closing
from pathlib import Path

import psycopg2

NETWORK = "10.99.0"
HERE = f"{NETWORK}.1"
ETCD = f"{NETWORK}.10"
# In a URL, the password must be percent-encoded.
ROLE, PASSWORD, PASSWORD_IN_URL, DATABASE = "shoko_auth", "p@ss:w/rd%?", "p%40ss%3Aw%2Frd%25%3F", "shoko_auth"
# The minimum `ttl` of Patroni's documentation, which also demands `ttl` >= `loop_wait` + 2 * `retry_timeout`.
TTL, LOOP_WAIT, RETRY_TIMEOUT = 20, 2, 9
# In seconds. The limit only stops a run that hangs.
TIMEOUT = 120
# In seconds.
WATCH_INTERVAL = 0.05


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))}: {done.stdout}{done.stderr}")
    return done.stdout


class Host:
    """A network namespace with one address on the bridge. Its programs run as the user `postgres`."""

    def __init__(self, name, address, folder):
        self.name, self.address, self.folder = name, address, Path(folder) / name
        owner = pwd.getpwnam("postgres")
        self.folder.mkdir(mode=0o700)
        os.chown(self.folder, owner.pw_uid, owner.pw_gid)
        run("ip", "netns", "add", name)
        run("ip", "link", "add", f"to-{name}", "type", "veth", "peer", "name", "eth0", "netns", name)
        run("ip", "link", "set", f"to-{name}", "master", "bridge", "up")
        self.inside("ip", "address", "add", f"{address}/24", "dev", "eth0")
        for device in ["lo", "eth0"]:
            self.inside("ip", "link", "set", device, "up")

    def inside(self, *command):
        return run("ip", "netns", "exec", self.name, *command)

    def start(self, *command):
        """Starts a program in this namespace, which logs to the file `log`."""
        user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
        with open(self.folder / "log", "ab") as log:
            command = ["ip", "netns", "exec", self.name, *user, *command]
            subprocess.Popen(command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                             start_new_session=True)

    def signal(self, number):
        """Sends a signal to all processes of this namespace at once."""
        for process in run("ip", "netns", "pids", self.name).split():
            try:
                os.kill(int(process), number)
            except ProcessLookupError:
                pass

    def kill(self):
        self.signal(signal.SIGKILL)
        wait_until(lambda: not run("ip", "netns", "pids", self.name).strip(), f"{self.name} is dead")

    def stop(self):
        self.signal(signal.SIGSTOP)

    def resume(self):
        self.signal(signal.SIGCONT)

    def cut(self):
        """Disconnects the namespace from the network."""
        run("ip", "link", "set", f"to-{self.name}", "down")

    def partition(self, addresses):
        """Drops all packets from and to these addresses."""
        for address in addresses:
            self.inside("iptables", "-A", "INPUT", "-s", address, "-j", "DROP")
            self.inside("iptables", "-A", "OUTPUT", "-d", address, "-j", "DROP")

    def reconnect(self):
        run("ip", "link", "set", f"to-{self.name}", "up")
        self.inside("iptables", "-F")


def wait_until(condition, description, timeout=TIMEOUT):
    end = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > end:
            raise RuntimeError(f"after {timeout} s it is still not true that {description}")
        time.sleep(0.1)


class Etcd(Host):
    def __init__(self, folder):
        super().__init__("etcd", ETCD, folder)

    def run(self):
        urls = f"http://{ETCD}:2379"
        self.start("etcd", "--data-dir=data", f"--listen-client-urls={urls}", f"--advertise-client-urls={urls}",
                   "--log-level=warn", "--enable-v2")


class Member(Host):
    """A member of the cluster: Patroni and PostgreSQL."""

    def __init__(self, number, folder, programs, synchronous, strict):
        super().__init__(f"pg{number}", f"{NETWORK}.1{number}", folder)
        self.config = self.folder / "patroni.json"
        # Patroni reads YAML, of which JSON is a part.
        self.config.write_text(json.dumps(self.settings(programs, synchronous, strict), indent=1))
        self.config.chmod(0o644)

    def settings(self, programs, synchronous, strict):
        return {
            "scope": "auth",
            "name": self.name,
            "restapi": {"listen": f"{self.address}:8008", "connect_address": f"{self.address}:8008"},
            # Version 2 of etcd's interface. With version 3, Patroni 3.0.2 renews the leader key without checking that it
            # still owns it. A leader that is resumed at the wrong moment then takes the key back from the new leader.
            "etcd": {"host": f"{ETCD}:2379"},
            "bootstrap": {
                "dcs": {
                    "ttl": TTL,
                    "loop_wait": LOOP_WAIT,
                    "retry_timeout": RETRY_TIMEOUT,
                    "synchronous_mode": synchronous,
                    "synchronous_mode_strict": strict,
                    "postgresql": {
                        "use_pg_rewind": True,
                        "parameters": {
                            "wal_log_hints": "on",
                            # The default of a minute delays the choice of another synchronous standby.
                            "wal_sender_timeout": "5s",
                            "wal_receiver_timeout": "5s",
                        },
                    },
                },
                "initdb": [{"encoding": "UTF8"}, {"locale": "C"}],
                "pg_hba": [
                    f"host all all {NETWORK}.0/24 scram-sha-256",
                    f"host replication replicator {NETWORK}.0/24 scram-sha-256",
                ],
            },
            "postgresql": {
                "listen": f"{self.address}:5432",
                "connect_address": f"{self.address}:5432",
                "data_dir": str(self.folder / "data"),
                "bin_dir": str(programs),
                "pgpass": str(self.folder / "pgpass"),
                "authentication": {
                    "superuser": {"username": "postgres", "password": "superuser"},
                    "replication": {"username": "replicator", "password": "replicator"},
                    "rewind": {"username": "rewind", "password": "rewind"},
                },
                "parameters": {
                    "unix_socket_directories": str(self.folder),
                    "shared_buffers": "32MB",
                    "password_encryption": "scram-sha-256",
                },
            },
        }

    def run(self):
        self.start("patroni", str(self.config))

    def connect(self, role="postgres", password="superuser", database="postgres"):
        """Opens a connection in which each statement is a transaction."""
        connection = psycopg2.connect(host=self.address, user=role, password=password, dbname=database,
                                      connect_timeout=2, tcp_user_timeout=1500)
        connection.autocommit = True
        return connection

    def connect_as_server(self):
        return self.connect(ROLE, PASSWORD, DATABASE)

    def has_database(self):
        try:
            self.connect_as_server().close()
        except psycopg2.Error:
            return False
        return True


class Watch:
    """Checks every 50 ms whether a member is the primary. Uses a thread, because a stopped member does not respond."""

    def __init__(self, member):
        self.member = member
        # Changes as (time, whether the member is the primary, or `None` if it does not respond).
        self.changes = [(time.monotonic(), None)]
        # When the member last responded that it is the primary.
        self.primary_at = 0.0
        threading.Thread(target=self.follow, daemon=True).start()

    def follow(self):
        while True:
            try:
                connection = self.member.connect()
                with connection.cursor() as cursor:
                    while True:
                        cursor.execute("SELECT NOT pg_is_in_recovery()")
                        self.record(cursor.fetchone()[0])
                        time.sleep(WATCH_INTERVAL)
            except psycopg2.Error:
                self.record(None)
                time.sleep(WATCH_INTERVAL)

    def record(self, is_primary):
        now = time.monotonic()
        if is_primary:
            self.primary_at = now
        if self.changes[-1][1] is not is_primary:
            self.changes.append((now, is_primary))

    @property
    def is_primary(self):
        return self.changes[-1][1]

    def promoted_after(self, start):
        """Returns when the member became the primary after `start`, or `None`."""
        return next((at for at, is_primary in self.changes if is_primary and at > start), None)


class Cluster:
    def __init__(self, folder, programs, synchronous=True, strict=False):
        self.synchronous = synchronous
        run("ip", "link", "set", "lo", "up")
        run("ip", "link", "add", "bridge", "type", "bridge")
        run("ip", "address", "add", f"{HERE}/24", "dev", "bridge")
        run("ip", "link", "set", "bridge", "up")
        self.etcd = Etcd(folder)
        self.members = [Member(number, folder, programs, synchronous, strict) for number in [1, 2, 3]]
        self.etcd.run()
        for member in self.members:
            member.run()
        self.watches = {member: Watch(member) for member in self.members}
        self.wait_until_healthy()
        with closing(self.leader().connect()) as connection, connection.cursor() as cursor:
            cursor.execute(f"CREATE ROLE {ROLE} LOGIN PASSWORD %s", [PASSWORD])
            cursor.execute(f"CREATE DATABASE {DATABASE} OWNER {ROLE}")
        # libpq tries no further host if one of them has no such database yet.
        wait_until(lambda: all(map(Member.has_database, self.members)), "all members have the database")

    def stop(self, logs=None):
        """Kills everything, and copies the logs to the folder `logs` if it is given."""
        for host in [self.etcd, *self.members]:
            host.kill()
            if logs:
                logs.mkdir(exist_ok=True)
                shutil.copy(host.folder / "log", logs / f"{host.name}.log")

    def url(self, members=None):
        hosts = ",".join(member.address for member in members or self.members)
        return f"postgres://{ROLE}:{PASSWORD_IN_URL}@{hosts}/{DATABASE}?target_session_attrs=read-write"

    def leader(self):
        """Returns the only primary."""
        wait_until(lambda: sum(watch.is_primary is True for watch in self.watches.values()) == 1, "one is the primary")
        return next(member for member, watch in self.watches.items() if watch.is_primary)

    def roles(self):
        """Returns the role of each running member as Patroni has recorded it."""
        members = json.loads(self.patronictl("list", "--format", "json"))
        return {member["Member"]: member["Role"] for member in members if member["State"] in ("running", "streaming")}

    def candidate(self):
        """Returns a standby that Patroni may promote."""
        standby = "Sync Standby" if self.synchronous else "Replica"
        names = [name for name, role in self.roles().items() if role == standby]
        return next(member for member in self.members if member.name in names)

    def streaming(self):
        """Returns how many standbys the leader has."""
        with closing(self.leader().connect()) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'")
            return cursor.fetchone()[0]

    def is_healthy(self):
        try:
            roles = sorted(self.roles().values())
            standby = "Sync Standby" if self.synchronous else "Replica"
            return roles == sorted(["Leader", "Replica", standby]) and self.streaming() == 2
        except (psycopg2.Error, RuntimeError):
            return False

    def wait_until_healthy(self):
        wait_until(self.is_healthy, "there are a primary and two standbys")

    def promotion(self, start):
        """Returns the member that was promoted first after `start`, and when, or `None`."""
        promoted = [(watch.promoted_after(start), member) for member, watch in self.watches.items()]
        return min(((at, member) for at, member in promoted if at), default=None, key=lambda found: found[0])

    def patronictl(self, *arguments):
        return run("patronictl", "--config-file", str(self.members[0].config), *arguments)

"""PostgreSQL servers whose messages are not in English."""

import asyncio
import base64
import http.client
import json
import os
import subprocess
import time
from contextlib import contextmanager
from urllib.parse import quote, urlencode

from lab import USER
from model import Broken, Unseen
from server import PASSWORD, Server

# PostgreSQL's messages about a division by zero.
GERMAN = "Division durch Null"
# In seconds. A start that may retry does so for 30 seconds.
MAX_REFUSAL = 15
# Values that a database may be unable to store: characters, lengths, numbers and times.
TEXTS = [
    "", "a\0b", "\0", "a" * 255, "a" * 3000, "\U0001f600" * 255, "\U0010ffff\uffff", "e\u0301\u202e\ufeff", "%\\_'\"", "\\",
    "data:image/png;base64,AAAA\0", "a\0@example.org", "0000-00-00T00:00:00Z", "-4714-01-01T00:00:00Z", "infinity",
    "9999-12-31T23:59:59Z", "294277-01-01T00:00:00Z", "+262142-12-31T23:59:59Z", "192.0.2.1/99", "::1%\0/64",
]
NUMBERS = [-1, 0, 2**31 - 1, 2**31, -(2**31) - 1, 2**63 - 1, 2**63, 2**64, 10**30, 1e308, 0.5]
VALUES = [*TEXTS, *NUMBERS, None, True, [], ["a\0b"], {"a\0": "b\0"}]


async def languages(lab, seed):
    """Starts the server, and sends it values that no database can store, while PostgreSQL writes German."""
    del seed
    return await asyncio.to_thread(run, lab)


def run(lab):
    figures = {}
    with messages_in(lab.postgres, "de"):
        check_that_messages_contain(lab.postgres, GERMAN)
        figures["refused starts"] = check_refused_starts(lab)
        check_start_with_too_many_connections(lab)
        check_start_during_recovery(lab)
        figures["requests"] = check_values(lab)
    # A script without capital letters, and a severity that is not `FATAL`.
    for language in ["ja", "ru"]:
        with messages_in(lab.postgres, language):
            check_refusal(lab, f"postgres://no_such_role@{host(lab.postgres)}/postgres", "correct it in DATABASE_URL")
    return figures


def host(postgres):
    return str(postgres.folder).replace("/", "%2F")


@contextmanager
def messages_in(postgres, language):
    """Restarts PostgreSQL with its messages in `language`. `C.UTF-8` exists everywhere and needs no locale."""
    url = f"postgres://{USER}@{host(postgres)}/postgres"
    postgres.configure(url, ["SET lc_messages = 'C.UTF-8'"])
    restart(postgres, language)
    try:
        yield
    finally:
        postgres.configure(url, ["RESET lc_messages"])
        restart(postgres, "")


def restart(postgres, language):
    os.environ["LANGUAGE"] = language
    try:
        postgres.run("pg_ctl", "restart", "--wait", "--mode=fast", "--pgdata=data", "--log=log")
    finally:
        del os.environ["LANGUAGE"]


def check_that_messages_contain(postgres, text):
    try:
        sql(postgres, "SELECT 1 / 0")
    except RuntimeError as error:
        if text in str(error):
            return
        raise Unseen(f"PostgreSQL does not write German, so its translations are missing: {error}") from error


def sql(postgres, *statements):
    arguments = [f"--command={statement}" for statement in statements]
    postgres.run("psql", "--quiet", "--set=ON_ERROR_STOP=1", *arguments, f"postgres://{USER}@{host(postgres)}/postgres")


def check_refusal(lab, url, hint):
    """Checks that the server does not start, says what to do, and does not retry for long."""
    server = Server(lab.program, lab.folder, url)
    start = time.monotonic()
    done = subprocess.run([lab.program, "serve"], env=server.environment, capture_output=True, text=True, timeout=120)
    seconds = time.monotonic() - start
    if done.returncode != 1 or hint not in done.stderr or seconds > MAX_REFUSAL:
        raise Broken(f"{url}: code {done.returncode} after {seconds:.0f} s: {done.stderr}")


def check_refused_starts(lab):
    postgres = lab.postgres
    own = lab.postgres.new_database()
    name = own.rsplit("/", 1)[1]
    sql(postgres, "CREATE ROLE kein_login NOLOGIN", "CREATE ROLE gast LOGIN", f"REVOKE CONNECT ON DATABASE {name} FROM PUBLIC")
    rules = postgres.folder / "data" / "pg_hba.conf"
    admitted = rules.read_text()
    rules.write_text("local all abgewiesen reject\nlocal all passwort scram-sha-256\n" + admitted)
    sql(postgres, "CREATE ROLE abgewiesen LOGIN", "CREATE ROLE passwort LOGIN PASSWORD 'richtig'", "SELECT pg_reload_conf()")
    correct = "correct it in DATABASE_URL"
    cases = [
        (f"postgres://no_such_role@{host(postgres)}/{name}", correct),
        (f"postgres://kein_login@{host(postgres)}/{name}", correct),
        (f"postgres://passwort:falsch@{host(postgres)}/{name}", correct),
        (f"{own}_none", correct),
        (f"{own}?options=-c%20no_such_setting%3D1", correct),
        (f"postgres://gast@{host(postgres)}/{name}", "GRANT CONNECT"),
        (f"postgres://abgewiesen@{host(postgres)}/{name}", "pg_hba.conf"),
        (f"postgres://passwort@{host(postgres)}/{name}", "Check the user and the password"),
    ]
    for url, hint in cases:
        check_refusal(lab, url, hint)
    rules.write_text(admitted)
    sql(postgres, "SELECT pg_reload_conf()")
    return len(cases)


def check_start_with_too_many_connections(lab):
    """Checks that a start waits for connections that another program closes soon, such as the previous process."""
    name = lab.postgres.new_database().rsplit("/", 1)[1]
    sql(lab.postgres, "CREATE ROLE eng LOGIN CONNECTION LIMIT 3", f"ALTER DATABASE {name} OWNER TO eng")
    url = f"postgres://eng@{host(lab.postgres)}/{name}"
    others = [subprocess.Popen([lab.postgres.programs / "psql", "--quiet", "--command=SELECT pg_sleep(60)", url],
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **lab.postgres.owner()) for _ in range(3)]
    try:
        wait_for_connections(lab.postgres, "eng", 3)
        with Server(lab.program, lab.folder, url) as server:
            start_while_waiting(server, "zu viele Verbindungen", lambda: sql(
                lab.postgres, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'eng'"))
    finally:
        for other in others:
            other.kill()
            other.wait()


def wait_for_connections(postgres, role, number):
    condition = f"(SELECT count(*) FROM pg_stat_activity WHERE usename = '{role}') < {number}"
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            # Fails with a division by zero once the connections are open.
            sql(postgres, f"SELECT 1 / ({condition})::integer")
        except RuntimeError:
            return
        time.sleep(0.05)
    raise Unseen(f"the connections of {role} did not open")


def check_start_during_recovery(lab):
    """Checks that a start waits for a PostgreSQL server that does not accept connections yet."""
    url = lab.postgres.new_database()
    standby = lab.postgres.folder / "data" / "standby.signal"
    lab.postgres.configure(url, ["SET hot_standby = 'off'"])
    os.environ["LANGUAGE"] = "de"
    try:
        lab.postgres.run("pg_ctl", "stop", "--pgdata=data", "--mode=fast")
        standby.touch()
        # It never becomes ready.
        lab.postgres.run("pg_ctl", "start", "--no-wait", "--pgdata=data", "--log=log")
        with Server(lab.program, lab.folder, url) as server:
            start_while_waiting(server, "Datenbanksystem", lambda: leave_recovery(lab.postgres, standby))
    finally:
        del os.environ["LANGUAGE"]
    lab.postgres.configure(url, ["RESET hot_standby"])


def leave_recovery(postgres, standby):
    postgres.run("pg_ctl", "stop", "--pgdata=data", "--mode=fast")
    standby.unlink()
    postgres.run("pg_ctl", "start", "--wait", "--pgdata=data", "--log=log")


def start_while_waiting(server, reason, remove_reason):
    """Starts the server, and removes the reason for which it waits once the log names it twice."""
    environment = {**server.environment, "SHOKO_AUTH_ADMIN_PASSWORD": PASSWORD}
    server.process = subprocess.Popen([server.program, "serve"], env=environment, stdin=subprocess.DEVNULL,
                                      stdout=server.log, stderr=server.log)
    wait_for_log(server, reason, 2)
    remove_reason()
    wait_for_log(server, "listening on", 1)


def wait_for_log(server, text, times):
    deadline = time.monotonic() + 60
    while server.read_log(0).decode().count(text) < times:
        if server.process.poll() is not None or time.monotonic() > deadline:
            raise Broken(f"the log does not contain '{text}' {times} times: {server.read_log(0).decode()}")
        time.sleep(0.05)


def check_values(lab):
    """Sends unusual values in every parameter of every route, and checks that no response is a 5xx."""
    with Server(lab.program, lab.folder, lab.postgres.new_database()) as server:
        server.environment |= {
            "SHOKO_AUTH_DIALECTS": "shoko,zulip,zettelstore", "SHOKO_AUTH_V1_LOGIN": "on",
            "SHOKO_AUTH_ZULIP_DEV_LOGIN": "on", "SHOKO_AUTH_ZETTELSTORE_LOGIN_DELAY": "0s",
        }
        server.start()
        number = Requests(server).send_all()
        log = server.read_log(0).decode()
        if "a database query failed" in log:
            raise Broken(f"a value caused an error of the database: {log}")
        return number


class Requests:
    def __init__(self, server):
        self.server, self.number, self.users, self.failed = server, 0, 0, []
        self.connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        self.key = self.new_key()

    def new_key(self):
        """Returns a key of a new administrator: some requests revoke the key, or delete the user."""
        self.users += 1
        name = f"user {self.users}"
        command = [self.server.program, "user", "add", name, "--admin", "--password-stdin"]
        subprocess.run(command, env=self.server.environment, input=PASSWORD.encode(), check=True, capture_output=True)
        body = json.dumps({"user": name, "pass": PASSWORD, "device": "d"})
        status, text = self.exchange("POST", "/api/auth", body.encode(), {"Content-Type": "application/json"})
        if status != 200:
            raise Broken(f"a login failed: {status} {text}")
        return json.loads(text)["apikey"]

    def exchange(self, method, path, body=None, headers=()):
        self.connection.request(method, path, body, {"apikey": getattr(self, "key", ""), **dict(headers)})
        response = self.connection.getresponse()
        return response.status, response.read()

    def send(self, method, path, body=None, headers=()):
        self.number += 1
        status, text = self.exchange(method, path, body, headers)
        if status in (401, 403) and self.exchange("GET", "/api/auth/verify")[0] != 200:
            self.key = self.new_key()
            status, text = self.exchange(method, path, body, headers)
        if status >= 500:
            self.failed.append(f"{method} {path} {body!r}: {status} {text.decode()}")

    def send_all(self):
        for document in ["v3/swagger.json", "zulip/swagger.json", "zettelstore/swagger.json"]:
            status, text = self.exchange("GET", f"/swagger/{document}")
            if status != 200:
                raise Broken(f"{document}: {status}")
            document = json.loads(text)
            for path, methods in document["paths"].items():
                for method, operation in methods.items():
                    if isinstance(operation, dict) and "responses" in operation:
                        self.send_operation(document, method.upper(), path, operation)
        for user in TEXTS:
            basic = base64.b64encode(f"{user}:{user}".encode()).decode()
            for method, path in [("POST", "/a"), ("GET", "/api/v1/users/me")]:
                self.send(method, path, headers={"Authorization": f"Basic {basic}"})
        for path in ["/api/v3/User/Current", "/api/v3/Settings"]:
            for value in VALUES:
                for member in ["Username", "PlexUsernames", "Avatar", "CommunitySites", "RestrictedTags", "WebUI_Settings"]:
                    patch = [{"op": "replace", "path": f"/{member}", "value": value}]
                    self.send("PATCH", path, json.dumps(patch).encode(), {"Content-Type": "application/json"})
        if self.failed:
            raise Broken("\n".join(self.failed))
        return self.number

    def send_operation(self, document, method, path, operation):
        parameters = operation.get("parameters", [])
        for changed in parameters:
            for value in [*TEXTS, *NUMBERS]:
                self.send(method, self.path(path, parameters, {changed["name"]: value}))
        for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
            # The other media types of JSON are read in the same way.
            if media_type not in ("application/json", "application/x-www-form-urlencoded"):
                continue
            headers = {"Content-Type": media_type}
            for value in bodies(document, resolve(document, content["schema"]), content.get("example")):
                if "form" in media_type:
                    fields = {name: field for name, field in value.items() if field is not None} if isinstance(value, dict) else {}
                    body = urlencode(fields).encode()
                else:
                    body = json.dumps(value).encode()
                self.send(method, self.path(path, parameters, {}), body, headers)

    @staticmethod
    def path(path, parameters, changed):
        query = {}
        for parameter in parameters:
            value = changed.get(parameter["name"], 1)
            if parameter["in"] == "path":
                path = path.replace("{" + parameter["name"] + "}", quote(str(value), safe=""))
            elif parameter["name"] in changed:
                query[parameter["name"]] = value
        return path + ("?" + urlencode(query) if query else "")


def resolve(document, schema):
    if "oneOf" in schema:
        schema = schema["oneOf"][0]
    if "$ref" in schema:
        return document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
    return schema


def bodies(document, schema, example):
    """Yields bodies of a schema. In each of them, one value is unusual."""
    members = schema.get("properties")
    if not members:
        yield from VALUES
        return
    usual = {name: usual_value(document, member) for name, member in members.items() if name in schema.get("required", [])}
    for name in members:
        for value in VALUES:
            yield {**usual, name: value}
    yield example or usual


def usual_value(document, schema):
    if "example" in schema:
        return schema["example"]
    if "pass" in schema.get("description", "").lower():
        return PASSWORD
    kind = resolve(document, schema).get("type")
    return {"integer": 1, "boolean": True, "array": []}.get(kind if isinstance(kind, str) else "", "x")

"""Two applications behind nginx, configured as docs/gateway.md says: Radicale and Calibre-Web."""

import os
import re
import sqlite3
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from urllib.error import HTTPError

from doctors import doctor, unexpected
from gateway_doctor.wire import Request
from lab import ADMIN, Guarded, basic, send
from proxies import Nginx, block, free_port, replace

# In seconds. The limit only stops a run that hangs.
START_TIMEOUT = 120
CALENDAR = b"""<?xml version="1.0"?>
<mkcalendar xmlns="urn:ietf:params:xml:ns:caldav"><set xmlns="DAV:"><prop><displayname>tests</displayname></prop></set>
</mkcalendar>"""
# Creates an empty library with the tables that Calibre-Web declares.
CREATE_LIBRARY = """
import sys, calibreweb
sys.path.insert(0, calibreweb.__path__[0])
path, sys.argv = sys.argv[1], ["cps"]
from cps.db import Base
from sqlalchemy import create_engine, text
tables = Base.metadata.sorted_tables
with create_engine("sqlite:///" + path).begin() as connection:
    Base.metadata.create_all(connection, [table for table in tables if table.schema is None])
with create_engine("sqlite://").connect() as connection:
    connection.execute(text(f"attach '{path}' as calibre"))
    Base.metadata.create_all(connection, [table for table in tables if table.schema])
    connection.commit()
"""


@contextmanager
def running(command, url, folder, **environment):
    """Runs an application until it responds at `url`, and stops it in the end."""
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | environment, cwd=folder)
    try:
        deadline = time.monotonic() + START_TIMEOUT
        while not responds(url):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{command[0]} did not start: {(folder / 'log').read_text()[-2000:]}")
            time.sleep(0.1)
        yield
    finally:
        process.terminate()
        process.wait()


def responds(url):
    try:
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=5).close()
    except HTTPError:
        return True
    except OSError:
        return False
    return True


@contextmanager
def behind_nginx(lab, port, changes):
    """Yields the application behind nginx. `changes` are the pairs of texts that its section documents."""

    def change(text):
        for old, new in changes:
            text = replace(text, old, new)
        return text

    with Nginx(lab.folder, port, lab.auth, change) as proxy:
        guarded = Guarded(proxy, lab)
        guarded.service.has_echo = False
        yield guarded


def nothing_is_unsafe(lab, guarded):
    verdicts, rows = doctor(guarded.proxy, key=lab.keys["bound"])
    assert "unsafe" not in verdicts.values(), unexpected(rows)


def documented_changes(heading):
    """Returns the lines of nginx's configuration that a section replaces: pairs in a block of the form of a diff."""
    lines = block(heading).splitlines()
    old = [line[1:].strip() for line in lines if line.startswith("-")]
    new = [line[1:].strip() for line in lines if line.startswith("+")]
    assert len(old) == len(new) > 0, lines
    return list(zip(old, new))


def radicale_serves_calendars_to_apps(lab):
    folder = lab.folder / "radicale"
    folder.mkdir()
    port = free_port()
    config = replace(block("Radicale", 1), "127.0.0.1:5232", f"127.0.0.1:{port}")
    config = replace(config, "/var/lib/radicale", str(folder))
    (folder / "config").write_text(config)
    command = ["radicale", "--config", str(folder / "config")]
    changes = [(old, new.replace("127.0.0.1:5232", "127.0.0.1:3000")) for old, new in documented_changes("Radicale")]
    with running(command, f"http://127.0.0.1:{port}/", folder), behind_nginx(lab, port, changes) as guarded:
        response = guarded.get("/", method="PROPFIND")
        assert response.status == 401 and response.header("www-authenticate").startswith("Basic "), response
        key = lab.log_in(ADMIN, "calendar")
        app = basic(ADMIN, key)
        made = send(guarded.service, request(f"/{ADMIN}/tests/", "MKCALENDAR", app, CALENDAR), CALENDAR)
        assert made.status == 201, made
        found = guarded.get(f"/{ADMIN}/tests/", app, method="PROPFIND")
        assert found.status == 207 and b"tests" in found.body, found
        # The calendars of other users stay closed, even if the client claims to be one of them.
        other = guarded.get(f"/{ADMIN}/tests/", ("apikey", lab.keys["user"]), ("Remote-User", ADMIN), method="PROPFIND")
        assert other.status in (403, 404), other
        nothing_is_unsafe(lab, guarded)
        assert lab.call("DELETE", f"/api/auth?apikey={key}")[0] == 200
        assert guarded.get(f"/{ADMIN}/tests/", app, method="PROPFIND").status == 401


def request(target, method, header, body):
    return Request(target, (header, ("Content-Type", "application/xml"), ("Content-Length", str(len(body)))), method)


def calibre_web_knows_the_user(lab):
    folder = lab.folder / "calibre-web"
    folder.mkdir()
    port = free_port()
    library = folder / "metadata.db"
    environment = {"CALIBRE_DBPATH": str(folder)}
    # Calibre-Web also creates its settings.
    subprocess.run(
        ["cps", "-s", "admin:Not-used-1!"], env=os.environ | environment, cwd=folder, check=True, capture_output=True
    )
    subprocess.run(
        [sys.executable, "-c", CREATE_LIBRARY, library], env=os.environ | environment, cwd=folder, check=True
    )
    header = re.search(r"Header Name[^`]*`([^`]*)`", section("Calibre-Web"))[1]
    with sqlite3.connect(folder / "app.db") as settings:
        # These changes are those of the documented steps on its page of settings.
        settings.execute(
            "UPDATE settings SET config_calibre_dir = ?, config_port = ?, config_allow_reverse_proxy_header_login = 1,"
            " config_reverse_proxy_login_header_name = ?, config_reverse_proxy_trusted_ips = '127.0.0.1'",
            (str(folder), port, header),
        )
        settings.execute("UPDATE user SET name = ? WHERE name = 'admin'", (ADMIN,))
    settings.close()
    changes = [(old, new.replace("127.0.0.1:8083", "127.0.0.1:3000")) for old, new in documented_changes("Calibre-Web")]
    command = ["cps", "-i", "127.0.0.1", "-o", str(folder / "calibre.log")]
    with (
        running(command, f"http://127.0.0.1:{port}/", folder, **environment),
        behind_nginx(lab, port, changes) as guarded,
    ):
        assert guarded.get("/opds").status == 401
        key = basic(ADMIN, lab.keys["admin"])
        feed = guarded.get("/opds", key)
        assert feed.status == 200 and b"<feed" in feed.body, feed
        page = guarded.get("/me", ("apikey", lab.keys["admin"]))
        assert page.status == 200 and f'name="name" id="name" value="{ADMIN}"'.encode() in page.body, page
        # A user who does not exist there gets its own sign-in page, not the library as another user.
        other = guarded.get("/me", ("apikey", lab.keys["user"]), ("Remote-User", ADMIN), ("Remote_User", ADMIN))
        assert other.status in (302, 303) and "/login" in other.header("location"), other
        nothing_is_unsafe(lab, guarded)


def section(heading):
    from proxies import DOCUMENT

    return re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", DOCUMENT.read_text(), re.M | re.S)[1]


CASES = [radicale_serves_calendars_to_apps, calibre_web_knows_the_user]

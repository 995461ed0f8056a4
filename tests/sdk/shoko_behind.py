"""Tests the configuration of nginx in docs/clients.md, with a stand-in for the Shoko server behind it.

Called by scripts/test-clients as `shoko_behind.py URL USER PASSWORD FOLDER`.
"""

import http.client
import json
import pathlib
import re
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

URL, USER, PASSWORD, FOLDER = sys.argv[1:]
SHOKOS_KEY = "00000000-0000-0000-0000-000000000000"
OPEN = ("/api/v3/Init/Version", "/api/v3/Init/Status", "/api/init/status", "/api/version", "/webui", "/webui/a.js")
GUARDED = ("/api/v3/Series?x=1", "/api/ping", "/api/v3/Init/Shutdown", "/api/v3/Userx", "/v1/Server", "/webuix")


class Shoko(BaseHTTPRequestHandler):
    """Returns what it has received."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        received = {"path": self.path, "key": self.headers.get("apikey"), "bearer": self.headers.get("Authorization")}
        body = json.dumps(received).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def start_nginx(shoko):
    """Starts nginx with the documented configuration, in which only the addresses differ."""
    documented = re.search(r"```nginx\n(.*?)```", pathlib.Path("docs/clients.md").read_text(encoding="utf-8"), re.S)[1]
    port = free_port()
    server = urlsplit(URL).netloc
    changes = {"listen 8110": f"listen 127.0.0.1:{port}", "127.0.0.1:8111": server, "127.0.0.1:8112": shoko}
    for old, new in changes.items():
        assert old in documented, old
        documented = documented.replace(old, new)
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    paths = "".join(f"{kind}_temp_path {FOLDER}/{kind};" for kind in kinds)
    config = pathlib.Path(FOLDER, "nginx.conf")
    config.write_text(f"error_log stderr; pid {FOLDER}/nginx.pid; daemon off; events {{}}\n"
                      f"http {{ access_log off; {paths}\n{documented}}}\n", encoding="utf-8")
    nginx = subprocess.Popen(["nginx", "-e", "stderr", "-p", FOLDER, "-c", str(config)])
    for _ in range(400):
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", port)) == 0:
                return nginx, f"127.0.0.1:{port}"
        assert nginx.poll() is None, "nginx does not start"
        time.sleep(0.05)
    raise AssertionError("nginx does not listen")


def send(proxy, method, path, headers=None, body=None):
    connection = http.client.HTTPConnection(proxy, timeout=10)
    connection.request(method, path, body, headers or {})
    response = connection.getresponse()
    return response.status, response.read().decode()


def log_in(proxy, password):
    body = json.dumps({"user": USER, "pass": password, "device": "behind"})
    return send(proxy, "POST", "/api/auth", {"Content-Type": "application/json"}, body)


def logins_and_users_are_here(proxy):
    status, text = log_in(proxy, "wrong")
    assert (status, json.loads(text)["status"]) == (401, 401), text
    status, text = log_in(proxy, PASSWORD)
    assert status == 200, text
    key = json.loads(text)["apikey"]
    for path in ("/api/v3/User/Current", "/API/V3/user/Current"):
        assert json.loads(send(proxy, "GET", path, {"apikey": key})[1])["Username"] == USER, path
    for path in ("/api/auth", "/api/v3/Auth/ListTokens"):
        assert json.loads(send(proxy, "GET", path, {"apikey": key})[1])[0]["Device"] == "behind", path
    return key


def shoko_sees_only_its_own_key(proxy, key):
    for path in GUARDED:
        mark = "&" if "?" in path else "?"
        for shown, headers in [
            (path, {"apikey": key}),
            (path, {"Authorization": f"Bearer {key}"}),
            (f"{path}{mark}apikey={key}", {}),
            (f"{path}{mark}access_token={key}", {}),
        ]:
            status, text = send(proxy, "GET", shown, headers)
            assert status == 200, (shown, headers, status, text)
            received = json.loads(text)
            assert (received["key"], received["bearer"]) == (SHOKOS_KEY, None), received
            assert key not in text and received["path"].rstrip("?&") == path, received


def without_a_key_only_open_paths_reach_shoko(proxy, key):
    for path in GUARDED:
        for headers in ({}, {"apikey": SHOKOS_KEY}, {"Authorization": f"Bearer {SHOKOS_KEY}"}):
            assert send(proxy, "GET", path, headers)[0] == 401, (path, headers)
    for path in OPEN:
        for headers in ({}, {"apikey": key}, {"Authorization": f"Bearer {key}"}):
            status, text = send(proxy, "GET", f"{path}?apikey={key}", headers)
            received = json.loads(text)
            assert (status, received["key"], received["bearer"]) == (200, None, None), (path, status, received)
            assert key not in text, received
    for path in ("/webui/../api/v3/Series", "/webui/..%2fapi/v3/Series", "/webui/%2e%2e/api/v3/Series",
                 "/api/v3/Init/Version/../../Series", "//api/v3/Series", "/api/v3/Init/Version%2f..%2fSeries"):
        status, text = send(proxy, "GET", path)
        assert status == 401 or (status == 200 and json.loads(text)["key"] is None), (path, status, text)


def a_revoked_key_is_rejected_at_once(proxy, key):
    assert send(proxy, "DELETE", "/api/auth", {"Content-Type": "application/json"}, json.dumps(key))[0] == 200
    assert send(proxy, "GET", GUARDED[0], {"apikey": key})[0] == 401


shoko = ThreadingHTTPServer(("127.0.0.1", 0), Shoko)
threading.Thread(target=shoko.serve_forever, daemon=True).start()
nginx, proxy = start_nginx(f"127.0.0.1:{shoko.server_port}")
try:
    key = logins_and_users_are_here(proxy)
    shoko_sees_only_its_own_key(proxy, key)
    without_a_key_only_open_paths_reach_shoko(proxy, key)
    a_revoked_key_is_rejected_at_once(proxy, key)
finally:
    nginx.terminate()
    nginx.wait(timeout=10)
print("ok      nginx keeps Shoko behind the server")

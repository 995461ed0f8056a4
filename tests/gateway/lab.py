"""The server, the echo service and the users of the tests."""

import base64
import hashlib
import http.client
import json
import subprocess
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import echo
from gateway_doctor.wire import Request, Response, Service
from proxies import APP, AUTH

from server import PASSWORD, Server

ADMIN, USER = "Default", "jürgen 100%"
# The names as they are in headers.
ADMIN_HEADER, USER_HEADER = "Default", "j%C3%BCrgen 100%25"
DOMAIN = "example.org"
OTHER_APP = "other.example.org"


class Lab:
    """A server with an administrator and a user, and an echo service."""

    def __init__(self, program, folder):
        self.folder = Path(folder)
        self.server = Server(program, self.folder / "data")
        self.server.environment |= {
            "SHOKO_AUTH_TRUSTED_PROXIES": "127.0.0.1",
            "SHOKO_AUTH_GATEWAY_DOMAINS": f"{DOMAIN}=https://{AUTH}",
        }
        self.echo = echo.serve()
        self.keys = {}

    def __enter__(self):
        self.make_certificate()
        self.server.start()
        self.server.add_user(USER, PASSWORD)
        threading.Thread(target=self.echo.serve_forever, daemon=True).start()
        self.keys = {
            "admin": self.log_in(ADMIN, "tests"),
            "user": self.log_in(USER, "tests"),
            "gateway": self.issue(scope="gateway"),
            "bound": self.issue(scope="gateway", hosts=[APP]),
            "elsewhere": self.issue(scope="gateway", hosts=[OTHER_APP]),
        }
        return self

    def __exit__(self, *_):
        self.server.__exit__()
        self.echo.shutdown()

    def make_certificate(self):
        key, certificate = self.folder / "example.org.key", self.folder / "example.org.pem"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
            + [
                "-subj",
                f"/CN={DOMAIN}",
                "-addext",
                f"subjectAltName=DNS:*.{DOMAIN}",
                "-keyout",
                key,
                "-out",
                certificate,
            ],
            check=True,
            capture_output=True,
        )
        (self.folder / "combined.pem").write_text(certificate.read_text() + key.read_text())

    def call(self, method, path, body=None, key=None):
        """Calls the API of the server directly. Returns the status and the body."""
        service = Service(f"http://127.0.0.1:{self.server.port}/")
        text = b"" if body is None else json.dumps(body).encode()
        headers = [("Content-Type", "application/json"), ("Content-Length", str(len(text)))]
        headers += [("apikey", key)] * bool(key)
        response = send(service, Request(path, tuple(headers), method), text)
        return response.status, json.loads(response.body) if response.body else None

    def log_in(self, user, device):
        status, body = self.call("POST", "/api/auth", {"user": user, "pass": PASSWORD, "device": device})
        assert status == 200, (status, body)
        return body["apikey"]

    def issue(self, **members):
        """Issues a key of the user."""
        device = f"device {len(self.keys)} {members}"[:60]
        body = {"device": device, "currentPassword": PASSWORD, **members}
        status, body = self.call("POST", "/api/account/keys", body, self.keys.get("user") or self.log_in(USER, "tests"))
        assert status == 201, (status, body)
        return body["key"]

    @property
    def app(self):
        return self.echo.server_port

    @property
    def auth(self):
        return self.server.port


def send(service, request, body):
    """Sends a request with a body. Returns None if the connection was closed without a response."""
    headers = [("Host", service.host), *request.headers, ("Connection", "close")]
    head = "".join(f"{name}: {value}\r\n" for name, value in headers)
    with service.connection() as connection:
        try:
            connection.sendall(f"{request.method} {request.target} HTTP/1.1\r\n{head}\r\n".encode() + body)
        except OSError:
            # A proxy may refuse a request before all of it has been sent. Its response may still be there.
            pass
        try:
            response = http.client.HTTPResponse(connection, method=request.method)
            response.begin()
            return Response(response.status, response.getheaders(), response.read())
        except (OSError, http.client.HTTPException):
            return None


class Guarded:
    """The guarded service behind a proxy."""

    def __init__(self, proxy, lab):
        self.proxy, self.lab = proxy, lab
        self.service = self.at(APP)

    def at(self, host):
        return Service(f"https://{host}/", connect=f"127.0.0.1:{self.proxy.port}", insecure=True, has_echo=True)

    def get(self, target="/page", *headers, method="GET"):
        response = self.service.send(Request(target, headers, method))
        assert response is not None, f"{method} {target} has no response"
        return response

    def received(self, target="/page", *headers, method="GET"):
        """Returns the headers that the service has received, by lower-case name, and its view of the request."""
        response = self.get(target, *headers, method=method)
        assert response.echo is not None, (response.status, response.body[:200])
        return {name.lower(): value for name, value in response.echo["headers"]}, response.echo

    def post(self, body, *headers):
        request = Request("/upload", (*headers, ("Content-Length", str(len(body)))), "POST")
        return send(self.service, request, body)


def basic(user, key):
    return ("Authorization", "Basic " + base64.b64encode(f"{user}:{key}".encode()).decode())


def sha256(body):
    return hashlib.sha256(body).hexdigest()


class Overloaded(BaseHTTPRequestHandler):
    """Responds to every verification as a server without capacity does: with 429 if the path says so, else with 503."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        described = f"{self.path} {self.headers}"
        self.send_response(429 if "/throttled" in described else 503)
        self.send_header("Retry-After", "7")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


@contextmanager
def overloaded_server():
    """Yields the port of a server that has no capacity."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Overloaded)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()

"""Sends requests exactly as they are written. HTTP libraries would drop `#`, resolve `..` and reject repeated headers."""

import http.client
import json
import socket
import ssl
from dataclasses import dataclass, field
from urllib.parse import urljoin, urlsplit

# In seconds.
TIMEOUT = 10
MAX_BODY = 1 << 20
MAX_REDIRECTS = 3
# Responses of a proxy or of the server that verifies requests. A service may send them too, but it reveals nothing.
REFUSALS = {400, 401, 403, 407, 413, 414, 421, 426, 429, 431, 494, 501, 503, 505}
REDIRECTS = {301, 302, 303, 307, 308}


@dataclass(frozen=True)
class Request:
    target: str
    headers: tuple = ()
    method: str = "GET"
    version: str = "HTTP/1.1"
    # Replaces the name of the guarded host. "" leaves `Host` out.
    host: str | None = None

    def __str__(self):
        headers = "".join(f", {name}: {value[:60]}" for name, value in self.headers)
        host = "" if self.host is None else f", Host: {self.host}"
        return f"{self.method} {self.target}{host}{headers}"


@dataclass
class Response:
    status: int
    headers: list = field(default_factory=list)
    body: bytes = b""

    def header(self, name):
        return next((value for found, value in self.headers if found.lower() == name), "")

    @property
    def echo(self):
        """What an echo backend has received, or None if the response is not from one."""
        try:
            value = json.loads(self.body)
        except ValueError:
            return None
        return value if isinstance(value, dict) and value.get("echo") == "shoko-auth" else None


class Service:
    """The guarded service at `url`. `connect` (HOST:PORT) replaces the address to connect to."""

    def __init__(self, url, connect=None, insecure=False, has_echo=False):
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("the URL must begin with https:// or http:// and name a host")
        self.url, self.scheme, self.host = url, parts.scheme, parts.netloc.rpartition("@")[2]
        self.path = parts.path or "/"
        self.name = parts.hostname
        port = parts.port or (443 if parts.scheme == "https" else 80)
        self.address = parse_address(connect) if connect else (parts.hostname, port)
        self.has_echo = has_echo
        self.tls = ssl.create_default_context() if parts.scheme == "https" else None
        if self.tls and insecure:
            self.tls.check_hostname = False
            self.tls.verify_mode = ssl.CERT_NONE

    def connection(self):
        plain = socket.create_connection(self.address, TIMEOUT)
        # Otherwise the request would wait for the other side to acknowledge the last message of the TLS handshake.
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self.tls.wrap_socket(plain, server_hostname=self.name) if self.tls else plain

    def send(self, request):
        """Returns the response, or None if the connection was closed or reset without one. Fails after a timeout."""
        host = self.host if request.host is None else request.host
        headers = [("Host", host)] * bool(host) + [*request.headers]
        if not any(name.lower() == "connection" for name, _ in headers):
            headers.append(("Connection", "close"))
        lines = [
            f"{request.method} {request.target} {request.version}",
            *(f"{name}: {value}" for name, value in headers),
        ]
        # Errors of a wrong address or certificate are reported instead of counting as a missing response.
        connection = self.connection()
        try:
            with connection:
                connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
                response = http.client.HTTPResponse(connection, method=request.method)
                response.begin()
                # The body of a switched protocol has no end.
                body = b"" if response.status == 101 else response.read(MAX_BODY)
                return Response(response.status, response.getheaders(), body)
        except TimeoutError:
            raise
        except (ConnectionError, ssl.SSLError, http.client.HTTPException):
            return None

    def reached(self, request):
        """Returns whether a request reached the service: True, False, or None if the response does not show it."""
        try:
            return self.shows_reach(request, self.send(request))
        except TimeoutError:
            # The service may be waiting for something.
            return None

    def shows_reach(self, request, response):
        """Follows redirects within the service, and returns what the last response shows."""
        for _ in range(MAX_REDIRECTS):
            if not self.is_own_redirect(response):
                break
            target = urlsplit(urljoin(f"{self.scheme}://{self.host}{self.path}", response.header("location")))
            query = f"?{target.query}" if target.query else ""
            response = self.send(Request(target.path + query, request.headers, "GET"))
        if self.is_own_redirect(response):
            return None
        # Proxies refuse TRACE themselves.
        if response is None or (request.method == "TRACE" and response.status == 405):
            return False
        if self.has_echo and request.method != "HEAD" and response.status != 101:
            return response.echo is not None
        if response.status == 101 or 200 <= response.status < 300:
            return True
        return False if response.status in REFUSALS or response.status in REDIRECTS else None

    def is_own_redirect(self, response):
        """Returns whether a response leads to another path of the service. The sign-in page, which gets the address to
        return to, is none."""
        if response is None or response.status not in REDIRECTS:
            return False
        location = urlsplit(urljoin(f"{self.scheme}://{self.host}/", response.header("location")))
        is_sign_in = any(part.startswith("rd=") for part in location.query.split("&"))
        return location.hostname == self.name and not is_sign_in


def parse_address(text):
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit():
        raise ValueError(f"{text!r} is not an address: write HOST:PORT")
    return host.strip("[]"), int(port)

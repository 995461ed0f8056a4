"""Known mistakes in the protection of services: for each check in `table`, a function that returns its findings."""

import base64
import uuid
from dataclasses import dataclass, replace

from .wire import Request, Service

IDENTITY = ("Remote-User", "Remote-User-Id", "Remote-Groups", "Remote-Name", "Remote-Email", "Remote-Device")
MARK = "doctor-spoofed"
PREFLIGHT = (("Origin", "https://doctor.invalid"), ("Access-Control-Request-Method", "GET"))
BROWSER = (("Accept", "text/html"), ("Sec-Fetch-Mode", "navigate"), ("Sec-Fetch-Dest", "document"))
WEBSOCKET = (
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Key", "ZG9jdG9yIG9mIGdhdGVzIQ=="),
    ("Sec-WebSocket-Version", "13"),
)
H2C = (("Connection", "Upgrade, HTTP2-Settings"), ("Upgrade", "h2c"), ("HTTP2-Settings", "AAMAAABkAAQAoAAAAAIAAAAA"))
URI_HEADERS = ("X-Forwarded-Uri", "X-Original-URL", "X-Original-URI", "X-Rewrite-URL", "X-Envoy-Original-Path")
METHOD_HEADERS = (
    "X-Forwarded-Method",
    "X-Original-Method",
    "X-HTTP-Method-Override",
    "X-HTTP-Method",
    "X-Method-Override",
)
ADDRESS_HEADERS = ("X-Forwarded-For", "X-Real-IP", "X-Client-IP", "True-Client-IP", "CF-Connecting-IP")
HEALTH_CHECKERS = (
    "kube-probe/1.30",
    "GoogleHC/1.0",
    "ELB-HealthChecker/2.0",
    "Amazon-Route53-Health-Check-Service",
    "Consul Health Check",
    "Envoy/HC",
    "HAProxy",
    "Prometheus/2.53.0",
    "UptimeRobot/2.0",
)
METHODS = ("HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "REPORT", "TRACE", "DOCTOR", "get")


NEEDS_ECHO = "This check needs the echo backend in place of the service: use --echo-backend."


class NotTestable(Exception):
    """The reason why a check cannot be done."""


@dataclass
class Subject:
    """The service, and the operator's options."""

    service: Service
    key: str | None = None
    public: tuple = ()
    direct: str | None = None
    allows_preflight: bool = False
    cookie: str = "__Secure-shoko-auth-gateway"

    @property
    def path(self):
        return self.service.path

    def with_key(self, path=None, headers=()):
        """Returns a request that the service must accept."""
        if self.key is None:
            raise NotTestable("This check needs a key: use --key-file.")
        return Request(path or self.path, (("apikey", self.key), *headers))

    def echoed(self, request):
        """Returns what the echo backend has received."""
        if not self.service.has_echo:
            raise NotTestable(NEEDS_ECHO)
        response = self.service.send(request)
        if response is None or response.echo is None:
            raise NotTestable(f"The request did not reach the echo backend: {self.hidden(request)}.")
        return response.echo

    def hidden(self, request):
        return str(request).replace(self.key, "KEY") if self.key else str(request)


def must_be_refused(subject, requests):
    """Returns the requests that reached the service. Fails if nothing shows whether they did."""
    reached, unclear = [], []
    for request in requests:
        result = subject.service.reached(request)
        if result:
            reached.append(f"{subject.hidden(request)} reached the service")
        elif result is None:
            unclear.append(subject.hidden(request))
    if unclear and not reached:
        raise NotTestable(
            f"The response does not show whether the request was verified: {unclear[0]}. Try --echo-backend."
        )
    return reached


def no_credentials(subject):
    plain = Request(subject.path)
    return must_be_refused(subject, [plain, replace(plain, headers=BROWSER), replace(plain, version="HTTP/1.0")])


def bad_key(subject):
    bad = str(uuid.uuid4())
    basic = base64.b64encode(f":{bad}".encode()).decode()
    headers = (
        ("apikey", bad),
        ("apikey", ""),
        ("Authorization", f"Bearer {bad}"),
        ("Authorization", f"Basic {basic}"),
        ("Authorization", "Bearer x"),
        ("Cookie", f"{subject.cookie}={bad.replace('-', '')}"),
    )
    queries = (f"apikey={bad}", f"access_token={bad}")
    requests = [Request(subject.path, (header,)) for header in headers]
    return must_be_refused(subject, requests + [Request(f"{subject.path}?{query}") for query in queries])


def identity_without_key(subject):
    names = [*IDENTITY, "Remote_User", "REMOTE-USER", "X-Forwarded-User", "X-Remote-User", "X-Auth-Request-User"]
    every = tuple((name, "1" if name.endswith("Id") else "admin") for name in names)
    return must_be_refused(subject, [Request(subject.path, every)])


def identity_with_key(subject):
    names = [spelling for name in IDENTITY for spelling in (name, name.replace("-", "_"), name.lower(), name)]
    received = subject.echoed(subject.with_key(headers=tuple((name, MARK) for name in names)))
    return [f"the service received {name}: {value}" for name, value in received["headers"] if is_identity(name, value)]


def is_identity(name, value):
    # CGI, WSGI and PHP read `-` and `_` alike.
    return name.lower().replace("_", "-").startswith("remote-") and MARK in value


def identity_removed_by_connection(subject):
    """RFC 9110, section 7.6.1: proxies remove the headers that `Connection` names."""
    kept = names_of_identity(subject.echoed(subject.with_key()))
    request = subject.with_key(headers=(("Connection", ", ".join(("close", *IDENTITY))),))
    received = subject.echoed(request)
    found = [f"the service received no {name}" for name in sorted(kept - names_of_identity(received))]
    return found + [
        f"the service received Connection: {value}"
        for name, value in received["headers"]
        if name.lower() == "connection" and "remote-" in value.lower()
    ]


def names_of_identity(received):
    return {name.lower() for name, value in received["headers"] if name.lower().startswith("remote-") and value}


def return_address_findings(subject, name, value):
    """Returns a finding if a header of the client appears in the address of the sign-in page."""
    request = Request(subject.path, (*BROWSER, (name, value)))
    response = subject.service.send(request)
    if response is not None and MARK in response.header("location"):
        return [f"{name} of the client determined the return address after signing in"]
    return []


def forwarded_uri(subject):
    base = f"{subject.service.scheme}://{subject.service.host}"
    found = []
    for name in URI_HEADERS:
        prefix = base if name == "X-Original-URL" else ""
        found += return_address_findings(subject, name, f"{prefix}/{MARK}")
        paths = [*subject.public, "/", "/public/", "/favicon.ico"]
        found += must_be_refused(subject, [Request(subject.path, ((name, prefix + path),)) for path in paths])
        if subject.key:
            request = Request(subject.path, ((name, f"{prefix}/?apikey={subject.key}"),))
            found += must_be_refused(subject, [request, replace(request, headers=request.headers * 2)])
    return found


def forwarded_host(subject):
    found = []
    spoofed = f"{MARK}.invalid"
    key_works = subject.key is not None and subject.service.reached(subject.with_key())
    for name, value in (("X-Forwarded-Host", spoofed), ("Forwarded", f"host={spoofed}"), ("X-Original-Host", spoofed)):
        found += return_address_findings(subject, name, value)
        found += must_be_refused(subject, [Request(subject.path, ((name, value),))])
        if key_works and subject.service.reached(subject.with_key(headers=((name, value),))) is False:
            found.append(f"{name} of the client decided whether the key is good for this host")
    return found


def forwarded_method(subject):
    requests = [Request(subject.path, ((name, "OPTIONS"), *PREFLIGHT)) for name in METHOD_HEADERS]
    return must_be_refused(subject, requests + [replace(request, method="POST") for request in requests])


def client_address(subject):
    addresses = ("127.0.0.1", "::1", "10.0.0.1", "172.16.0.1", "192.168.0.1")
    requests = [Request(subject.path, ((name, address),)) for name in ADDRESS_HEADERS for address in addresses]
    return must_be_refused(subject, [*requests, Request(subject.path, (("Forwarded", "for=127.0.0.1"),))])


def methods(subject):
    return must_be_refused(subject, [Request(subject.path, method=method) for method in METHODS])


def preflight(subject):
    if subject.allows_preflight:
        # Only a real preflight may pass.
        partial = [Request(subject.path, (header,), "OPTIONS") for header in PREFLIGHT]
        return must_be_refused(
            subject, [*partial, Request(subject.path, PREFLIGHT), Request(subject.path, PREFLIGHT, "POST")]
        )
    return must_be_refused(subject, [Request(subject.path, PREFLIGHT, "OPTIONS")])


def gateway_arguments(subject):
    target = f"{subject.path}?preflight=allow&require=user"
    return must_be_refused(subject, [Request(target, PREFLIGHT, "OPTIONS"), Request(target)])


def health_checks(subject):
    return must_be_refused(subject, [Request(subject.path, (("User-Agent", agent),)) for agent in HEALTH_CHECKERS])


def upgrades(subject):
    return must_be_refused(subject, [Request(subject.path, WEBSOCKET), Request(subject.path, H2C)])


def h2c(subject):
    received = subject.echoed(subject.with_key(headers=H2C))
    upgrades = [value for name, value in received["headers"] if name.lower() == "upgrade"]
    return [f"the service received Upgrade: {value}" for value in upgrades if "h2c" in value.lower()]


def host_names(subject):
    if not subject.service.has_echo:
        # Another site on the same proxy, or its default page, would look like the service.
        raise NotTestable(NEEDS_ECHO)
    host = subject.service.name
    names = [host.upper(), f"{host}.", "localhost", "127.0.0.1", "doctor.invalid"]
    requests = [Request(subject.path, host=name) for name in names]
    found = must_be_refused(subject, [*requests, Request(subject.path, version="HTTP/1.0", host="")])
    # Keys can be limited to hosts, so a client must not choose the host that its request is verified for.
    sibling = f"{MARK}.{host.partition('.')[2]}"
    absolute = f"{subject.service.scheme}://{sibling}{subject.path}"
    for request in (Request(subject.path, BROWSER, host=sibling), Request(absolute, BROWSER)):
        response = subject.service.send(request)
        if response is not None and MARK in response.header("location"):
            found.append(f"{subject.hidden(request)} was verified for that host")
    return found


def large_headers(subject):
    requests = [Request(subject.path, (("X-Large", "x" * size),)) for size in (6_000, 15_000, 40_000)]
    return must_be_refused(subject, [*requests, Request(subject.path, tuple((f"X-{n}", "x") for n in range(150)))])


def remembered(subject):
    allowed = subject.with_key()
    found = []
    for request in (allowed, replace(allowed, headers=(("Authorization", f"Bearer {subject.key}"),))):
        subject.service.send(request)
        found += must_be_refused(
            subject, [Request(subject.path), Request(subject.path, (("apikey", str(uuid.uuid4())),))]
        )
    return found


def key_forwarded(subject):
    key = subject.with_key().headers[0][1]
    basic = base64.b64encode(f":{key}".encode()).decode()
    cookie = ("Cookie", f"a=b; {subject.cookie}={MARK}; c=d")
    requests = {
        "in the header apikey": Request(subject.path, (("apikey", key),)),
        "in Authorization: Bearer": Request(subject.path, (("Authorization", f"Bearer {key}"),)),
        "in Authorization: Basic": Request(subject.path, (("Authorization", f"Basic {basic}"),)),
        "in the query, as apikey": Request(f"{subject.path}?a=b&apikey={key}&c=d"),
        "in the query, as access_token": Request(f"{subject.path}?access_token={key}"),
        "of the gateway cookie": Request(subject.path, (("apikey", key), cookie)),
    }
    found = []
    for place, request in requests.items():
        received = str(subject.echoed(request))
        if any(secret in received for secret in (key, key.replace("-", ""), basic, MARK)):
            found.append(f"the service received the value {place}")
    return found


def direct(subject):
    if subject.direct is None:
        raise NotTestable("This check needs the address of the service behind the proxy: use --direct HOST:PORT.")
    service = Service(f"http://{subject.service.host}", connect=subject.direct, has_echo=subject.service.has_echo)
    try:
        reached = service.reached(Request(subject.path, (("Remote-User", "admin"),)))
    except OSError:
        return []
    return [f"the service responds at {subject.direct}"] if reached is not False else []


def path_check(variants):
    def check(subject):
        tried = dict.fromkeys(variants(subject.path, subject.public))
        return must_be_refused(subject, [Request(target) for target in tried])

    return check

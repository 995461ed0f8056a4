"""Tests that must pass behind each proxy with its documented configuration. Their names say what they test."""

import os
import time
import uuid
from contextlib import contextmanager
from itertools import product

from gateway_doctor.wire import Request
from lab import ADMIN_HEADER, OTHER_APP, USER, USER_HEADER, Guarded, basic, overloaded_server, sha256
from proxies import AUTH, DOCUMENT, block, free_port, replace

BODY_BYTES = 10_000_000
# In seconds, from the response to the revocation.
MAX_REVOCATION = 0.1
NAVIGATION = (("Accept", "text/html"), ("Sec-Fetch-Mode", "navigate"))
PREFLIGHT = (("Origin", "https://other.example"), ("Access-Control-Request-Method", "GET"))
WEBSOCKET = (
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ("Sec-WebSocket-Version", "13"),
)
# Where the options of the gateway belong in each configuration.
OPTIONS = {
    "nginx": ("authz/auth-request;", "authz/auth-request?{};"),
    "Caddy": ("authz/forward-auth?", "authz/forward-auth?{}"),
    "Envoy": ("path_prefix: /api/authz/ext-authz", "path_prefix: /api/authz/ext-authz;{}"),
    "HAProxy": ('authz/forward-auth"', 'authz/forward-auth?{}"'),
}

# Changes with which the proxy adds the query of the client to the address of the verification. Envoy always does, and
# HAProxy never.
ADDED_QUERY = {
    "nginx": ("authz/auth-request;", "authz/auth-request?$args;"),
    "Caddy": ("authz/forward-auth?", "authz/forward-auth"),
}

SPELLINGS_OF_AUTHZ = (
    "/api/authz",
    "/api/authz/auth-request",
    "/API/authz/auth-request",
    "/api/Authz/forward-auth",
    "/%61pi/authz/auth-request",
    "/api/%61uthz/ext-authz/",
    "/api/%41UTHZ/ext-authz/",
    "/api/authz/ext-authz/%zz",
    "/%61pi/authz/ext-authz/%zz",
    f"https://{AUTH}/API/authz/auth-request",
)

SIGN_IN_LOCATION = "    location / {\n        proxy_pass http://shoko_auth;"
ACCOUNT = DOCUMENT.with_name("account.md")
# Changes that add the location for SHOKO_AUTH_BASE_PATH=/auth to the sign-in host.
PAGES_BELOW_A_PATH = {
    "nginx": lambda text: replace(
        text, SIGN_IN_LOCATION, block("Behind a proxy", document=ACCOUNT) + SIGN_IN_LOCATION
    ),
}

# The status for host names that the configuration does not state. Caddy sends an empty 200, and HAProxy 400 or 421.
UNKNOWN_HOST = {"nginx": 421, "Envoy": 404}


def with_option(kind, option):
    """Returns a change of the documented configuration that adds an option."""
    old, new = OPTIONS[kind.name]
    return lambda text: replace(text, old, new.format(option))


def places(key):
    """Returns the headers and the target of a request for each place of a key."""
    return {
        "the header apikey": ((("apikey", key),), "/page"),
        "Bearer": ((("Authorization", f"Bearer {key}"),), "/page"),
        "Basic without a user": ((basic("", key),), "/page"),
        "Basic with the user": ((basic(USER, key),), "/page"),
        "the query apikey": ((), f"/page?a=b&apikey={key}&c=d"),
        "the query access_token": ((), f"/page?access_token={key}"),
    }


def a_request_without_a_key_is_401(guarded):
    for headers in ((), (("Accept", "*/*"),), (*NAVIGATION[:1], ("Sec-Fetch-Mode", "cors")), (*NAVIGATION, *WEBSOCKET)):
        response = guarded.get("/page", *headers)
        assert response.status == 401 and response.header("www-authenticate"), (headers, response)


def a_key_works_in_each_place_and_does_not_reach_the_service(guarded):
    key = guarded.lab.keys["user"]
    for place, (headers, target) in places(key).items():
        received, echo = guarded.received(target, *headers)
        assert received["remote-user"] == USER_HEADER and received["remote-groups"] == "user", (place, received)
        assert received["remote-user-id"].isdigit() and received["remote-device"] == "tests", (place, received)
        assert key not in str(echo), (place, echo)
        if "a=b" in target:
            assert echo["target"] == "/page?a=b&c=d", echo
    received, _ = guarded.received("/page", ("apikey", guarded.lab.keys["admin"]))
    assert (received["remote-user"], received["remote-groups"]) == (ADMIN_HEADER, "admin,user"), received


def a_bad_key_is_401_and_never_a_redirect(guarded):
    for place, (headers, target) in places(str(uuid.uuid4())).items():
        response = guarded.get(target, *headers, *NAVIGATION)
        assert response.status == 401, (place, response)
    response = guarded.get("/page", basic("someone-else", guarded.lab.keys["user"]))
    assert response.status == 401, response


def credentials_of_the_service_itself_pass(guarded):
    key = ("apikey", guarded.lab.keys["user"])
    received, _ = guarded.received(
        "/page?access_token=a.b.c", key, ("Authorization", "Bearer a.b.c"), ("Cookie", "a=b; c=d")
    )
    assert received["authorization"] == "Bearer a.b.c" and received["cookie"] == "a=b; c=d", received
    _, echo = guarded.received("/a%2Fb?access_token=a.b.c", key)
    assert echo["target"] == "/a%2Fb?access_token=a.b.c", echo


def a_navigation_is_redirected_to_the_sign_in_page(guarded):
    for method, statuses in (("GET", {302}), ("POST", {302, 303})):
        response = guarded.get("/page?x=1&y=%20", *NAVIGATION, method=method)
        expected = f"https://{AUTH}/account/sign-in?rd=https%3A%2F%2Fapp.example.org%2Fpage%3Fx%3D1%26y%3D%2520"
        assert response.status in statuses and response.header("location") == expected, response


def headers_of_the_client_about_identity_are_removed(guarded):
    names = ["Remote-User", "Remote-User-Id", "Remote-Groups", "Remote-Name", "Remote-Email", "Remote-Device"]
    spoofed = [
        (spelling, "spoofed") for name in names for spelling in (name, name.replace("-", "_"), name.upper(), name)
    ]
    _, echo = guarded.received("/page", ("apikey", guarded.lab.keys["user"]), *spoofed)
    identity = [pair for pair in echo["headers"] if pair[0].lower().replace("_", "-").startswith("remote-")]
    assert "spoofed" not in str(identity), identity
    assert guarded.get("/page", *spoofed).status == 401


def a_connection_header_of_the_client_does_not_remove_the_identity(guarded):
    """Proxies remove the headers that `Connection` names (RFC 9110, section 7.6.1)."""
    key = ("apikey", guarded.lab.keys["admin"])
    names = "Remote-User, Remote-User-Id, Remote-Groups, Remote-Name, Remote-Device"
    before, _ = guarded.received("/page", key)
    for connection in ((f"close, {names}",), ("close", names), (f"close, TE, {names}",)):
        received, _ = guarded.received("/page", key, *(("Connection", value) for value in connection))
        for name in names.lower().split(", "):
            assert received[name] == before[name], (connection, received)
        assert "remote" not in received.get("connection", "").lower(), (connection, received)
    websocket = guarded.get("/socket", key, ("Connection", f"Upgrade, {names}"), *WEBSOCKET[1:])
    assert websocket.status == 101, websocket



def gateway_keys_and_keys_for_this_host_work(guarded):
    keys = guarded.lab.keys
    for name in ("gateway", "bound"):
        received, _ = guarded.received("/page", ("apikey", keys[name]))
        assert received["remote-user"] == USER_HEADER, received
        assert guarded.lab.call("GET", "/api/v3/User/Current", key=keys[name])[0] == 401, (
            "a gateway key is for nothing else"
        )
    spoofed = [("X-Forwarded-Host", "other.example.org"), ("X-Original-URL", "https://other.example.org/")]
    for headers in ((), spoofed[:1], spoofed):
        assert guarded.get("/page", ("apikey", keys["elsewhere"]), *headers).status == 401


def a_revocation_is_effective_within_100_ms(guarded):
    key = guarded.lab.log_in(USER, f"revoked {time.monotonic_ns()}")
    header = ("apikey", key)
    assert guarded.received("/page", header)
    status, _ = guarded.lab.call("DELETE", f"/api/auth?apikey={key}")
    revoked = time.monotonic()
    assert status == 200, status
    while True:
        sent = time.monotonic()
        response = guarded.get("/page", header)
        if response.status == 401:
            break
        assert sent - revoked < MAX_REVOCATION, "the key still works"


def a_websocket_is_verified_at_its_handshake(guarded):
    key = ("apikey", guarded.lab.keys["user"])
    assert guarded.get("/socket", *WEBSOCKET).status == 401
    response = guarded.get("/socket", *WEBSOCKET, key)
    assert response.status == 101 and response.header("sec-websocket-accept") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", (
        response
    )
    with_query = guarded.get(f"/socket?access_token={key[1]}", *WEBSOCKET)
    assert with_query.status == 101, with_query


def a_body_of_10_mb_arrives_only_with_a_key(guarded):
    body = os.urandom(BODY_BYTES)
    response = guarded.post(body, ("apikey", guarded.lab.keys["user"]))
    assert response.echo["body"] == {"bytes": BODY_BYTES, "sha256": sha256(body)}, response.echo["body"]
    refused = guarded.post(body)
    assert refused is None or refused.status == 401, refused
    assert guarded.post(b"small").status == 401


def a_preflight_is_refused(guarded):
    assert guarded.get("/page", *PREFLIGHT, method="OPTIONS").status == 401
    assert guarded.get("/page?preflight=allow", *PREFLIGHT, method="OPTIONS").status == 401


def the_sign_in_host_hides_the_routes_of_proxies(guarded):
    service = guarded.at(AUTH)
    for route in ("forward-auth", "auth-request", "ext-authz/"):
        response = service.send(Request(f"/api/authz/{route}", (("apikey", guarded.lab.keys["user"]),)))
        assert response.status == 404, (route, response)
    assert service.send(Request("/account/sign-in")).status == 200


def the_host_of_an_absolute_target_decides(guarded):
    """A proxy that reads `Host` while it routes by the target would verify another host than it serves."""
    target = "https://app.example.org/page"
    request = Request(target, (("apikey", guarded.lab.keys["elsewhere"]),), host="other.example.org")
    response = guarded.service.send(request)
    assert response is None or (response.status >= 400 and response.echo is None), response


def another_host_name_does_not_lead_to_the_service(guarded):
    """The client chooses `Host` whatever name is in the TLS handshake. A key must not pass for another host."""
    for key in ("elsewhere", "user"):
        headers = (("apikey", guarded.lab.keys[key]),)
        for request in (
            Request("/page", headers, host=OTHER_APP),
            Request("/page", headers, host=f"{OTHER_APP}:{guarded.proxy.port}"),
            Request(f"https://{OTHER_APP}/page", headers),
            Request(f"https://{OTHER_APP}/page", headers, host=OTHER_APP),
        ):
            response = guarded.service.send(request)
            assert response is None or response.echo is None, (request, response)
            expected = UNKNOWN_HOST.get(guarded.proxy.name)
            assert expected is None or response.status == expected, (request, response)


def published_holes_of_other_gateways_are_closed(guarded):
    """Each of these let requests without credentials, or with another identity, reach a service."""
    holes = {
        "GHSA-7x63-xv5r-3p2x: a header of the client replaced the URL": Request(
            "/private", (("X-Forwarded-Uri", "/public"),)
        ),
        "GHSA-5hvv-m4w4-gf6v: health checks needed no credentials": Request(
            "/private", (("User-Agent", "GoogleHC/1.0"),)
        ),
        "GHSA-pxq7-h93f-9jrg: a fragment matched an open path": Request("/private#/public"),
    }
    for name, request in holes.items():
        response = guarded.service.send(request)
        assert response is None or (response.status in (400, 401) and response.echo is None), (name, response)
    # GHSA-7r4p-vjf4-gxv4: a header of the client survived if the verification returned none. The user has no address.
    received, _ = guarded.received("/page", ("apikey", guarded.lab.keys["user"]), ("Remote-Email", "admin@example.org"))
    assert received.get("remote-email", "") == "", received


CASES = [
    case
    for name, case in list(globals().items())
    if callable(case) and getattr(case, "__module__", "") == __name__ and case.__code__.co_varnames[:1] == ("guarded",)
]


def only_administrators_pass_with_require_admin(lab, kind):
    with kind(lab.folder, lab.app, lab.auth, with_option(kind, "require=admin")) as proxy:
        guarded = Guarded(proxy, lab)
        assert guarded.get("/page").status == 401
        assert guarded.get("/page", ("apikey", lab.keys["user"])).status == 403
        assert guarded.get("/page?require=user", ("apikey", lab.keys["user"])).status == 403
        assert guarded.received("/page", ("apikey", lab.keys["admin"]))


def preflights_pass_with_preflight_allow(lab, kind):
    with kind(lab.folder, lab.app, lab.auth, with_option(kind, "preflight=allow")) as proxy:
        guarded = Guarded(proxy, lab)
        received, _ = guarded.received("/page", *PREFLIGHT, ("Remote-User", "spoofed"), method="OPTIONS")
        assert received.get("remote-user", "") == "", received
        for method, headers in (("GET", PREFLIGHT), ("OPTIONS", PREFLIGHT[:1]), ("OPTIONS", PREFLIGHT[1:])):
            spoofed = (("X-Forwarded-Method", "OPTIONS"), ("X-Original-Method", "OPTIONS"))
            assert guarded.get("/page", *headers, *spoofed, method=method).status == 401, (method, headers)


def a_basic_challenge_is_sent_with_challenge_basic(lab, kind):
    with kind(lab.folder, lab.app, lab.auth, with_option(kind, "challenge=basic")) as proxy:
        response = Guarded(proxy, lab).get("/page")
        assert response.status == 401 and response.header("www-authenticate").startswith("Basic "), response


def an_overloaded_server_lets_nothing_pass(lab, kind):
    with overloaded_server() as port, kind(lab.folder, lab.app, port) as proxy:
        guarded = Guarded(proxy, lab)
        response = guarded.get("/page")
        assert response.status == 503 and response.echo is None, response
        # Envoy replaces responses with 5xx by its own.
        assert response.header("retry-after") == ("" if kind.name == "Envoy" else "7"), response
        response = guarded.get("/throttled")
        assert response.status == 429 and response.header("retry-after") == "7", response


def a_server_that_is_down_lets_nothing_pass(lab, kind):
    with kind(lab.folder, lab.app, free_port()) as proxy:
        response = Guarded(proxy, lab).get("/page", ("apikey", lab.keys["user"]))
        assert response.status in (502, 503) and response.echo is None, response


def the_query_of_the_client_allows_nothing_even_if_the_proxy_adds_it(lab, kind):
    """Existing configurations for other gateways add the query of the client in this way."""
    with kind(lab.folder, lab.app, lab.auth, lambda text: replace(text, *ADDED_QUERY[kind.name])) as proxy:
        guarded = Guarded(proxy, lab)
        assert guarded.get("/page?preflight=allow", *PREFLIGHT, method="OPTIONS").status == 401
        assert guarded.received("/page?a=b", ("apikey", lab.keys["user"]))


@contextmanager
def sign_in_host_with_echo(lab, kind):
    """Yields the sign-in host with the echo service in place of the server, so that everything that passes shows."""
    with kind(lab.folder, lab.app, lab.app, PAGES_BELOW_A_PATH.get(kind.name, lambda text: text)) as proxy:
        yield Guarded(proxy, lab).at(AUTH)


def pages(kind):
    """Returns an address below each location that leads to the server."""
    return ("/", "/auth/") if kind.name in PAGES_BELOW_A_PATH else ("/",)


def the_sign_in_host_hides_every_spelling_of_the_routes_of_proxies(lab, kind):
    with sign_in_host_with_echo(lab, kind) as service:
        for target in SPELLINGS_OF_AUTHZ:
            response = service.send(Request(target))
            # Proxies refuse targets that cannot be decoded.
            expected = {400, 404} if "%zz" in target else {404}
            assert response.status in expected and response.echo is None, (target, response)
        assert service.send(Request("/account/sign-in")).echo


def the_sign_in_host_receives_no_address_or_host_of_the_client(lab, kind):
    with sign_in_host_with_echo(lab, kind) as service:
        spoofed = (
            ("Forwarded", "for=192.0.2.1;host=spoofed.example"),
            ("X-Forwarded-Host", "spoofed.example"),
            ("X-Forwarded-For", "192.0.2.1"),
            ("X-Forwarded-Proto", "http"),
        )
        named = "close, X-Forwarded-For, X-Forwarded-Host, X-Forwarded-Proto"
        for target, connection in product(pages(kind), ("close", named)):
            response = service.send(Request(target, (*spoofed, ("Connection", connection))))
            if connection == named and response.status == 400:
                # Envoy refuses such a header.
                continue
            echo = response.echo
            assert "spoofed" not in str(echo), echo
            received = {name.lower(): value for name, value in echo["headers"]}
            assert received["x-forwarded-proto"] == "https", echo
            # Envoy appends the address of its peer, and the server reads the list from the end.
            assert received["x-forwarded-for"].split(",")[-1].strip() not in ("", "192.0.2.1"), echo


def the_sign_in_host_receives_the_port_of_the_browser(lab, kind):
    with sign_in_host_with_echo(lab, kind) as service:
        for target, host in product(pages(kind), (AUTH, f"{AUTH}:8443")):
            echo = service.send(Request(target, host=host)).echo
            assert [value for name, value in echo["headers"] if name.lower() == "host"] == [host], echo


VARIANTS = [
    only_administrators_pass_with_require_admin,
    preflights_pass_with_preflight_allow,
    a_basic_challenge_is_sent_with_challenge_basic,
    an_overloaded_server_lets_nothing_pass,
    a_server_that_is_down_lets_nothing_pass,
    the_sign_in_host_hides_every_spelling_of_the_routes_of_proxies,
    the_sign_in_host_receives_no_address_or_host_of_the_client,
    the_sign_in_host_receives_the_port_of_the_browser,
]


def variants(kind):
    """Returns the tests that change the configuration of this proxy."""
    if kind.name in ADDED_QUERY:
        return [*VARIANTS, the_query_of_the_client_allows_nothing_even_if_the_proxy_adds_it]
    return VARIANTS

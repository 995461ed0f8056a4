"""Replays Traefik's requests for verification. Traefik itself does not run.

`forward_auth_request` follows pkg/middlewares/auth/forward.go of Traefik 3 (commit fd5a576df2, July 2026) with
`trustForwardHeader: false`, and `upstream_headers` follows its handling of a 200. `blocks` are from docs/gateway.md.
"""

import re
from urllib.parse import unquote

from cases import NAVIGATION, PREFLIGHT, SPELLINGS_OF_AUTHZ, WEBSOCKET, places
from gateway_doctor.wire import Request, Service
from lab import USER_HEADER
from proxies import APP, AUTH, block

HOP_HEADERS = {"connection", "keep-alive", "te", "trailers", "transfer-encoding", "upgrade"}
X_HEADERS = {
    "x-forwarded-proto",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-scheme",
    "x-forwarded-server",
    "x-forwarded-uri",
    "x-forwarded-method",
    "x-forwarded-prefix",
    "x-forwarded-tls-client-cert",
    "x-forwarded-tls-client-cert-info",
    "x-scheme",
    "x-real-ip",
}


def documented(name):
    """Returns the value of a member of the documented configuration."""
    return re.search(rf"^ *{name}: \"?([^\"\n]*)\"?$", block("Traefik"), re.M)[1]


def forward_auth_request(target, headers, method="GET"):
    address = documented("address")
    kept = [(name, value) for name, value in headers if name.lower().replace("_", "-") not in HOP_HEADERS | X_HEADERS]
    forwarded = [
        ("X-Forwarded-For", "192.0.2.7"),
        ("X-Forwarded-Method", method),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Port", "443"),
        ("X-Forwarded-Host", APP),
        ("X-Forwarded-Uri", target),
    ]
    return Request(re.sub(r"^http://[^/]*", "", address), (*kept, *forwarded))


def upstream_headers(response, headers):
    """Returns the headers that the service receives."""
    pattern = re.compile(documented("authResponseHeadersRegex"))
    kept = [(name, value) for name, value in headers if not pattern.search(name.title())]
    return kept + [(name, value) for name, value in response.headers if pattern.search(name.title())]


def verify(lab, target="/page", headers=(), method="GET"):
    service = Service(f"http://127.0.0.1:{lab.auth}/")
    return service.send(forward_auth_request(target, headers, method))


def the_documented_settings_are_safe(lab):
    assert documented("trustForwardHeader") == "false"
    pattern = re.compile(documented("authResponseHeadersRegex"))
    for name in ("Remote-User", "Remote_user", "Remote-Email", "Remote_Groups", "Apikey", "Remote-Anything"):
        assert pattern.search(name), name
    assert not pattern.search("Cookie") and not pattern.search("X-Remote-Port")


def the_documented_rule_hides_every_spelling_of_the_routes_of_proxies(lab):
    """Traefik compares the decoded path with the pattern."""
    pattern = re.compile(re.search(r"auth\.example\.org`\) && !PathRegexp\(`(.*)`\)$", block("Traefik"), re.M)[1])
    for target in SPELLINGS_OF_AUTHZ:
        assert pattern.search(unquote(target.removeprefix(f"https://{AUTH}"))), target
    assert not pattern.search("/account/sign-in") and not pattern.search("/api/auth")


def a_key_works_in_each_place(lab):
    for place, (headers, target) in places(lab.keys["user"]).items():
        response = verify(lab, target, headers)
        assert response.status == 200, (place, response)
        received = dict(upstream_headers(response, (*headers, ("Remote-User", "spoofed"), ("Remote_User", "spoofed"))))
        received = {name.lower(): value for name, value in received.items()}
        assert received["remote-user"] == USER_HEADER and "remote_user" not in received, received
        assert "apikey" not in received and "authorization" not in received, received


def a_navigation_is_redirected_and_every_other_request_is_401(lab):
    response = verify(lab, "/page?x=1", NAVIGATION)
    assert response.status == 302 and response.header("location").startswith(f"https://{AUTH}/account/sign-in?rd="), (
        response
    )
    assert verify(lab, "/page", NAVIGATION, "POST").status == 303
    # Traefik removes `Upgrade` before it sends the request for verification.
    for headers in ((), (*NAVIGATION, *WEBSOCKET), (("apikey", "x"),)):
        assert verify(lab, "/page", headers).status == 401, headers


def keys_are_limited_to_hosts(lab):
    assert verify(lab, headers=(("apikey", lab.keys["bound"]),)).status == 200
    spoofed = (("X-Forwarded-Host", "other.example.org"), ("X_Forwarded_Host", "other.example.org"))
    assert verify(lab, headers=(("apikey", lab.keys["elsewhere"]), *spoofed)).status == 401


def preflights_and_other_methods_are_refused(lab):
    assert verify(lab, "/page?preflight=allow", PREFLIGHT, "OPTIONS").status == 401
    for method in ("POST", "DELETE", "OPTIONS", "PROPFIND"):
        assert verify(lab, method=method).status == 401, method


CASES = [
    the_documented_settings_are_safe,
    the_documented_rule_hides_every_spelling_of_the_routes_of_proxies,
    a_key_works_in_each_place,
    a_navigation_is_redirected_and_every_other_request_is_401,
    keys_are_limited_to_hosts,
    preflights_and_other_methods_are_refused,
]

"""The checks of `scripts/doctor` in the order of the report, with the meaning and the fix of each."""

from dataclasses import dataclass

from . import checks
from .checks import path_check
from .paths import PATHS


@dataclass(frozen=True)
class Check:
    name: str
    run: object
    meaning: str
    fix: str


CHECKS = [
    Check(
        "no credentials",
        checks.no_credentials,
        "A request without a key must not reach the service.",
        "Verify every request of this host: put the guard in the outermost location or route.",
    ),
    Check(
        "bad key",
        checks.bad_key,
        "A request with an unknown key must not reach the service.",
        "Let the proxy refuse a request whenever the verification does not return 200.",
    ),
    Check(
        "identity headers without a key",
        checks.identity_without_key,
        "A client must not be able to choose the user name that the service receives.",
        "Verify the request with shoko-auth only, never by a header that the client can send.",
    ),
    Check(
        "identity headers with a key",
        checks.identity_with_key,
        "A signed-in client must not be able to claim to be another user or an administrator.",
        "Remove or replace every Remote-* header of the client, with - and with _, before the service sees it.",
    ),
    Check(
        "identity headers in Connection",
        checks.identity_removed_by_connection,
        "A client must not be able to remove identity headers by naming them in Connection.",
        "Replace the header Connection of the client before the request is verified.",
    ),
    Check(
        "X-Forwarded-Uri, X-Original-URL",
        checks.forwarded_uri,
        "The proxy, not the client, must say which URL is verified.",
        "Set this header in the proxy for each verification, and do not trust the headers of clients.",
    ),
    Check(
        "X-Forwarded-Host",
        checks.forwarded_host,
        "The proxy, not the client, must say which host is verified: keys can be limited to hosts.",
        "Set this header in the proxy, and do not list clients as trusted proxies.",
    ),
    Check(
        "method override",
        checks.forwarded_method,
        "The proxy, not the client, must say which method is verified: preflights may be allowed without a key.",
        "Set X-Original-Method or X-Forwarded-Method in the proxy from the method of the request.",
    ),
    Check(
        "client address",
        checks.client_address,
        "A client must not get past the guard by claiming a local address.",
        "Remove rules that skip the guard by address, or trust address headers only from your own proxies.",
    ),
    *(Check(name, path_check(variants), meaning, fix) for name, variants, meaning, fix in PATHS),
    Check(
        "other methods",
        checks.methods,
        "The guard must not depend on the method.",
        "Remove rules that skip the guard for some methods.",
    ),
    Check(
        "preflight",
        checks.preflight,
        "A CORS preflight carries no key, and whether it reaches the service is the operator's decision.",
        "Remove ?preflight=allow, or call doctor with --allow-preflight if the service treats OPTIONS as harmless.",
    ),
    Check(
        "arguments of the gateway",
        checks.gateway_arguments,
        "A client must not be able to set arguments such as preflight=allow for its own verification.",
        "Do not append the query of the client to the URL of the verification.",
    ),
    Check(
        "health-check user agents",
        checks.health_checks,
        "Every client can claim to be a health check.",
        "Remove rules that skip the guard by User-Agent, and check the health of the service at its own address.",
    ),
    Check(
        "upgrades without a key",
        checks.upgrades,
        "A WebSocket is verified only at its handshake, so the handshake must be guarded.",
        "Guard the location of WebSockets like every other.",
    ),
    Check(
        "h2c",
        checks.h2c,
        "After an upgrade to HTTP/2, the proxy sees no further requests, so a signed-in client could claim any name.",
        "Pass on the header Upgrade only if its value is websocket.",
    ),
    Check(
        "other host names",
        checks.host_names,
        "The service must be guarded, and reachable only under names that the proxy's configuration states.",
        "Let unknown host names end at the proxy, for example with a default server that returns 421.",
    ),
    Check(
        "large headers",
        checks.large_headers,
        "The service must stay guarded when the verification itself fails.",
        "Refuse requests whose verification fails: no failure_mode_allow, and no error_page that leads to the service.",
    ),
    Check(
        "remembered verifications",
        checks.remembered,
        "A verified request must not let later requests without a key pass.",
        "Do not cache verifications, or make the key, the cookie, host and method parts of the cache key.",
    ),
    Check(
        "key forwarded",
        checks.key_forwarded,
        "The service must not receive the caller's key, with which it could act for the caller elsewhere.",
        "Remove apikey, Authorization, the cookie and the key in the query before the request is passed on.",
    ),
    Check(
        "direct access",
        checks.direct,
        "Clients that reach the service past the proxy can send any Remote-User.",
        "Let the service listen on 127.0.0.1 or on a private network, or block its port with a firewall.",
    ),
]

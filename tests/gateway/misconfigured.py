"""Configurations with one known mistake each, made from the documented ones, and the check of `scripts/doctor` that
must find it."""

from dataclasses import dataclass

from proxies import replace

VERIFY = "auth_request /shoko-auth-gateway;"
PASS = "proxy_pass http://app$app_target;"
LOCATION = "    location / {\n        auth_request /shoko-auth-gateway;"
METHOD_LINE = "proxy_set_header X-Original-Method $request_method;"
URL_LINE = "proxy_set_header X-Original-URL    $scheme://$host$request_uri;"
ONLY_PRIVATE = (
    LOCATION,
    "    location / { proxy_pass http://app; }\n    location /private/ {\n        auth_request /shoko-auth-gateway;",
)
CACHE = "proxy_cache_path /var/cache/nginx/gateway keys_zone=gateway:1m;\n"


@dataclass(frozen=True)
class Mistake:
    proxy: str
    name: str
    found_by: str
    # Pairs of a text of the documentation and its replacement.
    edits: tuple
    # Further arguments for doctor. {app} is the port of the service.
    arguments: tuple = ()

    def change(self, text):
        for old, new in self.edits:
            text = replace(text, old, new)
        return text


def nginx(name, found_by, *edits, arguments=()):
    return Mistake("nginx", name, found_by, edits, arguments)


def open_location(location):
    """Adds a location that is not guarded."""
    return (LOCATION, f"    location {location} {{ proxy_pass http://app; proxy_set_header Host $host; }}\n{LOCATION}")


def believe(variable, own, line):
    """Lets a header of the client replace the proxy's `own` value in a line."""
    chosen = f"set $chosen {own};\n        if ({variable}) {{ set $chosen {variable}; }}\n        "
    return (line, chosen + line.replace(own, "$chosen"))


def skip_if(condition):
    """Lets requests pass that fulfill a condition."""
    return (
        LOCATION,
        f"    if ({condition}) {{ rewrite ^ /unguarded last; }}\n"
        "    location = /unguarded { internal; proxy_pass http://app$request_uri; }\n" + LOCATION,
    )


MISTAKES = [
    nginx("the guard is missing", "no credentials", (VERIFY, "")),
    nginx("the API of the service is not guarded", "usual open paths", open_location("/api/")),
    nginx("assets are open by their ending", "endings of the path", open_location(r"~* \.(css|js|png|ico)$")),
    nginx(
        "only one spelling of a path is guarded",
        "case of the path",
        ONLY_PRIVATE,
    ),
    nginx(
        "slashes are not merged",
        "// in the path",
        ("client_max_body_size 100m;", "client_max_body_size 100m;\n    merge_slashes off;"),
        ONLY_PRIVATE,
    ),
    nginx("a rule matches the raw URL", ".. in the path", skip_if("$request_uri ~ ^/public/")),
    nginx(
        "a rule matches the raw URL of a path that is open on purpose",
        ".. in the path",
        skip_if("$request_uri ~ ^/blog/2026/"),
        arguments=("--public", "/blog/2026/"),
    ),
    nginx(
        "a rule matches the raw URL after a wrong check for ..",
        "%2e in the path",
        (
            "server_name app.example.org;",
            "server_name app.example.org;\n    set $raw $request_uri;\n"
            '    if ($request_uri ~ "/[.][.]") { set $raw ""; }',
        ),
        skip_if("$raw ~ ^/public/"),
    ),
    nginx("a rule matches the end of the raw URL", "# in the path", skip_if(r"$request_uri ~ [.]css$")),
    nginx("a rule matches parameters of a path", "; in the path", skip_if(r'$uri ~ "^/[^;]*;.*[.]css$"')),
    nginx("only some methods are guarded", "other methods", skip_if("$request_method !~ ^(GET|HEAD)$")),
    nginx("preflights pass", "preflight", ("authz/auth-request;", "authz/auth-request?preflight=allow;")),
    nginx(
        "the client says which method is verified",
        "method override",
        believe("$http_x_original_method", "$request_method", METHOD_LINE),
        ("authz/auth-request;", "authz/auth-request?preflight=allow;"),
    ),
    nginx(
        "the client says which URL is verified",
        "X-Forwarded-Uri, X-Original-URL",
        believe("$http_x_original_url", "$scheme://$host$request_uri", URL_LINE),
    ),
    nginx(
        "the client says which host is verified",
        "X-Forwarded-Host",
        believe("$http_x_forwarded_host", "$host", URL_LINE),
    ),
    nginx(
        "health checks pass", "health-check user agents", skip_if("$http_user_agent ~* kube-probe|elb-healthchecker")
    ),
    nginx(
        "local addresses pass, and clients can claim one",
        "client address",
        (VERIFY, VERIFY + "\n        satisfy any; allow 10.0.0.0/8; deny all;"),
        (
            "client_max_body_size 100m;",
            "client_max_body_size 100m;\n    set_real_ip_from 0.0.0.0/0; real_ip_header X-Forwarded-For;",
        ),
    ),
    nginx("WebSockets are not guarded", "upgrades without a key", skip_if("$http_upgrade = websocket")),
    nginx(
        "every upgrade is passed on",
        "h2c",
        ('"~*^websocket$" websocket;', '"~." $http_upgrade;'),
        ("websocket upgrade;", '"~." upgrade;'),
    ),
    nginx(
        "a failed verification lets the request pass",
        "large headers",
        ("error_page 500 = @not_verified;", "error_page 500 = @unguarded;"),
        (
            "location @not_verified {",
            "location @unguarded { proxy_pass http://app; }\n    location @not_verified {",
        ),
    ),
    nginx(
        "verifications are cached for all clients",
        "remembered verifications",
        ("map $http_upgrade", CACHE + "map $http_upgrade"),
        (
            "location = /shoko-auth-gateway {",
            "location = /shoko-auth-gateway {\n        proxy_cache gateway; proxy_cache_key $request_uri;\n"
            "        proxy_cache_valid 200 1m; proxy_ignore_headers Cache-Control Expires Vary Set-Cookie;",
        ),
    ),
    nginx(
        "the groups of the client are not replaced",
        "identity headers with a key",
        ("proxy_set_header Remote-Groups  $gateway_groups;", ""),
    ),
    nginx(
        "headers with underscores pass",
        "identity headers with a key",
        (
            "listen 443 ssl;\n    server_name app.example.org;",
            "listen 443 ssl;\n    underscores_in_headers on;\n    server_name app.example.org;",
        ),
    ),
    nginx("the service receives the header apikey", "key forwarded", ('proxy_set_header apikey        "";', "")),
    nginx(
        "the service receives Authorization",
        "key forwarded",
        ("Authorization $app_authorization", "Authorization $http_authorization"),
    ),
    nginx(
        "the service receives the gateway cookie",
        "key forwarded",
        ("Cookie        $app_cookie", "Cookie $http_cookie"),
    ),
    nginx("the service receives the key in the query", "key forwarded", (PASS, "proxy_pass http://app;")),
    nginx("the service can be reached past the proxy", "direct access", arguments=("--direct", "127.0.0.1:{app}")),
    nginx(
        "another name leads to the service without the guard",
        "other host names",
        (
            "    ssl_reject_handshake on;\n    return 421;",
            "    ssl_certificate /etc/ssl/example.org.pem;\n    ssl_certificate_key /etc/ssl/example.org.key;\n"
            "    location / { proxy_pass http://app; }",
        ),
    ),
    nginx(
        "the service is served under every name",
        "other host names",
        ("listen 443 ssl default_server;", "listen 443 ssl;"),
        (
            "listen 443 ssl;\n    server_name app.example.org;",
            "listen 443 ssl default_server;\n    server_name app.example.org;",
        ),
    ),
    Mistake(
        "Caddy",
        "every client is a trusted proxy",
        "X-Forwarded-Host",
        (("forward_auth 127.0.0.1:8111 {", "forward_auth 127.0.0.1:8111 {\n\t\t\ttrusted_proxies 0.0.0.0/0"),),
    ),
    Mistake(
        "Caddy",
        "assets are open",
        "usual open paths",
        (
            (
                "\troute {\n",
                "\t@open path /static/* /api/*\n\thandle @open {\n\t\treverse_proxy 127.0.0.1:3000\n\t}\n\troute {\n",
            ),
        ),
    ),
    Mistake(
        "Caddy",
        "the groups of the client are not replaced",
        "identity headers with a key",
        (("request_header -Remote-*", ""), ("Remote-Groups ", "")),
    ),
    Mistake(
        "Caddy",
        "Connection of the client removes the identity",
        "identity headers in Connection",
        (("request_header Connection .+ Upgrade", ""),),
    ),
    Mistake(
        "HAProxy",
        "the service receives Connection of the client",
        "identity headers in Connection",
        (("http-request del-header Connection\n", ""), ("http-request set-header Connection Upgrade if", "# ")),
    ),
    Mistake("Envoy", "headers with underscores pass", "identity headers with a key", (("DROP_HEADER", "ALLOW"),)),
    Mistake(
        "HAProxy",
        "an open prefix is compared before paths are normalized",
        ".. in the path",
        (
            (
                "http-request lua.gateway",
                "http-request set-var(txn.gateway) str(allowed) if { path_beg /public/ }\n"
                "    http-request lua.gateway unless { path_beg /public/ }",
            ),
        ),
    ),
    Mistake(
        "HAProxy",
        "headers with underscores pass",
        "identity headers with a key",
        (("^remote[-_] -m reg", "^remote- -m reg"),),
    ),
]

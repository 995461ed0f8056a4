"""Spellings of a path that a proxy and a service may read differently. The service may take each for the guarded path,
so none of them may pass without a key."""

from urllib.parse import quote

# Prefixes that configurations often leave unguarded.
COMMON_PUBLIC = ("/public/", "/static/", "/assets/", "/health")
COMMON_OPEN = (
    "/api/",
    "/api/v1/",
    "/health",
    "/healthz",
    "/ping",
    "/status",
    "/metrics",
    "/login",
    "/public/",
    "/static/",
    "/assets/",
    "/ws",
    "/socket.io/",
    "/favicon.ico",
    "/robots.txt",
    "/.well-known/doctor",
    "/sw.js",
    "/manifest.json",
)
ENDINGS = (".css", ".js", ".png", ".ico", ".woff2", "/.css", "/x.css", "/favicon.ico", "/robots.txt", "/health", "/ws")


def prefixes(public):
    return [prefix.rstrip("/") for prefix in (*public, *COMMON_PUBLIC)]


def depth(prefix):
    return prefix.count("/")


def fragments(path, public):
    yield from (f"{path}#", f"{path}#x.css", f"{path}%23x.css")
    for prefix in prefixes(public):
        yield from (f"{path}#{prefix}/", f"{path}#/..{prefix}/")


def slashes(path, public):
    yield from (
        f"/{path}",
        f"//{path}",
        path.replace("/", "//"),
        f"{path}//",
        "/%2f" + path.lstrip("/"),
        "/\\" + path.lstrip("/"),
    )


def dots(path, public):
    yield from (f"/.{path}", f"/x/..{path}", f"{path}/.", f"{path}/./")
    for prefix in prefixes(public):
        up = "/.." * depth(prefix)
        yield from (f"{prefix}{up}{path}", f"{prefix}/x{up}/..{path}", f"{prefix}/{up}{path}")


def encoded(path, public):
    first = path[1:2]
    if first:
        yield f"/%{ord(first):02x}{path[2:]}"
    yield from (
        f"/%2e{path}",
        f"/x/%2e%2e{path}",
        quote(path, safe="").replace("%2F", "/%2e/", 1),
        f"{path}%00",
        f"{path}%20",
    )
    for prefix in prefixes(public):
        for up in ("/%2e%2e", "/%2E.", "/%252e%252e", "%2f..", "%2f%2e%2e", "/..%5c..", "%5c.."):
            yield f"{prefix}{up * depth(prefix)}{path}"


def semicolons(path, public):
    yield from (f"{path};", f"{path};x=.css", f"{path};/x.css", f"/;x{path}", f"/.;{path}", f"/x/..;{path}")
    for prefix in prefixes(public):
        yield from (f"{prefix}{'/..;' * depth(prefix)}{path}", f"{prefix};{'/..' * depth(prefix)}{path}")


def cases(path, public):
    yield from (path.upper(), path.swapcase(), path.title(), f"{path}?X=Y")


def endings(path, public):
    trimmed = path.rstrip("/")
    yield from (f"{trimmed}{ending}" for ending in ENDINGS)
    yield from (
        f"{trimmed}/",
        f"{trimmed}?x=.css",
        f"{trimmed}?/public/",
        f"{trimmed}%0a.css",
        f"{trimmed}%00.css",
        f"{trimmed}.",
    )


def open_paths(path, public):
    yield from (open_path for open_path in COMMON_OPEN if not any(open_path.startswith(prefix) for prefix in public))


FIX = "Guard the whole host, or match open paths exactly and after the proxy has normalized them, never by the raw URL."
MEANING = "The proxy and the service must not disagree on which path a request with {} means."
PATHS = [
    (
        "usual open paths",
        open_paths,
        "A path that is open for apps or for assets is open for every client.",
        "Guard these paths too: apps can send a key. Name paths that are open on purpose with --public.",
    ),
    ("# in the path", fragments, MEANING.format("#"), FIX),
    ("// in the path", slashes, MEANING.format("//"), FIX),
    (".. in the path", dots, MEANING.format(".."), FIX),
    ("%2e in the path", encoded, MEANING.format("percent-encoded characters"), FIX),
    ("; in the path", semicolons, MEANING.format(";"), FIX),
    ("case of the path", cases, MEANING.format("other letters in upper case"), FIX),
    ("endings of the path", endings, "A file ending must not make a page public.", FIX),
]

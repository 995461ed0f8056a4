"""The proxies under test. Each runs with its configuration from docs/gateway.md, in which only addresses, ports and
paths of certificates are replaced."""

import os
import re
import socket
import ssl
import subprocess
import time
from pathlib import Path

DOCUMENT = Path(__file__).parents[2] / "docs" / "gateway.md"
APP, AUTH = "app.example.org", "auth.example.org"
# In seconds. The limits only stop a run that hangs.
START_TIMEOUT = 60
STOP_TIMEOUT = 10
SEPARATOR = "\0"


def block(heading, number=0, document=DOCUMENT):
    """Returns a fenced block of the section with this heading."""
    section = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", document.read_text(), re.M | re.S)
    return re.findall(r"^```\w+\n(.*?)^```$", section[1], re.M | re.S)[number]


def replace(text, old, new):
    """Replaces `old`, which must occur, so that a change of the documentation cannot make a test meaningless."""
    if old not in text:
        raise ValueError(f"the configuration does not contain {old!r}")
    return text.replace(old, new)


def free_port():
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Proxy:
    """A proxy that guards `app` (a port) with `auth` (a port). `change` edits the documented configuration."""

    name = ""
    blocks = 1

    def __init__(self, folder, app, auth, change=lambda text: text):
        self.folder = Path(folder) / f"{self.name}-{time.monotonic_ns()}"
        self.folder.mkdir()
        self.certificates = Path(folder)
        self.app, self.auth, self.port = app, auth, free_port()
        # A change may concern any of the files.
        text = change(SEPARATOR.join(block(self.name, number) for number in range(self.blocks)))
        self.texts = [self.localize(part) for part in text.split(SEPARATOR)]
        self.process = None

    def localize(self, text):
        for old, new in self.addresses().items():
            if old in text:
                text = text.replace(old, new)
        return text

    def addresses(self):
        return {
            "127.0.0.1:8111": f"127.0.0.1:{self.auth}",
            "127.0.0.1:3000": f"127.0.0.1:{self.app}",
            "/etc/ssl/example.org": f"{self.certificates}/example.org",
            "/var/cache/nginx": str(self.folder),
        }

    def write(self, name, text):
        path = self.folder / name
        path.write_text(text)
        return str(path)

    def command(self):
        raise NotImplementedError

    def __enter__(self):
        log = open(self.folder / "log", "wb")
        environment = os.environ | {"HOME": str(self.folder), "XDG_DATA_HOME": str(self.folder)}
        self.process = subprocess.Popen(
            self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder, env=environment
        )
        deadline = time.monotonic() + START_TIMEOUT
        while not self.listens():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.__exit__()
                raise RuntimeError(f"{self.name} did not start:\n{self.log()[-3000:]}")
            time.sleep(0.02)
        return self

    def is_open(self):
        try:
            socket.create_connection(("127.0.0.1", self.port), 5).close()
        except OSError:
            return False
        return True

    def listens(self):
        """Returns whether the proxy has certificates for both hosts, which Caddy first creates."""
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        try:
            for host in (APP, AUTH):
                plain = socket.create_connection(("127.0.0.1", self.port), 5)
                context.wrap_socket(plain, server_hostname=host).close()
        except OSError:
            return False
        return True

    def log(self):
        return (self.folder / "log").read_text(errors="replace")

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Nginx(Proxy):
    name = "nginx"

    def addresses(self):
        return super().addresses() | {"listen 443": f"listen 127.0.0.1:{self.port}"}

    def command(self):
        temporary = "\n".join(
            f"{kind}_temp_path {self.folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        # Debian's nginx.conf includes the documented file in the same place.
        config = f"""
            {"user root;" if os.geteuid() == 0 else ""}
            daemon off;
            worker_processes 2;
            pid {self.folder}/pid;
            error_log stderr warn;
            events {{ worker_connections 1024; }}
            http {{
                access_log off;
                {temporary}
                {self.texts[0]}
            }}"""
        return ["nginx", "-e", "stderr", "-c", self.write("nginx.conf", config)]


class Caddy(Proxy):
    name = "Caddy"

    def command(self):
        # Caddy would otherwise request certificates from the internet.
        options = ["admin off", "local_certs", "skip_install_trust"]
        options += [f"http_port {free_port()}", f"https_port {self.port}"]
        options = "".join(f"\t{option}\n" for option in options)
        return [
            "caddy",
            "run",
            "--adapter",
            "caddyfile",
            "--config",
            self.write("Caddyfile", f"{{\n{options}}}\n{self.texts[0]}"),
        ]


class Envoy(Proxy):
    name = "Envoy"

    def addresses(self):
        addresses = super().addresses() | {"port_value: 443 ": f"port_value: {self.port} "}
        return addresses | {
            "port_value: 8111 ": f"port_value: {self.auth} ",
            "port_value: 3000 ": f"port_value: {self.app} ",
        }

    def command(self):
        config = self.write("envoy.yaml", self.texts[0])
        # Every Envoy on a machine needs an id of its own, or `--use-dynamic-base-id`.
        return ["envoy", "--config-path", config, "--use-dynamic-base-id", "--concurrency", "2", "--log-level", "error"]


class HAProxy(Proxy):
    name = "HAProxy"
    blocks = 2

    def addresses(self):
        addresses = {
            "bind :443": f"bind 127.0.0.1:{self.port}",
            "/etc/haproxy/gateway.lua": f"{self.folder}/gateway.lua",
        }
        return super().addresses() | addresses | {"/etc/haproxy/example.org.pem": f"{self.certificates}/combined.pem"}

    def command(self):
        self.write("gateway.lua", self.texts[1])
        return ["haproxy", "-db", "-f", self.write("haproxy.cfg", self.texts[0])]


ALL = {proxy.name: proxy for proxy in (Nginx, Caddy, Envoy, HAProxy)}

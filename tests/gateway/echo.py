"""A service that returns each request as JSON. Tests guard it, and so can operators who call `scripts/doctor` with
`--echo-backend`.

Arguments: the port, 0 for one that the system chooses, and optionally the address, 127.0.0.1 by default. Prints the
port when it listens.
"""

import base64
import hashlib
import http.client
import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# The constant of RFC 6455, section 1.3.
WEBSOCKET_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
CHUNK = 1 << 16
# Otherwise the service would refuse what the proxy should have refused.
http.client._MAXHEADERS = 1000


class Echo(BaseHTTPRequestHandler):
    """Returns the request target and the headers exactly as they have arrived."""

    protocol_version = "HTTP/1.1"

    def read_body(self):
        """Returns the size of the body and its SHA-256."""
        digest, size = hashlib.sha256(), 0
        for part in self.parts():
            digest.update(part)
            size += len(part)
        return size, digest.hexdigest()

    def parts(self):
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            while count := int(self.rfile.readline().split(b";")[0], 16):
                yield self.rfile.read(count)
                self.rfile.readline()
            while self.rfile.readline().strip():
                pass
            return
        left = int(self.headers.get("Content-Length", 0))
        while left and (part := self.rfile.read(min(left, CHUNK))):
            left -= len(part)
            yield part

    def echo(self):
        size, digest = self.read_body()
        # `self.path` lacks repeated slashes at its start.
        target = self.requestline.split(" ")[1]
        return {
            "echo": "shoko-auth",
            "method": self.command,
            "target": target,
            "headers": self.headers.items(),
            "body": {"bytes": size, "sha256": digest},
        }

    def respond(self):
        text = json.dumps(self.echo()).encode()
        if self.headers.get("Upgrade", "").lower() == "websocket":
            self.accept_websocket(text)
            return
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)

    def accept_websocket(self, text):
        """Completes the handshake, sends one text message and closes the connection."""
        key = self.headers.get("Sec-WebSocket-Key", "") + WEBSOCKET_GUID
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", base64.b64encode(hashlib.sha1(key.encode()).digest()).decode())
        self.end_headers()
        self.wfile.write(b"\x81\x7e" + len(text).to_bytes(2, "big") + text)
        self.close_connection = True

    def __getattr__(self, name):
        """Finds `do_METHOD` for every method."""
        if name.startswith("do_"):
            return self.respond
        raise AttributeError(name)

    def log_message(self, *_):
        pass


class EchoServer(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, request, client_address):
        """Ignores clients that close the connection, which proxies do."""


def serve(port=0, address="127.0.0.1"):
    """Returns a server that listens. The caller runs `serve_forever`."""
    return EchoServer((address, port), Echo)


if __name__ == "__main__":
    server = serve(int(sys.argv[1]), *sys.argv[2:3])
    print(server.server_port, flush=True)
    server.serve_forever()

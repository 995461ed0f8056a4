"""An HTTP client for the experiments. A request either has a response or is lost."""

import asyncio
import json
import time

# Errors of a connection whose other end is killed, slow or full.
CONNECTION_ERRORS = (OSError, EOFError, asyncio.TimeoutError)
# In seconds; longer than any response may take.
TIMEOUT = 60


class Lost(Exception):
    """No response arrived, so it is unknown whether the request took effect."""


class Client:
    """One connection to a server, opened again after it has failed. It sends one request at a time.

    Each request is appended to `log`, if given, as (time sent, time of the response, status or `None`).
    """

    def __init__(self, server, log=None):
        self.server, self.log, self.streams = server, log, None

    async def request(self, method, path, body=None, key=None):
        """Returns status and body, or raises `Lost`."""
        content = b"" if body is None else json.dumps(body).encode()
        head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(content)}\r\n"
        if body is not None:
            head += "Content-Type: application/json\r\n"
        if key is not None:
            head += f"apikey: {key}\r\n"
        start, status = time.monotonic(), None
        try:
            status, response = await asyncio.wait_for(self.exchange(head.encode() + b"\r\n" + content), TIMEOUT)
            return status, response
        except CONNECTION_ERRORS as error:
            self.close()
            raise Lost(repr(error)) from error
        finally:
            if self.log is not None:
                self.log.append((start, time.monotonic(), status))

    async def exchange(self, request):
        if self.streams is None:
            self.streams = await self.server.connect()
        reader, writer = self.streams
        writer.write(request)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.split(b"content-length: ", 1)[1].split(b"\r\n", 1)[0]) if b"content-length: " in head else 0
        body = await reader.readexactly(length)
        if b"\r\nconnection: close" in head:
            self.close()
        return int(head[9:12]), body

    def close(self):
        if self.streams is not None:
            self.streams[1].close()
            self.streams = None

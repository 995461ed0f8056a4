"""HTTP as the experiments need it: what a request came to, or that it is not known."""

import asyncio
import json
import time

# What may go wrong on a connection whose other end is killed, slow or full.
FAULTS = (OSError, EOFError, asyncio.TimeoutError)
# Seconds; longer than anything may take.
TIMEOUT = 20


class Lost(Exception):
    """No answer came: whether the deed was done is not known."""


class Client:
    """One connection, made again when it has ended; one request at a time. Notes each in `answers`, where that is given:
    when it was sent, when the answer came, and its status, or `None`."""

    def __init__(self, port, answers=None):
        self.port, self.answers, self.streams = port, answers, None

    async def request(self, method, path, body=None, key=None):
        """Status and body."""
        content = b"" if body is None else json.dumps(body).encode()
        head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(content)}\r\n"
        if body is not None:
            head += "Content-Type: application/json\r\n"
        if key is not None:
            head += f"apikey: {key}\r\n"
        start, status = time.monotonic(), None
        try:
            status, answer = await asyncio.wait_for(self.exchange(head.encode() + b"\r\n" + content), TIMEOUT)
            return status, answer
        except FAULTS as fault:
            self.close()
            raise Lost(repr(fault)) from fault
        finally:
            if self.answers is not None:
                self.answers.append((start, time.monotonic(), status))

    async def exchange(self, request):
        if self.streams is None:
            self.streams = await asyncio.open_connection("127.0.0.1", self.port)
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

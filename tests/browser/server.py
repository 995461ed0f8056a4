"""The server that the browser visits, and how programs use its API."""

import json
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from email.message import Message


@dataclass(frozen=True)
class Site:
    """A running server. `url` includes the base path and has no slash at its end."""

    url: str
    admin: str
    admin_password: str

    def page(self, path: str) -> str:
        """Returns the URL of a page."""
        return f"{self.url}/account/{path}"

    def request(self, method: str, path: str, body: object = None, **headers: str) -> tuple[int, bytes, Message]:
        """Sends a request as a program does, and returns the status, the body and the headers."""
        data = None if body is None else json.dumps(body).encode()
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        if data is not None:
            headers["Content-Type"] = "application/json"
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=20) as response:
                return response.status, response.read(), response.headers
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read(), error.headers

    def log_in(self, user: str, password: str, device: str) -> str:
        """Logs in as a program and returns the key."""
        body = {"user": user, "pass": password, "device": device}
        status, text, _ = self.request("POST", "/api/auth", body)
        assert status == 200, f"log in as {user}: {status} {text!r}"
        return json.loads(text)["apikey"]

    def accepts(self, key: str) -> bool:
        """Returns whether a key is valid."""
        status, text, _ = self.request("GET", "/api/v3/User/Current", apikey=key)
        assert status in (200, 401), f"{status} {text!r}"
        return status == 200

    def fail_to_log_in(self, user: str, address: str) -> int:
        """Logs in with a wrong password from an address. Returns the seconds to wait, or 0."""
        body = {"user": user, "pass": "wrong", "device": "guess"}
        status, text, headers = self.request("POST", "/api/auth", body, X_Forwarded_For=address)
        assert status in (401, 429), f"{status} {text!r}"
        return int(headers.get("Retry-After", 0)) if status == 429 else 0

    def throttle_user(self, user: str, address: str, min_wait: int) -> int:
        """Fails so often from an address that the user has to wait there at least so long. Returns the seconds."""
        wait = 0
        while wait < min_wait:
            time.sleep(wait)
            while not (wait := self.fail_to_log_in(user, address)):
                pass
        return wait

    def throttle_network(self, address: str) -> None:
        """Fails so often from an address that its network has to wait. No user has to."""
        for number in range(20):
            assert self.fail_to_log_in(f"unknown-{number}", address) == 0
        assert self.fail_to_log_in("unknown", address) > 0

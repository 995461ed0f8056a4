"""Logs in, calls the server with the API key, and revokes the key.

    python3 examples/log_in.py http://127.0.0.1:8111 Default

The password comes from the variable PASSWORD, or is typed without being shown.
"""

import getpass, json, os, platform, sys
import urllib.error, urllib.request

URL, USER = sys.argv[1].rstrip("/"), sys.argv[2]


def call(method, path, body=None, key=""):
    """Returns the body of the response, or raises `HTTPError`."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json", "apikey": key}
    request = urllib.request.Request(URL + path, data, headers, method=method)
    with urllib.request.urlopen(request, timeout=30) as response:
        return json.loads(response.read() or b"null")


password = os.environ.get("PASSWORD") or getpass.getpass()
# A login on the same device returns the same key, so the name must be different on every machine.
login = {"user": USER, "pass": password, "device": f"log_in.py on {platform.node()}"}
try:
    key = call("POST", "/api/auth", login)["apikey"]
    # A real program keeps the key and logs in again only after a 401.
    print("logged in as", call("GET", "/api/v3/User/Current", key=key)["Username"])
    call("DELETE", "/api/auth", key)
except urllib.error.HTTPError as error:
    # The body of an error is a problem (RFC 9457). Its `detail` says what is wrong, such as a wrong password.
    problem = json.load(error)
    sys.exit(problem.get("detail") or problem["title"])
except urllib.error.URLError as error:
    sys.exit(f"{URL} cannot be reached: {error.reason}")

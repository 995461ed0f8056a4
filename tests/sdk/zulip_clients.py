"""Drives the login of Zulip's own clients against a running server.

Called by scripts/test-clients as `zulip_clients.py URL USER PASSWORD FOLDER`, in an environment that has `zulip` and
`zulip-term` from PyPI.
"""

import builtins
import configparser
import getpass
import os
import stat
import subprocess
import sys

import zulip
from zulipterminal.cli import run

URL, USER, PASSWORD, FOLDER = sys.argv[1:]


def ok(what):
    print(f"ok      {what}")


def answers(user, password):
    """What a person types."""
    lines = iter([URL, user])
    builtins.input = lambda *_: next(lines)
    getpass.getpass = lambda *_arguments, **_options: password


def check_zuliprc(path):
    config = configparser.ConfigParser()
    config.read(path)
    api = config["api"]
    assert api["email"] == USER and api["site"] == URL and len(api["key"]) == 32, dict(api)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    return api["key"]


written = os.path.join(FOLDER, "zuliprc")
answers(USER, PASSWORD)
run.parse_zuliprc(written)
key = check_zuliprc(written)
ok("zulip-term logs in and writes its zuliprc")

answers(USER, "not the password")
builtins.input = lambda *_: USER
response, login = run.get_api_key(URL)
assert (response.status_code, login) == (401, USER), response
ok("zulip-term is refused with a wrong password")

typed = os.path.join(FOLDER, "typed")
program = [os.path.join(os.path.dirname(sys.executable), "zulip-term"), "-c", typed]
subprocess.run(
    ["setsid", "-w", *program],
    input=f"{URL}\n{USER}\n{PASSWORD}\n",
    text=True,
    timeout=60,
    cwd=FOLDER,
    stdout=subprocess.DEVNULL,
    stderr=subprocess.DEVNULL,
    check=False,  # it ends when it wants messages, which are not here
)
assert check_zuliprc(typed) == key
ok("the program itself logs in with what is typed, and gets the same key")

client = zulip.Client(config_file=written)
profile = client.get_profile()
assert profile["result"] == "success" and profile["full_name"] == USER, profile
ok("zulip.Client knows who it is")

made = client.call_endpoint("users/me/api_key/regenerate", method="POST")
assert len(made["api_key"]) == 32 and made["api_key"] != key, made
assert client.get_profile()["code"] == "UNAUTHORIZED"
ok("a key that was regenerated is dead, the new one another")

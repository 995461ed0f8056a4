"""Logs Zulip's own clients in to a running server.

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


def ok(step):
    print(f"ok      {step}")


def type_answers(user, password):
    """Answers the prompts of the client as a user would."""
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
type_answers(USER, PASSWORD)
run.parse_zuliprc(written)
key = check_zuliprc(written)
ok("zulip-term logs in and writes its zuliprc")

type_answers(USER, "not the password")
builtins.input = lambda *_: USER
response, login = run.get_api_key(URL)
assert (response.status_code, login) == (401, USER), response
ok("zulip-term reports a wrong password")

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
    check=False,  # the program fails when it requests messages, which this server does not have
)
assert check_zuliprc(typed) == key
ok("zulip-term logs in with a typed password and receives the same key")

client = zulip.Client(config_file=written)
profile = client.get_profile()
assert profile["result"] == "success" and profile["full_name"] == USER, profile
ok("zulip.Client receives the profile of its user")

issued = client.call_endpoint("users/me/api_key/regenerate", method="POST")
assert len(issued["api_key"]) == 32 and issued["api_key"] != key, issued
assert client.get_profile()["code"] == "UNAUTHORIZED"
ok("regenerating a key revokes it and issues another")

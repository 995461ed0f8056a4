"""Tests the reports of `scripts/doctor` about the documented configurations, and its errors."""

import json
import os
import subprocess
from pathlib import Path

from cases import with_option
from proxies import Nginx, free_port

DOCTOR = Path(__file__).parents[2] / "scripts" / "doctor"
URL = "https://app.example.org/private/page"
# The checks that need a key, the echo service or an address.
NEED_MORE = {
    "identity headers with a key",
    "identity headers in Connection",
    "h2c",
    "key forwarded",
    "remembered verifications",
    "other host names",
    "direct access",
}


def run(*arguments, key=None):
    environment = {name: value for name, value in os.environ.items() if name != "DOCTOR_KEY"}
    environment |= {"DOCTOR_KEY": key} if key else {}
    return subprocess.run([DOCTOR, *arguments], env=environment, capture_output=True, text=True)


def doctor(proxy, *arguments, key=None):
    """Returns the verdict of each check, and the whole report."""
    done = run(URL, "--connect", f"127.0.0.1:{proxy.port}", "--insecure", "--json", *arguments, key=key)
    if done.returncode not in (0, 1):
        raise RuntimeError(f"doctor failed: {done.stderr}\n{proxy.log()[-2000:]}")
    rows = json.loads(done.stdout)
    verdicts = {row["check"]: row["verdict"] for row in rows}
    assert done.returncode == int("unsafe" in verdicts.values()), verdicts
    return verdicts, rows


def unexpected(rows):
    return [(row["check"], row["verdict"], row["found"] or row["meaning"]) for row in rows if row["verdict"] != "safe"]


def doctor_finds_nothing_in_the_documented_configuration(lab, proxy):
    direct = f"127.0.0.1:{free_port()}"
    verdicts, rows = doctor(proxy, "--echo-backend", "--direct", direct, key=lab.keys["bound"])
    assert len(verdicts) >= 25 and set(verdicts.values()) == {"safe"}, unexpected(rows)


def doctor_says_what_it_cannot_test_without_a_key(lab, proxy):
    verdicts, rows = doctor(proxy)
    untested = {check for check, verdict in verdicts.items() if verdict == "not testable"}
    assert untested == NEED_MORE and "unsafe" not in verdicts.values(), unexpected(rows)


def doctor_fails_with_a_reason_if_it_cannot_test(lab, proxy):
    connect = ("--connect", f"127.0.0.1:{proxy.port}")
    for arguments, key, reason in (
        (("ftp://app.example.org/",), None, "must begin with https://"),
        ((URL, "--connect", f"127.0.0.1:{free_port()}"), None, "refused"),
        ((URL, *connect), None, "certificate"),
        ((URL, *connect, "--insecure"), lab.keys["elsewhere"], "refuses the key"),
        ((URL, *connect, "--insecure", "--direct", "nowhere"), None, "HOST:PORT"),
    ):
        done = run(*arguments, key=key)
        assert done.returncode == 2 and reason in done.stderr, (arguments, done)


def doctor_accepts_preflights_only_with_the_option(lab):
    with Nginx(lab.folder, lab.app, lab.auth, with_option(Nginx, "preflight=allow")) as proxy:
        verdicts, rows = doctor(proxy, "--echo-backend", "--allow-preflight", key=lab.keys["bound"])
        assert verdicts["preflight"] == "safe", unexpected(rows)
        verdicts, rows = doctor(proxy, "--echo-backend", key=lab.keys["bound"])
        assert verdicts["preflight"] == "unsafe", rows


CASES = [
    doctor_finds_nothing_in_the_documented_configuration,
    doctor_says_what_it_cannot_test_without_a_key,
    doctor_fails_with_a_reason_if_it_cannot_test,
]

"""Tests forward-auth behind real proxies, configured as docs/gateway.md says.

Arguments: the program, and optionally:
  --all          also tests what takes longer: the mistakes of every proxy, and two applications
  --figures      instead measures the throughput through nginx
  --proxy NAME   only this proxy
  --no-browser   without Chromium
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import proxies
from cases import CASES, variants
from lab import Guarded, Lab
from misconfigured import MISTAKES
from traefik import CASES as TRAEFIK_CASES

DOCTOR = Path(__file__).parents[2] / "scripts" / "doctor"
# Doctor mostly waits for responses.
DOCTORS_AT_ONCE = 3


class Results:
    """Runs tests and counts those that fail."""

    def __init__(self):
        self.failed = []

    def run(self, name, test, *arguments):
        start = time.monotonic()
        try:
            test(*arguments)
        except Exception:
            self.failed.append(name)
            print(f"FAILED  {name}\n{traceback.format_exc()}", flush=True)
            return
        print(f"ok      {name}  ({time.monotonic() - start:.1f} s)", flush=True)


def sentence(function):
    return function.__name__.replace("_", " ")


def doctor(lab, proxy, *arguments):
    """Returns the report of doctor: the verdict of each check."""
    command = [DOCTOR, "https://app.example.org/private/page", "--connect", f"127.0.0.1:{proxy.port}", "--insecure"]
    command += ["--echo-backend", "--json", *(argument.format(app=lab.app) for argument in arguments)]
    environment = os.environ | {"DOCTOR_KEY": lab.keys["bound"]}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode not in (0, 1):
        raise RuntimeError(f"doctor failed: {done.stderr}\n{proxy.log()[-2000:]}")
    rows = json.loads(done.stdout)
    verdicts = {row["check"]: row["verdict"] for row in rows}
    assert done.returncode == int("unsafe" in verdicts.values()), verdicts
    return verdicts, rows


def doctor_finds_nothing_in_the_documented_configuration(lab, proxy):
    verdicts, rows = doctor(lab, proxy, "--direct", f"127.0.0.1:{proxies.free_port()}")
    wrong = [row for row in rows if row["verdict"] != "safe"]
    assert len(verdicts) >= 25 and not wrong, wrong


def doctor_finds(lab, mistake):
    kind = proxies.ALL[mistake.proxy]
    with kind(lab.folder, lab.app, lab.auth, mistake.change) as proxy:
        verdicts, _ = doctor(lab, proxy, *mistake.arguments)
    assert verdicts[mistake.found_by] == "unsafe", verdicts


def test_proxies(results, lab, kinds, browser):
    for kind in kinds:
        with kind(lab.folder, lab.app, lab.auth) as proxy:
            guarded = Guarded(proxy, lab)
            for case in CASES:
                results.run(f"{kind.name}: {sentence(case)}", case, guarded)
            if browser:
                from browser import a_browser_signs_in_and_returns

                results.run(f"{kind.name}: a browser signs in and returns", a_browser_signs_in_and_returns, guarded)
            name = sentence(doctor_finds_nothing_in_the_documented_configuration)
            results.run(f"{kind.name}: {name}", doctor_finds_nothing_in_the_documented_configuration, lab, proxy)
        for variant in variants(kind):
            results.run(f"{kind.name}: {sentence(variant)}", variant, lab, kind)


def test_mistakes(results, lab, kinds):
    mistakes = [mistake for mistake in MISTAKES if proxies.ALL[mistake.proxy] in kinds]
    with ThreadPoolExecutor(DOCTORS_AT_ONCE) as pool:
        for mistake in mistakes:
            pool.submit(results.run, f"{mistake.proxy}: doctor finds that {mistake.name}", doctor_finds, lab, mistake)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--figures", action="store_true")
    parser.add_argument("--proxy", choices=proxies.ALL)
    parser.add_argument("--no-browser", action="store_true")
    options = parser.parse_args()
    kinds = [proxies.ALL[options.proxy]] if options.proxy else list(proxies.ALL.values())
    results = Results()
    with tempfile.TemporaryDirectory() as folder, Lab(options.program, folder) as lab:
        if options.figures:
            from figures import measure

            return measure(lab)
        test_proxies(results, lab, kinds, not options.no_browser)
        if not options.proxy:
            for case in TRAEFIK_CASES:
                results.run(f"Traefik: {sentence(case)}", case, lab)
        # Doctor does not depend on the proxy, so one is enough unless everything is tested.
        test_mistakes(results, lab, kinds if options.all or options.proxy else [proxies.Nginx])
        if options.all and not options.proxy:
            from apps import CASES as APP_CASES

            for case in APP_CASES:
                results.run(f"application: {sentence(case)}", case, lab)
    if results.failed:
        sys.exit(f"{len(results.failed)} failed:\n" + "\n".join(results.failed))


if __name__ == "__main__":
    main()

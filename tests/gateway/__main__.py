"""Tests forward-auth behind real proxies, configured as docs/gateway.md says.

Arguments: the program, and optionally:
  --all          also tests what takes longer: the mistakes of every proxy, and two applications
  --figures      instead measures the throughput through nginx
  --proxy NAME   only this proxy
  --no-browser   without Chromium
"""

import argparse
import sys
import tempfile
import time
import traceback
from concurrent.futures import ThreadPoolExecutor

import proxies
from cases import CASES, variants
from doctors import CASES as DOCTOR_CASES
from doctors import doctor, doctor_accepts_preflights_only_with_the_option
from lab import Guarded, Lab
from misconfigured import MISTAKES
from traefik import CASES as TRAEFIK_CASES

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


def doctor_finds(lab, mistake):
    kind = proxies.ALL[mistake.proxy]
    with kind(lab.folder, lab.app, lab.auth, mistake.change) as proxy:
        arguments = [argument.format(app=lab.app) for argument in mistake.arguments]
        verdicts, _ = doctor(proxy, "--echo-backend", *arguments, key=lab.keys["bound"])
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
            for case in DOCTOR_CASES:
                results.run(f"{kind.name}: {sentence(case)}", case, lab, proxy)
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
                case = doctor_accepts_preflights_only_with_the_option
            results.run(f"nginx: {sentence(case)}", case, lab)
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

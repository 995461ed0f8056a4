"""Uses the pages of a running server in Debian's Chromium. `scripts/test-browser` starts the servers.

Arguments: a task and the server's URL. `--help` lists the tasks. The administrator's password is in the environment
variable ADMIN_PASSWORD.
"""

import argparse
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from playwright.sync_api import Browser, expect, sync_playwright

import administration
import attacks
import guides
import journey
import keyboard
import looks
import surroundings
import swagger_ui
import tour
import waits
from server import Site
from visitor import WIDE, Pictures, Visitor
from watch import check_that_errors_are_seen

# A name of the server that does not belong to the machine itself, as in a home network.
NETWORK_NAME = "nas.test"
# The limit only stops the wait for a page that hangs.
TIMEOUT = 20_000


class Setting:
    """What each task gets: a browser, the server, and the folder for pictures."""

    def __init__(self, browser: Browser, options: argparse.Namespace):
        self.browser = browser
        self.site = Site(options.url, "Default", os.environ["ADMIN_PASSWORD"])
        self.pictures = Pictures(options.pictures)
        self.options = options

    def visitor(self, site: Site | None = None, **options) -> Visitor:
        """Returns a person with a new browser profile. The options are those of Playwright."""
        options = {"viewport": WIDE, "locale": "en-US", "timezone_id": "Europe/Berlin", **options}
        context = self.browser.new_context(**options)
        context.set_default_timeout(TIMEOUT)
        return Visitor(site or self.site, context, self.pictures)


def use_all_pages(setting: Setting, has_script: bool) -> None:
    """The journey of a user and an administrator."""
    admin, user, other = (setting.visitor(java_script_enabled=has_script) for _ in range(3))
    if has_script:
        user.context.grant_permissions(["clipboard-read", "clipboard-write"])
    administration.sign_in(admin)
    journey.use_link(user, administration.invite(admin))
    journey.sign_in_wrong_and_right(user)
    journey.sign_out_devices(user)
    key = journey.issue_key(user, has_script)
    journey.refuse_second_key(user)
    journey.change_password(user, other, key)
    journey.sign_out(user)
    journey.open_wrong_addresses(user)
    administration.disable_and_enable(admin, user)
    administration.unlock_network(admin, other)
    administration.unlock_user(admin, other)
    administration.reset_and_delete(admin, user)
    for visitor in (admin, user, other):
        visitor.watch.check()
    if setting.options.session:
        admin.context.storage_state(path=setting.options.session)


def with_script(setting: Setting) -> None:
    """the journey of a user and an administrator"""
    visitor = setting.visitor()
    visitor.open("sign-in")
    check_that_errors_are_seen(visitor.page, visitor.watch)
    use_all_pages(setting, has_script=True)


def without_script(setting: Setting) -> None:
    """the same journey with JavaScript switched off"""
    use_all_pages(setting, has_script=False)


def visit_alone(setting: Setting, *visits: Callable[[Visitor], None]) -> None:
    """Runs each visit with a new browser profile."""
    for visit in visits:
        visitor = setting.visitor()
        visit(visitor)
        visitor.watch.check()
        visitor.context.close()


def comfort(setting: Setting) -> None:
    """countdowns, relative times, the keyboard, and an unencrypted network"""
    visit_alone(setting, waits.see_countdown, waits.wait_for_account, waits.see_times_change, keyboard.sign_in_and_out)
    visitor = setting.visitor(replace(setting.site, url=setting.site.url.replace("127.0.0.1", NETWORK_NAME)))
    surroundings.use_unencrypted_network(visitor)
    visitor.watch.check()


def foreign_pages(setting: Setting) -> None:
    """foreign pages that send forms or show pages in frames"""
    # The browser reports these attacks as errors.
    for attack in (attacks.check_forms, attacks.check_frames):
        attack(setting.visitor())


def expiry(setting: Setting) -> None:
    """the end of a session, on a server with short sessions"""
    visit_alone(setting, waits.see_session_end)


def look_at_all_pages(setting: Setting) -> None:
    """axe-core, 320 pixels, light and dark, tab order and size of every page"""
    visitor = setting.visitor(bypass_csp=True)
    axe = setting.options.axe.read_text()
    looks.check_that_axe_finds_errors(visitor, axe)
    looks.check_that_motion_is_found(visitor)
    looks.check_pages(visitor, tour.all_pages(visitor), axe)
    looks.check_pages(visitor, guides.all_guides(visitor), axe)


def https_proxy(setting: Setting) -> None:
    """a proxy that adds https and a base path"""
    visitor = setting.visitor(ignore_https_errors=True)
    surroundings.use_https_proxy(visitor)
    visitor.watch.check()


def database_down(setting: Setting) -> None:
    """a server without its database, with the session of a former journey"""
    visitor = setting.visitor(storage_state=setting.options.session)
    surroundings.see_database_down(visitor)
    visitor.watch.check()


def swagger(setting: Setting) -> None:
    """Swagger UI"""
    swagger_ui.use_swagger_ui(setting.browser.new_context(), setting.site)


def web_ui(setting: Setting) -> None:
    """a built Shoko web UI"""
    swagger_ui.use_web_ui(setting.browser.new_context(), setting.site)


TASKS: dict[str, Callable[[Setting], None]] = {
    "journey": with_script,
    "journey-without-script": without_script,
    "comfort": comfort,
    "attacks": foreign_pages,
    "expiry": expiry,
    "looks": look_at_all_pages,
    "https-proxy": https_proxy,
    "database-down": database_down,
    "swagger-ui": swagger,
    "web-ui": web_ui,
}


def main() -> None:
    tasks = "\n".join(f"{name}: {task.__doc__}" for name, task in TASKS.items())
    parser = argparse.ArgumentParser(epilog=tasks, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("url", help="the server's URL with the base path")
    parser.add_argument("--pictures", type=Path, required=True, help="the folder for pictures")
    parser.add_argument("--session", type=Path, help="the file in which a journey leaves the administrator's session")
    parser.add_argument("--axe", type=Path, help="the file axe.min.js")
    options = parser.parse_args()
    expect.set_options(timeout=TIMEOUT)
    arguments = ["--no-sandbox", f"--host-resolver-rules=MAP {NETWORK_NAME} 127.0.0.1"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=arguments)
        TASKS[options.task](Setting(browser, options))
        browser.close()


main()

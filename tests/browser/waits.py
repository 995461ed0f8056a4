"""What a browser does while time passes: countdowns, times, and the end of a session."""

import re
import time

from playwright.sync_api import Locator, expect

from administration import GUESSING_ADDRESS, USER_ADDRESS
from journey import CURRENT_PASSWORD
from visitor import Visitor

# How long a session of the server lasts that `see_session_end` uses, in seconds. A server accepts no shorter time.
SESSION_SECONDS = 60


def seconds_left(shown: Locator) -> int:
    """Returns the number of seconds in a text such as "Try again in 40 seconds."."""
    expect(shown).to_have_text(re.compile(r"^Try again in \d+ seconds\.$"))
    return int(shown.text_content().split()[3])


def see_countdown(visitor: Visitor) -> None:
    """Sees how long to wait. The test moves the clock of the page forward instead of waiting for ten minutes."""
    visitor.site.throttle_network(GUESSING_ADDRESS)
    visitor.context.set_extra_http_headers({"X-Forwarded-For": GUESSING_ADDRESS})
    page = visitor.page
    page.clock.install()
    visitor.sign_in("someone", "wrong")
    reason = page.get_by_role("alert")
    shown = reason.locator("[data-seconds]")
    expect(reason).to_be_focused()
    expect(shown).to_have_text("Try again in 10 minutes.")
    page.clock.run_for(7 * 60_000)
    expect(shown).to_have_text("Try again in 3 minutes.")
    page.clock.run_for(2 * 60_000)
    seconds = seconds_left(shown)
    visitor.take("countdown")
    page.clock.run_for(10_000)
    assert seconds - 13 <= seconds_left(shown) <= seconds - 10, shown.text_content()
    expect(page.locator("#status")).to_have_text("")
    page.clock.run_for(60_000)
    expect(shown).to_have_text("You can try again now.")
    # Screen readers hear the end of the wait, and nothing while it lasts.
    expect(page.locator("#status")).to_have_text("You can try again now.")
    visitor.take("countdown-over")


def wait_for_account(visitor: Visitor) -> None:
    """Waits as the page says after too many wrong passwords, and can then sign in. This test waits for real."""
    admin, password = visitor.site.admin, visitor.site.admin_password
    visitor.context.set_extra_http_headers({"X-Forwarded-For": USER_ADDRESS})
    # Long enough for a slow machine.
    visitor.site.throttle_user(admin, USER_ADDRESS, 4)
    visitor.sign_in(admin, password)
    visitor.expect_reason("Try again in")
    visitor.expect_reason("You can try again now.")
    visitor.submit_sign_in(admin, password)
    visitor.expect_page("Devices")


def see_times_change(visitor: Visitor) -> None:
    """Times stay up to date, and show the exact time in the time zone of the browser."""
    page = visitor.page
    page.clock.install()
    visitor.sign_in(visitor.site.admin, visitor.site.admin_password)
    created = page.get_by_role("listitem").locator("time").first
    expect(created).to_have_text("just now")
    page.clock.run_for(3 * 60_000)
    expect(created).to_have_text("3 minutes ago")
    page.clock.run_for(2 * 60 * 60_000)
    expect(created).to_have_text("2 hours ago")
    assert created.get_attribute("title").endswith(("AM", "PM")), created.get_attribute("title")
    assert created.get_attribute("datetime").endswith("Z")


def see_session_end(visitor: Visitor) -> None:
    """The session ends because it is not used. The sign-in then leads back to the page."""
    visitor.sign_in(visitor.site.admin, visitor.site.admin_password)
    visitor.expect_page("Devices")
    visitor.open("password")
    form = visitor.new_tab()
    form.open("password")
    new = "Clarinet bay 7"
    form.fill({CURRENT_PASSWORD: visitor.site.admin_password, "New password": new, "New password, once more": new})
    time.sleep(SESSION_SECONDS + 1)
    visitor.page.reload()
    visitor.expect_notice("Your session has ended. Sign in again.")
    visitor.take("session-expired")
    form.press("Change the password")
    form.expect_notice("Your session has ended. Sign in again.")
    visitor.submit_sign_in(visitor.site.admin, visitor.site.admin_password)
    visitor.expect_page("Change the password")

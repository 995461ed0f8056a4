"""The journey of an administrator: add, disable, unlock and delete a user."""

import time

from playwright.sync_api import expect

from journey import CURRENT_PASSWORD, SECOND_PASSWORD, USED_LINK, USER, WRONG
from visitor import Visitor

EMAIL = "alice@example.com"
# Addresses for documentation (RFC 5737).
GUESSING_ADDRESS = "203.0.113.9"
USER_ADDRESS = "198.51.100.7"
# The user has to wait this long before the administrator unlocks them. Long enough for a slow machine.
MIN_WAIT = 8


def sign_in(admin: Visitor) -> None:
    admin.sign_in(admin.site.admin, admin.site.admin_password)
    admin.expect_page("Devices")


def confirm(admin: Visitor, button: str) -> None:
    """Enters the current password and presses a button."""
    admin.fill({CURRENT_PASSWORD: admin.site.admin_password})
    admin.press(button)


def invite(admin: Visitor) -> str:
    """Adds a user and returns the link for their password."""
    admin.follow("Users")
    admin.follow("Add a user")
    admin.expect_page("Add a user")
    admin.take("new-user")
    admin.fill({"Name": USER, "E-mail address (optional)": EMAIL})
    confirm(admin, "Add the user")
    admin.expect_page("One-time link")
    admin.take("invite-link")
    return admin.field("Link").input_value()


def find_user(admin: Visitor) -> None:
    """Searches for the user and opens their page."""
    admin.follow("Users")
    admin.fill({"Name or e-mail address": "no such user"})
    admin.press("Search")
    expect(admin.page.get_by_text("No user has this name or e-mail address.")).to_be_visible()
    admin.take("users-none-found")
    admin.fill({"Name or e-mail address": "example.com"})
    admin.press("Search")
    expect(admin.page.get_by_role("link", name=USER, exact=True)).to_be_visible()
    admin.take("users-found")
    admin.follow(USER)
    admin.expect_page(USER)


def disable_and_enable(admin: Visitor, user: Visitor) -> None:
    """Disables the user, whose session ends at once, and enables them again."""
    find_user(admin)
    admin.take("user")
    admin.field("Disabled").check()
    admin.press("Save")
    # The browser itself asks for the password that is missing.
    expect(admin.field(CURRENT_PASSWORD)).to_be_focused()
    confirm(admin, "Save")
    admin.expect_notice("The user is changed.")
    expect(admin.field("Disabled")).to_be_checked()
    admin.take("user-disabled")
    user.open("")
    user.expect_page("Sign in")
    user.submit_sign_in(USER, SECOND_PASSWORD)
    user.expect_reason(WRONG)
    admin.field("Disabled").uncheck()
    confirm(admin, "Save")
    admin.expect_notice("The user is changed.")
    user.submit_sign_in(USER, SECOND_PASSWORD)
    user.expect_page("Devices")


def unlock_network(admin: Visitor, user: Visitor) -> None:
    """Unlocks a network from which too many sign-ins have failed."""
    user.context.set_extra_http_headers({"X-Forwarded-For": GUESSING_ADDRESS})
    user.site.throttle_network(GUESSING_ADDRESS)
    user.sign_in("someone-else", SECOND_PASSWORD)
    user.expect_reason("Try again in 10 minutes.")
    user.take("throttled-network")
    admin.follow("Throttled")
    admin.expect_page("Throttled")
    admin.take("throttled")
    confirm(admin, f"Unlock {GUESSING_ADDRESS}")
    admin.expect_notice("Attempts to sign in are possible at once.")
    admin.take("network-unlocked")
    user.submit_sign_in("someone-else", SECOND_PASSWORD)
    user.expect_reason(WRONG)


def unlock_user(admin: Visitor, user: Visitor) -> None:
    """Unlocks the user after others have guessed their password."""
    user.context.set_extra_http_headers({"X-Forwarded-For": USER_ADDRESS})
    wait = user.site.throttle_user(USER, USER_ADDRESS, MIN_WAIT)
    end = time.monotonic() + wait - 1
    user.sign_in(USER, SECOND_PASSWORD)
    user.expect_reason("There were too many failed attempts.")
    admin.follow("Throttled")
    confirm(admin, f"Unlock {USER}")
    admin.expect_notice("Attempts to sign in are possible at once.")
    user.submit_sign_in(USER, SECOND_PASSWORD)
    user.expect_page("Devices")
    assert time.monotonic() < end, "the machine is too slow to show that the unlock mattered"


def reset_and_delete(admin: Visitor, user: Visitor) -> None:
    """Issues a link to set a new password, signs out the user's devices, and deletes the user."""
    find_user(admin)
    confirm(admin, "Issue a link to set a new password")
    admin.expect_page("One-time link")
    admin.take("reset-link")
    user.page.goto(admin.field("Link").input_value())
    user.expect_page("Choose a password")
    admin.follow("Back")
    admin.expect_page(USER)
    confirm(admin, "Sign out all devices")
    admin.expect_notice("All devices of the user are signed out.")
    expect(admin.page.get_by_text("This user is not signed in anywhere.")).to_be_visible()
    admin.take("user-signed-out")
    admin.follow("Delete the user")
    admin.expect_page(f"Delete {USER}?")
    admin.take("delete-user")
    confirm(admin, "Delete the user")
    admin.expect_notice("The user is deleted.")
    admin.take("user-deleted")
    user.page.reload()
    user.expect_reason(USED_LINK)

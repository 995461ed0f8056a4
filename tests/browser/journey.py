"""The journey of a user, from the link of an administrator to the last sign-out."""

import re

from playwright.sync_api import expect

from visitor import Visitor, path_of

USER = "alice"
FIRST_PASSWORD = "Clarinet bay 7"
SECOND_PASSWORD = "Oboe harbour 8"
TABLET = "kitchen tablet"
LAPTOP = "laptop"

WRONG = "The user name or the password is wrong."
USED_LINK = "This link has been used or replaced, or it has expired."
CURRENT_PASSWORD = "Your current password"


def use_link(visitor: Visitor, link: str) -> None:
    """Opens a link as previews in chat programs do, then chooses a password with it. The link works once."""
    path = link.removeprefix(visitor.site.url)
    for method in ("GET", "HEAD", "GET"):
        status, _, _ = visitor.site.request(method, path)
        assert status == 200, f"{method}: {status}"
    visitor.page.goto(link)
    visitor.expect_page("Choose a password")
    assert visitor.field("Your user name").input_value() == USER
    visitor.take("link")
    second = visitor.new_tab()
    second.page.goto(link)
    passwords = {"New password": FIRST_PASSWORD, "New password, once more": "another one"}
    visitor.fill(passwords)
    visitor.press("Set the password")
    visitor.expect_reason("The two new passwords differ.")
    visitor.take("link-passwords-differ")
    visitor.fill({**passwords, "New password, once more": FIRST_PASSWORD})
    visitor.press("Set the password")
    visitor.expect_notice("The password is set. Sign in with it.")
    visitor.take("link-used")
    second.fill({**passwords, "New password, once more": FIRST_PASSWORD})
    second.press("Set the password")
    second.expect_reason(USED_LINK)
    second.page.close()
    visitor.page.goto(link)
    visitor.expect_reason(USED_LINK)
    visitor.take("link-refused")


def sign_in_wrong_and_right(visitor: Visitor) -> None:
    visitor.open("")
    visitor.expect_page("Sign in")
    visitor.take("sign-in")
    visitor.submit_sign_in(USER, "wrong")
    visitor.expect_reason(WRONG)
    assert visitor.field("User name or e-mail address").input_value() == USER
    visitor.take("sign-in-wrong")
    visitor.submit_sign_in(USER, FIRST_PASSWORD)
    visitor.expect_page("Devices")
    assert path_of(visitor.page).rstrip("/").endswith("/account"), visitor.page.url


def sign_out_devices(visitor: Visitor) -> None:
    """Sees two devices, signs out one of them and then all others. Their keys are dead at once."""
    site = visitor.site
    tablet, laptop = (site.log_in(USER, FIRST_PASSWORD, device) for device in (TABLET, LAPTOP))
    visitor.open("")
    visitor.expect_devices("Chrom…", TABLET, LAPTOP)
    expect(visitor.page.get_by_text("This browser", exact=True)).to_have_count(1)
    visitor.take("devices")
    visitor.take_on_phone("devices-phone")
    visitor.press(f"Sign out {TABLET}")
    visitor.expect_notice("The device is signed out.")
    visitor.expect_devices("Chrom…", LAPTOP)
    assert not site.accepts(tablet) and site.accepts(laptop)
    visitor.take("device-signed-out")
    visitor.press("Sign out all others")
    visitor.expect_notice("All other devices and browsers are signed out.")
    visitor.expect_devices("Chrom…")
    assert not site.accepts(laptop)
    visitor.take("others-signed-out")


def issue_key(visitor: Visitor, has_script: bool) -> str:
    """Issues a key, copies it and uses it. Returns the key."""
    visitor.follow("Issue a key")
    visitor.expect_page("Issue a key")
    visitor.take("new-key")
    visitor.fill({"Name of the device": "backup script"})
    visitor.field("Expires after").select_option("Never")
    visitor.press("Issue the key")
    visitor.expect_reason("current password")
    visitor.take("new-key-needs-password")
    visitor.fill({CURRENT_PASSWORD: FIRST_PASSWORD})
    visitor.press("Issue the key")
    visitor.expect_page("Your new key")
    key = visitor.field("Key").input_value()
    copy = visitor.page.get_by_role("button", name="Copy", exact=True)
    if has_script:
        copy.click()
        expect(visitor.page.get_by_role("button", name="Copied", exact=True)).to_be_visible()
        assert visitor.page.evaluate("navigator.clipboard.readText()") == key
    else:
        expect(copy).to_have_count(0)
    visitor.take("issued-key")
    assert visitor.site.accepts(key)
    visitor.follow("Back")
    visitor.expect_devices("Chrom…", "backup script")
    assert key not in visitor.page.content()
    return key


def refuse_second_key(visitor: Visitor) -> None:
    """A device has only one lasting full key."""
    visitor.follow("Issue a key")
    visitor.fill({"Name of the device": "Backup Script", CURRENT_PASSWORD: FIRST_PASSWORD})
    visitor.field("Expires after").select_option("Never")
    visitor.press("Issue the key")
    visitor.expect_reason("already has a key")
    visitor.take("new-key-refused")


def change_password(visitor: Visitor, other: Visitor, key: str) -> None:
    """Changes the password: the other browser and the key are signed out, and this browser stays signed in."""
    other.sign_in(USER, FIRST_PASSWORD)
    other.expect_page("Devices")
    visitor.open("password")
    visitor.take("password")
    fields = {"New password": "password1", "New password, once more": "password1"}
    visitor.fill({CURRENT_PASSWORD: FIRST_PASSWORD, **fields})
    visitor.press("Change the password")
    visitor.expect_reason("The password is one of the most common ones")
    visitor.take("password-rejected")
    fields = dict.fromkeys(fields, SECOND_PASSWORD)
    visitor.fill({CURRENT_PASSWORD: "wrong", **fields})
    visitor.press("Change the password")
    visitor.expect_reason("Your current password is wrong.")
    visitor.fill({CURRENT_PASSWORD: FIRST_PASSWORD, **fields})
    visitor.press("Change the password")
    visitor.expect_notice("The password is changed. All other devices and browsers are signed out.")
    visitor.open("")
    visitor.expect_devices("Chrom…")
    visitor.take("password-changed")
    assert not visitor.site.accepts(key)
    other.open("")
    other.expect_notice("Your session has ended. Sign in again.")
    other.take("session-ended")


def sign_out(visitor: Visitor) -> None:
    """Signs out. The back button shows nothing that needs a session."""
    visitor.open("password")
    visitor.press("Sign out")
    visitor.expect_notice("You are signed out.")
    visitor.take("signed-out")
    visitor.page.go_back()
    visitor.expect_page("Sign in")
    visitor.sign_in(USER, FIRST_PASSWORD)
    visitor.expect_reason(WRONG)
    visitor.submit_sign_in(USER, SECOND_PASSWORD)
    visitor.expect_page("Devices")


def open_wrong_addresses(visitor: Visitor) -> None:
    """Every address below `/account/` shows a page."""
    visitor.open("no-such-page")
    visitor.expect_reason("There is no such page.")
    visitor.take("no-such-page")
    for form in ("revoke-others", "sign-out", "keys/1/revoke"):
        visitor.open(form)
        visitor.expect_page("Devices")
    assert re.fullmatch(r".*/account/?", path_of(visitor.page)), visitor.page.url

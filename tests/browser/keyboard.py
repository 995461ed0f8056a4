"""Uses the pages with only the keyboard."""

from playwright.sync_api import expect

from visitor import Visitor

MAX_STOPS = 30


def tab_to(visitor: Visitor, role: str, name: str) -> None:
    """Presses Tab until the element with this role and name has the focus."""
    target = visitor.page.get_by_role(role, name=name, exact=True)
    for _ in range(MAX_STOPS):
        visitor.page.keyboard.press("Tab")
        if target.evaluate("element => element === document.activeElement"):
            return
    raise AssertionError(f"the Tab key does not reach the {role} {name}")


def sign_in_and_out(visitor: Visitor) -> None:
    """Signs in, signs out a device and signs out, with Tab, Enter and Space."""
    site, keyboard = visitor.site, visitor.page.keyboard
    key = site.log_in(site.admin, site.admin_password, "tv")
    visitor.open("sign-in")
    keyboard.press("Tab")
    skip = visitor.page.get_by_role("link", name="Skip to the content")
    expect(skip).to_be_focused()
    expect(skip).to_be_in_viewport()
    visitor.take("keyboard-skip")
    keyboard.press("Enter")
    expect(visitor.page.get_by_role("main")).to_be_focused()
    keyboard.press("Tab")
    expect(visitor.field("User name or e-mail address")).to_be_focused()
    keyboard.type(site.admin)
    keyboard.press("Tab")
    keyboard.type("wrong")
    keyboard.press("Enter")
    expect(visitor.page.get_by_role("alert")).to_be_focused()
    keyboard.press("Tab")
    keyboard.press("Tab")
    keyboard.type(site.admin_password)
    keyboard.press("Enter")
    visitor.expect_page("Devices")
    tab_to(visitor, "button", "Sign out tv")
    visitor.take("keyboard-sign-out")
    keyboard.press("Enter")
    visitor.expect_notice("The device is signed out.")
    assert not site.accepts(key)
    tab_to(visitor, "link", "Issue a key")
    keyboard.press("Enter")
    visitor.expect_page("Issue a key")
    tab_to(visitor, "textbox", "Name of the device")
    keyboard.type("radio")
    tab_to(visitor, "radio", "Everything that you may do")
    keyboard.press("ArrowDown")
    keyboard.press("Enter")
    visitor.expect_reason("current password")
    expect(visitor.page.get_by_role("radio", name="Only services behind the gateway")).to_be_checked()
    tab_to(visitor, "button", "Sign out")
    keyboard.press("Space")
    visitor.expect_notice("You are signed out.")

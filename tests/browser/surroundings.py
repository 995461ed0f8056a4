"""The pages in unusual surroundings: on an unencrypted network, without the database, and behind a proxy."""

from playwright.sync_api import expect

from journey import CURRENT_PASSWORD
from visitor import Visitor

DATABASE = "The database cannot be reached at the moment"


def use_unencrypted_network(visitor: Visitor) -> None:
    """Every page says that the connection is not encrypted, and the copy button works although there is no clipboard
    API. The visitor's browser reaches the server under a name that is not one of the machine itself."""
    visitor.sign_in(visitor.site.admin, visitor.site.admin_password)
    visitor.expect_page("Devices")
    assert not visitor.page.evaluate("isSecureContext")
    for path in ("", "new-key", "password", "users", "no-such-page"):
        visitor.open(path)
        expect(visitor.page.get_by_role("note")).to_contain_text("This connection is not encrypted.")
    visitor.take("not-encrypted")
    cookies = visitor.context.cookies()
    assert [(cookie["name"], cookie["secure"]) for cookie in cookies] == [("shoko-auth", False)], cookies
    visitor.open("new-key")
    visitor.fill({"Name of the device": "copied", CURRENT_PASSWORD: visitor.site.admin_password})
    visitor.press("Issue the key")
    visitor.press("Copy")
    expect(visitor.page.get_by_role("button", name="Copied", exact=True)).to_be_visible()
    key = visitor.field("Key").input_value()
    # The only way to read what was copied is to paste it.
    visitor.open("users")
    search = visitor.field("Name or e-mail address")
    search.focus()
    visitor.page.keyboard.press("Control+V")
    expect(search).to_have_value(key)


def use_https_proxy(visitor: Visitor) -> None:
    """Behind a proxy with https, the cookie is `Secure` and of this host only, and there is no warning."""
    visitor.sign_in(visitor.site.admin, visitor.site.admin_password)
    visitor.expect_page("Devices")
    expect(visitor.page.get_by_role("note")).to_have_count(0)
    [cookie] = visitor.context.cookies()
    assert cookie["name"] == "__Host-shoko-auth" and cookie["secure"] and cookie["httpOnly"], cookie
    assert cookie["sameSite"] == "Lax" and cookie["path"] == "/", cookie
    visitor.press("Sign out everything, this browser too")
    visitor.expect_notice("You are signed out.")
    assert not visitor.context.cookies()


def see_database_down(visitor: Visitor) -> None:
    """Without its database, every page explains in words why it cannot be shown. The visitor is signed in."""
    for path in ("", "password", "new-key", "users", "throttled", "users/1"):
        response = visitor.page.goto(visitor.site.page(path))
        assert response.status == 503 and int(response.headers["retry-after"]) > 0, path
        assert response.headers["content-type"].startswith("text/html"), path
        visitor.expect_reason(DATABASE)
    visitor.take("database-down")
    visitor.context.clear_cookies()
    visitor.sign_in(visitor.site.admin, visitor.site.admin_password)
    visitor.expect_reason(DATABASE)
    visitor.take("database-down-sign-in")

"""Opens every page in every state that looks different, with the longest names."""

from collections.abc import Iterator

from playwright.sync_api import expect

from server import Site
from visitor import Visitor

# The longest names, without a space at which a line could break.
LONG_NAME = "W" * 255
LONG_DEVICE = "M" * 255
LONG_EMAIL = f"{'m' * 64}@{'e' * 60}.example"
# An address for documentation (RFC 5737), from which too many sign-ins fail.
GUESSING_ADDRESS = "203.0.113.77"
PASSWORD = "Clarinet bay 7"
CURRENT_PASSWORD = "Your current password"


def create(site: Site, path: str, body: dict, key: str) -> None:
    status, text, _ = site.request("POST", path, body, apikey=key)
    assert status == 201, text


def add_long_names(site: Site) -> None:
    """Adds a user with the longest name and devices, and a key for many hosts."""
    admin_key = site.log_in(site.admin, site.admin_password, "tour")
    create(site, "/api/account/users", {"name": LONG_NAME, "email": LONG_EMAIL, "password": PASSWORD}, admin_key)
    key = site.log_in(LONG_NAME, PASSWORD, LONG_NAME)
    hosts = [f"{number}.{'h' * 60}.example" for number in range(5)]
    create(site, "/api/account/keys", {"device": LONG_DEVICE, "scope": "gateway", "hosts": hosts}, key)
    site.log_in(LONG_NAME, PASSWORD, "tv")


def signed_out(visitor: Visitor) -> Iterator[str]:
    """The pages that need no session."""
    visitor.open("sign-in")
    yield "sign-in"
    visitor.submit_sign_in(visitor.site.admin, "wrong")
    visitor.expect_reason("wrong")
    yield "sign-in-wrong"
    visitor.site.throttle_network(GUESSING_ADDRESS)
    visitor.context.set_extra_http_headers({"X-Forwarded-For": GUESSING_ADDRESS})
    visitor.submit_sign_in(visitor.site.admin, "wrong")
    visitor.expect_reason("Try again in")
    yield "sign-in-throttled"
    visitor.context.set_extra_http_headers({})
    visitor.open("link/0123456789abcdef0123456789abcdef")
    visitor.expect_reason("This link has been used or replaced")
    yield "link-unknown"


def own_pages(visitor: Visitor) -> Iterator[str]:
    """The pages of a user with the longest name."""
    visitor.sign_in(LONG_NAME, PASSWORD)
    visitor.expect_page("Devices")
    yield "devices"
    visitor.press("Sign out tv")
    visitor.expect_notice("The device is signed out.")
    yield "devices-notice"
    visitor.follow("Issue a key")
    visitor.expect_page("Issue a key")
    yield "new-key"
    visitor.fill({"Name of the device": LONG_NAME, CURRENT_PASSWORD: PASSWORD})
    visitor.field("Expires after").select_option("Never")
    visitor.press("Issue the key")
    visitor.expect_reason("already has a key")
    yield "new-key-refused"
    visitor.fill({"Name of the device": "k" * 255, CURRENT_PASSWORD: PASSWORD})
    visitor.press("Issue the key")
    visitor.expect_page("Your new key")
    yield "issued-key"
    visitor.open("password")
    yield "password"
    new = {"New password": "password1", "New password, once more": "password1"}
    visitor.fill({CURRENT_PASSWORD: PASSWORD, **new})
    visitor.press("Change the password")
    visitor.expect_reason("The password is one of the most common ones")
    yield "password-rejected"
    visitor.open("users")
    visitor.expect_reason("Only an administrator may do this.")
    yield "forbidden"
    visitor.press("Sign out")
    visitor.expect_notice("You are signed out.")
    yield "signed-out"


def admin_pages(visitor: Visitor) -> Iterator[str]:
    """The pages of an administrator."""
    visitor.sign_in(visitor.site.admin, visitor.site.admin_password)
    visitor.follow("Users")
    visitor.expect_page("Users")
    yield "users"
    visitor.open("users?search=no-such-user")
    yield "users-none"
    visitor.open("new-user")
    yield "new-user"
    visitor.fill({"Name": "bob", CURRENT_PASSWORD: visitor.site.admin_password})
    visitor.press("Add the user")
    visitor.expect_page("One-time link")
    link = visitor.field("Link").input_value()
    yield "issued-link"
    visitor.follow("Back")
    expect(visitor.page.get_by_text("No password yet", exact=True)).to_be_visible()
    yield "user-without-password"
    visitor.follow("Users")
    visitor.follow(LONG_NAME)
    visitor.expect_page(LONG_NAME)
    yield "user"
    visitor.follow("Delete the user")
    visitor.expect_page(f"Delete {LONG_NAME}?")
    yield "delete-user"
    visitor.open("throttled")
    expect(visitor.page.get_by_role("button", name=f"Unlock {GUESSING_ADDRESS}")).to_be_visible()
    yield "throttled"
    visitor.fill({CURRENT_PASSWORD: visitor.site.admin_password})
    visitor.press(f"Unlock {GUESSING_ADDRESS}")
    expect(visitor.page.get_by_text("No user or network has to wait.")).to_be_visible()
    yield "throttled-none"
    visitor.open("no-such-page")
    yield "no-such-page"
    visitor.page.goto(link)
    yield "link"


def all_pages(visitor: Visitor) -> Iterator[str]:
    """Visits all pages. Each step opens a page and returns its name."""
    add_long_names(visitor.site)
    yield from signed_out(visitor)
    yield from own_pages(visitor)
    yield from admin_pages(visitor)

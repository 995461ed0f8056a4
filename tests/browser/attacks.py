"""Foreign pages that use the session of a visitor who opens them."""

from playwright.sync_api import expect

from visitor import Visitor

# A page of another site, and a page of the same host on another port, to which browsers send the same cookies.
OTHER_SITE = "http://evil.test/"
OTHER_PORT = "http://127.0.0.1:9/"

FORM = """
<!doctype html>
<form method=post action="{action}"><input name=token value="{token}"><button>Win</button></form>
"""
FRAME = """<!doctype html><iframe src="{source}"></iframe>"""


def serve(visitor: Visitor, url: str, html: str) -> None:
    """Lets the browser receive a page from a foreign address."""
    visitor.context.route(url, lambda route: route.fulfill(body=html, content_type="text/html"))


def check_forms(visitor: Visitor) -> None:
    """A foreign page cannot sign out the visitor's devices, not even with the form token of the session."""
    site = visitor.site
    key = site.log_in(site.admin, site.admin_password, "tv")
    visitor.sign_in(site.admin, site.admin_password)
    visitor.expect_page("Devices")
    token = visitor.page.locator("input[name=token]").first.get_attribute("value")
    for url in (OTHER_SITE, OTHER_PORT):
        serve(visitor, url, FORM.format(action=site.page("revoke-all"), token=token))
        visitor.page.goto(url)
        visitor.press("Win")
        if url == OTHER_SITE:
            # The browser sends no cookie with the form, so it is redirected to the sign-in page. It sends the cookie
            # there.
            visitor.expect_page("Devices")
            expect(visitor.page.locator(".notice")).to_have_count(0)
        else:
            visitor.expect_reason("Only pages of this server may use the session")
        visitor.take("attack-form")
        assert site.accepts(key)
        visitor.open("")
        visitor.expect_page("Devices")
    visitor.press("Sign out tv")
    visitor.expect_notice("The device is signed out.")
    assert not site.accepts(key)


def check_frames(visitor: Visitor) -> None:
    """A foreign page cannot show a page of the account in a frame, and neither can a page of the same host."""
    visitor.sign_in(visitor.site.admin, visitor.site.admin_password)
    visitor.expect_page("Devices")
    for url in (OTHER_SITE, OTHER_PORT):
        serve(visitor, url, FRAME.format(source=visitor.site.page("")))
        visitor.page.goto(url)
        frame = visitor.page.frame_locator("iframe")
        expect(frame.get_by_role("heading", name="Devices")).to_have_count(0)
        expect(frame.get_by_role("heading", name="Sign in")).to_have_count(0)
        assert visitor.page.frames[1].url.startswith("chrome-error:"), visitor.page.frames[1].url

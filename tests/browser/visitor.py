"""A person with a browser, and pictures of the pages that they visit."""

import re
from copy import copy
from pathlib import Path

from playwright.sync_api import BrowserContext, Locator, Page, expect

from server import Site
from watch import Watch

WIDE = {"width": 1000, "height": 720}
NARROW = {"width": 320, "height": 640}


class Pictures:
    """Writes pictures of pages to a folder. Their names begin with a number, so they are sorted by time."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.number = 0
        folder.mkdir(parents=True, exist_ok=True)

    def take(self, page: Page, name: str) -> None:
        self.number += 1
        page.screenshot(path=self.folder / f"{self.number:02}-{name}.png", full_page=True)


class Visitor:
    """A person with one browser. They use buttons, links and fields by their names, as screen readers do."""

    def __init__(self, site: Site, context: BrowserContext, pictures: Pictures):
        self.site = site
        self.context = context
        self.pictures = pictures
        self.watch = Watch(context, site.url)
        self.page = context.new_page()

    def new_tab(self) -> "Visitor":
        """Returns the same person with another tab of their browser."""
        tab = copy(self)
        tab.page = self.context.new_page()
        return tab

    def open(self, path: str) -> None:
        self.page.goto(self.site.page(path))

    def field(self, label: str) -> Locator:
        return self.page.get_by_label(label, exact=True)

    def fill(self, fields: dict[str, str]) -> None:
        """Fills the fields with these labels."""
        for label, text in fields.items():
            self.field(label).fill(text)

    def press(self, button: str) -> None:
        self.page.get_by_role("button", name=button, exact=True).click()

    def follow(self, link: str) -> None:
        self.page.get_by_role("link", name=link, exact=True).click()

    def expect_page(self, heading: str) -> None:
        expect(self.page.get_by_role("heading", level=1)).to_have_text(heading)

    def expect_notice(self, text: str) -> None:
        expect(self.page.locator(".notice")).to_have_text(text)

    def expect_reason(self, text: str) -> None:
        expect(self.page.get_by_role("alert")).to_contain_text(text)

    def expect_devices(self, *names: str) -> None:
        """Fails unless the page lists exactly these devices in this order. `Chrom…` stands for this browser."""
        self.expect_page("Devices")
        shown = self.page.get_by_role("listitem").get_by_role("heading").all_text_contents()
        shown = ["Chrom…" if name.startswith("Chrom") else name for name in shown]
        assert shown == list(names), shown

    def sign_in(self, user: str, password: str) -> None:
        self.open("sign-in")
        self.submit_sign_in(user, password)

    def submit_sign_in(self, user: str, password: str) -> None:
        self.fill({"User name or e-mail address": user, "Password": password})
        self.press("Sign in")

    def take(self, name: str) -> None:
        self.pictures.take(self.page, name)

    def take_on_phone(self, name: str) -> None:
        """Takes a picture in dark colors on a narrow screen."""
        self.page.set_viewport_size(NARROW)
        self.page.emulate_media(color_scheme="dark", reduced_motion="reduce")
        self.take(name)
        self.page.emulate_media(color_scheme="light", reduced_motion="no-preference")
        self.page.set_viewport_size(WIDE)


def path_of(page: Page) -> str:
    """Returns the path of the current page, without its query."""
    return re.sub(r"^https?://[^/]+|[?#].*", "", page.url)

"""Opens the guides."""

from collections.abc import Iterator

from visitor import Visitor


def all_guides(visitor: Visitor) -> Iterator[str]:
    """Opens each guide of the menu."""
    visitor.page.goto(f"{visitor.site.url}/swagger/docs/")
    menu = visitor.page.get_by_role("navigation", name="Guides").get_by_role("link")
    titles = menu.all_text_contents()
    assert len(titles) > 3, titles
    for title in titles:
        menu.get_by_text(title, exact=True).click()
        visitor.expect_page(title)
        yield f"guide-{title.lower().replace(' ', '-')}"

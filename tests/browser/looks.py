"""Visits every page once and checks its appearance and behavior: axe-core, narrow screens, keyboard, size.

axe-core has to run in the page, which the Content-Security-Policy forbids. The browser of this tour therefore ignores
the policy. All other journeys obey it.
"""

from collections.abc import Iterator

from playwright.sync_api import Page

from visitor import NARROW, WIDE, Visitor
from watch import MAX_PAGE_BYTES

# Moves the focus to the start of the page.
START = """
() => {
  document.body.setAttribute('tabindex', '-1');
  document.body.focus();
  document.body.removeAttribute('tabindex');
}
"""
# Returns the focusable elements in the order of the page. A group of radio buttons is one stop.
FOCUSABLE = """
() => [...document.querySelectorAll('a[href], button, input, select, textarea, [tabindex="0"]')]
  .filter(element => !element.disabled && element.type !== 'hidden' && element.checkVisibility())
  .filter(element => element.type !== 'radio' || element.checked)
  .map(element => element.outerHTML)
"""
FOCUSED = """
() => {
  const element = document.activeElement;
  if (!element || element === document.body) return null;
  const style = getComputedStyle(element), box = element.getBoundingClientRect();
  const isVisible = box.bottom > 0 && box.top < innerHeight && box.right > 0 && box.left < innerWidth;
  const outline = style.outlineStyle === 'none' ? 0 : parseFloat(style.outlineWidth);
  return { html: element.outerHTML, isVisible, outline };
}
"""
# Returns the elements that something moves.
MOVING = """
() => [...document.querySelectorAll('*')].filter(element => {
  const style = getComputedStyle(element);
  return style.animationName !== 'none' || style.transitionDuration.split(',').some(time => parseFloat(time) > 0);
}).length
"""


def findings(page: Page, axe: str) -> list[str]:
    """Returns what axe-core finds on a page, and what it cannot decide."""
    page.evaluate(axe)
    result = page.evaluate("axe.run({resultTypes: ['violations', 'incomplete']})")
    assert len(result["passes"]) > 10, f"axe-core has checked only {len(result['passes'])} rules"
    return [
        f"{rule['id']}: {rule['help']}: {[node['html'] for node in rule['nodes']]}"
        for rule in result["violations"] + result["incomplete"]
    ]


def check_with_axe(page: Page, axe: str, name: str) -> None:
    """Fails if axe-core finds anything in the light or in the dark colors."""
    for colors in ("dark", "light"):
        # Without motion, the colors change at once.
        page.emulate_media(color_scheme=colors, reduced_motion="reduce")
        found = findings(page, axe)
        assert not found, f"{name} ({colors}): {found}"


def check_that_axe_finds_errors(visitor: Visitor, axe: str) -> None:
    """Fails if axe-core misses a field without a label, or a text that is hard to read in one of the colors."""
    visitor.open("sign-in")
    visitor.page.evaluate("document.querySelector('label').remove()")
    visitor.page.evaluate("document.querySelector('.hint').style.color = '#777'")
    visitor.page.emulate_media(color_scheme="dark")
    found = " ".join(findings(visitor.page, axe))
    assert "label: " in found and "color-contrast: " in found, found


def check_widths(page: Page, name: str) -> None:
    """Fails if a page scrolls sideways on a narrow or a wide screen."""
    for size in (NARROW, WIDE):
        page.set_viewport_size(size)
        width = page.evaluate("document.scrollingElement.scrollWidth")
        assert width <= size["width"], f"{name} is {width} pixels wide on a screen of {size['width']}"


def check_keyboard(page: Page, name: str) -> None:
    """Fails unless the Tab key visits every element in the order of the page and shows where the focus is."""
    page.evaluate(START)
    expected = page.evaluate(FOCUSABLE)
    for position, html in enumerate(expected):
        page.keyboard.press("Tab")
        focused = page.evaluate(FOCUSED)
        assert focused and focused["html"] == html, f"{name}, stop {position}: {focused} instead of {html}"
        assert focused["isVisible"], f"{name}: the focused element is not visible: {html}"
        assert focused["outline"] >= 2, f"{name}: the focus is not visible: {html}"


def check_motion(page: Page, name: str) -> None:
    """Fails if anything moves although the reader wants no motion."""
    page.emulate_media(reduced_motion="reduce")
    moving = page.evaluate(MOVING)
    assert moving == 0, f"{name}: {moving} elements move"


def check_that_motion_is_found(visitor: Visitor) -> None:
    """Fails if the check of motion finds none on a page whose buttons have a transition."""
    visitor.open("sign-in")
    visitor.page.emulate_media(reduced_motion="no-preference")
    assert visitor.page.evaluate(MOVING) > 0, "the check finds no motion at all"


def take_pictures(visitor: Visitor, name: str) -> None:
    page = visitor.page
    page.evaluate("document.activeElement.blur()")
    page.emulate_media(color_scheme="light", reduced_motion="reduce")
    visitor.take(name)
    page.emulate_media(color_scheme="dark")
    visitor.take(f"{name}-dark")
    page.emulate_media(color_scheme="light")
    page.set_viewport_size(NARROW)
    visitor.take(f"{name}-narrow")
    page.set_viewport_size(WIDE)


def check_pages(visitor: Visitor, states: Iterator[str], axe: str) -> None:
    """Checks each page of a tour. The iterator opens a page and returns its name."""
    visitor.watch.begin_page()
    for name in states:
        visitor.page.wait_for_load_state()
        size = visitor.watch.transferred()
        assert 5_000 < size < MAX_PAGE_BYTES, f"{name} transfers {size} bytes"
        check_with_axe(visitor.page, axe, name)
        check_widths(visitor.page, name)
        check_keyboard(visitor.page, name)
        check_motion(visitor.page, name)
        take_pictures(visitor, name)
        visitor.watch.check()
        print(f"  {name}: {size} bytes", flush=True)
        visitor.watch.begin_page()

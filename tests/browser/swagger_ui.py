"""Uses Swagger UI, and a web UI if there is one. Their Content-Security-Policy must block nothing that they need."""

import json

from playwright.sync_api import BrowserContext, Page, expect

from server import Site

# Collects what the policy blocks on the current page.
COLLECT = """
window.blocked = [];
document.addEventListener('securitypolicyviolation', event =>
  window.blocked.push(`${event.violatedDirective} ${event.blockedURI}`));
"""


def new_page(context: BrowserContext) -> Page:
    page = context.new_page()
    page.add_init_script(COLLECT)
    return page


def blocked(page: Page) -> list[str]:
    return page.evaluate("window.blocked")


def use_swagger_ui(context: BrowserContext, site: Site) -> None:
    page = new_page(context)
    page.goto(f"{site.url}/swagger/")
    login = page.locator("#operations-Auth-apiAuthPost")
    login.locator(".opblock-summary-control").click()
    body = {"user": site.admin, "pass": site.admin_password, "device": "browser"}
    login.locator("textarea").fill(json.dumps(body))
    login.locator(".execute").click()
    response = login.locator(".live-responses-table")
    expect(response).to_contain_text('"apikey"')
    body = response.locator("code.language-json").first.inner_text()
    page.locator(".btn.authorize").click()
    page.locator(".auth-container input").first.fill(json.loads(body)["apikey"])
    page.locator(".auth-btn-wrapper .authorize").first.click()
    page.locator(".btn-done").first.click()
    read = page.locator("#operations-User-apiV3UserCurrentGet")
    read.locator(".opblock-summary-control").click()
    read.locator(".execute").click()
    expect(read.locator(".live-responses-table")).to_contain_text(f'"Username": "{site.admin}"')
    assert not blocked(page), f"Swagger UI: {blocked(page)}"


def use_web_ui(context: BrowserContext, site: Site) -> None:
    page = new_page(context)
    page.goto(f"{site.url}/webui/login?redirectTo=/webui/settings/api-keys")
    page.locator("input[type=text]").fill(site.admin)
    page.locator("input[type=password]").fill(site.admin_password)
    page.keyboard.press("Enter")
    expect(page.get_by_text("Generate API Key", exact=True)).to_be_visible()
    expect(page.get_by_text("browser", exact=True)).to_be_visible()
    # The web UI reports errors to Sentry, which the policy blocks on purpose.
    needed = [entry for entry in blocked(page) if not entry.startswith("connect-src https://")]
    assert not needed, f"the web UI: {needed}"

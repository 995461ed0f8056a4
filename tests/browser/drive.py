"""Uses Swagger UI, and a web UI if there is one, in Chromium. Fails if the Content-Security-Policy blocks anything that
they need.

Arguments: the server's URL, the administrator's name and password, and `webui` if the server has a web UI.
"""

import json
import sys

from playwright.sync_api import Page, expect, sync_playwright

# Collects what the policy blocks on the current page.
COLLECT = """
window.blocked = [];
document.addEventListener('securitypolicyviolation', event =>
  window.blocked.push(`${event.violatedDirective} ${event.blockedURI}`));
"""

url, user, password, *features = sys.argv[1:]


def blocked(page: Page) -> list[str]:
    return page.evaluate("window.blocked")


def use_swagger_ui(page: Page) -> None:
    page.goto(f"{url}/swagger/")
    login = page.locator("#operations-Auth-apiAuthPost")
    login.locator(".opblock-summary-control").click()
    login.locator("textarea").fill(json.dumps({"user": user, "pass": password, "device": "browser"}))
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
    expect(read.locator(".live-responses-table")).to_contain_text(f'"Username": "{user}"')
    assert not blocked(page), f"Swagger UI: {blocked(page)}"


def use_web_ui(page: Page) -> None:
    page.goto(f"{url}/webui/login?redirectTo=/webui/settings/api-keys")
    page.locator("input[type=text]").fill(user)
    page.locator("input[type=password]").fill(password)
    page.keyboard.press("Enter")
    expect(page.get_by_text("Generate API Key", exact=True)).to_be_visible()
    expect(page.get_by_text("browser", exact=True)).to_be_visible()
    # The web UI reports errors to Sentry, which the policy blocks on purpose.
    needed = [entry for entry in blocked(page) if not entry.startswith("connect-src https://")]
    assert not needed, f"the web UI: {needed}"


with sync_playwright() as playwright:
    browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
    page = browser.new_page()
    page.add_init_script(COLLECT)
    use_swagger_ui(page)
    print("Swagger UI works")
    if "webui" in features:
        use_web_ui(page)
        print("the web UI works")
    browser.close()

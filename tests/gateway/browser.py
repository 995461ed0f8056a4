"""A person with a browser in front of the guarded service."""

import json

from lab import USER, USER_HEADER
from playwright.sync_api import expect, sync_playwright
from proxies import APP, AUTH

from server import PASSWORD

COOKIE = "__Secure-shoko-auth-gateway"
PAGE = f"https://{APP}/private/page?a=b%20c"


def received(page):
    """Returns the headers that the service has received, by lower-case name."""
    echo = json.loads(page.locator("body").inner_text())
    return {name.lower(): value for name, value in echo["headers"]}


def a_browser_signs_in_and_returns(guarded):
    with sync_playwright() as playwright:
        # The names lead to the proxy, so pages have the addresses that the documentation has.
        arguments = ["--no-sandbox", f"--host-resolver-rules=MAP *.example.org 127.0.0.1:{guarded.proxy.port}"]
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=arguments)
        context = browser.new_context(ignore_https_errors=True)
        page = context.new_page()
        page.goto(PAGE)
        assert page.url.startswith(f"https://{AUTH}/account/sign-in?"), page.url
        page.locator("input[name=user]").fill(USER)
        page.locator("input[name=password]").fill(PASSWORD)
        page.keyboard.press("Enter")
        expect(page).to_have_url(PAGE)
        headers = received(page)
        assert headers["remote-user"] == USER_HEADER, headers
        cookies = {cookie["name"]: cookie for cookie in context.cookies(PAGE)}
        assert cookies[COOKIE]["domain"] == ".example.org" and cookies[COOKIE]["secure"], cookies
        assert cookies[COOKIE]["httpOnly"] and cookies[COOKIE]["value"] not in str(headers), headers
        assert "__Host-shoko-auth" not in cookies, "the session itself must stay on the sign-in host"

        # The cookie never replaces an invalid key.
        status = page.evaluate(
            "fetch('/x', {headers: {apikey: crypto.randomUUID()}}).then(response => response.status)"
        )
        assert status == 401, status
        status = page.evaluate("fetch('/x').then(response => response.status)")
        assert status == 200, status

        page.goto(f"https://{AUTH}/account/")
        page.locator("form[action$='sign-out'] button").first.click()
        page.wait_for_url("**/account/sign-in**")
        page.goto(PAGE)
        assert page.url.startswith(f"https://{AUTH}/account/sign-in?"), page.url
        browser.close()

"""Uses Swagger UI, and a web UI if there is one. Their Content-Security-Policy must block nothing that they need."""

import json
import re
from urllib.parse import quote

from playwright.sync_api import BrowserContext, Locator, Page, Response, expect

from server import Site

# Collects what the policy blocks on the current page.
COLLECT = """
window.blocked = [];
document.addEventListener('securitypolicyviolation', event =>
  window.blocked.push(`${event.violatedDirective} ${event.blockedURI}`));
"""
OTHER_VERSION = "Shoko (OpenAPI 3.1)"
USER, PASSWORD, NEW_PASSWORD = "swagger", "Tr0mbone-lake", "Bassoon-hill"
# The operations, by their ids in the document.
LOG_IN, LIST, REVOKE = "Auth-apiAuthPost", "Auth-apiAuthGet", "Auth-apiAuthDelete"
CHANGE_PASSWORD, READ_USER = "Auth-apiAuthChangePasswordPost", "User-apiV3UserCurrentGet"


def new_page(context: BrowserContext) -> Page:
    context.add_init_script(COLLECT)
    return context.new_page()


def blocked(page: Page) -> list[str]:
    return page.evaluate("window.blocked")


class SwaggerUi:
    """Swagger UI in a browser without a former visit."""

    def __init__(self, context: BrowserContext, site: Site):
        self.site = site
        self.page = new_page(context)

    def open(self, suffix: str = "") -> None:
        """Opens Swagger UI, with a query and a fragment."""
        self.page.goto("about:blank")
        self.page.goto(f"{self.site.url}/swagger/{suffix}")

    def operation(self, name: str) -> Locator:
        """Returns an operation after unfolding it."""
        operation = self.page.locator(f"#operations-{name}")
        if "is-open" not in operation.get_attribute("class"):
            operation.locator(".opblock-summary-control").click()
        return operation

    def execute(self, name: str, body: object = None, **parameters: str) -> Response:
        """Executes an operation and returns the response, which Swagger UI must show."""
        operation = self.operation(name)
        for parameter, value in parameters.items():
            operation.locator(f'tr[data-param-name="{parameter}"] input').fill(value)
        if body is not None:
            operation.locator("textarea").fill(json.dumps(body))
        with self.page.expect_response(lambda response: "/api/" in response.url) as found:
            operation.locator(".execute").click()
        shown = operation.locator(".live-responses-table .response-col_status").last
        expect(shown).to_have_text(re.compile(rf"^{found.value.status}"))
        return found.value

    def log_in(self, password: str, device: str) -> str:
        """Logs in and returns the key."""
        response = self.execute(LOG_IN, {"user": USER, "pass": password, "device": device})
        assert response.status == 200, response.text()
        return response.json()["apikey"]

    def read_user(self) -> int:
        """Returns the status of a request that needs a key."""
        return self.execute(READ_USER).status

    def stored(self) -> str:
        """Returns all that the page has stored in the browser."""
        return self.page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}])")

    def paste_key(self, key: str) -> None:
        self.page.locator(".btn.authorize").click()
        self.page.locator(".auth-container input").first.fill(key)
        self.page.locator(".auth-btn-wrapper .authorize").first.click()
        self.page.locator(".btn-done").first.click()


def use_swagger_ui(context: BrowserContext, site: Site) -> None:
    user = {"Username": USER, "Password": PASSWORD}
    status, text, _ = site.request("POST", "/api/v3/User", user, apikey=site.log_in(site.admin, site.admin_password, "browser"))
    assert status == 200, text
    ui = SwaggerUi(context, site)
    use_pasted_key(ui)
    use_key_of_login(ui)
    keep_key_only_on_request(ui)
    read_guides(ui)
    assert not blocked(ui.page), f"Swagger UI: {blocked(ui.page)}"


def use_pasted_key(ui: SwaggerUi) -> None:
    """Reads the introduction, follows its link to the login, and authorizes with a key from elsewhere."""
    ui.open()
    expect(ui.page.get_by_role("heading", name="Get started")).to_be_visible()
    expect(ui.page.locator("#select option")).to_have_text(["Shoko", OTHER_VERSION])
    with ui.page.context.expect_page() as opened:
        ui.page.locator(".description").get_by_role("link", name="POST /api/auth", exact=True).click()
    tab = opened.value
    expect(tab.locator(f"#operations-{LOG_IN}")).to_have_class(re.compile("is-open"))
    tab.close()
    assert ui.read_user() == 401
    ui.paste_key(ui.site.log_in(USER, PASSWORD, "elsewhere"))
    assert ui.read_user() == 200


def use_key_of_login(ui: SwaggerUi) -> None:
    """Logs in with "Execute", after which all requests present the key: lists and revokes keys, changes the password."""
    ui.open()
    key = ui.log_in(PASSWORD, "this browser")
    assert ui.read_user() == 200
    assert key not in ui.stored(), "the page must not store the key"
    devices = [item["Device"] for item in ui.execute(LIST).json()]
    assert sorted(devices) == ["elsewhere", "this browser"], devices
    other = ui.site.log_in(USER, PASSWORD, "elsewhere")
    assert ui.execute(REVOKE, other).status == 200
    assert not ui.site.accepts(other) and ui.site.accepts(key)
    assert ui.execute(CHANGE_PASSWORD, NEW_PASSWORD).status == 200
    assert ui.read_user() == 401, "a change of the password revokes the key"
    ui.log_in(NEW_PASSWORD, "this browser")
    assert ui.read_user() == 200


def keep_key_only_on_request(ui: SwaggerUi) -> None:
    """Follows a link to an operation, in the document of the other version. A key outlives the page only on request."""
    ui.open(f"?urls.primaryName={quote(OTHER_VERSION)}#/{LOG_IN.replace('-', '/')}")
    expect(ui.page.locator(f"#operations-{LOG_IN}")).to_have_class(re.compile("is-open"))
    assert ui.read_user() == 401
    ui.open("?persistAuthorization=true")
    key = ui.log_in(NEW_PASSWORD, "this browser")
    assert key in ui.stored()
    ui.open(f"?persistAuthorization=true&urls.primaryName={quote(OTHER_VERSION)}")
    assert ui.read_user() == 200
    ui.open()
    assert ui.read_user() == 401 and key not in ui.stored()


def open_guide(ui: SwaggerUi, link: str, title: str) -> Page:
    """Follows a link of the document to a guide."""
    with ui.page.context.expect_page() as opened:
        ui.page.get_by_role("link", name=link).click()
    guide = opened.value
    expect(guide.get_by_role("heading", level=1)).to_have_text(title)
    assert not blocked(guide), f"{title}: {blocked(guide)}"
    return guide


def read_guides(ui: SwaggerUi) -> None:
    """Follows the links from the document to the guides, and from a guide to an example."""
    ui.open()
    open_guide(ui, "How to guard services", "Guarding services")
    guide = open_guide(ui, "How to write a client", "Clients")
    expect(guide.get_by_role("heading", name="For client authors")).to_be_in_viewport()
    guide.get_by_role("link", name="Examples", exact=True).click()
    expect(guide.get_by_role("heading", name="Examples", exact=True)).to_be_in_viewport()
    guide.get_by_role("link", name="log_in.py").click()
    expect(guide.locator("body")).to_contain_text("apikey")


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

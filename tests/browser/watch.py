"""Watches what a browser loads and reports while it visits the pages."""

from urllib.parse import urlsplit

from playwright.sync_api import BrowserContext, ConsoleMessage, Page, Request, WebError

MAX_PAGE_BYTES = 60_000

# Reports what the Content-Security-Policy blocks.
REPORT_BLOCKED = """
document.addEventListener('securitypolicyviolation', event =>
  console.error(`blocked: ${event.violatedDirective} ${event.blockedURI}`));
"""

# Browsers report the status of a page as an error. The pages explain the error to their reader.
FAILED_PAGE = "Failed to load resource: the server responded with a status of"


class Watch:
    """Collects errors, and the requests since the last call of `begin_page`."""

    def __init__(self, context: BrowserContext, url: str):
        self.host = urlsplit(url).netloc
        self.errors: list[str] = []
        self.finished: list[Request] = []
        self.files: dict[str, int] = {}
        context.add_init_script(REPORT_BLOCKED)
        context.on("request", self._on_request)
        context.on("requestfailed", self._on_failure)
        context.on("requestfinished", self._on_finish)
        context.on("console", self._on_message)
        context.on("weberror", self._on_error)

    def _on_request(self, request: Request) -> None:
        if urlsplit(request.url).netloc != self.host:
            self.errors.append(f"a request to another host: {request.url}")

    def _on_finish(self, request: Request) -> None:
        self.finished.append(request)

    def _on_failure(self, request: Request) -> None:
        # The browser gives up the files of a page that it leaves.
        if request.failure != "net::ERR_ABORTED":
            self.errors.append(f"a request failed: {request.url} {request.failure}")

    def _on_message(self, message: ConsoleMessage) -> None:
        is_page = "/files/" not in message.location["url"]
        if message.type in ("error", "warning") and not (is_page and message.text.startswith(FAILED_PAGE)):
            self.errors.append(f"the console says: {message.text} ({message.location['url']})")

    def _on_error(self, error: WebError) -> None:
        self.errors.append(f"a script failed: {error.error}")

    def begin_page(self) -> None:
        """Starts counting the requests of a new page. The sizes of files are kept."""
        self.transferred()
        self.finished.clear()

    def transferred(self) -> int:
        """Returns the number of bytes that the server has sent since the last call of `begin_page`, and those of all
        files, which the browser may have cached."""
        pages = 0
        for request in self.finished:
            sizes = request.sizes()
            size = sizes["responseBodySize"] + sizes["responseHeadersSize"]
            if "/account/files/" in request.url:
                self.files[request.url] = max(size, self.files.get(request.url, 0))
            else:
                pages += size
        return pages + sum(self.files.values())

    def check(self) -> None:
        """Fails if a page has reported an error or has used another host."""
        assert not self.errors, "\n".join(self.errors)


def check_that_errors_are_seen(page: Page, watch: Watch) -> None:
    """Fails if the watch misses an error. Leaves no errors behind."""
    for script, text in [
        ("document.body.setAttribute('style', 'color: red')", "blocked: style"),
        ("document.body.append(Object.assign(new Image(), {src: 'http://other.invalid/'}))", "blocked: img"),
        ("setTimeout(() => { throw new Error('on purpose') })", "on purpose"),
        ("console.error('on purpose')", "the console says: on purpose"),
    ]:
        watch.errors.clear()
        page.evaluate(script)
        page.wait_for_timeout(100)
        assert any(text in error for error in watch.errors), f"{text}: {watch.errors}"
    watch.errors.clear()

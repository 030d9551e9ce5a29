"""Start Debian's chromium for tests and checks; it asks nothing of other hosts.

Needs: apt-get install --no-install-recommends chromium; the extra `site-check`.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, sync_playwright

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)


@contextmanager
def open_browser() -> Iterator[Browser]:
    """Open the browser, and close it.

    Raises:
        LookupError: there is no chromium.
    """
    program = shutil.which("chromium")
    if program is None:
        raise LookupError("there is no chromium: apt-get install -y --no-install-recommends chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(FLAGS))
        yield browser
        browser.close()

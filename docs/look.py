"""Look at kinds of pages in Debian's chromium: pictures, axe's findings, overflow, broken images, other hosts.

A newcomer's way to MixUp with a timm model, and some searches, are tried as well.

Command: python docs/look.py build/site build/looks
Needs:   see docs/chromium.py
"""

import sys
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import product
from pathlib import Path
from threading import Thread
from urllib.parse import quote_plus

import chromium
from axe_playwright_python.base import AXE_FILE_PATH
from playwright.sync_api import Browser, Page

KINDS = {
    "home": "index.html",
    "start": "start.html",
    "models": "models/index.html",
    "model": "models/ResNet.html",
    "tricks": "tricks/index.html",
    "trick": "tricks/MixUp.html",
    "pairs": "tricks/pairs.html",
    "recipe": "evidence/data_is_short.html",
    "explorer": "evidence/explorer.html",
    "evidence": "evidence.html",
    "reliability": "reliability.html",
    "scale": "scale.html",
    "notebook": "notebooks/08_your_photographs.html",
    "api": "api/callbacks.html",
    "search": "search.html?q=beyond+empirical+risk+minimization",
}
SEARCHES = {  # what is typed -> the page that comes first
    "beyond empirical risk minimization": "MixUp",
    "deep networks with stochastic depth": "StochasticDepth",
    "distilling the knowledge in a neural network": "KnowledgeDistillation",
    "squeeze-and-excitation networks": "SENet",
}
WIDE = """() => {
  const width = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth <= width) return [];
  const scrolls = (e) => e && (/(auto|scroll|hidden)/.test(getComputedStyle(e).overflowX) || scrolls(e.parentElement));
  const out = [...document.querySelectorAll("main *")].filter((e) => e.getBoundingClientRect().right > width + 1);
  return ["the page", ...out.filter((e) => !scrolls(e.parentElement)).slice(0, 3).map((e) => e.outerHTML.slice(0, 80))];
}"""
BROKEN = """() => [...document.images]
  .filter((i) => i.complete && !i.naturalWidth && getComputedStyle(i).display !== "none").map((i) => i.src)"""
AXE = """async () => (await axe.run(document, {runOnly: ["wcag2a", "wcag2aa", "wcag21aa", "best-practice"]})).violations
  .map((v) => `${v.id} (${v.impact}), ${v.nodes.length} times, first: ${v.nodes[0].html.slice(0, 100)}`)"""


class Quiet(SimpleHTTPRequestHandler):
    """A server that prints nothing."""

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def faults(browser: Browser, base: str, pictures: Path) -> Iterator[str]:
    """Yield what is wrong with each kind of page, at two widths, light and dark; leave a picture of each."""
    for width, scheme in product((1280, 390), ("light", "dark")):
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, reduced_motion="reduce"
        )
        page, said = heard(context.new_page(), base)
        for kind, address in KINDS.items():
            said.clear()
            yield from (f"{kind}, {width} px, {scheme}: {fault}" for fault in look(page, f"{base}/{address}", said))
            page.screenshot(path=pictures / f"{kind}-{width}-{scheme}.png", full_page=kind not in ("pairs", "api"))
        context.close()


def heard(page: Page, base: str) -> tuple[Page, list[str]]:
    """Return a page, and the list in which it notes errors and whatever it asks of other hosts."""
    said: list[str] = []
    page.on("request", lambda r: r.url.startswith((base, "data:", "blob:")) or said.append(f"asks for {r.url}"))
    page.on("websocket", lambda socket: said.append(f"opens {socket.url}"))
    page.on("pageerror", lambda error: said.append(f"script: {error}"))
    page.on("console", lambda line: line.type == "error" and said.append(f"console: {line.text}"))
    return page, said


def look(page: Page, address: str, said: list[str]) -> Iterator[str]:
    """Open a page and yield its faults."""
    page.goto(address, wait_until="networkidle")
    page.evaluate("for (const i of document.images) i.loading = 'eager'")
    page.wait_for_timeout(200)
    yield from said
    yield from (f"wider than the window: {element}" for element in page.evaluate(WIDE))
    yield from (f"broken image {image}" for image in page.evaluate(BROKEN))
    page.add_script_tag(path=AXE_FILE_PATH)
    yield from (f"axe: {finding}" for finding in page.evaluate(AXE))


def newcomer(page: Page, base: str) -> Iterator[str]:
    """Look for MixUp on a timm model, from the first page; yield the ways on which it is not found in two clicks."""
    for way in (["MixUp with a timm model"], ["Tricks", "MixUp with a timm model"], ["Start"]):
        page.goto(f"{base}/index.html")
        for name in way:
            page.get_by_role("link", name=name, exact=True).first.click()
        shown = "".join(page.locator("section#mixup-with-a-timm-model pre").all_inner_texts())
        if "timm.create_model(" not in shown or "MixUp(" not in shown:
            yield f"a newcomer does not find MixUp with a timm model: {' > '.join(way)}"


def searching(page: Page, base: str) -> Iterator[str]:
    """Yield what the search does not find first."""
    for words, wanted in SEARCHES.items():
        page.goto(f"{base}/search.html?q={quote_plus(words)}")
        page.wait_for_function("() => document.querySelector('.search-summary')?.innerText", timeout=120_000)
        found = page.locator("ul.search li a").all_inner_texts()
        if found[:1] != [wanted]:
            yield f"a search for {words!r} finds {found[:3]}, not {wanted} first"


def main() -> None:
    """Check the site in the first folder, leave pictures in the second."""
    site, pictures = map(Path, sys.argv[1:3])
    pictures.mkdir(parents=True, exist_ok=True)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(site)))
    Thread(target=server.serve_forever, daemon=True).start()
    with chromium.open_browser() as browser:
        base = f"http://127.0.0.1:{server.server_port}"
        found = [*newcomer(browser.new_page(), base), *searching(browser.new_page(), base)]
        found += faults(browser, base, pictures)
    print(*found, sep="\n", end="\n" if found else "")
    sys.exit(f"{len(found)} faults" if found else 0)


if __name__ == "__main__":
    main()

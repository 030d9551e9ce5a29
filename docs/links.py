"""Check every link within the built site: pages, anchors, pictures; and that no page asks another host for anything.

Command: python docs/links.py build/site
"""

import sys
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

LOADS = {"script": "src", "img": "src", "source": "src", "iframe": "src", "video": "src", "link": "href"}
SKIP = ("webpack-macros.html",)  # a template of the theme
KEPT = ("canonical", "next", "prev", "search", "index", "genindex")  # `<link>`s that load nothing


class Page(HTMLParser):
    """What a page loads, what it links to, and its anchors."""

    def __init__(self, path: Path):
        super().__init__()
        self.anchors: Counter[str] = Counter()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element's id and addresses."""
        given = {name: value or "" for name, value in attrs}
        if "id" in given:
            self.anchors[given["id"]] += 1
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        loads = given.get(LOADS.get(tag, ""))
        if loads and given.get("rel") not in KEPT:
            self.loads.append(loads)


def faults(site: Path) -> list[str]:
    """Return what is wrong in a folder of pages, a line each."""
    pages = {path: Page(path) for path in sorted(site.rglob("*.html")) if path.name not in SKIP}
    found = []
    for path, page in pages.items():
        name = path.relative_to(site)
        found += [f"{name}: loads {address}" for address in page.loads if urlsplit(address).netloc]
        found += [f"{name}: {n} elements are called {anchor}" for anchor, n in page.anchors.items() if n > 1]
        ours = [address for address in {*page.links, *page.loads} if not any(urlsplit(address)[:2])]
        found += [f"{name}: {address} leads nowhere" for address in ours if not _leads(path, address, pages)]
    return found


def _leads(path: Path, address: str, pages: dict[Path, Page]) -> bool:
    target, anchor = urldefrag(address)
    target = unquote(target.partition("?")[0])
    there = (path.parent / target).resolve() if target else path
    if there in pages:
        return not anchor or unquote(anchor) in pages[there].anchors
    return there.is_file()


def main() -> None:
    """Check the folder that the command line names."""
    site = Path(sys.argv[1]).resolve()
    found = faults(site)
    print(*found, sep="\n", end="\n" if found else "")
    if found or not (site / "index.html").exists():
        sys.exit(f"{len(found)} faults in {sys.argv[1]}")


if __name__ == "__main__":
    main()

"""List the versions of a published site, for the choice in its bar: main at the root, each release in a folder.

Command: python docs/versions.py FOLDER URL
"""

import json
import re
import sys
from pathlib import Path

RELEASE = re.compile(r"v(\d+)\.(\d+)\.(\d+)")  # a tag, and the folder of its pages


def versions(folder: Path, url: str) -> list[dict[str, str]]:
    """Return name, version and address of each version: main, then the releases, newest first."""
    numbers = {path.name: found.groups() for path in folder.iterdir() if (found := RELEASE.fullmatch(path.name))}
    releases = sorted(numbers, key=lambda name: [*map(int, numbers[name])], reverse=True)
    main = {"name": "main (newest)", "version": "main", "url": f"{url}/"}
    return [main, *({"name": name, "version": name, "url": f"{url}/{name}/"} for name in releases)]


if __name__ == "__main__":
    FOLDER, URL = Path(sys.argv[1]), sys.argv[2].rstrip("/")
    (FOLDER / "versions.json").write_text(json.dumps(versions(FOLDER, URL), indent=1))

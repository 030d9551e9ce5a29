"""What README and CONTRIBUTING show has no type error."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def examples() -> dict[str, str]:
    """File name -> text of each example; those of CONTRIBUTING import each other as neighbours in a folder."""
    readme, contributing = ((ROOT / name).read_text() for name in ("README.md", "CONTRIBUTING.md"))
    blocks = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    found = {f"readme{i}.py": text for i, text in enumerate(blocks)}
    for path, text in re.findall(r"```python\n# (\S+\.py)\n(.*?)```", contributing, re.DOTALL):
        found[Path(path).name] = re.sub(r"from \S+\.(gaussian_noise|lenet) import", r"from \1 import", text)
    return found


@pytest.mark.slow
def test_examples_pass_mypy(tmp_path):
    files = [tmp_path / name for name in examples()]
    for file, text in zip(files, examples().values(), strict=True):
        file.write_text(text)
    command = [sys.executable, "-m", "mypy", *map(str, files)]  # options as in `make house`, which leaves a cache
    environment = {**os.environ, "MYPYPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert len(files) == 9 and "9 source files" in done.stdout, done.stdout + done.stderr  # it ran to its end
    assert not [line for line in done.stdout.splitlines() if any(file.name in line for file in files)]

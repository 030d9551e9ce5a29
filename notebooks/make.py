"""Make each notebook from its .py and execute it, two at a time in clean kernels.

    python notebooks/make.py [--check] [NUMBER ...]

NUMBER, such as 05, chooses notebooks; without it all are made. The .py (jupytext's percent format) is the source; the
.ipynb is kept without outputs, so that it changes only when the source does. `--check` writes and executes nothing, and
fails where an .ipynb is not what its .py gives.
"""

import os
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

HERE = Path(__file__).resolve().parent
KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}


def notebook(source: Path) -> NotebookNode:
    """Read a .py as a notebook whose text depends on the .py alone."""
    made = jupytext.read(source)
    made.metadata = {"kernelspec": KERNEL, "language_info": {"name": "python"}}
    for i, cell in enumerate(made.cells):
        cell.id = f"cell-{i}"  # jupytext draws them at random
    return made


def text(source: Path) -> str:
    """Return the text of the .ipynb."""
    return nbformat.writes(notebook(source)) + "\n"


def make(source: Path) -> None:
    """Write the .ipynb, and execute it in an empty folder."""
    target = source.with_suffix(".ipynb")
    target.write_text(text(source))
    with tempfile.TemporaryDirectory() as folder:
        NotebookClient(notebook(source), timeout=600, resources={"metadata": {"path": folder}}).execute()
    print(f"{target.name}: made, and runs", flush=True)


def is_stale(source: Path) -> bool:
    """Return whether the .ipynb is missing or is not what the .py gives."""
    target = source.with_suffix(".ipynb")
    return not target.exists() or target.read_text() != text(source)


def main() -> None:
    """Make the notebooks, or check them."""
    numbers = [argument for argument in sys.argv[1:] if argument != "--check"]
    sources = sorted(s for s in HERE.glob("[0-9]*.py") if not numbers or s.stem.split("_")[0] in numbers)
    if numbers and len(sources) != len(set(numbers)):
        sys.exit(f"no such notebook; there are {', '.join(sorted(s.stem for s in HERE.glob('[0-9]*.py')))}")
    if "--check" not in sys.argv[1:]:
        os.environ.setdefault("OMP_NUM_THREADS", "1")  # of the kernels, which share the cores
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(make, sources))
    elif stale := [source.stem for source in sources if is_stale(source)]:
        sys.exit(f"not what their .py gives (run `make notebooks`): {', '.join(stale)}")


if __name__ == "__main__":
    main()

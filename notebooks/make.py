"""Make each notebook from its .py, and execute it in a clean kernel: `python notebooks/make.py [--check]`.

The .py (jupytext's percent format) is the source; the .ipynb is kept without outputs, so that it changes only when the
source does. `--check` writes and executes nothing, and fails where an .ipynb is not what its .py gives.
"""

import sys
import tempfile
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

HERE = Path(__file__).resolve().parent
KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}


def notebook(source: Path) -> NotebookNode:
    made = jupytext.read(source)
    made.metadata = {"kernelspec": KERNEL, "language_info": {"name": "python"}}
    for i, cell in enumerate(made.cells):
        cell.id = f"cell-{i}"  # jupytext draws them at random
    return made


def main() -> None:
    check = "--check" in sys.argv[1:]
    stale = []
    for source in sorted(HERE.glob("[0-9]*.py")):
        made, target = notebook(source), source.with_suffix(".ipynb")
        text = nbformat.writes(made) + "\n"
        if check:
            stale += [target.name] * (not target.exists() or target.read_text() != text)
            continue
        target.write_text(text)
        with tempfile.TemporaryDirectory() as folder:
            NotebookClient(made, timeout=600, resources={"metadata": {"path": folder}}).execute()
        print(f"{target.name}: made, and runs")
    if stale:
        sys.exit(f"not what their .py gives (run `make notebooks`): {', '.join(stale)}")


if __name__ == "__main__":
    main()

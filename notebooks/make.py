"""Make each notebook from its .py: execute it in a clean kernel, and keep its outputs.

    python notebooks/make.py [--check | --try] [NUMBER ...]

NUMBER, such as 05, chooses notebooks; without it all are made, two at a time. The .py (jupytext's percent format) is
the source. The .ipynb holds the outputs, with their pictures made small, and the hash of the cells that gave them.
`--check` neither executes nor writes. It fails where the cells of an .ipynb are not those of its .py or of its hash, or
where an output should not be seen: a warning, a path of the machine, what a Trainer says of itself. `--try` executes
all cells with `BATCHES` batches an epoch, but for those of `WHOLE`, and writes nothing.
"""

import argparse
import base64
import hashlib
import io
import json
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode
from PIL import Image

HERE = Path(__file__).resolve().parent
KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}
LARGEST = 400_000  # bytes of an .ipynb
COLOURS, QUALITY = 64, 75  # of PNG, of JPEG: the smaller file is kept
BATCHES = {f"PL_TRAINER_LIMIT_{stage}_BATCHES": "2" for stage in ("TRAIN", "VAL", "TEST")}
WHOLE = {"09_compare"}  # its cells need networks that have learned
EMBEDDED = re.compile(r"data:image/png;base64,([A-Za-z0-9+/=\s]+)")
UNWANTED = {
    "a path of the machine": r"site-packages|\.venv/|(?<!\w)/(?:home|root|tmp|usr|opt|Users|private)/\w|[A-Z]:\\+Users",
    "a warning": r"\b\w*Warning\b|\bWARNING\b",
    "a Trainer's chatter": r"GPU available|TPU available|LOCAL_RANK|Seed set to|\bTip:|Trainer\.(?:fit|test)` stopped",
    "a progress bar": r"\bit/s\b|\d%\|",
    "an address in memory": r"\bat 0x[0-9a-f]{6,}",
}


def notebook(source: Path) -> NotebookNode:
    """Read a .py as a notebook without outputs, whose text depends on the .py alone."""
    made = jupytext.read(source)
    made.metadata = {"kernelspec": KERNEL, "language_info": {"name": "python"}}
    for i, cell in enumerate(made.cells):
        cell.id = f"cell-{i}"  # jupytext draws them at random
    made.metadata["sha256"] = digest(made)
    return made


def digest(made: NotebookNode) -> str:
    """Hash types and texts of all cells."""
    cells = [(cell.cell_type, cell.source) for cell in made.cells]
    return hashlib.sha256(json.dumps(cells).encode()).hexdigest()


def execute(source: Path, **limits: str) -> NotebookNode:
    """Execute the notebook in an empty folder, with these variables in its environment."""
    made = notebook(source)
    with tempfile.TemporaryDirectory() as folder:
        resources = {"metadata": {"path": folder}}
        NotebookClient(made, timeout=600, resources=resources, record_timing=False).execute(env=os.environ | limits)
    print(f"{source.stem}: executed", flush=True)
    return made


def attempt(source: Path) -> None:
    """Execute the notebook, with few batches if it can do with few."""
    execute(source, **({} if source.stem in WHOLE else BATCHES))


def make(source: Path) -> None:
    """Execute the notebook and write it with its outputs.

    Raises:
        ValueError: an output that should not be seen, or too large a file. Nothing is written then.
    """
    made = execute(source)
    made.metadata["language_info"] = {"name": "python"}  # the kernel adds its version
    tidy(made)
    if found := [*problems(made)]:
        raise ValueError(f"{source.stem}: {'; '.join(found)}")
    source.with_suffix(".ipynb").write_text(nbformat.writes(made) + "\n")


def tidy(made: NotebookNode) -> None:
    """Make pictures small, and drop what a last line of matplotlib gives beside its picture."""
    for cell in made.cells:
        found = cell.get("outputs", [])
        if any("image/png" in output.get("data", {}) for output in found):
            cell.outputs = [output for output in found if [*output.get("data", {})] != ["text/plain"]]
        for output in found:
            shrink(output)


def shrink(output: NotebookNode) -> None:
    """Replace the pictures of an output, those within its HTML too, by smaller files."""
    data = output.get("data", {})
    if "image/png" in data:
        kind, small = smaller(base64.b64decode(data.pop("image/png")))
        data[kind] = base64.b64encode(small).decode()
    if "text/html" in data:
        data["text/html"] = EMBEDDED.sub(_embed, data["text/html"])


def _embed(match: re.Match[str]) -> str:
    kind, small = smaller(base64.b64decode(match[1]))
    return f"data:{kind};base64,{base64.b64encode(small).decode()}"


def smaller(png: bytes) -> tuple[str, bytes]:
    """Write a picture on white, as PNG of 64 colours and as JPEG; return the kind and the bytes of the smaller one."""
    picture = Image.open(io.BytesIO(png)).convert("RGBA")
    flat = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")
    few, lossy = io.BytesIO(), io.BytesIO()
    flat.quantize(COLOURS).save(few, "PNG", optimize=True)
    flat.save(lossy, "JPEG", quality=QUALITY, optimize=True)
    return min(("image/png", few.getvalue()), ("image/jpeg", lossy.getvalue()), key=lambda made: len(made[1]))


def problems(made: NotebookNode) -> Iterator[str]:
    """Say what should not be seen in a notebook, a line each."""
    size = len(nbformat.writes(made).encode())
    if size > LARGEST:
        yield f"{size / 1000:.0f} kB, of {LARGEST / 1000:.0f}: fewer or smaller pictures"
    if any(cell.source.strip() and cell.get("execution_count", 0) is None for cell in made.cells):
        yield "not executed"
    for cell in made.cells:
        for output in cell.get("outputs", []):
            yield from (f"{what} in {cell.id}" for what in unwanted(output))


def unwanted(output: NotebookNode) -> Iterator[str]:
    """Name what should not be in an output."""
    if output.output_type == "error" or output.get("name") == "stderr":
        yield "an error, or something in stderr"
    data = output.get("data", {})
    if "image/svg+xml" in data:
        yield "an SVG, of which sites that show notebooks mix up the parts"
    shown = "\n".join(value for kind, value in data.items() if kind.startswith("text/"))
    text = EMBEDDED.sub("", shown) + output.get("text", "")
    yield from (what for what, pattern in UNWANTED.items() if re.search(pattern, text))


def faults(source: Path) -> Iterator[str]:
    """Say why the .ipynb is not what its .py gives; nothing if it is."""
    target, wanted = source.with_suffix(".ipynb"), notebook(source)
    if not target.exists():
        yield "there is no .ipynb"
        return
    there = nbformat.read(target, as_version=4)
    if digest(there) != digest(wanted):
        yield "its cells are not those of the .py"
    elif there.metadata.get("sha256") != digest(wanted):
        yield "its outputs are of other cells"
    yield from problems(there)


def main() -> None:
    """Make the notebooks, check or try them."""
    parser = argparse.ArgumentParser("python notebooks/make.py", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("numbers", nargs="*", help="such as 05; default: all notebooks")
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--check", action="store_true", help="compare each .ipynb with its .py; execute nothing")
    mode.add_argument("--try", action="store_true", dest="trial", help="execute a few batches; write nothing")
    options = parser.parse_args()
    sources = sorted(
        s for s in HERE.glob("[0-9]*.py") if not options.numbers or s.stem.split("_")[0] in options.numbers
    )
    if options.numbers and len(sources) != len(set(options.numbers)):
        sys.exit(f"no such notebook; there are {', '.join(sorted(s.stem for s in HERE.glob('[0-9]*.py')))}")
    if options.check:
        if found := [f"{source.stem}: {fault}" for source in sources for fault in faults(source)]:
            sys.exit("\n".join([*found, "run `make notebooks`, with the numbers of these notebooks"]))
        return
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # of the kernels, which share the cores
    longest_first = sorted(sources, key=lambda source: source.stem not in WHOLE)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(attempt if options.trial else make, longest_first))


if __name__ == "__main__":
    main()

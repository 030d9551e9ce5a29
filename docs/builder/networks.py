"""Count parameters, multiply-adds, stages and receptive fields of every variant: docs/networks.json.

Made by `make tables`; a model is counted again when its code has changed, or that of a layer that it has. The site
reads the file, since counting everything takes minutes.
"""

import ast
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "docs" / "networks.json"
COUNTS = ("complexity", "receptive")  # of zoo/tools


def read() -> dict[str, Any]:
    """Return what was counted, by model."""
    return json.loads(FILE.read_text()) if FILE.exists() else {}


def digest(paths: list[Path]) -> str:
    """Return a hash of the code in files: docstrings, comments and imports left out."""
    return hashlib.sha256("\n".join(map(_code, paths)).encode()).hexdigest()[:16]


def _code(path: Path) -> str:
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
    tree.body = [node for node in tree.body if not isinstance(node, ast.Import | ast.ImportFrom)]
    return ast.dump(tree)


def sources(name: str) -> list[Path]:
    """Return the files on which a model's figures depend: its own, those that it imports, and what counts."""
    import zoo

    own = ROOT.joinpath(*getattr(zoo, name).__module__.split(".")).with_suffix(".py")
    found, queue = set(), [own, *(ROOT / "zoo" / "tools" / f"{tool}.py" for tool in COUNTS)]
    while queue:
        path = queue.pop()
        if path not in found:
            found.add(path)
            queue += _imports(path)
    return sorted(found)


def _imports(path: Path) -> list[Path]:
    """Return the models, layers and tools that a file imports; what the frame does changes no figure."""
    nodes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)]
    modules = [node.module for node in nodes if node.module and node.module.startswith("zoo.")]
    files = [ROOT.joinpath(*module.split(".")).with_suffix(".py") for module in modules]
    return [file for file in files if file.parent.name != "frame" and file.exists()]


def count(name: str) -> dict[str, Any]:
    """Count every variant of a model, and the stages of the default one."""
    from recipes.command.show import build
    from zoo.tools.complexity import total_macs

    default = build(name)
    rows = list(map(str, getattr(type(default), "variants", ()))) or [""]
    variants = {}
    for row in rows:
        model = build(name, row or None)
        parameters = sum(p.numel() for p in model.parameters())
        variants[row] = [parameters, total_macs(model, model.image_size), model.image_size]
    chosen = str(default.hparams.get("variant", getattr(default, "variant", "")))
    return {"source": digest(sources(name)), "default": chosen, "variants": variants, "stages": stages(default)}


def stages(model: Any) -> list[list[str]]:
    """Return each stage as text: name, output, stride, receptive field, parameters, multiply-adds."""
    from recipes.command.show import figures
    from zoo.tools.stage_table import stage_table

    return [[*row.words, *figures(row)[:2]] for row in stage_table(model, model.image_size)]


def main() -> None:
    """Count the models whose code has changed, and write the file."""
    from recipes.frame import catalogue

    old, new = read(), {}
    for entry in catalogue.models():
        known = old.get(entry.name, {})
        fresh = known.get("source") == digest(sources(entry.name))
        new[entry.name] = known if fresh else count(entry.name)
    lines = [f" {json.dumps(name)}: {json.dumps(found)}" for name, found in new.items()]
    FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    main()

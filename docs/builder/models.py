"""Pages of the models: an index that filters by text, and one page a model."""

import inspect
import json
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import zoo
from builder import networks
from builder.text import WIDE, cell, fields, index_title, plain, prose, sentence, table
from recipes.frame import catalogue, records
from recipes.frame.catalogue import Entry

DOCS = Path(__file__).resolve().parents[1]
PUBLISHED = DOCS / "published.json"  # top-1 accuracies that the authors' repositories print, with where
COUNTED = (
    "In bold: the default. Counted for 1,000 classes, or those that the variant was made for, on images of that size."
)


def pages() -> Iterator[tuple[str, str]]:
    """Yield path and text of every page."""
    counted = networks.read()
    yield "models/index.md", index(counted)
    for entry in catalogue.models():
        yield f"models/{entry.name}.md", page(entry, counted.get(entry.name))


def index(counted: dict[str, Any]) -> str:
    """Write the table of all models."""
    entries = catalogue.models()
    rows = []
    for entry in entries:
        variants = ", ".join((counted.get(entry.name) or {"variants": ()})["variants"])
        _, parameters, macs = (text.replace(" ", "\u00a0") for text in catalogue.cost(entry.name))
        paper = cell(catalogue.field(entry.doc, "Paper").split(" (")[0].split(" http")[0])
        rows.append(
            [f"[{entry.name}]({entry.name}.md)", cell(sentence(entry.line)), parameters, macs, cell(variants), paper]
        )
    heads = ["model", "what it is", "parameters", "MACs", "variants", "paper"]
    names = "\n".join(entry.name for entry in entries)
    return f"""{WIDE}# Models

{len(entries)} networks, one file a paper. Parameters and multiply-adds (MACs) are those of the default variant.
Any other network, all of timm's among them, trains with the same tricks as `zoo.Classifier(network)`.

{table(heads, rows, "filterable")}

{family()}

```{{toctree}}
:hidden:

{names}
```
"""


def page(entry: Entry, counted: dict[str, Any] | None) -> str:
    """Write the page of one model."""
    kind = getattr(zoo, entry.name)
    path = Path(inspect.getfile(kind))
    paper = index_title(catalogue.field(entry.doc, "Paper"))
    parts = [f"# {entry.name}", paper, prose(sentence(entry.line)), diagram(entry.name), six(entry.doc, "Block")]
    if counted:
        parts += ["## Variants", variants(kind, counted), COUNTED]
        if counted["stages"]:
            parts += ["## Stages", stages(entry.name, counted)]
    parts += ["## Weights", weights(entry.name, kind), against_reference(entry.name)]
    parts += ["## Arguments", f"```{{eval-rst}}\n.. autoclass:: zoo.{entry.name}\n```"]
    parts += ["## The code", f"```{{literalinclude}} ../../zoo/{path.name}\n:language: python\n```"]
    return "\n\n".join(filter(None, parts)) + "\n"


def diagram(name: str) -> str:
    """Include the picture of the block, if it was drawn."""
    return image(name, f"Block diagram of {name}: the layers of one block and how they are joined")


def family() -> str:
    """Include the picture of all models through the years, if it was drawn."""
    shown = image("family", "All models in the years of their papers, with an arrow from what each builds on")
    return f"## Through the years\n\n{shown}" if shown else ""


def image(name: str, alt: str) -> str:
    """Include a file of docs/made/diagrams, if it is there."""
    if not (DOCS / "made" / "diagrams" / f"{name}.svg").exists():
        return ""
    return f"```{{image}} ../made/diagrams/{name}.svg\n:alt: {alt}\n:class: dark-light\n```"


def six(doc: str, what: str) -> str:
    """Write the six fields of a file; those that are laid out by hand keep their lines."""
    texts = {name: prose(catalogue.field(doc, name)) for name in ("Paper", "Code", "Defaults", "Differs")}
    laid = {name: plain(catalogue.field_lines(doc, name)) for name in (what, "Shapes")}
    return fields((name, (texts | laid)[name]) for name in ("Paper", "Code", what, "Shapes", "Defaults", "Differs"))


def variants(kind: type, counted: dict[str, Any]) -> str:
    """Write parameters, multiply-adds, published accuracy and measured speed of each variant."""
    speeds, rows = speed(kind.__name__), []
    for name, (parameters, macs, size) in counted["variants"].items():
        shown = f"**{cell(name)}**" if name == counted["default"] else cell(name)
        figures = f"{size} px", f"{parameters:,}", f"{macs:,}"
        rows.append([shown, *figures, published_accuracies(kind, name), speeds.get(name, "")])
    heads = ["variant", "images", "parameters", "MACs", "published accuracy", "speed by reference"]
    used = [i for i, _ in enumerate(heads) if any(row[i] for row in rows)]
    return table([heads[i] for i in used], [[row[i] for i in used] for row in rows], "wide")


def published_accuracies(kind: type, variant: str) -> str:
    """Return published top-1 accuracies of a variant with their sources; empty if there is none."""
    read = json.loads(PUBLISHED.read_text()).get(kind.__name__, {}).get(variant, [])
    network = getattr(kind, "torchvision_names", {}).get(variant)
    files = [] if network is None else _files(network)
    found = [(w.name, w.meta["_metrics"].get("ImageNet-1K", {}).get("acc@1")) for w in files]
    texts = [f"{accuracy} % ({cell(source)})" for accuracy, source in read]
    texts += [f"{accuracy} % (ImageNet; torchvision, `{file}`)" for file, accuracy in found if accuracy]
    for run in records.read("verify"):
        if (run["arguments"]["model"], run["arguments"]["variant"]) == (kind.__name__, variant):
            name, accuracy = run["arguments"]["file"], run["metrics"]["published"]
            texts.append(f"{accuracy} % (CIFAR-10; `{name}`, [run again](../evidence/reproductions.md))")
    return "; ".join(texts)


def _files(network: str) -> Any:
    return import_module("torchvision.models").get_model_weights(network)


def against_reference(model: str) -> str:
    """Say how far our logits are from those of a library's network on the same weights; empty if none has it."""
    runs = [run for run in records.read("reference_logits") if run["arguments"]["model"] == model]
    if not runs:
        return ""
    said, found = runs[-1]["arguments"], runs[-1]["metrics"]
    library, network = said["reference"].split()
    return f"""On the same weights, the logits of {cell(model)}-{cell(said["variant"])} differ from those of
`{network}` of {library} {said["version"]} by at most {found["difference"]:.1g}, on
{said["input"]}; between these images a logit differs by {found["spread"]:.2g} (standard deviation).
`python -m recipes.command.references {model}` measures it again."""


def speed(model: str) -> dict[str, str]:
    """Return the speed of variants by that of timm's or torchvision's network, from the last run of the benchmark."""
    found: dict[str, list[str]] = {}
    for run in records.read("models")[-1:]:
        for key, value in run["metrics"].items():
            network, _, what = key.rpartition(" ")
            name, _, variant = network.partition(" ")
            if name == model and what in ("training", "inference"):
                found.setdefault(variant, []).append(f"{what} {value:.2f}")
    return {variant: ", ".join(texts) for variant, texts in found.items()}


def stages(name: str, counted: dict[str, Any]) -> str:
    """Write the stages of the default variant, with what one unit sees of the image."""
    heads = ["stage", "output", "stride", "sees", "parameters", "MACs"]
    used = [i for i, _ in enumerate(heads) if any(row[i] for row in counted["stages"])]
    rows = [[cell(row[i]) for i in used] for row in counted["stages"]]
    call = f'`{name}("{counted["default"]}")`' if counted["default"] else f"`{name}()`"
    return f"""Of {call}. A stage begins where the one before it ends. Strides, and what one unit
sees of the image, are in pixels; `zoo show {name} VARIANT` prints any other variant, layer by layer.

{table([heads[i] for i in used], rows)}"""


def weights(name: str, kind: type) -> str:
    """Say how weights are loaded: from torchvision, timm, the hub or a file."""
    lines, others = [f"from zoo import {name}", ""], []
    for library in ("torchvision", "timm"):
        names = {v: n if isinstance(n, str) else n[0] for v, n in getattr(kind, f"{library}_names", {}).items()}
        for variant, network in list(names.items())[:1]:
            tag = network if library == "timm" else _files(network).DEFAULT.name
            lines.append(f'{name}("{variant}", weights="{library}:{tag}")')
        if names:
            others.append(f"- In {library}: " + ", ".join(f"{cell(v)} is `{n}`" for v, n in names.items()))
    lines += [f'{name}(weights="hf:user/repo")', f'{name}(weights="path/to/file.safetensors")']
    return "\n".join(["```python", *lines, "```", "", "\n".join(others)])

"""Write a model card for the Hugging Face Hub from what a model and its run know. Nothing is made up: what is not known
is said to be so.
"""

import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

from huggingface_hub import EvalResult, ModelCardData

from zoo.frame.about import names_of, names_of_classes
from zoo.frame.run import callbacks_of, datamodule_of

UNKNOWN = "not recorded"


class Facts(TypedDict, total=False):
    """What a card tells; what is not given is taken from the run, if the model has just been in one.

    Attributes:
        data: the images: name, size, number.
        tricks: the tricks as constructor calls.
        metrics: name -> number, such as `{"test/acc": 0.99}`.
        seeds: of the run, or of several runs whose mean the metrics are.
        command: that makes the weights again.
        commit: of the code.
        license: an identifier of the Hub, such as "apache-2.0"; weights inherit conditions of their data.
    """

    data: str
    tricks: list[str]
    metrics: Mapping[str, float]
    seeds: list[int]
    command: str
    commit: str
    license: str


def facts_of_run(model: Any) -> Facts:
    """Read data, tricks, metrics, seed and command from the model's Trainer; nothing without one."""
    trainer = model._trainer
    if trainer is None:
        return {}
    data, program = datamodule_of(trainer), [Path(sys.argv[0]).name, *sys.argv[1:]]
    found: Facts = {
        "tricks": names_of(callbacks_of(trainer)),
        "metrics": {name: float(value) for name, value in trainer.callback_metrics.items()},
        "command": shlex.join(program),
    }
    if data is not None:
        found["data"] = type(data).__name__
    if "PL_GLOBAL_SEED" in os.environ:
        found["seeds"] = [int(os.environ["PL_GLOBAL_SEED"])]
    return found


def write_card(model: Any, name: str, facts: Facts, library: str, opens: Sequence[str]) -> str:
    """Return the text of README.md: the Hub's metadata, then what the weights are and how they were made.

    Args:
        model: the model.
        name: of the repository or folder.
        facts: what is told; see `Facts`.
        library: that the Hub names, "lightning-zoo" or "timm".
        opens: lines of Python that open the files.
    """
    metrics, kind = facts.get("metrics", {}), type(model).__name__
    names = names_of_classes(model)
    variant = model.hparams.get("variant") or model.hparams.get("network") or ""
    told = {
        "network": f"{kind}({str(variant)!r})" if variant else kind,
        "classes": f"{model.num_classes}" + (f": {', '.join(names[:20])}" if names else ""),
        "images": f"{model.image_size} px" if model.image_size else UNKNOWN,
        "data": facts.get("data", UNKNOWN),
        "tricks": ", ".join(facts.get("tricks", ())) or ("none" if "tricks" in facts else UNKNOWN),
        "seeds": ", ".join(map(str, facts.get("seeds", ()))) or UNKNOWN,
        "command": f"`{facts['command']}`" if "command" in facts else UNKNOWN,
        "commit": facts.get("commit", UNKNOWN),
        "license": facts.get("license", UNKNOWN),
    }
    rows = [f"| {key} | {value} |" for key, value in [*told.items(), *((k, f"{v:.4f}") for k, v in metrics.items())]]
    text = [f"# {name}", "", "| | |", "| --- | --- |", *rows, "", "```python", *opens, "```"]
    return f"---\n{_metadata(name, facts, library).to_yaml()}\n---\n\n" + "\n".join(text) + "\n"


def _metadata(name: str, facts: Facts, library: str) -> ModelCardData:
    """Return the card's head; test accuracies are the Hub's evaluation results."""
    data = facts.get("data", UNKNOWN)
    results = [
        EvalResult("image-classification", "images", data, "accuracy", value, metric_name=metric)
        for metric, value in facts.get("metrics", {}).items()
        if metric.startswith("test/acc")
    ]
    return ModelCardData(
        license=facts.get("license"),
        library_name=library,
        pipeline_tag="image-classification",
        tags=sorted({"image-classification", "lightning-zoo", library}),
        model_name=name.rpartition("/")[2] if results else None,
        eval_results=results or None,
    )

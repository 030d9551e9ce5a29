"""Weights in and out: timm, torchvision, the Hugging Face Hub, files. Nothing that a file carries is ever run.

Files are read with `torch.load(weights_only=True)` or safetensors. Keys may sit behind `module.`, `network.` or
`_orig_mod.` and inside `state_dict`; they must then match the model's exactly, but for the head of another number of
classes, which starts afresh with a message.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import timm
import torchvision
from huggingface_hub import hf_hub_download
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from zoo.frame import channels
from zoo.frame.by_name import architecture
from zoo.frame.preprocessing import Preprocessing
from zoo.frame.weight_files import preprocessing_in, read


class Receiver(Protocol):
    """What `load_into` asks of a model: see `Classifier`."""

    aliases: Mapping[str, str]
    timm_names: Mapping[str, str | tuple[str, ...]]
    torchvision_names: Mapping[str, str]
    num_classes: int
    in_chans: int
    image_size: int | None
    untrained: bool
    preprocessing: Preprocessing | None

    @property
    def hparams(self) -> Any: ...

    def adapt(self, state: dict[str, Tensor]) -> dict[str, Tensor]: ...

    def plain_state_dict(self) -> dict[str, Tensor]: ...

    def load_state_dict(self, state: dict[str, Tensor]) -> Any: ...


WRAPPERS = ("module.", "network.", "_orig_mod.", "model.")  # DDP, Classifier(network), torch.compile, common habit


def load_into(model: Receiver, source: str | Path) -> None:
    """Put the weights that `source` names into the model.

    Args:
        model: receives them.
        source: `"timm:resnet50.a1_in1k"`, `"torchvision:IMAGENET1K_V2"`, `"hf:user/repo"`, or a path to a
            `.safetensors`, `.pth`, `.th` or `.ckpt` file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is cut short, carries code, or is of another network; says which and what to do.
    """
    kind, _, name = str(source).partition(":")
    readers = {"timm": _from_timm, "torchvision": _from_torchvision, "hf": _from_hub}
    state = readers[kind](model, name) if kind in readers else read(source)
    if kind not in readers:
        model.preprocessing = preprocessing_in(source) or model.preprocessing
    _put(model, model.adapt(_our_keys(state, model)), str(source))
    model.preprocessing = model.preprocessing and model.preprocessing.at(model.image_size, model.in_chans)


def _from_timm(model: Receiver, name: str) -> dict[str, Tensor]:
    asked, own = name.split(".")[0], None if model.timm_names else architecture(getattr(model, "network", None))
    if own is None:
        _same_network(model, asked, model.timm_names, "timm")
    elif asked != own:
        raise ValueError(f"timm's {asked} is not timm's {own}, which this network is: take weights of {own}")
    network = timm.create_model(name, pretrained=True)
    model.preprocessing = Preprocessing.of_timm(network)
    return network.state_dict()


def _from_torchvision(model: Receiver, name: str) -> dict[str, Tensor]:
    network = model.torchvision_names.get(model.hparams.get("variant"))
    _same_network(model, network, model.torchvision_names, "torchvision")
    weights = torchvision.models.get_model_weights(network)[name]
    model.preprocessing = Preprocessing.of_torchvision(weights.transforms())
    return weights.get_state_dict(check_hash=True)


def _same_network(model: Receiver, asked: str | None, names: Mapping[str, str | tuple[str, ...]], library: str) -> None:
    """Keys may agree where the function does not (ResNet's 50 and 50-v1): only the network of our table will do."""
    variant = model.hparams.get("variant")
    all_of = {ours: (theirs,) if isinstance(theirs, str) else theirs for ours, theirs in names.items()}
    if asked is None or asked not in all_of.get(variant, ()):
        fitting = [ours for ours, theirs in all_of.items() if asked in theirs]
        advice = (
            f"it is variant {fitting[0]!r} here" if fitting else f"variants that it has: {', '.join(names) or 'none'}"
        )
        raise ValueError(f"{library}'s {asked or 'library'} is not {type(model).__name__}({variant!r}); {advice}")


def _from_hub(model: Receiver, repo: str) -> dict[str, Tensor]:
    return read(hf_hub_download(repo, "model.safetensors"))


def _our_keys(state: dict[str, Tensor], model: Receiver) -> dict[str, Tensor]:
    """Others' keys -> the model's: wrappers' prefixes off, the model's `aliases` applied."""
    ours = model.plain_state_dict()
    for wrapper in WRAPPERS:
        if state and all(key.startswith(wrapper) for key in state) and not any(key in ours for key in state):
            state = {key.removeprefix(wrapper): value for key, value in state.items()}
    for theirs, mine in model.aliases.items():
        state = {mine + key.removeprefix(theirs) if key.startswith(theirs) else key: v for key, v in state.items()}
    return state


def _put(model: Receiver, state: dict[str, Tensor], source: str) -> None:
    ours = model.plain_state_dict()
    # files older than torch 0.4.1 have no batch counters
    state = {k: v for k, v in ours.items() if k.endswith("num_batches_tracked")} | state
    state |= {k: channels.adapt(v, model.in_chans) for k, v in state.items() if k in ours and channels.fits(v, ours[k])}
    wrong = {k for k in ours if k in state and state[k].shape != ours[k].shape}
    head = {k for k in wrong if ours[k].shape[0] == model.num_classes and ours[k].shape[1:] == state[k].shape[1:]}
    missing, unknown = ours.keys() - state.keys(), state.keys() - ours.keys()
    if missing or unknown or wrong - head:
        shapes = [f"{k} {tuple(state[k].shape)} there, {tuple(ours[k].shape)} here" for k in sorted(wrong - head)]
        raise ValueError(
            f"{source} is of another network than {type(model).__name__}({model.hparams.get('variant', '')!r}); "
            f"missing: {_some(missing)}; unknown: {_some(unknown)}; other shapes: {_some(shapes)}"
        )
    if head:
        old = state[min(head)].shape[0]
        rank_zero_info(f"{source} has {old} classes, the model {model.num_classes}: {_some(head)} start afresh")
    kept = {key: ours[key] if key in head else value for key, value in state.items()}
    getattr(model, "network", model).load_state_dict(kept)
    model.untrained = False


def _some(names: Any) -> str:
    names = sorted(names)
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "") if names else "none"

"""Load weights from timm, torchvision, the Hugging Face Hub and files. No code in a file is ever run.

Keys may begin with `module.`, `network.`, `_orig_mod.`, `model.` or `net.`, in any order, and be in an entry of a
training file. Without these prefixes they must equal the model's, except for the head. A head that is missing or has
another number of classes is initialised, with a message. Weights outside the network, such as a criterion's, are left
out, with a message.
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import torchvision
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from torch import Tensor, nn

from zoo.frame import by_name, channels, shipped
from zoo.frame.by_name import architecture, fetch
from zoo.frame.checks import validate_choice
from zoo.frame.preprocessing import Preprocessing
from zoo.frame.surgery import surgery_record, words
from zoo.frame.weight_files import Weights, read
from zoo.frame.weight_sets import State


class Receiver(Protocol):
    """The interface of a model that `load_into` needs: see `Classifier`."""

    aliases: Mapping[str, str]
    timm_names: Mapping[str, str | tuple[str, ...]]
    torchvision_names: Mapping[str, str]
    twins: Mapping[str, str]
    num_classes: int
    in_chans: int
    image_size: int | None
    untrained: bool
    preprocessing: Preprocessing | None
    classes: tuple[str, ...] | None
    pretrained_classes: tuple[str, ...] | None

    @property
    def hparams(self) -> Any: ...

    def adapt(self, state: State) -> State: ...

    def plain_state_dict(self) -> State: ...

    def load_state_dict(self, state: State) -> Any: ...


# DDP, Classifier(network), torch.compile, common habits
WRAPPERS = ("module.", "network.", "_orig_mod.", "model.", "net.")
BESIDE = ("criterion", "loss", "loss_fn", "loss_func")  # prefixes of weights outside a network without a wrapper
CONVERTING = ("googlenet", "inception_v3")  # torchvision's: with trained weights, they change mean and std to .5
COMPILED = "_orig_mod."  # in the keys of a network that the user compiled


def load_into(model: Receiver, source: str | Path, which: str | None = None) -> None:
    """Load the weights that `source` names into the model.

    Args:
        model: receives them.
        source: `"zoo"` (what comes with the package), `"zoo:ResNet-20-8px"` (of another image size),
            `"timm:resnet50.a1_in1k"`, `"torchvision:IMAGENET1K_V2"`, `"hf:user/repo"`, or a path to a `.safetensors`,
            `.pth`, `.th` or `.ckpt` file.
        which: key of the weights in a file with several: see `weight_sets.choose`.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is damaged, holds code, or is of another network; the error says what to do.
    """
    kind, _, name = str(source).partition(":")
    if kind == shipped.NAME:
        source = shipped.find(model, name)
    readers = {"timm": _from_timm, "torchvision": _from_torchvision, "hf": _from_hub}
    weights = readers[kind](model, name) if kind in readers else read(source, which)
    _check_variant(model, weights, str(source))
    _say_other_surgery(model, weights, str(source))
    has_head = _put(model, model.adapt(_our_keys(weights.state, model, str(source))), str(source))
    if has_head:  # names of earlier classes would be wrong words for those of this head
        model.classes = weights.classes if weights.classes and len(weights.classes) == model.num_classes else None
    model.pretrained_classes = weights.pretrained_classes if has_head else None
    preprocessing = weights.preprocessing or model.preprocessing
    model.preprocessing = preprocessing and preprocessing.at(model.image_size, model.in_chans)


def _from_timm(model: Receiver, name: str) -> Weights:
    asked, own = name.split(".")[0], None if model.timm_names else architecture(getattr(model, "network", None))
    if own is None:
        _same_network(model, asked, model.timm_names, "timm")
    elif asked != own:
        raise ValueError(f"this network is timm's {own}, the weights are of {asked}: use weights of {own}")
    network = fetch(name)
    names, preprocessing = by_name.names_of_classes(network), Preprocessing.of_timm(network)
    return Weights(network.state_dict(), preprocessing=preprocessing, pretrained_classes=names)


def _from_torchvision(model: Receiver, name: str) -> Weights:
    network = model.torchvision_names.get(model.hparams.get("variant"))
    _same_network(model, network, model.torchvision_names, "torchvision")
    entries = torchvision.models.get_model_weights(network)
    weights = entries[validate_choice(name, entries.__members__, f"torchvision's {network}")]
    state = weights.get_state_dict(check_hash=True)
    preprocessing = Preprocessing.of_torchvision(weights.transforms())
    if network in CONVERTING:
        preprocessing = replace(preprocessing, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    return Weights(state, preprocessing=preprocessing, pretrained_classes=tuple(weights.meta["categories"]))


def _from_hub(model: Receiver, repo: str) -> Weights:
    """Read a repository's weights. If it names a timm network, the model must have that architecture."""
    try:
        config = json.loads(Path(hf_hub_download(repo, "config.json")).read_text())
    except EntryNotFoundError:
        config = {}
    if model.timm_names and "architecture" in config:
        _same_network(model, config["architecture"], model.timm_names, "timm")
    try:
        return read(hf_hub_download(repo, "model.safetensors"))
    except EntryNotFoundError:
        raise ValueError(f"{repo} has no model.safetensors: fetch the file that it has, and give its path") from None


def _same_network(model: Receiver, asked: str | None, names: Mapping[str, str | tuple[str, ...]], library: str) -> None:
    """Refuse another network of a library: keys can match although the function differs (ResNet's 50 and 50-v1)."""
    variant = model.hparams.get("variant")
    all_of = {ours: (theirs,) if isinstance(theirs, str) else theirs for ours, theirs in names.items()}
    if asked is None or asked not in all_of.get(variant, ()):
        fitting = [ours for ours, theirs in all_of.items() if asked in theirs]
        advice = (
            f"it is variant {fitting[0]!r} here" if fitting else f"variants that it has: {', '.join(names) or 'none'}"
        )
        raise ValueError(f"{library}'s {asked or 'library'} is not {type(model).__name__}({variant!r}); {advice}")


def _check_variant(model: Receiver, weights: Weights, source: str) -> None:
    """Refuse a file of another variant; warn if it may be of one: keys can match although the function differs."""
    name, ours, theirs = type(model).__name__, model.hparams.get("variant"), weights.variant
    if weights.model == name and theirs is not None and ours is not None and theirs != ours:
        raise ValueError(f"{source} has weights of {name}({theirs!r}), which do not fit {name}({ours!r})")
    if theirs is None and ours in model.twins:
        rank_zero_warn(
            f"{source} does not tell its variant: {name}({model.twins[ours]!r}) has the same keys, and its weights "
            f"give wrong logits in {name}({ours!r}): make sure that the file is of the latter"
        )


def _say_other_surgery(model: Receiver, weights: Weights, source: str) -> None:
    """Warn if tricks changed the file's network differently: an activation, for instance, has no keys."""
    ours, theirs = words(surgery_record(model)), weights.surgery
    if theirs not in (None, ours):
        rank_zero_warn(
            f"the network of {source} was changed by {theirs}, this one by {ours}: train with the same trick, or take "
            "the whole model with zoo.load"
        )


# ---- keys


def plain_key(key: str) -> str:
    """Remove the prefixes that `torch.compile` adds to a key."""
    return key.replace(COMPILED, "")


def for_network(network: Any, state: Mapping[str, Tensor]) -> State:
    """Rename weights to the keys of a network that the user may have compiled, in whole or in part."""
    ours = {plain_key(key): key for key in network.state_dict()}
    return {ours.get(plain_key(key), key): value for key, value in state.items()}


def _our_keys(state: Mapping[str, Tensor], model: Receiver, source: str) -> State:
    """Rename keys to the model's: remove wrappers' prefixes and weights outside the network, apply `aliases`."""
    ours = model.plain_state_dict()
    names = {key: _unwrap(key, ours) for key in state}
    inside = {key for key, name in names.items() if name in ours}
    wrapped = bool(inside) and all(key != names[key] for key in inside)
    tops = {_top(key) for key in ours} | {_top(key) for key in model.aliases}
    beside = {
        key
        for key, name in names.items()
        if name not in ours and (_top(name) in BESIDE or wrapped and key == name) and _top(name) not in tops
    }
    found = {names[key]: value for key, value in state.items() if key not in beside}
    if len(found) < len(state) - len(beside):
        raise ValueError(f"{source} holds several networks, behind {_some({_top(key) for key in state})}")
    if beside and found:
        rank_zero_info(f"{source}: left out, because they are not part of the network: {_some(beside)}")
    for theirs, mine in model.aliases.items():
        found = {mine + key.removeprefix(theirs) if key.startswith(theirs) else key: v for key, v in found.items()}
    return found


def _unwrap(key: str, ours: Collection[str]) -> str:
    while key not in ours:
        wrapper = next((wrapper for wrapper in WRAPPERS if key.startswith(wrapper)), None)
        if wrapper is None:
            return plain_key(key)
        key = key.removeprefix(wrapper)
    return key


def _top(key: str) -> str:
    return key.partition(".")[0]


# ---- into the model


def _put(model: Receiver, state: State, source: str) -> bool:
    """Give the model its weights; return whether its head is among them."""
    ours = model.plain_state_dict()
    # files older than torch 0.4.1 have no batch counters
    state = {k: v for k, v in ours.items() if k.endswith("num_batches_tracked")} | state
    state |= {k: channels.adapt(v, model.in_chans) for k, v in state.items() if k in ours and channels.fits(v, ours[k])}
    wrong = {k for k in ours if k in state and state[k].shape != ours[k].shape}
    head = {k for k in wrong if ours[k].shape[0] == model.num_classes and ours[k].shape[1:] == state[k].shape[1:]}
    missing, unknown = ours.keys() - state.keys(), state.keys() - ours.keys()
    headless = not unknown and missing == _head(model)
    if missing and not headless or unknown or wrong - head:
        shapes = [f"{k} {tuple(state[k].shape)} there, {tuple(ours[k].shape)} here" for k in sorted(wrong - head)]
        raise ValueError(
            f"{source} does not fit {type(model).__name__}({model.hparams.get('variant', '')!r}); "
            f"missing: {_some(missing)}; unknown: {_some(unknown)}; other shapes: {_some(shapes)}"
        )
    if head:
        old = state[min(head)].shape[0]
        rank_zero_info(f"{source} has {old} classes, the model {model.num_classes}: {_some(head)} start at random")
    if headless:
        rank_zero_info(f"{source} has no head: {_some(missing)} start at random")
    kept = {key: ours[key] if key in head | missing else state[key] for key in ours}
    network = getattr(model, "network", model)
    network.load_state_dict(for_network(network, kept))
    model.untrained = False
    return not head and not headless


def _head(model: Receiver) -> set[str]:
    """Return the keys of the layers of the logits: linear layers of K outputs, else the last 1x1 convolution."""
    network: Any = getattr(model, "network", model)
    layers = [(name, m) for name, m in network.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    heads = [name for name, m in layers if isinstance(m, nn.Linear) and m.out_features == model.num_classes]
    heads = heads or [name for name, m in layers[-1:] if m.weight.shape[0] == model.num_classes]
    names = {plain_key(f"{name}.{kind}") for name in heads for kind in ("weight", "bias")}
    return names & model.plain_state_dict().keys()


def _some(names: Any) -> str:
    names = sorted(names)
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "") if names else "none"

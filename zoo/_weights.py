"""Weights in and out: timm, torchvision, the Hugging Face Hub, files. Nothing that a file carries is ever run.

Files are read with `torch.load(weights_only=True)` or safetensors. Keys may sit behind `module.`, `network.` or
`_orig_mod.` and inside `state_dict`; they must then match the model's exactly, but for the head of another number of
classes, which starts afresh with a message.
"""

import pickle
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import safetensors.torch
import timm
import torch
import torchvision
from huggingface_hub import hf_hub_download
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.utilities import rank_zero_info
from safetensors import SafetensorError
from torch import Tensor

from zoo import _surgery

if TYPE_CHECKING:
    from zoo._base import Classifier

WRAPPERS = ("module.", "network.", "_orig_mod.", "model.")  # DDP, Classifier(network), torch.compile, common habit


def load_into(model: "Classifier", source: str | Path) -> None:
    """Puts the weights that `source` names into the model.

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
    _put(model, model.adapt(_our_keys(state, model)), str(source))


def read(path: str | Path, average: str | None = None) -> dict[str, Tensor]:
    """The weights in a file. `average`: of a checkpoint's averages, the one to take, such as `"EMA(0.999)"`."""
    if Path(path).suffix == ".safetensors":
        return _read_safetensors(_existing(path))
    content = read_checkpoint(path)
    if average is not None:
        return pick_average(content, average, path)
    for key in ("state_dict", "model", "model_state_dict"):
        if isinstance(content.get(key), Mapping):
            content = content[key]
    return {key: value for key, value in content.items() if isinstance(value, Tensor)}


def pick_average(checkpoint: dict[str, Any], average: str, path: str | Path) -> dict[str, Tensor]:
    """One of the averages that tricks wrote into a checkpoint. Raises ValueError with the names that there are."""
    averages = checkpoint.get("averages", {})
    if average not in averages:
        raise ValueError(f"{path} has no average {average!r}; it has {sorted(averages) or 'none'}")
    return averages[average]


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """A file of `torch.save`, read without running anything that it carries."""
    _existing(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(_why_refused(path, error)) from None
    except (RuntimeError, EOFError, OSError) as error:
        raise ValueError(
            f"{path} is cut short or no torch file ({_first_line(error)}): fetch or save it again"
        ) from None
    if not isinstance(content, Mapping):
        raise ValueError(f"{path} holds a {type(content).__name__}, not weights by name")
    return content


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__


@contextmanager
def explained(path: Any, weights_only: bool | None = True) -> Iterator[None]:
    """Says in one line what is wrong with a file where torch and Lightning take many, or none."""
    try:
        yield
    except (RuntimeError, EOFError, pickle.UnpicklingError):
        if weights_only is not False and isinstance(path, str | Path) and Path(path).is_file():
            read_checkpoint(path)  # raises if it is the file
        raise


class ClearCheckpointIO(TorchCheckpointIO):
    """How `Trainer` reads the file of `ckpt_path`."""

    def load_checkpoint(self, path: str | Path, *args: Any, weights_only: bool | None = None, **kwargs: Any) -> dict:
        with explained(path, weights_only):
            return super().load_checkpoint(path, *args, weights_only=weights_only, **kwargs)


def _existing(path: str | Path) -> str | Path:
    if not Path(path).is_file():
        raise FileNotFoundError(
            f"no file {path}; weights come as 'timm:NAME', 'torchvision:NAME', 'hf:USER/REPO' or a path"
        )
    return path


def _why_refused(path: str | Path, error: Exception) -> str:
    """Which objects a file wants to build beside tensors, and how its owner can make a clean one."""
    try:
        culprits = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except (RuntimeError, ValueError, pickle.UnpicklingError):  # the format before torch 1.6 cannot be listed
        culprits = []
    if not culprits and not zipfile.is_zipfile(path):
        culprits = [line for line in str(error).splitlines() if "GLOBAL" in line or "global" in line][:1]
        if not culprits:
            return f"{path} is cut short or no torch file: fetch or save it again"
    return (
        f"{path} carries more than tensors ({', '.join(culprits) or error}), and loading that could run code. If you "
        "trust its source, convert it once: torch.save(torch.load(old, weights_only=False)['state_dict'], new)"
    )


def _read_safetensors(path: str | Path) -> dict[str, Tensor]:
    try:
        return safetensors.torch.load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is cut short or no safetensors file ({error}): fetch or save it again") from None


def _from_timm(model: "Classifier", name: str) -> dict[str, Tensor]:
    _same_network(model, name.split(".")[0], model.timm_names, "timm")
    return timm.create_model(name, pretrained=True).state_dict()


def _from_torchvision(model: "Classifier", name: str) -> dict[str, Tensor]:
    network = model.torchvision_names.get(model.hparams.get("variant"))
    _same_network(model, network, model.torchvision_names, "torchvision")
    return torchvision.models.get_model_weights(network)[name].get_state_dict(check_hash=True)


def _same_network(
    model: "Classifier", asked: str | None, names: dict[str, str | tuple[str, ...]], library: str
) -> None:
    """Keys may agree where the function does not (ResNet-50 and 50-B): only the network of our table will do."""
    variant = model.hparams.get("variant")
    all_of = {ours: (theirs,) if isinstance(theirs, str) else theirs for ours, theirs in names.items()}
    if asked is None or asked not in all_of.get(variant, ()):
        fitting = [ours for ours, theirs in all_of.items() if asked in theirs]
        advice = (
            f"it is variant {fitting[0]!r} here" if fitting else f"variants that it has: {', '.join(names) or 'none'}"
        )
        raise ValueError(f"{library}'s {asked or 'library'} is not {type(model).__name__}({variant!r}); {advice}")


def _from_hub(model: "Classifier", repo: str) -> dict[str, Tensor]:
    return read(hf_hub_download(repo, "model.safetensors"))


def _our_keys(state: dict[str, Tensor], model: "Classifier") -> dict[str, Tensor]:
    """Others' keys -> the model's: wrappers' prefixes off, the model's `aliases` applied."""
    ours = model.plain_state_dict()
    for wrapper in WRAPPERS:
        if state and all(key.startswith(wrapper) for key in state) and not any(key in ours for key in state):
            state = {key.removeprefix(wrapper): value for key, value in state.items()}
    for theirs, mine in model.aliases.items():
        state = {mine + key.removeprefix(theirs) if key.startswith(theirs) else key: v for key, v in state.items()}
    return state


def _put(model: "Classifier", state: dict[str, Tensor], source: str) -> None:
    ours = model.plain_state_dict()
    # files older than torch 0.4.1 have no batch counters
    state = {k: v for k, v in ours.items() if k.endswith("num_batches_tracked")} | state
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
    model.fresh = False


def _some(names: Any) -> str:
    names = sorted(names)
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "") if names else "none"


def write(state: dict[str, Tensor], path: str | Path) -> None:
    """Writes plain weights: safetensors if the name ends so, else torch's format."""
    state = {key: value.detach().cpu().contiguous() for key, value in state.items()}
    if Path(path).suffix == ".safetensors":
        safetensors.torch.save_file(state, path)
    else:
        torch.save(state, path)


def load(path: str | Path, average: str | None = None) -> "Classifier":
    """A model of the zoo from a checkpoint of `Trainer`, whichever class it was.

    Args:
        path: a `.ckpt` file.
        average: None for the raw weights, or the name of an average in the file, such as `"EMA(0.999)"`.

    Raises:
        FileNotFoundError, ValueError: as `load_into`; also if the file's model is not one of `zoo.__all__`.
    """
    import zoo

    checkpoint = read_checkpoint(path)
    name = checkpoint.get("model")
    foreign = name == "Classifier" and "network" in checkpoint["hyper_parameters"]  # a timm network, made by its name
    if name not in (*zoo.__all__, *zoo.SEGMENTERS) and not foreign:
        raise ValueError(f"{path} holds a {name!r}, which is not in zoo.__all__: call its class's load_from_checkpoint")
    model = getattr(zoo, name)(**_arguments(checkpoint))
    _surgery.follow(model, checkpoint.get("surgery", ()))
    model.load_state_dict(checkpoint["state_dict"] if average is None else pick_average(checkpoint, average, path))
    model.fresh = False
    return model.eval()


def _arguments(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """The constructor's arguments, without what LightningCLI adds to them."""
    hparams = checkpoint.get("hyper_parameters", {})
    return {key: value for key, value in hparams.items() if not key.startswith("_")}

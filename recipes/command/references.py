"""Compare our logits with those of timm's and torchvision's networks on the same weights.

    python -m recipes.command.references [MODEL ...]

Each model is compared in its default variant, or in the first one that one of them has. Every difference is a line of
results/reference_logits.jsonl, which the model's page shows.
"""

import sys
import time
import warnings
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any, NamedTuple

import timm
import torch
import torchvision
from torch import Tensor, nn

import zoo
from recipes.frame import catalogue, records
from recipes.frame.errors import unknown

RECORDS = "reference_logits"
IMAGES = 2
OTHERS = ("DVT", "DynamicViT", "EViT", "PatchSlimming")  # they drop tokens, and share only the weights with timm's ViTs
WITH_HEADS = {"aux_logits": True, "init_weights": True}
EXTRA = {"googlenet": WITH_HEADS, "inception_v3": WITH_HEADS}


class Reference(NamedTuple):
    """A network of timm or torchvision."""

    package: str  # timm or torchvision
    name: str  # of the network there

    def build(self) -> nn.Module:
        """Build it with random weights."""
        if self.package == "timm":
            made: nn.Module = timm.create_model(self.name)
        else:
            made = torchvision.models.get_model(self.name, weights=None, **EXTRA.get(self.name, {}))
        return made


def main(names: Sequence[str]) -> None:
    """Compare the named models, or all that have a reference, and record the differences."""
    pairs = {entry.name: found for entry in catalogue.models() if (found := pair(entry.name))}
    for name in names:
        if name not in pairs:
            raise unknown("model with a reference", name, pairs)
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    for name in names or pairs:
        variant, reference = pairs[name]
        start = time.perf_counter()
        metrics = compare(name, variant, reference)
        arguments = {
            "model": name,
            "variant": variant,
            "reference": f"{reference.package} {reference.name}",
            "version": version(reference.package),
            "input": f"{IMAGES} images of normal noise, float32",
        }
        seconds = time.perf_counter() - start
        records.append(RECORDS, {"arguments": arguments, "seed": 0, "metrics": metrics, "seconds": seconds})
        print(f"{name}-{variant}: {metrics['difference']:.2g} of {metrics['spread']:.2g}, {reference}", flush=True)


def pair(model: str) -> tuple[str, Reference] | None:
    """Return the variant that is compared, and with what; None where neither has the model."""
    kind = getattr(zoo, model)
    found = {
        variant: Reference(package, name if isinstance(name, str) else name[0])  # the first of several sizes
        for package in ("timm", "torchvision")
        for variant, name in getattr(kind, f"{package}_names", {}).items()
    }
    if model in OTHERS or not found:
        return None
    default = catalogue.cost(model)[0]
    variant = default if default in found else next(v for v in kind.variants if v in found)
    return variant, found[variant]


def compare(model: str, variant: str, reference: Reference) -> dict[str, float]:
    """Return the largest difference of logits, and the mean standard deviation of a logit over the images."""
    torch.manual_seed(0)
    ours: Any = getattr(zoo, model)(variant)
    images = torch.randn(IMAGES, 3, ours.image_size, ours.image_size) + torch.randn(IMAGES, 3, 1, 1)
    leave_nothing_neutral(ours, images)
    theirs = reference.build().eval()
    copy(ours.plain_state_dict(), theirs)
    return differences(ours, theirs, images)


@torch.no_grad()
def differences(ours: nn.Module, theirs: nn.Module, images: Tensor) -> dict[str, float]:
    """Compare the logits (N, K) of two networks in eval mode."""
    mine, other = ours(images), theirs(images)
    return {"difference": float((mine - other).abs().max()), "spread": float(other.std(0).mean())}


def copy(weights: dict[str, Tensor], network: nn.Module) -> None:
    """Load all weights; the network may have buffers of its own, such as indices, but no further parameter."""
    missing, unexpected = network.load_state_dict(weights, strict=False)
    left = {*missing} & {name for name, _ in network.named_parameters()}
    if left or unexpected:
        raise ValueError(f"other weights than ours: {', '.join([*sorted(left), *unexpected])}")


@torch.no_grad()
def leave_nothing_neutral(network: nn.Module, images: Tensor) -> None:
    """Give norms gains, shifts and statistics of the images, and layers weights that keep the signal's size.

    From the first weights of some networks, the logits of two images hardly differ, and a mistake would not show.
    """
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    normless = not any("Norm" in type(module).__name__ for module in network.modules())
    for name, parameter in network.named_parameters():
        if parameter.ndim == 1 and name.endswith("bias"):
            nn.init.normal_(parameter, std=0.1)
        elif parameter.ndim == 1:
            nn.init.uniform_(parameter, 0.6, 1.2)
        elif normless or (norms and parameter.ndim == 2) or not parameter.any():
            nn.init.normal_(parameter, std=(2 / parameter[0].numel()) ** 0.5)
    for norm in norms:
        norm.momentum = 1.0
    network.train()(images)
    network.eval()


if __name__ == "__main__":
    main(sys.argv[1:])

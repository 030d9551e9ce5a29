"""Images a second of transformers that drop patches, against the dense one of the same width.

Command:  python benchmarks/token_reduction.py
Measures: process time, one thread, float32, at 224 pixels and the width of DeiT-S, with random weights. Inference is a
          forward pass in eval mode without gradients. Training is forward and backward of the cross-entropy in training
          mode. Dense and reduced network take turns, round by round. The ratio is the least time of the dense network
          divided by that of the reduced one, so above 1 dropping pays. Beside it stands the fraction of multiply-adds
          that is left, counted in the forward pass that was timed. PatchSlimming keeps fewer patches in each later
          block, the same for all images. DVT: images leave early by thresholds for half of its multiply-adds, against
          all images through all exits. "DVT by promise" is the count of multiply-adds in that run divided by what the
          thresholds had promised
"""

import argparse
import time
import warnings
from collections.abc import Callable
from types import SimpleNamespace

import torch
from models import infer, train, turns
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import zoo
from callbacks import PatchDropout
from recipes.frame import records
from zoo.tools.early_exit import choose_exits, confidences, search_thresholds

PATCHES, BLOCKS, BEND = 196, 12, 1.35  # BEND leaves 54 % of the multiply-adds


def patch_dropout() -> nn.Module:
    model, trick = zoo.ViT("S/16"), PatchDropout(0.5)
    trick.on_fit_start(None, model)
    trick.on_train_batch_start(SimpleNamespace(), model, [], 0)
    return model


def patch_slimming() -> nn.Module:
    counts = (round(PATCHES * (1 - (block / BLOCKS) ** BEND)) for block in range(1, BLOCKS + 1))
    return zoo.PatchSlimming("S", drop_path=0.0, kept=[[*range(1 + count)] for count in counts])


# The network, and the least ratio allowed. DynamicViT masks patches in training, so only inference counts.
ROWS: dict[str, tuple[Callable[[], nn.Module], dict[str, float]]] = {
    "DynamicViT 0.7": (lambda: zoo.DynamicViT("S", keep=0.7), {"inference": 1.5}),
    "EViT 0.7": (lambda: zoo.EViT("S", keep=0.7, drop_path=0.0), {"inference": 1.4, "training": 1.3}),
    "PatchDropout 0.5": (patch_dropout, {"training": 2.0}),
    "PatchSlimming": (patch_slimming, {"inference": 1.6}),
}


def multiply_adds(network: nn.Module, images: Tensor) -> int:
    """Count the multiply-adds of a forward pass of these images, in the network's current mode."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(images)
    return counter.get_total_flops() // 2


def compare(name: str, what: str, reduced: nn.Module, dense: nn.Module, images: Tensor, rounds: int) -> dict:
    for network in (dense, reduced):
        network.train(what == "training")
    slow, quick = map(min, turns(train if what == "training" else infer, [dense, reduced], images, rounds))
    left = multiply_adds(reduced, images) / multiply_adds(dense, images)
    print(
        f"{name:17}{what:10}{len(images) / quick:6.1f} images/s, dense {len(images) / slow:6.1f}  "
        f"ratio {slow / quick:.2f}  multiply-adds {left:.3f}",
        flush=True,
    )
    return {f"{name} {what}": slow / quick, f"{name} {what} multiply-adds": left}


class EarlyExits(nn.Module):
    """A DVT whose images leave early. Shapes: (N, 3, S, S) -> (N, K)."""

    def __init__(self, model: nn.Module, eta: list[float]):
        super().__init__()
        self.model, self.eta = model, eta

    def forward(self, x: Tensor) -> Tensor:
        return self.model.early_exit(x, self.eta)[0]


def early_exits(images: Tensor, rounds: int) -> dict[str, float]:
    """Compare DVT with thresholds for half of its multiply-adds against the whole cascade."""
    model = zoo.DVT("DeiT-S").eval()
    with torch.no_grad():
        logits = torch.stack(model.exits(images))
    macs = model.macs()
    eta = search_thresholds(logits, macs, budget=macs[-1] / 2)
    promised = torch.tensor(macs)[choose_exits(confidences(logits), eta)].sum().item()
    metrics = compare("DVT", "inference", EarlyExits(model, eta), model, images, rounds)
    counted = multiply_adds(EarlyExits(model, eta), images)
    print(f"DVT: multiply-adds counted by those promised {counted / promised:.6f}")
    return metrics | {"DVT by promise": counted / promised}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="times that each network runs (default 5)")
    parser.add_argument("--batch", type=int, default=32, help="images at a time (default 32)")
    parser.add_argument("--rows", nargs="*", default=[*ROWS, "DVT"], choices=[*ROWS, "DVT"], help="default: all")
    parser.add_argument("--dry", action="store_true", help="write nothing to results/")
    arguments = vars(parser.parse_args())
    rows, dry = arguments.pop("rows"), arguments.pop("dry")
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    start, metrics = time.perf_counter(), {}
    dense, images = zoo.ViT("S/16"), torch.randn(arguments["batch"], 3, 224, 224)
    for name in rows:
        if name == "DVT":
            metrics |= early_exits(images, arguments["rounds"])
            continue
        make, targets = ROWS[name]
        for what in targets:
            metrics |= compare(name, what, make(), dense, images, arguments["rounds"])
    asked = {f"{name} {what}": ratio for name, (_, targets) in ROWS.items() for what, ratio in targets.items()}
    short = [f"{name} ({ratio})" for name, ratio in asked.items() if metrics.get(name, ratio) < ratio]
    print(f"below what was asked for: {', '.join(short) or 'none'}")
    record = {"arguments": arguments, "seed": 0, "metrics": metrics, "seconds": time.perf_counter() - start}
    if not dry and rows == [*ROWS, "DVT"]:
        records.append("token_reduction", record)


if __name__ == "__main__":
    main()

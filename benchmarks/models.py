"""Training and inference of each family against the same network of timm or torchvision.

Command:  python benchmarks/models.py
Measures: process time, one thread, float32, of images of 224 pixels (299 for Inception and Xception). Inference is a
          forward pass in eval mode without gradients. Training is forward and backward of the cross-entropy in training
          mode. The two networks have the same weights and take turns, round by round. This is done in two processes,
          one after the other, since the place of buffers in memory changes times by a hundredth. The ratio is the
          median over all rounds of the reference's time divided by ours, so above 1 ours is faster. (The least times
          would depend on single rounds in which the processor's clock was high.) Fusing is measured too, for RepVGG-A0
          (ours and timm's) and ResNet-50-B: unfused time divided by fused. Fusing saves memory passes over the maps, so
          it gains more where these do not fit into the processor's caches: maps of one image fit, those of 32 do not.
"""

import argparse
import copy
import statistics
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import timm
import torch
import torch.nn.functional as F
import torchvision
from timm.utils import reparameterize_model
from torch import Tensor, nn

import zoo
from recipes.frame import records
from zoo.frame.outputs import split_outputs

TARGET = 0.97
TARGETS = {"RepVGG A0, 32 images fused": 1.5, "ResNet 50-B, 1 image fused": 1.0, "ResNet 50-B, 32 images fused": 1.0}
# The cheapest row of each family that the reference has too: family -> (row, images in inference, in training).
ROWS = {
    "AlexNet": ("owt", 16, 16),
    "ConvNeXt": ("T", 2, 2),
    "DenseNet": ("121", 4, 2),
    "GoogLeNet": ("BN", 8, 4),
    "InceptionResNetV2": ("v2", 1, 2),
    "InceptionV3": ("v3", 2, 2),
    "InceptionV4": ("v4", 1, 2),
    "MobileNetV1": ("1.0", 8, 4),
    "MobileNetV2": ("1.0", 8, 4),
    "MobileNetV3": ("small", 16, 8),
    "PreActResNet": ("18", 4, 4),
    "RegNet": ("X-200MF", 16, 8),
    "RepVGG": ("A0", 8, 4),
    "ResNeXt": ("50-32x4d", 2, 2),
    "ResNet": ("18", 8, 4),
    "SENet": ("18", 8, 4),
    "SKNet": ("50", 2, 2),
    "ShuffleNetV2": ("0.5x", 16, 16),
    "VGG": ("11-BN", 2, 2),
    "WideResNet": ("50-2", 1, 2),
    "Xception": ("ImageNet", 2, 2),
}


def infer(network: nn.Module, images: Tensor) -> None:
    with torch.inference_mode():
        network(images)


def train(network: nn.Module, images: Tensor) -> None:
    outputs, _ = split_outputs(network(images))
    F.cross_entropy(outputs, torch.zeros(len(images), dtype=torch.long)).backward()
    network.zero_grad()


def turns(run: Callable[[nn.Module, Tensor], None], networks: list[nn.Module], images: Tensor, rounds: int) -> list:
    """Measure the seconds of each network in each round; the first call of each is not timed."""
    seconds = [[] for _ in networks]
    for i in range(rounds + 1):
        for k in range(len(networks)) if i % 2 else reversed(range(len(networks))):
            start = time.process_time()
            run(networks[k], images)
            if i:
                seconds[k].append(time.process_time() - start)
    return seconds


def quotients(slow: list[float], quick: list[float]) -> list[float]:
    return [a / b for a, b in zip(slow, quick, strict=True)]


def pair(family: str) -> tuple[nn.Module, nn.Module, str]:
    """Return our network, the reference with the same weights, and the reference's name."""
    model, row = getattr(zoo, family), ROWS[family][0]
    torch.manual_seed(0)
    if row in model.torchvision_names:
        name = model.torchvision_names[row]
        options = {"aux_logits": True, "init_weights": True} if family in ("GoogLeNet", "InceptionV3") else {}
        twin, source = torchvision.models.get_model(name, weights=None, **options), f"torchvision {name}"
    else:
        name = model.timm_names[row]
        twin, source = timm.create_model(name), f"timm {name}"
    ours = model(row)
    twin.load_state_dict(ours.plain_state_dict())
    return ours, twin, source


def against_twin(family: str, rounds: int) -> dict[str, list[float]]:
    """Return the reference's seconds divided by ours in each round, in inference and in training."""
    ours, twin, source = pair(family)
    row, *counts = ROWS[family]
    metrics = {}
    for what, run, count in zip(("inference", "training"), (infer, train), counts, strict=True):
        for network in (ours, twin):
            network.train(what == "training")
        images = torch.randn(count, 3, ours.image_size, ours.image_size)
        mine, theirs = turns(run, [ours, twin], images, rounds)
        metrics[f"{family} {row} {what}"] = ratios = quotients(theirs, mine)
        mine, theirs = map(statistics.median, (mine, theirs))
        print(f"{family:18}{row:9}{what:10}{count / mine:8.1f} images/s  {source} {count / theirs:8.1f}  "
              f"ratio {statistics.median(ratios):.3f}", flush=True)  # fmt: skip
    return metrics


def fusions() -> dict[str, tuple[nn.Module, nn.Module]]:
    """Return networks in eval mode, unfused and fused."""
    ours, timms, resnet = zoo.RepVGG("A0").eval(), timm.create_model("repvgg_a0").eval(), zoo.ResNet("50").eval()
    timms.load_state_dict(ours.state_dict())
    return {
        "RepVGG A0": (ours, copy.deepcopy(ours).reparameterize()),
        "timm's RepVGG A0": (timms, reparameterize_model(timms)),
        "ResNet 50-B": (resnet, zoo.fuse(resnet)),  # the Bag of Tricks paper names our "50" so
    }


def fused(rounds: int) -> dict[str, float]:
    """Return unfused seconds divided by fused ones, of all pairs in the same rounds."""
    metrics, pairs = {}, fusions()
    for count in (1, 8, 32):
        images, of = torch.randn(count, 3, 224, 224), "1 image" if count == 1 else f"{count} images"
        seconds = turns(infer, [network for pair in pairs.values() for network in pair], images, rounds)
        for name, slow, quick in zip(pairs, seconds[::2], seconds[1::2], strict=True):
            metrics[f"{name}, {of} fused"] = ratio = statistics.median(quotients(slow, quick))
            slow, quick = map(statistics.median, (slow, quick))
            print(f"{name:18}{of:10}fused {count / quick:8.1f} images/s  unfused {count / slow:8.1f}  "
                  f"ratio {ratio:.3f}", flush=True)  # fmt: skip
    return metrics


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=8, help="times that each network runs in a process (default 8)")
    parser.add_argument(
        "--families", nargs="*", default=list(ROWS), choices=ROWS, metavar="FAMILY", help="default: all"
    )
    arguments = vars(parser.parse_args())
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    start = time.perf_counter()
    metrics = fused(arguments["rounds"])
    # in fresh processes: after twenty others, WideResNet's training had ratios of .957 and .905; alone, 1.000
    with ProcessPoolExecutor(1, get_context("spawn"), torch.set_num_threads, (1,), max_tasks_per_child=1) as pool:
        for family in arguments["families"]:
            first, second = (pool.submit(against_twin, family, arguments["rounds"]).result() for _ in range(2))
            metrics |= {name: statistics.median(first[name] + second[name]) for name in first}
    slow = [name for name, ratio in metrics.items() if ratio < TARGETS.get(name, TARGET)]
    print(f"median {statistics.median(metrics.values()):.3f}; below their target: {', '.join(slow) or 'none'}")
    record = {"arguments": arguments, "seed": 0, "metrics": metrics, "seconds": time.perf_counter() - start}
    if arguments["families"] == list(ROWS):
        records.append("models", record)


if __name__ == "__main__":
    main()

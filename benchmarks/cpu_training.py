"""Training on a CPU: what bfloat16 and the order of memory gain, network by network.

Command:  python benchmarks/cpu_training.py
Measures: CPU seconds of a step (forward, backward, SGD with momentum), one thread, on random images of 32 x 32 pixels
          and 10 classes. A network trains in float32 and under bfloat16 autocast (`precision="bf16-mixed"`), each with
          contiguous and with channels_last memory. The four have the same weights and take turns. The figure is the
          median of the rounds' quotients: contiguous float32's seconds divided by the other's, so above 1 it is
          faster. The batches are small, so that all of it takes a minute; larger ones favour bfloat16, since each
          step rounds the weights once. CPU seconds are no wall seconds: the core was shared
"""

import argparse
import copy
import statistics
import time
import warnings
from collections.abc import Callable

import timm
import torch
import torch.nn.functional as F
from _turns import CLOCK, quotient, turns
from torch import nn

import zoo
from recipes.frame import records
from zoo.frame.outputs import split_outputs

WAYS = {  # name -> bfloat16, channels_last
    "float32": (False, False),
    "float32 channels_last": (False, True),
    "bf16": (True, False),
    "bf16 channels_last": (True, True),
}


def ours(name: str, variant: str) -> Callable[[], nn.Module]:
    return lambda: getattr(zoo, name)(variant, num_classes=10, image_size=32)


NETWORKS: dict[str, tuple[Callable[[], nn.Module], int]] = {  # name -> network, images a step
    "ResNet 20": (ours("ResNet", "20"), 32),
    "WideResNet 16-2": (ours("WideResNet", "16-2"), 32),
    "VGG 11-BN": (ours("VGG", "11-BN"), 16),
    "DenseNet 40-12": (ours("DenseNet", "40-12"), 8),
    "SENet 18": (ours("SENet", "18"), 8),
    "CBAMResNet 18": (ours("CBAMResNet", "18"), 8),
    "RegNet X-200MF": (ours("RegNet", "X-200MF"), 16),
    "MobileNetV2 1.0": (ours("MobileNetV2", "1.0"), 16),
    "ShuffleNetV2 1.0x": (ours("ShuffleNetV2", "1.0x"), 32),
    "timm's EfficientNet B0": (lambda: timm.create_model("efficientnet_b0", num_classes=10), 16),
    "ConvNeXt T": (ours("ConvNeXt", "T"), 4),
    "ViT Ti/16": (ours("ViT", "Ti/16"), 32),
    "Swin T": (ours("Swin", "T"), 8),
}


def stepper(network: nn.Module, images: torch.Tensor, half: bool, last: bool) -> Callable[[], None]:
    """Return one step of training. Each has its own weights and optimizer."""
    layout = torch.channels_last if last else torch.contiguous_format
    network = copy.deepcopy(network).train().to(memory_format=layout)
    images, targets = images.to(memory_format=layout), torch.zeros(len(images), dtype=torch.long)
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.9)

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            logits, _ = split_outputs(network(images))
            loss = F.cross_entropy(logits, targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def measure(name: str, rounds: int) -> dict[str, float]:
    """Return images a CPU second in contiguous float32, and the speed of the other ways by it."""
    torch.manual_seed(0)
    build, count = NETWORKS[name]
    network, images = build(), torch.randn(count, 3, 32, 32)
    times = turns({way: stepper(network, images, *how) for way, how in WAYS.items()}, rounds)
    speed = {way: quotient(times["float32"], these) for way, these in times.items() if way != "float32"}
    rate = count / statistics.median(times["float32"])
    print(
        f"{name:24}{rate:8.1f} images/s  " + "  ".join(f"{way} {value:.2f}" for way, value in speed.items()), flush=True
    )
    return {f"{name} images/s": rate, f"{name} images": count} | {f"{name} {way}": v for way, v in speed.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=3, help="times that each way runs (default 3)")
    parser.add_argument("--networks", nargs="*", default=list(NETWORKS), choices=NETWORKS, metavar="NETWORK")
    arguments = vars(parser.parse_args())
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    commit, start, metrics = records.commit(), time.process_time(), {}
    for name in arguments["networks"]:
        metrics |= measure(name, arguments["rounds"])
    record = {"arguments": arguments, "seed": 0, "metrics": metrics, "seconds": time.process_time() - start}
    if arguments["networks"] == list(NETWORKS):
        records.append("cpu_training", record | {"clock": CLOCK, "commit": commit})


if __name__ == "__main__":
    main()

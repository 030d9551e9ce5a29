"""Images a second of transformers that drop tokens, against the dense one of the same width.

Command:  python benchmarks/token_reduction.py
Measures: process time, one thread, float32, at 224 pixels and the width of DeiT-S: a forward pass in eval mode without
          gradients, and forward and backward of the cross-entropy in training mode. Dense and reduced network take
          turns, round by round; the ratio is the dense one's least time by the reduced one's, so above 1 dropping pays.
          Beside it, the share of multiply-adds that is left in evaluation.
"""

import argparse
import time
import warnings
from types import SimpleNamespace

import torch
from models import infer, least, train
from torch import nn

import zoo
from callbacks import PatchDropout
from recipes import _results
from zoo._complexity import total_macs

TARGETS = {
    "DynamicViT 0.7 inference": 1.5,
    "EViT 0.7 inference": 1.4,
    "EViT 0.7 training": 1.3,
    "PatchDropout 0.5 training": 2.0,
}


def networks() -> dict[str, nn.Module]:
    """What is measured against `ViT("S/16")`, by name. DynamicViT masks in training, so that only inference counts."""
    patch_dropout, trick = zoo.ViT("S/16"), PatchDropout(0.5)
    trick.on_fit_start(None, patch_dropout)
    trick.on_train_batch_start(SimpleNamespace(), patch_dropout, [], 0)
    return {
        "DynamicViT 0.7": zoo.DynamicViT("S", keep=0.7),
        "EViT 0.7": zoo.EViT("S", keep=0.7, drop_path=0.0),
        "PatchDropout 0.5": patch_dropout,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="times that each network runs (default 5)")
    parser.add_argument("--batch", type=int, default=32, help="images at a time (default 32)")
    parser.add_argument("--dry", action="store_true", help="write nothing to results/")
    arguments = vars(parser.parse_args())
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    start, metrics = time.perf_counter(), {}
    dense, reduced = zoo.ViT("S/16"), networks()
    images = torch.randn(arguments["batch"], 3, 224, 224)
    for name in TARGETS:
        network, what = reduced[name.rpartition(" ")[0]], name.rpartition(" ")[2]
        for each in (dense, network):
            each.train(what == "training")
        slow, quick = least(train if what == "training" else infer, [dense, network], images, arguments["rounds"])
        metrics[name] = slow / quick
        macs = total_macs(network.eval(), 224) / total_macs(dense.eval(), 224)
        rates = f"{len(images) / quick:6.1f} images/s, dense {len(images) / slow:6.1f}"
        print(
            f"{name:26}{rates}  ratio {slow / quick:.2f} (target {TARGETS[name]})  multiply-adds {macs:.3f}", flush=True
        )
    record = {"arguments": arguments, "seed": 0, "metrics": metrics, "seconds": time.perf_counter() - start}
    if not arguments["dry"]:
        _results.append("token_reduction", record)


if __name__ == "__main__":
    main()

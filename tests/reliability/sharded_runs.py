"""Runs whose weights are in parts, in 2 processes or 4: against one process, against DDP, and their checkpoints."""

import os
import signal
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.strategies import ModelParallelStrategy
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader
from torch.utils.data.distributed import DistributedSampler

import callbacks
import zoo
from tests.conftest import collate, tiny_classifier, tiny_network
from tests.reliability.runs import QUIET, SaveAt, build_tricks, uneven
from zoo import convnext, swin, vit
from zoo.frame import sharded_files
from zoo.frame.sharded import whole
from zoo.layers.token_classifier import TokenRow

STEPS, BATCH = 5, 8  # and images of a step, in all processes together
SMALL = {  # rows of a few thousand parameters
    vit.ViT: TokenRow(12, 2, 2, 16),
    swin.Swin: swin.Row(4, (1, 2, 1, 1), (1, 2, 2, 2), 0.0),
    convnext.ConvNeXt: convnext.Row((1, 2), (4, 6), 0.0),
}


def small(kind: type, classes: int = 5, size: int = 16) -> zoo.Classifier:
    torch.manual_seed(3)
    kind.variants["small"] = SMALL[kind]
    return kind("small", classes, size, optimizer="momentum", lr=0.05, weight_decay=1e-3)


def images() -> list[tuple[torch.Tensor, torch.Tensor]]:
    torch.manual_seed(4)
    count = BATCH * STEPS
    return list(zip(torch.randn(count, 3, 16, 16), torch.arange(count) % 5, strict=True))


def loader() -> DataLoader:
    """In the order of the list: process r of n has every n-th image, from r on."""
    sampler = DistributedSampler(images(), processes(), int(os.environ["LOCAL_RANK"]), shuffle=False)
    return DataLoader(images(), BATCH // processes(), collate_fn=collate, sampler=sampler)


def processes() -> int:
    return int(os.environ["LOCAL_WORLD_SIZE"])


def trainer(strategy: Any = "parts", whole_files: bool = False, **options: Any) -> L.Trainer:
    parts = ModelParallelStrategy(processes(), 1, save_distributed_checkpoint=not whole_files)
    options = {"max_steps": STEPS, "limit_val_batches": 0, "use_distributed_sampler": False, **options}
    options |= {"devices": processes(), "strategy": parts if strategy == "parts" else strategy}
    return L.Trainer(**{**QUIET, **options})


def gathered(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: whole(value.detach()).clone() for name, value in state.items()}


def against_one_process(folder: Path) -> dict[str, float]:
    """By network, the largest difference of its weights from those of a loop of plain torch with all images."""
    found = {}
    for kind in SMALL:
        network, plain = small(kind), small(kind)
        with torch.no_grad():  # a process that begins elsewhere takes the weights of rank 0
            network.head.apply(lambda layer: [p.add_(int(os.environ["LOCAL_RANK"])) for p in layer.parameters()])
        trainer().fit(network, loader())
        optimizer = plain.configure_optimizers()
        for step in range(STEPS):
            x, y = collate(images()[BATCH * step : BATCH * (step + 1)])
            optimizer.zero_grad()
            cross_entropy(plain(x), y).backward()
            optimizer.step()
        parts, ones = gathered(network.state_dict()), plain.state_dict()
        assert type(network).__name__ == f"FSDP{kind.__name__}" and parts.keys() == ones.keys()
        found[kind.__name__] = max((parts[k] - ones[k]).abs().max().item() for k in ones)
    return found


def checkpoints(folder: Path) -> dict[str, Any]:
    """Write both kinds after 3 of 7 steps, in mid-epoch, and resume from each; return weights and averages by end."""
    ends = {}
    for name in ("pieces", "file"):
        path = folder / name / "on_train_batch_end-3.ckpt"
        for end, steps, start in (("written", 3, None), ("straight", 7, None), ("resumed", 7, path)):
            tricks = [callbacks.EMA(0.5), callbacks.MagnitudePruning(0.5, "0st", "6st", 3)]
            save = [SaveAt(path.parent, [("on_train_batch_end", 3)])] if end == "written" else []
            L.seed_everything(7, verbose=False)
            network, limits = small(vit.ViT, 10, 8), {"max_steps": steps, "limit_train_batches": 5}
            options = {"enable_checkpointing": True, "use_distributed_sampler": True, "default_root_dir": folder}
            options["callbacks"] = [*tricks, *save]
            trainer(whole_files=name == "file", **limits, **options).fit(network, uneven(), ckpt_path=start)
            values = {"weights": gathered(network.state_dict()), "average": gathered(tricks[0].values())}
            ends[f"{name} {end}"] = values
    return ends


def killed_while_writing(folder: Path) -> None:
    """Write a checkpoint; write over it, and rank 1 is killed before it has written its part."""
    network = small(vit.ViT)
    run = trainer(enable_checkpointing=True, max_steps=2, default_root_dir=folder)
    run.fit(network, loader())
    run.save_checkpoint(folder / "last.ckpt")
    torch.save(gathered(network.state_dict()), folder / f"before{run.global_rank}.pt")
    with torch.no_grad():
        for p in network.parameters():
            p.add_(1)
    if run.global_rank == 1:
        sharded_files.ModelParallelStrategy.save_checkpoint = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
    run.save_checkpoint(folder / "last.ckpt")


def tricks(folder: Path, names: list[str]) -> dict[str, str]:
    """By trick: "", what is most different from DDP, or the error with which it ends."""
    return {name: _trick(name, folder) for name in names}


def _trick(name: str, folder: Path) -> str:
    limits = {"limit_train_batches": 2, "limit_val_batches": 1, "limit_test_batches": 1}
    limits |= {"max_epochs": 1, "max_steps": -1, "use_distributed_sampler": True}
    ends = []
    for strategy in ("ddp", "parts"):
        L.seed_everything(7, verbose=False)
        given, trained = build_tricks(name), tiny_classifier(7, tiny_network(name), optimizer="momentum", lr=0.05)
        run = trainer(strategy, **limits, callbacks=given, enable_checkpointing=True, default_root_dir=folder)
        try:
            run.fit(trained, uneven())
            run.test(trained, uneven(), verbose=False)
            run.save_checkpoint(folder / f"{strategy}.ckpt")
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        averages = {f"average {k}": v for t in given for k, v in (getattr(t, "average", None) or {}).items()}
        scores = {k: v for k, v in run.callback_metrics.items() if not k.startswith("train/")}
        ends.append(gathered({**dict(trained.named_parameters()), **averages, **scores}))
    return _compare(*ends)


def _compare(plain: dict[str, torch.Tensor], parts: dict[str, torch.Tensor]) -> str:
    if plain.keys() != parts.keys():
        return f"others: {sorted(plain.keys() ^ parts.keys())}"
    far = {k: (v.double() - parts[k].double()).abs().max().item() for k, v in plain.items()}
    worst = max(far, key=lambda k: far[k])
    return "" if far[worst] < 1e-5 else f"{worst} differs by {far[worst]:.1e}"

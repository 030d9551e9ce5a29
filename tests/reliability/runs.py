"""Short trainings that tests stop, resume and compare: on real digits, shuffled and augmented, with every trick."""

import contextlib
import multiprocessing
import os
import random
import signal
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint
from torch.nn.functional import one_hot

import callbacks
import zoo
from callbacks.frame.declaration import Declaring, needs_of
from callbacks.frame.pair_needs import NoBatchChangedAfter, NoHeadMadeAfter, NothingAddedBefore
from callbacks.frame.pairs import refusal
from datamodules import Digits, ShapeBoxes
from tests.conftest import ON_TOKENS, TinyTransformer, build_trick, tiny_classifier, tiny_network

BATCHES, EPOCHS, SIZE = 5, 3, 8  # an epoch, a run, images a batch

# change the network for good, also its batch norms, looked at here: see tests/callbacks/network/test_surgery.py
SURGERY = {
    "ADCM",
    "Activation",
    "DilatedConvolutions",
    "GuidedDropout",
    "Maxout",
    "Norm",
    "SpatialPyramidPooling",
    "StochasticPooling",
}
# take most of the time of a run with all others: they are tried alone
SLOW = {"Checklist", "GradientAttentionTransfer", "LearningRateRange", "OverfitSamples", "SymmetryAttention"}
# of those that refuse each other in any order: who sets the learning rate, draws the weights, takes patches out
FIRST = ("CosineDecay", "Kaiming", "LabelSmoothing", "LayerDecay", "LinearScaling", "PatchDropout")


def going_together(names: Iterable[str]) -> list[str]:
    """One after the other, those that none of the ones before refuses in both orders."""
    found: list[type] = []
    for name in names:
        kind = getattr(callbacks, name)
        if not any(refusal(kind, other) and refusal(other, kind) for other in found):
            found.append(kind)
    return sorted(kind.__name__ for kind in found)


ON_GPUS = {"SyncBatchNorm"}  # with several processes; it refuses them on a CPU
ALL = going_together((*FIRST, *sorted(set(callbacks.__all__) - SURGERY - SLOW - ON_GPUS - set(FIRST))))
LEFT_OUT = set(callbacks.__all__) - SURGERY - SLOW - ON_GPUS - set(ALL)
REST: list[list[str]] = []  # in as few lists as they go together in
while left := sorted(set(callbacks.__all__).difference(ALL, SLOW, ON_GPUS, *REST)):
    REST.append(going_together(left))
ON_MAPS = [name for name in ALL if name not in ON_TOKENS]
LISTS = ["none", *callbacks.__all__, "scheduled", "all"]

QUIET = {
    "accelerator": "cpu",
    "devices": 1,
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "num_sanity_val_steps": 0,
    "limit_val_batches": 2,
    "max_epochs": EPOCHS,
}


def build_tricks(which: str) -> list[L.Callback]:
    """One of `LISTS`: a trick alone, "none", "all", or "scheduled": every rate a schedule that moves in a short run.

    "maps": all that work on a convolutional network; "rest0" and so on: the lists of `REST`.
    """
    if which == "scheduled":
        return scheduled()
    rest = {f"rest{i}": names for i, names in enumerate(REST)}
    names = {"none": [], "all": ALL, "maps": ON_MAPS, **rest}.get(which, [which])
    return sorted((build_trick(name) for name in names), key=place)


def place(trick: L.Callback) -> tuple[bool, ...]:
    """Those that replace the loss before those that add to it; what doubles the batch after what mixes it; new heads
    before what keeps the one it finds."""
    says = needs_of(type(trick))
    return NothingAddedBefore() not in says, NoBatchChangedAfter() in says, NoHeadMadeAfter() in says


def scheduled() -> list[L.Callback]:
    linear, cosine, steps = callbacks.Linear, callbacks.Cosine, callbacks.Steps
    teacher = build_trick("KnowledgeDistillation").teacher
    return [
        callbacks.StepDecay((1, "0.6dur", "12st"), gamma=0.5, warmup_epochs=0.5),
        callbacks.MixUp(linear(0.2, 1.0)),
        callbacks.CutMix(p=steps(0.9, {"7st": 0.5})),
        callbacks.LabelSmoothing(cosine(0.2, 0.0)),
        callbacks.KnowledgeDistillation(teacher, T=linear(4.0, 1.0), weight=cosine(0.9, 0.1)),
        callbacks.EMA(0.5),
        callbacks.EMA(linear(0.5, 0.9, until="1ep")),
    ]


def model(which: str = "all") -> zoo.Classifier:
    """On which the tricks of a list work; for a trick alone, no more than it needs."""
    torch.manual_seed(0)
    network = tiny_network(which) if which in callbacks.__all__ else TinyTransformer
    return tiny_classifier(network=network, optimizer="momentum", lr=0.05)


def data(workers: int = 0, tricks: Iterable = (), **options) -> Digits:
    """`BATCHES` of them an epoch, also where a trick holds a fifth of the images out."""
    holds_out = any(isinstance(trick, callbacks.NeuronSpecificDropout) for trick in tricks)
    count = SIZE * BATCHES * 5 // 4 if holds_out else SIZE * BATCHES
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "num_workers")
        return Digits(SIZE, val_split=1437 - count, num_workers=workers, cutout=2, **options)


class Watch(L.Callback):
    """Remembers every batch as the network saw it, and the learning rates it was trained with."""

    def __init__(self):
        self.seen, self.evaluated = [], []

    def on_validation_epoch_start(self, trainer, module):
        self.evaluated = []

    def on_validation_batch_start(self, trainer, module, batch, batch_idx, dataloader_idx=0):
        self.evaluated += batch[0].double().flatten(1).sum(1).tolist()

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        images, targets = batch
        content = (images.double().sum().item(), targets.double().flatten().tolist())
        self.seen.append(((trainer.current_epoch, batch_idx), content))

    def on_before_optimizer_step(self, trainer, module, optimizer):
        self.seen[-1] += ([group["lr"] for group in optimizer.param_groups],)


class Hits(Declaring):
    """What the targets give to the predicted class, for each image of the last epoch. The first that sees a step."""

    looks_only = True  # so that LabelSmoothing may come after it

    def __init__(self):
        self.hits = []

    def on_train_epoch_start(self, trainer, module):
        self.hits = []

    def on_loss(self, module, step):
        targets = step.targets if step.targets.is_floating_point() else one_hot(step.targets, module.num_classes)
        self.hits += targets.gather(1, step.logits.argmax(1, keepdim=True)).flatten().tolist()


class SaveAt(Checkpoint):
    """Writes `<hook>-<n>.ckpt` at the n-th call of a hook, for every (hook, n); after all other callbacks' work."""

    def __init__(self, folder: Path, moments: list[tuple[str, int]]):
        for hook in {hook for hook, _ in moments}:
            setattr(self, hook, self._saver(folder, hook, {n for h, n in moments if h == hook}))

    def _saver(self, folder: Path, hook: str, wanted: set[int]):
        calls = 0

        def save(trainer, *args, **kwargs):
            nonlocal calls
            calls += 1
            if calls in wanted:
                trainer.save_checkpoint(folder / f"{hook}-{calls}.ckpt")

        return save


class Stopped(Exception):
    """What `StopAfter` leaves fit by."""


class StopAfter(L.Callback):
    """Leaves fit by an exception, as Lightning does on SIGTERM, before batch n + 1."""

    def __init__(self, n: int):
        self.left = n

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        if self.left == 0:
            raise Stopped
        self.left -= 1


class Interrupt(L.Callback):
    """Ctrl-C after the n-th batch, and after each later one."""

    def __init__(self, n: int):
        self.left = n

    def on_train_batch_end(self, *args):
        self.left -= 1
        if self.left <= 0:
            os.kill(os.getpid(), signal.SIGINT)


class Kill(L.Callback):
    """SIGKILL to this process at the n-th call of a hook: nothing is cleaned up, no `except` runs.

    The hook "while writing" is the moment before a file that was written takes the place of an older one.
    """

    def __init__(self, hook: str, n: int):
        calls = 0

        def kill(*args, **kwargs):
            nonlocal calls
            calls += 1
            if calls == n:
                os.kill(os.getpid(), signal.SIGKILL)

        if hook == "while writing":
            move = os.replace
            os.replace = lambda *args: (kill(), move(*args))[1]
        else:
            setattr(self, hook, kill)


def random_death(seed: int) -> tuple[str, int]:
    """Where a run is killed: any hook of the loop, at any step after the first file was written (at step 2)."""
    chance = random.Random(seed)
    hook = chance.choice(
        ["on_train_batch_start", "on_before_backward", "on_before_optimizer_step", "on_train_batch_end"]
    )
    if chance.random() < 0.2:
        return "on_validation_batch_end", chance.randint(1, 2 * EPOCHS)
    return hook, chance.randint(3, BATCHES * EPOCHS)


def fit(which: str, *, more: tuple = (), ckpt_path=None, workers: int = 0, classifier=None, **options) -> dict:
    """One training in this process, with new objects -> everything that it ends with, by name."""
    tricks, watch = build_tricks(which), Watch()
    writes = any(isinstance(callback, Checkpoint) for callback in more)
    options = {**QUIET, "enable_checkpointing": writes, **options}
    trainer = L.Trainer(**options, callbacks=[*tricks, watch, *more])
    trained = model(which) if classifier is None else classifier
    with contextlib.suppress(Stopped):
        weights_only = None if ckpt_path is None else True
        trainer.fit(trained, data(workers, tricks), ckpt_path=ckpt_path, weights_only=weights_only)
    return final(trainer, trained) | {"seen": watch.seen}


def final(trainer: L.Trainer, trained: L.LightningModule) -> dict[str, Any]:
    """Weights, averages, momentum, rates, the tricks' own states and the last metrics, flat."""
    optimizer = trainer.optimizers[0].state_dict()
    averages = {t.state_key: t.average for t in trainer.callbacks if getattr(t, "average", None)}
    states = {t.state_key: t.state_dict() for t in trainer.callbacks if not isinstance(t, Checkpoint)}
    parts = {"weights": trained.state_dict(), "averages": averages, "optimizer": optimizer, "states": states}
    progress = {"steps": trainer.global_step, "epochs": trainer.current_epoch}
    # those of training are means over the batches of this process
    metrics = {name: value for name, value in trainer.callback_metrics.items() if not name.startswith("train/")}
    return flat({**parts, "metrics": metrics, "progress": progress})


def flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(tree, (dict, list, tuple)):
        pairs = tree.items() if isinstance(tree, dict) else enumerate(tree)
        return {key: value for k, branch in pairs for key, value in flat(branch, f"{prefix}/{k}").items()}
    return {prefix: tree.clone() if isinstance(tree, torch.Tensor) else tree}


def differences(straight: dict, resumed: dict) -> list[str]:
    """What is not bit-identical, and batches that are not those of the straight run from some point to its end."""
    straight, resumed = dict(straight), dict(resumed)
    all_seen, seen = straight.pop("seen"), resumed.pop("seen")
    found = sorted(straight.keys() ^ resumed.keys())
    found += [key for key in straight.keys() & resumed.keys() if not same(straight[key], resumed[key])]
    if all_seen[len(all_seen) - len(seen) :] != seen:
        found.append(f"batches {[s[0] for s in seen]}")
    return found


def same(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and torch.equal(a.isnan(), b.isnan()) and torch.equal(a.nan_to_num(), b.nan_to_num())
    return a == b


# ---- in processes of their own: the fork server imports this file once, each child is a fork of it


def child(target: str, *args) -> None:
    """What every child does first."""
    torch.set_num_threads(1)
    multiprocessing.set_start_method("fork", force=True)  # of loader workers: the server's way imports all once more
    warnings.filterwarnings("ignore")
    globals()[target](*args)


def fit_in_folder(which: str, folder: Path, seed: int, death: tuple | None, workers: int, options: dict) -> None:
    """Trains from `last.ckpt` of the folder if there is one; writes `final.pt`, unless killed before."""
    L.seed_everything(seed, verbose=False)
    keep = ModelCheckpoint(folder, every_n_train_steps=2, save_last=True)
    more = (keep,) if death is None else (keep, Kill(*death))
    last = folder / "last.ckpt"
    path = last if last.exists() else None
    folder.mkdir(exist_ok=True, parents=True)
    torch.save(fit(which, more=more, ckpt_path=path, workers=workers, **options), folder / "final.pt")


def uneven(**options) -> Digits:
    """33 images to validate on: 17 and 16 of two processes, 3 batches and 2."""
    return Digits(SIZE, val_split=33, cutout=2, **options)


def join(rank: int, port: int, count: int = 2) -> None:
    """Become one of `count` processes of this machine."""
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "LOCAL_RANK": str(rank), "NODE_RANK": "0"}
    os.environ["LOCAL_WORLD_SIZE"] = str(count)
    L.seed_everything(7, verbose=False)


def fit_as_rank(which: str, folder: Path, rank: int, port: int, moments: list, ckpt_path, options: dict) -> None:
    """One of two processes (gloo, CPU); writes `rank<rank>.pt`."""
    join(rank, port)
    hits, tricks, watch, keep = Hits(), build_tricks(which), Watch(), SaveAt(folder, moments)
    limits = {"limit_train_batches": BATCHES, "limit_val_batches": 1.0, "devices": 2, "strategy": "ddp"}
    options = {**QUIET, "enable_checkpointing": True, **limits, **options}
    trainer = L.Trainer(**options, callbacks=[hits, *tricks, watch, keep])
    trained = model()
    trainer.fit(trained, uneven(), ckpt_path=ckpt_path)
    logged = {name: value.item() for name, value in trainer.callback_metrics.items()}
    lists = {"seen": watch.seen, "evaluated": watch.evaluated, "hits": hits.hits, "logged": logged}
    trainer.test(trained, uneven(), verbose=False)
    torch.save(final(trainer, trained) | lists, folder / f"rank{rank}.pt")


class Losses(L.Callback):
    """Remembers the loss of every batch of this process, and how many boxes the detector saw in it."""

    def __init__(self):
        self.losses, self.boxes = [], []

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        self.losses.append(outputs["loss"].item())
        self.boxes.append([target["boxes"].tolist() for target in batch[1]])


def detect_as_rank(folder: Path, rank: int, port: int) -> None:
    """Train a detector as one of two processes, with an average beside it; writes `rank<rank>.pt`."""
    join(rank, port)
    losses, limits = Losses(), {"max_epochs": 1, "limit_val_batches": 1.0, "devices": 2, "strategy": "ddp"}
    tricks = [callbacks.BoxFlip(), callbacks.BoxCrop(), callbacks.BoxLoss("diou"), callbacks.EMA(0.5), losses]
    trainer = L.Trainer(**{**QUIET, **limits}, callbacks=tricks)
    trained = zoo.Detector(zoo.ResNet("20", image_size=32), "fcos", 3, 32, optimizer="adamw", lr=1e-3)
    trainer.fit(trained, ShapeBoxes(2, images=11, test_images=1, image_size=32, val_split=3))
    logged = {name: value.item() for name, value in trainer.callback_metrics.items()}
    seen = {"losses": losses.losses, "boxes": losses.boxes, "logged": logged}
    torch.save(final(trainer, trained) | seen, folder / f"rank{rank}.pt")


def on_a_schedule(batch_size: int, more: tuple = (), ckpt_path: Path | None = None, **options) -> dict[str, Any]:
    """Three epochs over 48 images, at rates that follow the epochs -> the steps and the rates of those made here."""
    watch = Watch()
    tricks = [callbacks.CosineDecay(warmup_epochs=1), callbacks.EMA(callbacks.Linear(0.5, 0.9))]
    trainer = L.Trainer(**{**QUIET, **options}, callbacks=[*tricks, watch, *more])
    images = Digits(batch_size, val_split=1437 - 48)
    trainer.fit(tiny_classifier(optimizer="momentum", lr=0.05), images, ckpt_path=ckpt_path, weights_only=True)
    return {"steps": trainer.global_step, "rates": [rate for *_, rate in watch.seen]}


def save_as_rank(folder: Path, rank: int, port: int) -> None:
    """One of two processes that write checkpoints at two moments, and what they ended with."""
    join(rank, port)
    keep = SaveAt(folder, [("on_train_batch_end", 5), ("on_train_epoch_end", 1)])
    ended = on_a_schedule(SIZE, (keep,), devices=2, strategy="ddp", enable_checkpointing=True)
    torch.save(ended, folder / f"rank{rank}.pt")


def fit_and_interrupt(folder: Path, batches: int, options: dict) -> None:
    """Trains until Ctrl-C; what it is left with goes to `final.pt`."""
    before = signal.getsignal(signal.SIGINT)
    left = fit("all", more=(ModelCheckpoint(folder, save_last=True), Interrupt(batches)), **options)
    left["handler restored"] = signal.getsignal(signal.SIGINT) is before
    torch.save(left, folder / "final.pt")


def compile_as_rank(folder: Path, rank: int, port: int) -> None:
    """One of two processes that train a compiled network; writes the graphs after each step, and all warnings."""
    join(rank, port)
    graphs, steps = [], []

    def count(graph, inputs):
        graphs.append(graph)
        return graph.forward

    class Steps(L.Callback):
        def on_train_batch_end(self, *args):
            steps.append(len(graphs))

    trained = tiny_classifier(optimizer="momentum", lr=0.05)
    trained.compile(backend=count)
    tricks = [callbacks.MixUp(), callbacks.EMA(), callbacks.MagnitudePruning(), callbacks.Calibration(), Steps()]
    options = {**QUIET, "limit_train_batches": BATCHES, "devices": 2, "strategy": "ddp", "max_epochs": 2}
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        trainer = L.Trainer(**options, callbacks=tricks)
        trainer.fit(trained, uneven())
        trainer.test(trained, uneven(), verbose=False)
    texts = [str(warning.message) for warning in said]
    torch.save({"steps": steps, "warnings": texts, "weights": trained.state_dict()}, folder / f"rank{rank}.pt")


def in_parts(which: str, folder: Path, rank: int, port: int, count: int, *arguments) -> None:
    """One of `count` processes (gloo, CPU) of a run of `sharded_runs.py`."""
    from tests.reliability import sharded_runs

    join(rank, port, count)
    torch.save(getattr(sharded_runs, which)(folder, *arguments), folder / f"rank{rank}.pt")


def on_a_pretended_gpu(part: int, parts: int, folder: Path) -> None:
    """Some of the runs of `gpu_runs.py`, whose import changes the process for good."""
    from tests.reliability import gpu_runs

    gpu_runs.main(part, parts, folder)

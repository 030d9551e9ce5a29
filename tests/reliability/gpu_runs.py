"""Every trick and every model on a pretended GPU, beside the same runs on the CPU: what was seen, as JSON.

For a process of its own: see `pretended_gpu.py`.
"""

import contextlib
import json
from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.plugins import MixedPrecision
from torch import nn
from torch.utils.data import DataLoader

import callbacks
import zoo
from callbacks.frame.declaration import Declaring
from callbacks.frame.feature_dropout import FeatureDropout
from datamodules import Arrays
from tests.conftest import TEACHERS, build_trick, collate, needed, tiny_classifier, tiny_network
from tests.reliability.pretended_gpu import REC, is_cuda, plain, pretended_gpu
from tests.zoo.test_every_model import ALIKE, make, size

STEADY = (3, 5)  # steps of six, from 1, in which nothing is logged
IN_FP16 = (
    "AdaptiveGradientClipping",
    "CircleLoss",
    "EMA",
    "Focal",
    "GradientAttentionTransfer",
    "GradientCentralization",
    "GradientClipping",
    "GradientFlow",
    "Hints",
    "Slimming",
    "SpectralDropout",
    "SymmetryAttention",
    "UpdateRatio",
)
# compute with features or losses, where 16 bits matter
IN_BF16 = tuple(f"callbacks.{room}." for room in ("distillation", "dropout", "loss", "network"))
STOOD_FOR = {  # three fifths of the methods of dropout, by the others
    name
    for i, name in enumerate(n for n in callbacks.__all__ if issubclass(getattr(callbacks, n), FeatureDropout))
    if i % 5 > 1
}
MODELS = sorted({*zoo.__all__, *zoo.SEGMENTERS} - ALIKE)
FEW = 8  # images for a model: four steps, of which the third is steady, and three batches of an evaluation
TOO_SHORT = ("StepThenCosine",)  # six steps, for the example
OFF = dict.fromkeys(("logger", "enable_progress_bar", "enable_model_summary", "enable_checkpointing"), False)


class First(L.Callback):
    """Gives tricks their images in the layout of the run."""

    def __init__(self, channels_last: bool):
        self.layout = torch.channels_last if channels_last else torch.contiguous_format

    def on_train_batch_start(self, trainer, model, batch, batch_idx):
        batch[0] = batch[0].contiguous(memory_format=self.layout)


class Last(Declaring):
    """Writes down the layouts that it sees, and whether losses are finite float32."""

    looks_only = True

    def __init__(self, channels_last: bool):
        self.channels_last, self.lost, self.losses, self.hooks = channels_last, set(), [], []

    def on_fit_start(self, trainer, model):
        if self.channels_last:
            network = getattr(model, "network", model)
            layers = [(path, m) for path, m in network.named_modules() if isinstance(m, nn.Conv2d | nn.MaxPool2d)]
            self.hooks = [m.register_forward_pre_hook(self.looking(path)) for path, m in layers]

    def looking(self, path):
        return lambda module, inputs: self.look(inputs[0], path) if module.training else None

    def look(self, x, where):
        if x.ndim == 4 and x.shape[1] > 1 and x.stride(1) != 1:  # a part of the channels keeps the layout too
            self.lost.add(where)

    def on_train_batch_start(self, trainer, model, batch, batch_idx):
        if self.channels_last:
            self.look(batch[0], "the batch")

    def on_loss(self, model, step):
        self.losses.append(step.loss.detach())

    def on_fit_end(self, trainer, model):
        for hook in self.hooks:
            hook.remove()


def loader(side, n, size, masks=False):
    torch.manual_seed(1)
    targets = torch.randint(10, (n, side, side)) if masks else torch.arange(n) % 10
    pairs = [*zip(torch.randn(n, 3, side, side), targets, strict=True)]
    return DataLoader(pairs, batch_size=size, collate_fn=collate, pin_memory=torch.cuda.is_available())


def fit(model, tricks, accelerator, folder, side=8, channels_last=False, few=False, data=None, **options):
    """Six steps and an evaluation -> what `Last` saw; the recorder knows the moment. `few`: see `FEW`."""
    if options.get("precision") == "16-mixed":  # with a scale at which no step overflows
        plugin = MixedPrecision("16-mixed", "cuda", torch.amp.GradScaler("cuda", init_scale=64.0))
        options = {key: value for key, value in options.items() if key != "precision"} | {"plugins": [plugin]}
    first, last = First(channels_last), Last(channels_last)
    options = {"max_epochs": 1, "num_sanity_val_steps": 0, "log_every_n_steps": 2, "default_root_dir": folder} | options
    run = L.Trainer(accelerator=accelerator, devices=1, callbacks=[first, *tricks, last], **OFF | options)

    def moment():
        if run.training:
            return "train", run.fit_loop.epoch_loop.batch_progress.current.ready
        if run.validating or run.evaluating:
            return "evaluate", run._evaluation_loop.batch_progress.current.ready
        return None

    REC.moment = moment
    loaders = [loader(side, n, size, model.masks) for n, size in ([(FEW, 2), (6, 2)] if few else [(24, 4), (12, 4)])]
    run.fit(model, datamodule=data) if data else run.fit(model, *loaders)
    return last


def build(name, arguments):
    """A trick with these arguments over those that it needs."""
    if not arguments:
        return build_trick(name)
    teacher = {"teacher": build_trick(name).teacher} if name in TEACHERS else {}
    return getattr(callbacks, name)(**{**teacher, **needed(name), **arguments})


def ended(model):
    return {name: plain(v) if is_cuda(v) else v.clone() for name, v in model.state_dict().items()}


def between(one, two):
    """Distance of two ends, of all weights that both have in one shape."""
    pairs = [(one[k], two[k]) for k in two if two[k].is_floating_point() and one[k].shape == two[k].shape]
    return torch.stack([(a - b).double().square().sum() for a, b in pairs]).sum().sqrt().item()


def counted(events, wanted):
    found = {}
    for e in events:
        if e.moment and wanted(*e.moment):
            key = f"{e.kind} {e.what} {e.where}"
            found[key] = found.get(key, 0) + 1
    return found


def seen(make_run, folder, precision="32-true", beside="32-true", **layout):
    """One run on both devices -> errors, waits, lost layouts and the distance between the ends.

    `beside`: precision of the run on the CPU; None: there is none.
    """
    found = {"error": None}
    try:
        with pretended_gpu() as recorder:
            model, tricks, side = make_run()
            options = {"side": side, **layout}
            last = fit(model, tricks, "gpu", folder, precision=precision, **options)
            events = [*recorder.events]
            losses, gpu = [plain(loss) for loss in last.losses], ended(model)
        if beside:
            model, tricks, _ = make_run()
            before = ended(model)
            fit(model, tricks, "cpu", folder, precision=beside, **options)
            cpu = ended(model)
            found["same keys"] = gpu.keys() == cpu.keys()
            found["distance"] = between(gpu, cpu) / between({**cpu, **before}, cpu)
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}
    found["step"] = counted(events, lambda stage, n: stage == "train" and n in STEADY)
    found["evaluation"] = counted(events, lambda stage, n: stage == "evaluate" and n == 2)
    found["lost"] = sorted(last.lost)
    found["float32"] = all(loss.dtype == torch.float32 and loss.isfinite().item() for loss in losses)
    return found


def of_trick(name, arguments, channels_last=False):
    def make_run():
        torch.manual_seed(0)
        model = tiny_classifier(network=tiny_network(name), channels_last=channels_last, lr=0.02)
        return model, [build(name, arguments)], 8

    return make_run


def of_model(name):
    return lambda: (make(name, lr=1e-4, channels_last=True), [], size(name))


def every_trick(part: int, parts: int, folder: Path) -> dict:
    """Defaults in 32-true; where 16 bits matter, the first example in bf16-mixed, channels last; some in 16-mixed."""
    found = {}
    for name in callbacks.__all__[part::parts]:
        kind = getattr(callbacks, name)
        example = {} if name in TOO_SHORT else next(iter(kind.examples), {})
        found[f"{name} 32-true"] = seen(of_trick(name, {}), folder)
        if kind.__module__.startswith(IN_BF16) and name not in STOOD_FOR:
            made = of_trick(name, example, True)
            found[f"{name} bf16-mixed"] = seen(made, folder, "bf16-mixed", None, channels_last=True)
        if name in IN_FP16:
            found[f"{name} 16-mixed"] = seen(of_trick(name, {}), folder, "16-mixed")
    for name in MODELS[part::parts]:
        found[f"{name} 32-true"] = seen(of_model(name), folder, channels_last=True, few=True)
    return found


# ---- data on the device


class Images(L.Callback):
    """Keeps the batches."""

    def __init__(self):
        self.seen, self.loader = [], ""

    def on_train_batch_start(self, trainer, model, batch, batch_idx):
        self.seen += [plain(part).clone() if is_cuda(part) else part.clone() for part in batch]
        self.loader = type(trainer.train_dataloader).__name__


def data_on_the_device(folder) -> dict:
    """Whether the images are those of a CPU run, which loader made them, what a steady step copied or waited for."""
    torch.manual_seed(7)
    pixels, classes = torch.randint(0, 256, (24, 8, 8, 3), dtype=torch.uint8), torch.arange(24) % 10
    kept = {device: Images() for device in ("cpu", "gpu")}
    for device, images in kept.items():
        data = Arrays(pixels, classes, 4, val_split=0, padding=2, flip="alternating", cutout=3)
        with pretended_gpu() if device == "gpu" else contextlib.nullcontext() as recorder:
            fit(tiny_classifier(), [images], device, folder, data=data, max_epochs=2)
            events = [*recorder.events] if recorder else []
    equal = [torch.equal(a, b) for a, b in zip(kept["cpu"].seen, kept["gpu"].seen, strict=True)]
    steady = counted(events, lambda stage, n: stage == "train" and n in STEADY)
    return {"equal": equal, "loaders": [images.loader for images in kept.values()], "steady": steady}


# ---- boxes


def turned_boxes() -> dict[str, list]:
    """The boxes of two images after `BoxFlip`, and what the host waited for."""
    with pretended_gpu() as recorder:
        boxes = [torch.tensor([[1.0, 2.0, 3.0, 4.0]] * n, device="cuda").view(n, 4) for n in (1, 2)]
        targets = [{"boxes": b, "labels": torch.arange(len(b), device="cuda")} for b in boxes]
        images, before = torch.rand(2, 3, 8, 8, device="cuda"), len(recorder.events)
        batch = [images, targets]
        callbacks.BoxFlip(1.0).on_train_batch_start(L.Trainer(barebones=True), L.LightningModule(), batch, 0)
        waits = [f"{event.kind} {event.what} {event.where}" for event in recorder.events[before:]]
        return {"boxes": [plain(target["boxes"]).tolist() for target in batch[1]], "waits": waits}


# ---- the pretence itself


class Planted(L.Callback):
    """A fault after every step."""

    def __init__(self, fault):
        self.fault = fault

    def on_train_batch_end(self, trainer, model, outputs, batch, batch_idx):
        self.fault(batch[0], batch[1])


REFUSED = {
    "mask": lambda x, y: x * torch.rand(x.shape),
    "index": lambda x, y: x.cpu().index_select(0, y * 0),
    "cat": lambda x, y: torch.cat([x, x.cpu()]),
    "generator": lambda x, y: torch.rand(3, device=x.device, generator=torch.Generator()),
    "numpy": lambda x, y: x.numpy(),
}
NOTED = {
    "item": lambda x, y: x.sum().item(),
    "bool": lambda x, y: bool((x > 0).any()),
    "mask": lambda x, y: x[x > 0],
    "tolist": lambda x, y: y.tolist(),
    "cpu": lambda x, y: x.cpu(),
    "tensor": lambda x, y: torch.tensor([1.0], device=x.device),
    "cpu-index": lambda x, y: x[torch.tensor([0, 1])],
    "bincount": lambda x, y: y.bincount(),
    "int-index": lambda x, y: x[y[0] * 0],
}


def planted(faults, folder) -> dict:
    """Name of each fault -> the error, or how many waits a steady step had."""
    found = {}
    for name, fault in faults.items():
        with pretended_gpu() as recorder:
            try:
                fit(tiny_classifier(), [Planted(fault)], "gpu", folder)
            except Exception as error:
                found[name] = type(error).__name__
            else:
                steps = counted(recorder.events, lambda stage, n: stage == "train" and n in STEADY)
                found[name] = sum(steps.values()) / len(STEADY)
    return found


def autocast() -> list[str]:
    """The types of a product, a softmax, a power and a ReLU under bfloat16."""
    with pretended_gpu():
        x, w = torch.rand(2, 3, device="cuda"), torch.rand(3, 4, device="cuda")
        with torch.autocast("cuda", torch.bfloat16):
            y = x @ w
            return [str(z.dtype) for z in (y, y.softmax(1), y.pow(2), y.relu())]


def main(part: int, parts: int, folder: Path) -> None:
    """Write `<part>.json`."""
    found = {"runs": every_trick(part, parts, folder)}
    if part == 0:
        found |= {"data": data_on_the_device(folder), "turned": turned_boxes()}
        found |= {"refused": planted(REFUSED, folder), "noted": planted(NOTED, folder), "autocast": autocast()}
    (folder / f"{part}.json").write_text(json.dumps(found))

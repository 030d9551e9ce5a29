"""A complete script for each trick's page: scikit-learn's digits and a small network, one epoch. Tests run them all."""

import re

DIGITS = "Digits(64)"
NOISE = (
    "import torch",
    "images, targets = torch.randint(256, (96, 32, 32, 3), dtype=torch.uint8), torch.arange(96) % 10  # yours",
)
RESNET = 'ResNet("20", num_classes=10, image_size=8, lr=0.1)'
TEACHER = 'ResNet("32", num_classes=10, image_size=8)  # weights="path/to/file": a trained one'
SMALL = "num_classes=10, image_size=32, lr=0.001)"
MODELS = {  # where it is not RESNET: images of 32 px, in place of which stand your own
    "AttentionPatchDropout": f'ViT("Ti/16", {SMALL}',
    "DropHead": f'ViT("Ti/16", {SMALL}',
    "ExpertBalance": f'MoEViT("Ti", {SMALL}',
    "GatingDropout": f'MoEViT("Ti", {SMALL}',
    "KeepRate": f'EViT("Ti", {SMALL}',
    "Maxout": f'VGG("11", {SMALL}',
    "PatchDropout": f'ViT("Ti/16", {SMALL}',
    "StochasticPooling": f'VGG("11-BN", {SMALL}',
    "SubtreeDropout": f'HierarchicalMixture("20-2", {SMALL}',
    "TokenDistillation": f'DynamicViT("Ti", {SMALL}',
    "TokenLabeling": f'LVViT("T", {SMALL}',
    "TokenRatio": f'DynamicViT("Ti", {SMALL}',
    "ZeroLastConv": f'PreActResNet("18", {SMALL}',
}
OF_BOXES = ("BoxCrop", "BoxFlip", "BoxLoss", "CopyPaste")
MODELS |= dict.fromkeys(OF_BOXES, 'Detector(ResNet("20", image_size=32), "fcos", num_classes=3, width=32, lr=0.01)')
BOXES = "ShapeBoxes(16, images=96, image_size=32)"
TEACHERS = {
    "TokenDistillation": 'DeiT("Ti", num_classes=10, image_size=32)  # weights="path/to/file": a trained one',
    "TokenLabeling": 'ResNet("18", num_classes=10, image_size=32)  # weights="path/to/file": a trained one',
} | dict.fromkeys(
    ("AttentionTransfer", "CachedLogits", "GradientAttentionTransfer", "Hints", "KnowledgeDistillation", "Specialist"),
    TEACHER,
)
ARGUMENTS = {  # where the defaults do not do
    "CachedLogits": 'teacher, "logits"',
    "Specialist": "teacher, classes=(3, 8)",
} | {name: "teacher" for name in TEACHERS if name not in ("CachedLogits", "Specialist")}


def example(trick: str) -> str:
    """Return a script that trains with a trick."""
    own = trick in MODELS and trick not in OF_BOXES
    model, teacher = MODELS.get(trick, RESNET), TEACHERS.get(trick)
    data = BOXES if trick in OF_BOXES else "Arrays(images, targets, 32)" if own else DIGITS
    names = sorted({*re.findall(r"([A-Z]\w+)\(", f"{model} {teacher}")})
    imports = ["from lightning import Trainer", "", f"from callbacks import {trick}"]
    imports += [f"from datamodules import {data.partition('(')[0]}", f"from zoo import {', '.join(names)}"]
    lines = [NOISE[1]] if own else []
    lines += [f"teacher = {teacher}"] if teacher else []
    lines += [f"model = {model}", f"trainer = Trainer(max_epochs=1, callbacks=[{trick}({ARGUMENTS.get(trick, '')})])"]
    lines += [f"trainer.fit(model, {data})"]
    return "\n".join([*([NOISE[0]] if own else []), *imports, "", *lines, ""])

"""A complete script for each trick's page: digits of scikit-learn, a small network, one epoch. Tests run them all."""

VIT = ("ViT", '"Ti/16", num_classes=10, image_size=32, patch_size=4, lr=0.001')
RESNET = ("ResNet", '"20", num_classes=10, image_size=8, lr=0.1')
TEACHER = 'teacher = ResNet("32", num_classes=10, image_size=8)  # weights="path/to/file": a trained one'
TAUGHT = (
    "AttentionTransfer",
    "CachedLogits",
    "GradientAttentionTransfer",
    "Hints",
    "KnowledgeDistillation",
    "Specialist",
)
MODELS: dict[str, tuple[str, str]] = {}  # where it is not RESNET
ARGUMENTS: dict[str, str] = {}  # where the defaults do not do


def example(trick: str) -> str:
    """Return a script that trains with a trick."""
    model, arguments = MODELS.get(trick, RESNET)
    lines = [
        "from lightning import Trainer",
        f"from callbacks import {trick}",
        "from datamodules import Digits",
        f"from zoo import {model}",
        "",
        f"model = {model}({arguments})",
        *([TEACHER] if trick in TAUGHT else []),
        f"trainer = Trainer(max_epochs=1, callbacks=[{trick}({ARGUMENTS.get(trick, 'teacher' * (trick in TAUGHT))})])",
        "trainer.fit(model, Digits(64))",
    ]
    return "\n".join(lines) + "\n"

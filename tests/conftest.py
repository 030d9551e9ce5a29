"""A network, data and a trainer small enough for a test; the tricks, ready to build."""

import functools
import signal

import lightning as L
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

import callbacks
from zoo import Classifier

CLASSES = 10

if (
    signal.getsignal(signal.SIGINT) is signal.SIG_IGN
):  # so a shell starts jobs in the background: Ctrl-C would do nothing
    signal.signal(signal.SIGINT, signal.default_int_handler)


class TinyBlock(nn.Module):
    """A residual block: batch norm, so that resuming and averaging have statistics to keep."""

    def __init__(self, c_in: int, w: int):
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, w, 3, padding=1, stride=2, bias=False)
        self.bn1 = nn.BatchNorm2d(w)
        self.downsample = nn.Conv2d(c_in, w, 1, stride=2)

    def forward(self, x):
        return torch.relu(self.bn1(self.conv1(x)) + self.downsample(x))


class TinyNetwork(nn.Module):
    def __init__(self, width: int = 8):
        super().__init__()
        self.block1 = TinyBlock(3, width)
        self.block2 = TinyBlock(width, 2 * width)
        self.dropout = nn.Dropout(0.1)
        self.head = nn.Linear(2 * width, CLASSES)

    def forward(self, x):
        return self.head(self.dropout(self.block2(self.block1(x)).mean((2, 3))))


def tiny_classifier(width: int = 8, **training) -> Classifier:
    return Classifier(TinyNetwork(width), stages={"stage1": "block1", "stage2": "block2"}, **training)


TEACHERS = ("AttentionTransfer", "KnowledgeDistillation")


def build_trick(name: str) -> L.Callback:
    """A trick of `callbacks.__all__`, with a teacher where it needs one."""
    trick = getattr(callbacks, name)
    if name in TEACHERS:
        torch.manual_seed(99)
        return trick(tiny_classifier(width=6))
    return trick()


def collate(items):
    images, targets = zip(*items, strict=True)
    return [torch.stack(images), torch.stack(targets)]


@pytest.fixture
def tiny_model() -> Classifier:
    torch.manual_seed(0)
    return tiny_classifier()


@pytest.fixture
def tiny_data() -> DataLoader:
    """12 images of 8 px, 3 batches, without shuffling."""
    torch.manual_seed(1)
    images, targets = torch.randn(12, 3, 8, 8), torch.arange(12) % CLASSES
    return DataLoader(list(zip(images, targets, strict=True)), batch_size=4, collate_fn=collate)


@pytest.fixture
def trainer(tmp_path):
    """`trainer(callbacks=[...], ...)`: a quiet Trainer of two epochs."""
    off = ("logger", "enable_progress_bar", "enable_model_summary", "enable_checkpointing")
    defaults = {"max_epochs": 2, "accelerator": "cpu", "devices": 1, "default_root_dir": tmp_path}
    return functools.partial(make_trainer, {**defaults, **dict.fromkeys(off, False)})


def make_trainer(defaults: dict, **arguments) -> L.Trainer:
    return L.Trainer(**{**defaults, **arguments})

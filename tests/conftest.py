"""A network, data and a trainer small enough for a test; the tricks, ready to build."""

import collections
import functools
import gc
import logging
import os
import signal
import tempfile
import zlib

import coverage
import lightning as L
import pytest
import torch
from lightning.fabric.utilities import registry
from torch import nn
from torch.utils.data import DataLoader

import callbacks
from callbacks.frame.declaration import needs_of
from callbacks.frame.diagnostic import Diagnostic
from callbacks.frame.model_needs import HasModule
from callbacks.frame.on_metric import OnMetric
from callbacks.frame.trick import parameters
from zoo import Classifier
from zoo.dynamic_vit import Predictor, decide, gumbel_noise
from zoo.hierarchical_mixture import SoftTree
from zoo.layers.transformer import Block
from zoo.lvvit import box
from zoo.moe_vit import MoE

CLASSES = 10
Diagnostic.quiet = True  # nothing is well with networks this small; what diagnostics found is read from `findings`
_draw = torch.Tensor.normal_
torch.Tensor.normal_ = lambda self, *args, **options: (  # torch takes 5 ms to draw nothing on "meta"
    self if self.device.type == "meta" else _draw(self, *args, **options)
)
registry.entry_points = functools.cache(registry.entry_points)  # else each of thousands of Trainers reads the disk
logging.getLogger("lightning.pytorch").propagate = True  # to caplog; Lightning 2.6.0 stops it where root has no handler

if (
    signal.getsignal(signal.SIGINT) is signal.SIG_IGN
):  # so a shell starts jobs in the background: Ctrl-C would do nothing
    signal.signal(signal.SIGINT, signal.default_int_handler)


# Whole runs, contracts of every trick, tests of models: most of the time of `make test`. Nearly all lines and branches
# that they run are run by other tests too; those of `MEASURED` are not. Without coverage they take 60 % of the time.
REPEAT_LINES = (
    "tests/callbacks/dropout/test_dropout_on_families.py",
    "tests/callbacks/frame/test_pairs.py",
    "tests/callbacks/network/test_activation.py::test_no_relu_is_left_in_any_model",
    "tests/callbacks/test_every_trick.py",
    "tests/callbacks/test_tricks_on_models.py",
    "tests/datamodules/test_every_datamodule.py",
    "tests/docs/",
    "tests/recipes/",
    "tests/reliability/",
    "tests/test_",
    "tests/zoo/test_",
    "tests/zoo/tools/test_diagram.py::test_every_model_has_a_diagram",
    "tests/zoo/tools/test_fuse.py::test_every_model_gives_the_same",
    "tests/zoo/tools/test_receptive.py::test_as_gradients_have_it",
)
MEASURED = tuple(f"tests/zoo/test_{name}.py" for name in ("every_model", "dvt", "patch_slimming", "repvgg", "swin"))


@pytest.hookimpl(tryfirst=True)  # before -m is asked
def pytest_collection_modifyitems(items):
    """Leave all but every k-th slow case of a test marked `one_in(k)` to `make whole`.

    Tests of the same members begin with different ones, so that together they meet nearly all.
    """
    met = collections.Counter()
    for item in items:
        mark, test = item.get_closest_marker("one_in"), item.nodeid.split("[")[0]
        if mark and item.get_closest_marker("slow"):
            if (zlib.crc32(test.encode()) + met[test]) % mark.args[0]:
                item.add_marker(pytest.mark.whole)
            met[test] += 1


# Twenty seconds or more each.
LONG = (
    "tests/datamodules/frame/test_distributed.py::test_two_processes",
    "tests/datamodules/frame/test_sampling.py::test_two_real_processes",
    "tests/datamodules/test_prepared.py::test_litdata_writes",
    "tests/recipes/command/test_main.py::test_counts_are",
    "tests/recipes/frame/test_compare",
    "tests/recipes/test_",
    "tests/reliability/test_interrupt.py",
    "tests/reliability/test_sharded.py",
)


@pytest.hookimpl(specname="pytest_collection_modifyitems", trylast=True)  # when -m has been asked
def pytest_begin_with_the_longest(items):
    """Deal the longest tests out to the beginnings of the workers' parts, so that none of them ends alone."""
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 1))
    longest, others = [], []
    for item in items:
        (longest if item.get_closest_marker("slow") and item.nodeid.startswith(LONG) else others).append(item)
    bounds = [i * len(others) // workers for i in range(workers + 1)]
    parts = [longest[i::workers] + others[bounds[i] : bounds[i + 1]] for i in range(workers)]
    items[:] = [item for part in parts for item in part]


def pytest_collection_finish():
    """Leave thousands of tests and modules, which stay, out of each search for garbage: it takes a second."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    """As pytest-cov's `no_cover`, which measures setup and teardown, and in xdist's workers everything."""
    running = []
    if item.nodeid.startswith(REPEAT_LINES) and not item.nodeid.startswith(MEASURED):
        while measured := coverage.Coverage.current():
            measured.stop()
            running.append(measured)
    try:
        return (yield)
    finally:
        for measured in reversed(running):
            measured.start()


class TinyBlock(nn.Module):
    """A residual block: batch norm, so that resuming and averaging have statistics to keep."""

    def __init__(self, c_in: int, w: int):
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, w, 3, padding=1, stride=2, bias=False)
        self.bn1 = nn.BatchNorm2d(w)
        # 3x3: oneDNN of torch 2.14 breaks the heap at a 1x1, stride-2, channels_last convolution of 3 channels on AVX2
        self.downsample = nn.Conv2d(c_in, w, 3, padding=1, stride=2)
        self.relu = nn.ReLU()

    def forward(self, x):
        return self.relu(self.bn1(self.conv1(x)) + self.downsample(x))


class TinyNetwork(nn.Module):
    def __init__(self, width: int = 8):
        super().__init__()
        self.block1 = TinyBlock(3, width)
        self.block2 = TinyBlock(width, 2 * width)
        self.maxpool = nn.MaxPool2d(3, stride=1, padding=1)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(0.1)
        self.head = nn.Linear(2 * width, CLASSES)

    def forward(self, x):
        return self.head(self.dropout(self.avgpool(self.maxpool(self.block2(self.block1(x)))).flatten(1)))


class TinyTransformer(TinyNetwork):
    """With a plain ViT beside the convolutions, for what acts on tokens: patches of a quarter of 8 px images' side.

    After its blocks it decides which patches it keeps, as DynamicViT does, and in training gives both.
    """

    prefix = 1
    grid, mix_token = 4, False

    def __init__(self, width: int = 8):
        super().__init__(width)
        self.patch_embed = nn.Conv2d(3, 8, kernel_size=2, stride=2)
        self.cls_token = nn.Parameter(torch.randn(1, 1, 8))
        self.patch_drop = nn.Identity()
        self.blocks = nn.Sequential(*(Block(8, 2) for _ in range(4)))
        self.experts = MoE(8, 16, 2, 1.25)
        self.norm = nn.LayerNorm(8)
        self.predictor = Predictor(8)
        self.predictor.keep = 0.5
        self.tree = SoftTree(8, CLASSES, levels=2)
        self.token_head = nn.Linear(8, CLASSES)

    @property
    def ratios(self):
        return (self.predictor.keep,)

    def forward(self, x):
        patches, mixed = self.patch_embed(x).flatten(2).transpose(1, 2), None
        if self.training and self.mix_token:  # as LVViT does
            mixed = box(self.grid, torch.rand((), device=x.device), torch.randint(self.grid, (2,), device=x.device))
            patches = torch.where(mixed.view(-1, 1), patches.flip(0), patches)
        tokens = self.patch_drop(torch.cat([self.cls_token.expand(len(x), -1, -1), patches], 1))
        tokens = self.blocks(tokens)
        tokens = self.norm(tokens + self.experts(tokens))
        logits, patches = super().forward(x) + self.tree(tokens[:, 0]), tokens[:, 1:]
        if not self.training:
            return logits + self.token_head(tokens[:, 0])
        log_pi = self.predictor(patches, patches.new_ones(patches.shape[:2])).float()
        kept = decide(log_pi, gumbel_noise(log_pi))
        mean = (patches * kept[..., None].to(patches.dtype)).mean(1)
        logits = logits + self.token_head(tokens[:, 0] + 0.1 * mean)
        labeled = {"class": logits, "token_logits": self.token_head(patches), "mixed": mixed}
        balances = [term for term in [self.experts.take_balance()] if term is not None]
        return logits, {"kept": [kept], "tokens": patches, "balance": balances} | labeled


def tiny_classifier(width: int = 8, network: type[TinyNetwork] = TinyNetwork, **training) -> Classifier:
    return Classifier(network(width), stages={"stage1": "block1", "stage2": "block2"}, **training)


TEACHERS = tuple(name for name in callbacks.__all__ if "teacher" in parameters(getattr(callbacks, name)))


def lacks(network: nn.Module, name: str) -> bool:
    """Whether a trick declares that it needs a module of which a network has none."""
    needs = [need for need in needs_of(getattr(callbacks, name)) if isinstance(need, HasModule)]
    return not all(any(map(need.is_one, network.modules())) for need in needs)


PLAIN = TinyNetwork()
ON_TOKENS = (
    *(name for name in callbacks.__all__ if lacks(PLAIN, name)),
    "TokenDistillation",  # its student returns tokens
    "ZeroLastConv",  # branches of `TinyNetwork` end in a norm
)


def tiny_network(*names: str) -> type[TinyNetwork]:
    """On which these tricks work."""
    return TinyTransformer if {*names} & {*ON_TOKENS} else TinyNetwork


# what a trick cannot do without on data that has no data module
NEEDED = {
    "CrossIterationBatchNorm": {"burn_in": 0},  # runs are of two epochs
    "ClassBalanced": {"counts": tuple(range(1, CLASSES + 1))},
    "Maxout": {"where": ("network.block1.conv1",)},  # no activation follows a layer in a sequence
    "Specialist": {"classes": (2, 7)},
}


SCRATCH = tempfile.TemporaryDirectory()  # until the process ends


def empty_folder() -> str:
    """For a trick that keeps files."""
    return tempfile.mkdtemp(dir=SCRATCH.name)


def build_trick(name: str) -> L.Callback:
    """A trick of `callbacks.__all__`, with a teacher where it needs one."""
    trick = getattr(callbacks, name)
    if name in TEACHERS:
        torch.manual_seed(99)
        network = TinyNetwork if name == "TokenLabeling" else tiny_network(name)  # it ends in a mean over maps
        return trick(tiny_classifier(width=6, network=network), **needed(name))
    return trick(**needed(name))


def needed(name: str) -> dict:
    """Return the arguments without which the trick cannot be made, or not for these networks and runs."""
    if issubclass(getattr(callbacks, name), OnMetric):
        return {"metric": None}  # no metric is logged by every module and run
    return {"path": empty_folder()} if name == "CachedLogits" else NEEDED.get(name, {})


def collate(items):
    images, targets = zip(*items, strict=True)
    return [torch.stack(images), torch.stack(targets)]


@pytest.fixture(autouse=True)
def _no_seed_of_another_test():
    """`seed_everything` leaves its seed in the environment, where tricks and data modules look for it.

    Taken out after each test, not before the next: fixtures of a whole session run before this one.
    """
    yield
    os.environ.pop("PL_GLOBAL_SEED", None)


@pytest.fixture
def tiny_model() -> Classifier:
    torch.manual_seed(0)
    return tiny_classifier()


def tiny_images() -> DataLoader:
    """12 images of 8 px, 3 batches, without shuffling."""
    torch.manual_seed(1)
    images, targets = torch.randn(12, 3, 8, 8), torch.arange(12) % CLASSES
    return DataLoader(list(zip(images, targets, strict=True)), batch_size=4, collate_fn=collate)


@pytest.fixture
def tiny_data() -> DataLoader:
    return tiny_images()


def quiet(folder) -> dict:
    """Return the arguments of a Trainer of two epochs that says and keeps nothing, without a sanity check."""
    off = ("logger", "enable_progress_bar", "enable_model_summary", "enable_checkpointing")
    defaults = {"max_epochs": 2, "accelerator": "cpu", "devices": 1, "default_root_dir": folder}
    defaults["num_sanity_val_steps"] = 0
    return {**defaults, **dict.fromkeys(off, False)}


@pytest.fixture
def trainer(tmp_path):
    """`trainer(callbacks=[...], ...)`: a quiet Trainer of two epochs."""
    return functools.partial(make_trainer, quiet(tmp_path))


def make_trainer(defaults: dict, **arguments) -> L.Trainer:
    return L.Trainer(**{**defaults, **arguments})

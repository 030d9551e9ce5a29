"""Files: written with every trick they load everywhere; hostile and truncated ones are refused in one clear line."""

import os

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

import zoo
from tests.reliability.runs import QUIET, build_tricks, data
from zoo import ResNet


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with the checkpoints of a run of ResNet-20 with every trick: `last.ckpt` and a weights-only one."""
    folder = tmp_path_factory.mktemp("files")
    trained, tricks = resnet(), build_tricks("maps")
    keep = [
        ModelCheckpoint(folder, save_last=True),
        ModelCheckpoint(folder, "weights", "val/acc", save_weights_only=True),
    ]
    options = {**QUIET, "enable_checkpointing": True, "max_epochs": 1}
    L.Trainer(**options, callbacks=[*tricks, *keep]).fit(trained, data())
    return folder, trained


def checkpoints(folder):
    weights = ModelCheckpoint(folder, "weights", "val/acc", save_weights_only=True, enable_version_counter=False)
    return [ModelCheckpoint(folder, save_last=True), weights]


def resnet():
    torch.manual_seed(0)
    return ResNet("20", num_classes=10, image_size=8)


def resume(path, **arguments):
    options = {**QUIET, "enable_checkpointing": True, "max_epochs": 2}
    trainer = L.Trainer(**options, callbacks=[*build_tricks("maps"), *checkpoints(path.parent)])
    trainer.fit(resnet(), data(), ckpt_path=path, **arguments)
    return trainer


LOADERS = {
    "zoo.load": zoo.load,
    "load_from_checkpoint": ResNet.load_from_checkpoint,
    "fit": resume,
    "test": lambda path: L.Trainer(**QUIET).test(resnet(), data(), ckpt_path=path, verbose=False),
    "weights": lambda path: ResNet("20", num_classes=10, image_size=8, weights=path),
}


@pytest.mark.parametrize("name", ["last.ckpt", "weights.ckpt"])
def test_loads(name, files):
    folder, trained = files
    content = torch.load(folder / name, weights_only=True)
    assert sorted(content["averages"]) == ["EMA(0.999)", "PolyakAveraging()", "SWA()"]
    loaded = ResNet.load_from_checkpoint(folder / name, weights_only=True), zoo.load(folder / name)
    for model in loaded:
        assert type(model) is ResNet
        assert all(torch.equal(a, b) for a, b in zip(model.parameters(), trained.parameters(), strict=True))


class Evil:
    """Unpickled, it would leave a file."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return os.mkdir, (str(self.trace),)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("loader", LOADERS)
def test_code_is_refused_and_not_run(loader, zipped, files, tmp_path):
    content = torch.load(files[0] / "last.ckpt", weights_only=True)
    content["hyper_parameters"]["variant"] = Evil(tmp_path / "trace")
    path = tmp_path / "evil.ckpt"
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(ValueError, match="evil.ckpt carries more than tensors") as caught:
        LOADERS[loader](path)
    assert not (tmp_path / "trace").exists()
    assert "\n" not in str(caught.value)
    torch.load(path, weights_only=False)
    assert (tmp_path / "trace").exists()  # it would have


@pytest.mark.parametrize("left", [0, 10, 0.5, 0.99])
@pytest.mark.parametrize("loader", LOADERS)
def test_truncated(loader, left, files, tmp_path):
    whole = (files[0] / "last.ckpt").read_bytes()
    path = tmp_path / "short.ckpt"
    path.write_bytes(whole[: left if isinstance(left, int) else int(left * len(whole))])
    with pytest.raises(
        ValueError, match="short.ckpt is cut short or not a torch file.*: fetch or save it again"
    ) as caught:
        LOADERS[loader](path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("loader", LOADERS)
def test_missing(loader, tmp_path):
    with pytest.raises(FileNotFoundError, match="none.ckpt"):
        LOADERS[loader](tmp_path / "none.ckpt")


def test_resumes_and_tests(files):
    """The last of this file: it writes into the same folder."""
    folder, _ = files
    trainer = resume(folder / "last.ckpt", weights_only=True)
    assert trainer.current_epoch == 2
    assert trainer.test(datamodule=data(), verbose=False, model=trainer.lightning_module)[0]["test/acc"] >= 0

"""Weights in and out: strictly, by name, from every source; and nothing that a file carries is ever run."""

import os
import pickle
from dataclasses import dataclass
from pathlib import Path

import lightning as L
import pytest
import safetensors.torch
import timm
import torch
import torchvision
from huggingface_hub.errors import EntryNotFoundError
from lightning.pytorch.plugins.io import TorchCheckpointIO
from torch import nn

import zoo
from callbacks import EMA
from zoo import Classifier, ResNet
from zoo.frame import weights as weights_module
from zoo.frame.weight_files import ClearCheckpointIO

ROOT = Path(__file__).resolve().parents[3]
OTHERS = ROOT.parent / "shared" / "data"  # checkpoints trained by others, where they are at hand


def resnet(variant: str = "20", classes: int = 10, **arguments) -> ResNet:
    return ResNet(variant, num_classes=classes, image_size=32, **arguments)


@pytest.fixture
def model() -> ResNet:
    torch.manual_seed(0)
    return resnet().eval()


@pytest.fixture
def images() -> torch.Tensor:
    torch.manual_seed(1)
    return torch.randn(2, 3, 32, 32)


@pytest.fixture
def messages(monkeypatch) -> list[str]:
    """What a user is told."""
    told = []
    monkeypatch.setattr(weights_module, "rank_zero_info", told.append)
    return told


# ---- out and in again


@pytest.mark.parametrize("file", ["model.safetensors", "model.pth"])
@pytest.mark.parametrize(
    ("variant", "make"),
    [
        ("18", lambda: torchvision.models.resnet18(num_classes=10)),
        ("18", lambda: timm.create_model("resnet18", num_classes=10)),
        ("18-D", lambda: timm.create_model("resnet18d", num_classes=10)),
    ],
)
def test_libraries_load_our_export_strictly(variant, make, file, tmp_path):
    torch.manual_seed(0)
    ours, theirs, images = ResNet(variant, num_classes=10).eval(), make().eval(), torch.randn(2, 3, 64, 64)
    ours.export(tmp_path / file)
    load = safetensors.torch.load_file if file.endswith("safetensors") else torch.load
    theirs.load_state_dict(load(tmp_path / file))
    torch.testing.assert_close(theirs(images), ours(images), rtol=1e-5, atol=1e-5)
    back = ResNet(variant, num_classes=10)
    torch.save(theirs.state_dict(), tmp_path / "theirs.pth")
    back.load_weights(tmp_path / "theirs.pth")
    assert torch.equal(back.eval()(images), ours(images))
    assert not back.untrained


def test_a_wrapped_network_exports_its_own_keys(tmp_path):
    network = timm.create_model("resnet18", num_classes=10)
    model = Classifier(network)
    model.export(tmp_path / "model.safetensors")
    assert safetensors.torch.load_file(tmp_path / "model.safetensors").keys() == network.state_dict().keys()
    again = Classifier("resnet18", num_classes=10)
    again.load_weights(tmp_path / "model.safetensors")
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), model.parameters(), strict=True))


def test_weights_that_layers_share_are_written_twice(tmp_path):
    layer = torch.nn.Linear(4, 4)
    network = torch.nn.Sequential(torch.nn.Flatten(), layer, torch.nn.ReLU(), layer)
    Classifier(network, 4).export(tmp_path / "x.safetensors")
    found = safetensors.torch.load_file(tmp_path / "x.safetensors")
    assert found.keys() == network.state_dict().keys()
    assert torch.equal(found["1.weight"], layer.weight) and torch.equal(found["3.weight"], layer.weight)
    Classifier(network, 4, weights=tmp_path / "x.safetensors")


def test_channels_last_weights_are_written_plainly(model, images, tmp_path):
    model.to(memory_format=torch.channels_last).export(tmp_path / "model.safetensors")
    loaded = resnet(weights=tmp_path / "model.safetensors").eval()
    torch.testing.assert_close(loaded(images), model(images), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("prefix", ["module.", "network.", "_orig_mod.", "model.", "module._orig_mod."])
@pytest.mark.parametrize("inside", [None, "state_dict", "model"])
def test_wrappers_of_keys_come_off(prefix, inside, model, images, tmp_path):
    state = {prefix + key: value for key, value in model.state_dict().items()}
    torch.save(state if inside is None else {inside: state, "epoch": 3}, tmp_path / "file.pth")
    assert torch.equal(resnet(weights=tmp_path / "file.pth").eval()(images), model(images))


def test_names_of_other_cifar_code_are_known(model, images, tmp_path):
    state = {key.replace("fc.", "linear."): value for key, value in model.state_dict().items()}
    torch.save(state, tmp_path / "file.pth")
    assert torch.equal(resnet(weights=tmp_path / "file.pth").eval()(images), model(images))


def test_old_files_have_no_batch_counters(model, images, tmp_path):
    torch.save({k: v for k, v in model.state_dict().items() if "num_batches" not in k}, tmp_path / "file.pth")
    assert torch.equal(resnet(weights=tmp_path / "file.pth").eval()(images), model(images))


# ---- another head, another network


def test_another_number_of_classes_gets_a_new_head(model, messages, tmp_path):
    model.export(tmp_path / "model.pth")
    torch.manual_seed(5)
    fresh = resnet(classes=7)
    torch.manual_seed(5)
    loaded = resnet(classes=7, weights=tmp_path / "model.pth")
    assert torch.equal(loaded.fc.weight, fresh.fc.weight) and torch.equal(loaded.fc.bias, fresh.fc.bias)
    assert torch.equal(loaded.layer3[0].conv1.weight, model.layer3[0].conv1.weight)
    (told,) = messages
    assert "has 10 classes, the model 7: fc.bias, fc.weight start at random" in told


def test_a_head_brings_the_names_of_its_classes_or_none(model, tmp_path):
    mine, theirs = tuple("abcdefghij"), tuple("klmnopqrst")
    torch.save(model.state_dict(), tmp_path / "nameless.pth")
    model.classes = theirs
    model.export(tmp_path / "named.safetensors")
    for file, expected in (("named.safetensors", theirs), ("nameless.pth", None)):
        loaded = resnet()
        loaded.classes = mine
        loaded.load_weights(tmp_path / file)
        assert loaded.classes == expected
    other = resnet(classes=7)
    other.classes = mine[:7]
    other.load_weights(tmp_path / "named.safetensors")
    assert other.classes == mine[:7]  # its own head, at random, is of its own classes


def test_another_network_is_refused_by_its_keys(model, tmp_path):
    model.export(tmp_path / "model.pth")
    with pytest.raises(ValueError, match=r"does not fit ResNet\('32'\); missing: .*layer1\.3.*and \d+ more"):
        resnet("32", weights=tmp_path / "model.pth")
    deeper = resnet("32")
    deeper.export(tmp_path / "deeper.pth")
    with pytest.raises(ValueError, match=r"missing: none; unknown: layer1\.3"):
        resnet("20", weights=tmp_path / "deeper.pth")
    wider = resnet("20")
    wider.layer1[0].conv1 = nn.Conv2d(16, 16, 5, padding=2, bias=False)
    wider.export(tmp_path / "wider.pth")
    shapes = r"layer1.0.conv1.weight \(16, 16, 5, 5\) there, \(16, 16, 3, 3\) here"
    with pytest.raises(ValueError, match=shapes):
        resnet("20", weights=tmp_path / "wider.pth")


def test_a_refused_file_changes_nothing(model, tmp_path):
    target = resnet("32")
    before = {key: value.clone() for key, value in target.state_dict().items()}
    model.export(tmp_path / "model.pth")
    with pytest.raises(ValueError, match="do not fit|does not fit"):
        target.load_weights(tmp_path / "model.pth")
    assert all(torch.equal(before[key], value) for key, value in target.state_dict().items()) and target.untrained


# ---- sources on the net, with the download replaced by a file of the same format


def test_from_torchvision(monkeypatch):
    torch.manual_seed(0)
    theirs = torchvision.models.resnet18().eval()
    asked = []

    def download(url, *args, **kwargs):
        asked.append(url)
        return theirs.state_dict()

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", download)
    ours = ResNet("18", weights="torchvision:IMAGENET1K_V1").eval()
    images = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(ours(images), theirs(images), rtol=1e-4, atol=1e-4)
    assert len(asked) == 1 and "resnet18" in asked[0]
    assert ours.pretrained_classes[281] == "tabby" and ours.classes is None  # data may have other words for them
    assert ResNet("18", 7, weights="torchvision:IMAGENET1K_V1").pretrained_classes is None
    with pytest.raises(ValueError, match="torchvision's resnet18 has no 'IMAGENET1K_V2'; did you mean 'IMAGENET1K_V1'"):
        ResNet("18", weights="torchvision:IMAGENET1K_V2")


def test_googlenet_of_torchvision_is_given_what_its_layers_were_trained_on(monkeypatch):
    """Its `transform_input` takes images of ImageNet's mean and std to those of .5, before the first layer."""
    torch.manual_seed(0)
    theirs = torchvision.models.googlenet(aux_logits=True, init_weights=False, transform_input=True).eval()
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", lambda *args, **kwargs: theirs.state_dict())
    ours = zoo.GoogLeNet("BN", weights="torchvision:IMAGENET1K_V1").eval()
    pictures = torch.randint(256, (2, 3, 96, 96), dtype=torch.uint8)
    mean, std = (torch.tensor(v)[:, None, None] for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    expected = theirs((pictures.float() / 255 - mean) / std)
    found = ours(ours.preprocessing.normalise(pictures))
    torch.testing.assert_close(found, expected, rtol=0, atol=0.02 * (expected[0] - expected[1]).abs().max().item())


def test_from_timm(monkeypatch, tmp_path):
    torch.manual_seed(0)
    theirs = timm.create_model("resnet18").eval()
    safetensors.torch.save_file(theirs.state_dict(), tmp_path / "model.safetensors")

    def download(name, pretrained=False, **kwargs):
        assert pretrained and name == "resnet18.a1_in1k"
        overlay = {"file": str(tmp_path / "model.safetensors")}
        return created("resnet18", pretrained=True, pretrained_cfg_overlay=overlay)

    created = timm.create_model
    monkeypatch.setattr(timm, "create_model", download)
    ours = ResNet("18", weights="timm:resnet18.a1_in1k").eval()
    assert ours.pretrained_classes[281] == "tabby" and len(ours.pretrained_classes) == 1000
    images = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(ours(images), theirs(images), rtol=1e-4, atol=1e-4)


def test_from_the_hub(model, images, monkeypatch, tmp_path):
    model.export(tmp_path / "model.safetensors")

    def download(repo, file):
        assert repo == "someone/resnet20"
        if not (tmp_path / file).exists():
            raise EntryNotFoundError(file)
        return str(tmp_path / file)

    monkeypatch.setattr(weights_module, "hf_hub_download", download)
    assert torch.equal(resnet(weights="hf:someone/resnet20").eval()(images), model(images))
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(ValueError, match="someone/resnet20 has no model.safetensors: fetch the file that it has"):
        resnet(weights="hf:someone/resnet20")
    (tmp_path / "config.json").write_text('{"architecture": "resnetblur50"}')  # the keys and shapes of resnet50
    with pytest.raises(ValueError, match=r"timm's resnetblur50 is not ResNet\('50'\); variants that it has: 18, "):
        ResNet("50", num_classes=10, image_size=32, weights="hf:someone/resnet20")


@pytest.mark.parametrize(
    ("variant", "weights", "advice"),
    [
        ("50-v1", "torchvision:IMAGENET1K_V2", r"is not ResNet\('50-v1'\); variants that it has: 18, 34, 50, "),
        ("50-v1", "timm:resnet50.a1_in1k", r"timm's resnet50 is not ResNet\('50-v1'\); it is variant '50' here"),
        ("50-D", "timm:resnet50", "it is variant '50' here"),
        ("50-D", "timm:convnext_tiny", r"is not ResNet\('50-D'\); variants that it has: 18, 34, 50, "),
    ],
)
def test_equal_keys_are_not_enough(variant, weights, advice, monkeypatch):
    """torchvision's weights fit the shapes of 50-v1, but were trained with other strides."""
    monkeypatch.setattr(timm, "create_model", None)  # nothing may be fetched
    with pytest.raises(ValueError, match=advice):
        ResNet(variant, weights=weights)


# ---- files that lie, are broken, or are not there


class Hostile:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_code_in_a_file_is_refused_and_not_run(zipped, tmp_path):
    file, trap = tmp_path / "hostile.pth", tmp_path / "was run"
    torch.save({"state_dict": Hostile(trap)}, file, _use_new_zipfile_serialization=zipped)
    with pytest.raises(ValueError, match="carries more than tensors .*mkdir.*convert it once"):
        resnet(weights=file)
    with pytest.raises(ValueError, match="carries more than tensors"):
        zoo.load(file)
    assert not trap.exists()
    torch.load(file, weights_only=False)  # the trap is one
    assert trap.exists()


def test_a_bare_pickle_is_refused_and_not_run(tmp_path):
    file, trap = tmp_path / "hostile.pkl", tmp_path / "was run"
    file.write_bytes(pickle.dumps(Hostile(trap), protocol=2))
    with pytest.raises(ValueError, match="hostile.pkl"):
        resnet(weights=file)
    assert not trap.exists()


@dataclass
class Config:
    depth: int = 20


def test_a_dataclass_in_a_file_is_named(model, tmp_path):
    torch.save({"state_dict": model.state_dict(), "config": Config()}, tmp_path / "file.pth")
    with pytest.raises(
        ValueError, match=r"more than tensors \(.*Config\).*torch.save\(torch.load\(old, weights_only=False"
    ):
        resnet(weights=tmp_path / "file.pth")


@pytest.mark.parametrize("suffix", [".pth", ".ckpt", ".safetensors", "-legacy.th"])
@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.99])
def test_a_file_that_is_cut_short_says_so(suffix, share, model, tmp_path):
    file = tmp_path / f"file{suffix}"
    if suffix == "-legacy.th":
        torch.save(model.state_dict(), file, _use_new_zipfile_serialization=False)
    else:
        model.export(file)
    content = file.read_bytes()
    file.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValueError, match="is cut short or not a (torch|safetensors) file.*: fetch or save it again"):
        resnet(weights=file)
    if suffix == ".ckpt":
        with pytest.raises(ValueError, match="cut short"):
            zoo.load(file)


@pytest.mark.parametrize("content", [[1, 2], torch.zeros(3), {"weights": 3}], ids=["list", "tensor", "no tensors"])
def test_a_file_of_something_else_is_refused(content, tmp_path):
    torch.save(content, tmp_path / "file.pth")
    with pytest.raises(ValueError, match="file.pth"):
        resnet(weights=tmp_path / "file.pth")
    with pytest.raises(ValueError, match="file.pth"):
        zoo.load(tmp_path / "file.pth")


@pytest.mark.parametrize("name", ["nothing.pth", "nothing.safetensors", "nothing.ckpt"])
def test_a_missing_file_says_what_weights_may_be(name, tmp_path):
    with pytest.raises(FileNotFoundError, match=f"no file .*{name}; weights come as 'timm:NAME', 'torchvision:NAME'"):
        resnet(weights=tmp_path / name)


# ---- checkpoints


@pytest.fixture
def checkpoint(tiny_data, trainer, tmp_path) -> Path:
    """Of ResNet-20, trained for two epochs with an average."""
    torch.manual_seed(0)
    run = trainer(callbacks=[EMA(0.9)])
    run.fit(ResNet("20", num_classes=10, image_size=8, lr=0.01), tiny_data)
    run.save_checkpoint(tmp_path / "run.ckpt")
    return tmp_path / "run.ckpt"


def test_load_takes_the_average_by_name(checkpoint):
    content = torch.load(checkpoint, weights_only=True)
    raw, average = zoo.load(checkpoint), zoo.load(checkpoint, average="EMA(0.9)")
    for key, value in raw.state_dict().items():
        assert torch.equal(value, content["state_dict"][key])
        assert torch.equal(average.state_dict()[key], content["averages"]["EMA(0.9)"][key])
    assert not torch.equal(raw.fc.weight, average.fc.weight)
    with pytest.raises(ValueError, match=r"run.ckpt has no average 'EMA\(0.5\)'; it has \['EMA\(0.9\)'\]"):
        zoo.load(checkpoint, average="EMA(0.5)")


def test_weights_only_checkpoints_load_too(checkpoint, tiny_data, trainer, tmp_path):
    run = trainer(callbacks=[EMA(0.9)])
    run.fit(ResNet("20", num_classes=10, image_size=8, lr=0.01), tiny_data)
    run.save_checkpoint(tmp_path / "weights.ckpt", weights_only=True)
    for average in (None, "EMA(0.9)"):
        loaded = zoo.load(tmp_path / "weights.ckpt", average)
        ema = next(c for c in run.callbacks if isinstance(c, EMA))
        expected = run.model.state_dict() if average is None else ema.average
        assert all(torch.equal(value, expected[key]) for key, value in loaded.state_dict().items())


def test_a_checkpoint_gives_weights_to_another_model(checkpoint, messages):
    finer = ResNet("20", num_classes=3, image_size=8, weights=checkpoint)
    assert torch.equal(finer.conv1.weight, zoo.load(checkpoint).conv1.weight)
    assert len(messages) == 1 and not finer.untrained


def test_reloading_does_not_ask_for_the_first_weights_again(tiny_data, trainer, model, tmp_path):
    model.export(tmp_path / "pretrained.pth")
    run = trainer(max_epochs=1)
    run.fit(ResNet("20", num_classes=10, image_size=8, lr=0.01, weights=str(tmp_path / "pretrained.pth")), tiny_data)
    run.save_checkpoint(tmp_path / "run.ckpt")
    (tmp_path / "pretrained.pth").unlink()
    assert torch.equal(zoo.load(tmp_path / "run.ckpt").fc.weight, run.model.fc.weight)


def test_a_timm_network_by_name_is_rebuilt(trainer, tmp_path):
    run = trainer(max_epochs=1)
    run.strategy.connect(Classifier("test_resnet", num_classes=5))
    run.save_checkpoint(tmp_path / "run.ckpt")
    loaded = zoo.load(tmp_path / "run.ckpt")
    assert loaded.num_classes == 5 and type(loaded) is Classifier
    assert all(torch.equal(a, b) for a, b in zip(loaded.parameters(), run.model.parameters(), strict=True))


def test_load_refuses_models_that_it_cannot_build(tiny_model, trainer, tmp_path, monkeypatch):
    class Mine(L.LightningModule):
        pass

    words = ["zoo.load\\(.*network=module\\)", "not in zoo.__all__: call its class's load_from_checkpoint"]
    for i, model in enumerate((tiny_model, Mine())):
        run, path = trainer(max_epochs=1), tmp_path / f"{i}.ckpt"
        run.strategy.connect(model)
        run.save_checkpoint(path)
        with pytest.raises(ValueError, match=words[i]):
            zoo.load(path)


# ---- weights trained by others


@pytest.mark.parametrize(("variant", "file"), [("20", "resnet20-12fca82f.th"), ("56", "resnet56-4bfd9763.th")])
def test_weights_of_akamaster(variant, file, images):
    """https://github.com/akamaster/pytorch_resnet_cifar10: keys behind `module.`, an old pickle, a head `linear`."""
    if not (OTHERS / file).exists():
        pytest.skip(f"needs {file} in ../shared/data")
    model = resnet(variant, weights=OTHERS / file)
    theirs = torch.load(OTHERS / file, map_location="cpu", weights_only=True)["state_dict"]
    assert torch.equal(model.fc.weight, theirs["module.linear.weight"])
    assert torch.equal(model.layer3[1].bn2.running_var, theirs["module.layer3.1.bn2.running_var"])
    assert model.eval()(images).std() > 1  # trained, so sure of something


@pytest.mark.parametrize(("asked", "used"), [(None, True), (True, True), (False, False)])
@pytest.mark.parametrize("path", ["http://example.org/last.ckpt", "s3://bucket/last.ckpt", "last.ckpt"])
def test_a_checkpoint_runs_no_code_unless_that_is_asked_for(path, asked, used, monkeypatch):
    seen = []
    monkeypatch.setattr(
        TorchCheckpointIO, "load_checkpoint", lambda *args, weights_only, **kwargs: seen.append(weights_only)
    )
    ClearCheckpointIO().load_checkpoint(path, weights_only=asked)
    assert seen == [used]


def test_an_address_of_a_file_with_code_is_one_line(monkeypatch):
    def refuse(*args, **kwargs):
        raise pickle.UnpicklingError("Weights only load failed.\nIn PyTorch 2.6 ...")

    monkeypatch.setattr(TorchCheckpointIO, "load_checkpoint", refuse)
    with pytest.raises(ValueError, match=r"^http://example.org/last.ckpt carries more than tensors[^\n]*$"):
        ClearCheckpointIO().load_checkpoint("http://example.org/last.ckpt")

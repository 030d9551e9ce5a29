"""What others' files hold: entries, averages, prefixes, no head, other kinds of file, code, damage."""

import argparse
import logging
import pickle
import random
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import timm
import torch
from torch import nn

import callbacks  # noqa: F401
import zoo
from zoo import Classifier, ResNet
from zoo.frame.surgery import operate
from zoo.frame.weight_files import ClearCheckpointIO, read

RAW = {"conv.weight": torch.arange(6.0).reshape(2, 3), "conv.bias": torch.zeros(2)}
AVERAGED = {key: value + 1 for key, value in RAW.items()}


def resnet(variant: str = "20", **arguments) -> ResNet:
    return ResNet(variant, num_classes=10, image_size=32, **arguments)


def same(state: dict, other: dict) -> bool:
    return state.keys() == other.keys() and all(torch.equal(value, other[key]) for key, value in state.items())


@pytest.fixture
def told(caplog) -> list[str]:
    """What a user is told."""
    caplog.set_level(logging.INFO, "lightning.pytorch.utilities.rank_zero")
    caplog.set_level(logging.INFO, "lightning.fabric.utilities.rank_zero")

    class Messages(list):
        def __str__(self):
            return "\n".join(record.getMessage() for record in caplog.records)

    return Messages()


# ---- which weights


@pytest.mark.parametrize("entry", ["net", "params", "model_state", "weights", "model_ema", "my_own"])
def test_the_only_weights_are_taken_whatever_they_are_called(entry, tmp_path):
    optimizer = {"state": {0: {"momentum": torch.ones(3)}}, "param_groups": [{"lr": 0.1}]}
    torch.save({entry: RAW, "acc": 93.0, "epoch": torch.tensor(199), "optimizer": optimizer}, tmp_path / "x.pth")
    assert same(read(tmp_path / "x.pth").state, RAW)
    torch.save({"model": {entry: RAW}}, tmp_path / "x.pth")
    assert same(read(tmp_path / "x.pth").state, RAW)


@pytest.mark.parametrize(
    ("raw", "average"), [("state_dict", "state_dict_ema"), ("model", "model_ema"), ("params", "params_ema")]
)
def test_the_average_is_taken_unless_another_is_asked_for(raw, average, told, tmp_path):
    torch.save({"epoch": 3, raw: RAW, average: AVERAGED}, tmp_path / "x.pth")
    assert same(read(tmp_path / "x.pth").state, AVERAGED)
    assert f"loading the weights '{average}'; the file also has '{raw}'" in str(told)
    assert same(read(tmp_path / "x.pth", which=raw).state, RAW)
    with pytest.raises(ValueError, match=rf"has no weights 'ema'; it has '{raw}', '{average}'"):
        read(tmp_path / "x.pth", which="ema")


def test_which_weights_reaches_the_model_and_a_tricks_average_is_asked_for_by_name(told, tmp_path):
    raw, average = resnet().state_dict(), resnet().state_dict()
    torch.save({"state_dict": raw, "averages": {"EMA(0.9)": average}}, tmp_path / "run.ckpt")
    model = resnet(weights=tmp_path / "run.ckpt")
    assert torch.equal(model.conv1.weight, raw["conv1.weight"]) and "the file also has 'EMA(0.9)'" in str(told)
    model.load_weights(tmp_path / "run.ckpt", which="EMA(0.9)")
    assert torch.equal(model.conv1.weight, average["conv1.weight"])


def test_none_or_several_are_named(tmp_path):
    torch.save({"generator": RAW, "discriminator": RAW}, tmp_path / "gan.pth")
    with pytest.raises(ValueError, match=r"several sets of weights, 'generator', 'discriminator': load_weights\(path"):
        read(tmp_path / "gan.pth")
    torch.save({"epoch": 3, "config": {"lr": 0.1}}, tmp_path / "none.pth")
    with pytest.raises(ValueError, match="none.pth holds no weights; its keys are 'epoch', 'config'"):
        read(tmp_path / "none.pth")


# ---- keys


@pytest.mark.parametrize("prefix", ["_orig_mod.module.", "model._orig_mod.", "net.module.", "module.model.network."])
def test_prefixes_come_off_in_any_order_and_what_lies_beside_is_left_out(prefix, told, tmp_path):
    state = resnet().state_dict()
    file = {prefix + key: value for key, value in state.items()} | {"criterion.weight": torch.ones(10), "ema.n": RAW}
    torch.save({key: value for key, value in file.items() if key != "ema.n"}, tmp_path / "x.pth")
    assert same(resnet(weights=tmp_path / "x.pth").state_dict(), state)
    assert "left out, because they are not part of the network: criterion.weight" in str(told)


def test_what_may_be_another_network_is_not_left_out(tmp_path):
    state = resnet().state_dict()
    torch.save(state | {"criterion.weight": torch.ones(10)}, tmp_path / "x.pth")
    assert same(resnet(weights=tmp_path / "x.pth").state_dict(), state)
    torch.save(state | {"extra.weight": torch.ones(10)}, tmp_path / "x.pth")
    with pytest.raises(ValueError, match=r"does not fit .*unknown: extra\.weight"):
        resnet(weights=tmp_path / "x.pth")
    twice = {f"{prefix}.{key}": value for key, value in state.items() for prefix in ("model", "net")}
    torch.save(twice, tmp_path / "x.pth")
    with pytest.raises(ValueError, match="x.pth holds several networks, behind model, net"):
        resnet(weights=tmp_path / "x.pth")


@pytest.mark.parametrize("make", [resnet, lambda **a: zoo.PreActResNet("110", num_classes=10, **a)])
def test_a_file_without_a_head_leaves_the_model_its_own(make, told, tmp_path):
    torch.manual_seed(0)
    state = {key: value for key, value in make().state_dict().items() if not key.startswith(("fc.", "head."))}
    torch.save(state, tmp_path / "x.pth")
    model = make(weights=tmp_path / "x.pth")
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in state.items()) and not model.untrained
    assert "has no head: " in str(told)
    torch.save({key: value for key, value in state.items() if not key.endswith("1.weight")}, tmp_path / "x.pth")
    with pytest.raises(ValueError, match="does not fit"):
        make(weights=tmp_path / "x.pth")


def test_a_network_that_its_owner_compiled_has_the_keys_of_the_others(trainer, tmp_path):
    network = nn.Sequential(
        OrderedDict(body=nn.Conv2d(3, 4, 3), pool=nn.AdaptiveAvgPool2d(1), flat=nn.Flatten(), fc=nn.Linear(4, 2))
    )
    keys, plain = set(network.state_dict()), {key: value.clone() for key, value in network.state_dict().items()}
    inner = nn.Sequential(OrderedDict(network.named_children()))
    inner.body = torch.compile(inner.body, backend="eager")
    for compiled in (torch.compile(network, backend="eager"), inner):
        model = Classifier(compiled, 2)
        model.export(tmp_path / "x.pth")
        assert set(torch.load(tmp_path / "x.pth")) == keys
        nn.init.zeros_(model.network.fc.weight)
        model.load_weights(tmp_path / "x.pth")
        assert same(model.plain_state_dict(), plain)
        run = trainer(max_epochs=1)
        run.strategy.connect(model)
        run.save_checkpoint(tmp_path / "x.ckpt")
        fresh = nn.Sequential(OrderedDict(body=nn.Conv2d(3, 4, 3), pool=nn.Flatten(), fc=nn.Linear(4, 2)))
        assert same(zoo.load(tmp_path / "x.ckpt", network=fresh).plain_state_dict(), plain)


@pytest.mark.parametrize("suffix", ["safetensors", "ckpt"])
def test_another_row_of_the_same_model_is_refused_where_the_file_tells(suffix, trainer, tmp_path, monkeypatch):
    """ResNet's 50 and 50-v1, a bottleneck each: the same keys and shapes, other strides."""
    for name, tweak in (("a", "v1"), ("b", "B")):
        row = zoo.resnet.Row(zoo.resnet.Bottleneck, (1, 1, 1, 1), 4, tweak)
        monkeypatch.setitem(zoo.resnet.VARIANTS, name, row)
    file, model = tmp_path / f"x.{suffix}", resnet("a")
    if suffix == "ckpt":
        run = trainer(max_epochs=1)
        run.strategy.connect(model)
        run.save_checkpoint(file)
    else:
        model.export(file)
    with pytest.raises(ValueError, match=r"has weights of ResNet\('a'\), which do not fit ResNet\('b'\)"):
        resnet("b", weights=file)
    assert same(resnet("a", weights=file).state_dict(), model.state_dict())


def test_a_file_that_does_not_tell_its_row_is_warned_of(tmp_path, monkeypatch):
    """torchvision's ResNet-50 fits 50-v1, and computes something else there."""
    for name, tweak in (("a", "v1"), ("b", "B")):
        row = zoo.resnet.Row(zoo.resnet.Bottleneck, (1, 1, 1, 1), 4, tweak)
        monkeypatch.setitem(zoo.resnet.VARIANTS, name, row)
    monkeypatch.setattr(zoo.ResNet, "twins", {"a": "b"})
    resnet("b").export(tmp_path / "x.pth")
    resnet("b", weights=tmp_path / "x.pth")
    with pytest.warns(UserWarning, match=r"ResNet\('b'\) has the same keys, .* wrong logits in ResNet\('a'\)"):
        resnet("a", weights=tmp_path / "x.pth")
    resnet("a").export(tmp_path / "x.safetensors")
    resnet("a", weights=tmp_path / "x.safetensors")  # ours, which tells


@pytest.mark.parametrize("suffix", ["safetensors", "ckpt"])
def test_an_activation_that_a_trick_put_in_is_told(suffix, trainer, tmp_path):
    """It has no keys: the other network would take its weights in silence."""
    file, model = tmp_path / f"x.{suffix}", resnet()
    operate(model, "Activation", kind="silu")
    if suffix == "ckpt":
        run = trainer(max_epochs=1)
        run.strategy.connect(model)
        run.save_checkpoint(file)
    else:
        model.export(file)
    with pytest.warns(
        UserWarning, match=r"x.* was changed by Activation\(kind='silu'\), this one by nothing: train with"
    ):
        resnet(weights=file)
    model.load_weights(file)


def test_tilde_is_the_home_folder(tmp_path, monkeypatch, trainer):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    monkeypatch.chdir(tmp_path)
    model = resnet()
    for name in ("w.safetensors", "w.pth"):
        model.export(f"~/{name}")
        assert same(resnet(weights=f"~/{name}").state_dict(), model.state_dict())
    run = trainer(max_epochs=1)
    run.strategy.connect(model)
    run.save_checkpoint(tmp_path / "home" / "x.ckpt")
    assert same(zoo.load("~/x.ckpt").state_dict(), model.state_dict())
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


# ---- other kinds of file


def write_kinds(folder: Path) -> dict[str, str]:
    """Files of other kinds: name -> what is said of it."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(3, 2)).eval()
    torch.jit.save(torch.jit.trace(network, torch.zeros(1, 3)), folder / "script.pt")
    torch.export.save(torch.export.export(network, (torch.zeros(1, 3),)), folder / "graph.pt2")
    np.savez(folder / "arrays.npz", weight=np.zeros(3))
    np.save(folder / "array.npy", np.zeros(3))
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "m-1.safetensors"}}')
    (folder / "config.json").write_text('{"architecture": "resnet50"}')
    (folder / "keras.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(99))
    (folder / "pointer.pth").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    (folder / "page.safetensors").write_text("<!doctype html><html>404</html>" + " " * 99)
    (folder / "packed.pth").write_bytes(b"\x1f\x8b" + bytes(99))
    (folder / "folder").mkdir()
    (folder / "graph.onnx").write_bytes(bytes(99))
    with zipfile.ZipFile(folder / "other.zip", "w") as archive:
        archive.writestr("model.pth", "x")
    return {
        "script.pt": r"a TorchScript archive.*torch.save\(torch.jit.load\(old\)",
        "graph.pt2": r"a graph of torch.export: .*torch.export.load\(old\)",
        "arrays.npz": r"arrays of numpy \(.npz\)",
        "array.npy": "an array of numpy",
        "model.safetensors.index.json": "the index of weights in 1 pieces, m-1.safetensors",
        "config.json": "a JSON file, without weights",
        "keras.h5": "an HDF5 file",
        "pointer.pth": "a pointer of Git LFS.*git lfs pull",
        "page.safetensors": "a web page",
        "packed.pth": "compressed by gzip: unpack",
        "folder": "a folder: name a file in it",
        "graph.onnx": "an ONNX graph",
        "other.zip": "a zip of other files",
    }


@pytest.mark.filterwarnings("ignore")  # TorchScript is deprecated
def test_other_kinds_of_file_are_called_what_they_are(tmp_path):
    for name, said in write_kinds(tmp_path).items():
        with pytest.raises(ValueError, match=f"{name} is {said}"):
            read(tmp_path / name)
        with pytest.raises(ValueError, match=f"{name} is {said}"):
            zoo.load(tmp_path / name)


def test_content_counts_not_the_suffix(tmp_path):
    torch.save(RAW, tmp_path / "x.safetensors")
    (tmp_path / "x.bin").write_bytes(safetensors.torch.save(RAW))
    assert same(read(tmp_path / "x.safetensors").state, RAW) and same(read(tmp_path / "x.bin").state, RAW)
    with pytest.raises(ValueError, match="x.bin holds only weights: make the model, then load_weights"):
        zoo.load(tmp_path / "x.bin")


# ---- code, and the advice to do without


class Config:
    """Plain Python, which a file may not bring."""


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda network: {"model": network.state_dict(), "args": argparse.Namespace(lr=0.1)},
        lambda network: {"state_dict": network.state_dict(), "optimizer": {"state": {}}, "config": Config()},
        lambda network: {"mine": network.state_dict(), "epoch": 3, "config": Config()},
        lambda network: {**network.state_dict(), "config": Config()},
        lambda network: {"model": network, "epoch": 3},
        lambda network: network,
    ],
    ids=["args", "state_dict", "mine", "beside", "module inside", "module"],
)
def test_the_advice_makes_a_file_that_loads(wrap, zipped, tmp_path):
    old, new = tmp_path / "old.pth", tmp_path / "new.pth"
    network = nn.Sequential(nn.Linear(3, 2))
    torch.save(wrap(network), old, _use_new_zipfile_serialization=zipped)
    with pytest.raises(ValueError, match="carries more than tensors .*convert it once: ") as caught:
        read(old)
    assert "\n" not in str(caught.value)
    exec(str(caught.value).split("convert it once: ")[1], {"torch": torch, "old": old, "new": new})
    assert same(read(new).state, network.state_dict())


class Greedy:
    def __reduce__(self):
        return bytearray, (10,)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_a_file_cannot_ask_for_memory(zipped, tmp_path):
    torch.save({"a": Greedy()}, tmp_path / "x.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(ValueError, match="carries more than tensors .bytearray."):
        read(tmp_path / "x.pth")


def test_a_zip_that_swells_is_refused_before_it_does(tmp_path):
    torch.save(RAW, tmp_path / "x.pth")
    with (
        zipfile.ZipFile(tmp_path / "x.pth") as there,
        zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as bomb,
    ):
        for name in there.namelist():
            bomb.writestr(name, bytes(2**24) if name.endswith("data/0") else there.read(name))
    with pytest.raises(ValueError, match=r"bomb.pth has [\d,]+ bytes and would take 16,7[\d,]+ in memory"):
        read(tmp_path / "bomb.pth")


# ---- what a checkpoint may ask for


def test_a_checkpoint_names_no_repository_and_no_path(tmp_path, monkeypatch):
    created = []

    def create(name, **options):
        created.append({"name": name, **options})
        raise OSError("seen enough")

    monkeypatch.setattr(timm, "create_model", create)
    for name in ("hf-hub:someone/model", "local-dir:folder/model", "no_such_model", 3):
        content = {"class": "Classifier", "hyper_parameters": {"network": name, "num_classes": 2}, "state_dict": {}}
        torch.save(content, tmp_path / "x.ckpt")
        with pytest.raises(ValueError, match=f"x.ckpt needs .*{name}.*, which is not a network of the installed timm"):
            zoo.load(tmp_path / "x.ckpt")
    assert not created
    files = {"checkpoint_path": "/there/x.pth", "cache_dir": "/there", "pretrained_cfg_overlay": {"file": "/there/x"}}
    arguments = {"network": "resnet18", "num_classes": 2, "weights": "/there/x.pth", **files}
    torch.save({"class": "Classifier", "hyper_parameters": arguments, "state_dict": {}}, tmp_path / "x.ckpt")
    with pytest.raises(ValueError, match="x.ckpt cannot be loaded: seen enough"):
        zoo.load(tmp_path / "x.ckpt")
    assert created[0] == {"name": "resnet18", "num_classes": 2}  # pretrained is false by default
    model = ResNet("20", num_classes=10, image_size=8)
    arguments = {"variant": "20", "num_classes": 10, "image_size": 8, "weights": str(tmp_path / "secret")}
    torch.save(
        {"class": "ResNet", "hyper_parameters": arguments, "state_dict": model.state_dict()}, tmp_path / "x.ckpt"
    )
    assert same(zoo.load(tmp_path / "x.ckpt").state_dict(), model.state_dict())


def test_a_checkpoint_that_fits_no_model_is_one_line(tmp_path):
    for arguments, said in (
        ({"nonsense": 1}, "ResNet takes no 'nonsense'"),
        ({}, r"Error.* Missing key.*conv1\.weight"),
    ):
        content = {"class": "ResNet", "hyper_parameters": {"variant": "20", **arguments}, "state_dict": {}}
        torch.save(content, tmp_path / "x.ckpt")
        with pytest.raises(ValueError, match=f"x.ckpt cannot be loaded: {said}") as caught:
            zoo.load(tmp_path / "x.ckpt")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_numbers_of_numpy_are_no_code(zipped, tmp_path):
    numbers = {"lr": np.float64(0.1), "epoch": np.int64(3), "best": np.float32(0.5), "last": np.bool_(True)}
    torch.save({"state_dict": RAW, **numbers}, tmp_path / "x.pth", _use_new_zipfile_serialization=zipped)
    assert same(read(tmp_path / "x.pth").state, RAW)
    content = pickle.dumps(np.float64(0.1), 2).replace(b"numpy._core", b"numpy.core")  # numpy 1
    assert pickle.loads(content) == 0.1


def test_hyperparameters_from_a_search_are_kept_as_plain_numbers(trainer, tiny_data, tmp_path):
    options = {"betas": np.array([0.9, 0.99]), "eps": np.float32(0.5)}
    model = ResNet(
        "20", np.int64(10), np.int64(8), lr=np.logspace(-3, -1, 3)[1], optimizer="adamw", optimizer_options=options
    )
    kept = dict(model.hparams)
    assert [type(kept[name]) for name in ("num_classes", "image_size", "lr")] == [int, int, float]
    assert kept["optimizer_options"] == {"betas": [0.9, 0.99], "eps": 0.5}
    run = trainer(max_epochs=1)
    run.fit(model, tiny_data)
    run.save_checkpoint(tmp_path / "x.ckpt")
    torch.load(tmp_path / "x.ckpt", weights_only=True)
    trainer(max_epochs=2).fit(model, tiny_data, ckpt_path=tmp_path / "x.ckpt")
    assert zoo.load(tmp_path / "x.ckpt").hparams.lr == pytest.approx(0.01)


# ---- damage


def damage(data: bytes, draw: random.Random) -> bytes:
    """Cut a file short, or change, overwrite or take out bytes; anywhere, or near one of its ends."""
    place = draw.choice(["anywhere", "begin", "end"])
    near = len(data) if place == "anywhere" else min(len(data) // 2, 3000)
    part = bytearray(data[-near:] if place == "end" else data[:near])
    start, length = draw.randrange(len(part)), draw.randrange(1, 200)
    kind = draw.choice(["cut", "bytes", "over", "out"])
    if kind == "bytes":
        for _ in range(draw.choice([1, 1, 3, 20])):
            part[draw.randrange(len(part))] = draw.randrange(256)
    elif kind == "cut":
        del part[start:]
    else:
        part[start : start + length] = draw.randbytes(length) if kind == "over" else b""
    return data[:-near] + bytes(part) if place == "end" else bytes(part) + (b"" if kind == "cut" else data[near:])


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("count", [40, pytest.param(500, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors", "ckpt"])
@pytest.mark.one_in(2)
def test_every_damaged_file_is_read_or_one_clear_line(kind, count, trainer, tmp_path):
    """Damage to numbers alone cannot be seen; everything else is a ValueError of one line that names the file."""
    torch.manual_seed(0)
    model = ResNet("20", num_classes=10, image_size=8)
    file, content = tmp_path / f"x.{kind}", {"state_dict": dict([*model.state_dict().items()][:12]), "epoch": 3}
    if kind == "ckpt":
        run = trainer(max_epochs=1)
        run.strategy.connect(model)
        run.save_checkpoint(file)
    elif kind == "safetensors":
        file.write_bytes(safetensors.torch.save(content["state_dict"], {"model": "x"}))
    else:
        torch.save(content, file, _use_new_zipfile_serialization=kind == "zip")
    data, draw, refused = file.read_bytes(), random.Random(0), 0
    for _ in range(count):
        file.write_bytes(damage(data, draw))
        for reader in (zoo.load, ClearCheckpointIO().load_checkpoint) if kind == "ckpt" else (read,):
            try:
                reader(file)
            except ValueError as error:
                assert str(file) in str(error) and "\n" not in str(error)
                refused += 1
    assert refused > count / 3

"""Folders and repositories of the Hub: bits that come back, files that timm opens, the card, and errors that help.

A local folder stands in the place of the network.
"""

import json
import os
import shutil
from pathlib import Path
from unittest.mock import Mock

import pytest
import timm
import torch
from huggingface_hub import ModelCard
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError, RepositoryNotFoundError

import zoo
from callbacks import Activation, CosineDecay, LabelSmoothing
from datamodules import Digits
from tests.conftest import TinyNetwork
from zoo import Classifier, DeiT, Preprocessing, ResNet, ViT
from zoo.frame import hub, weights

FOR_TIMM = {
    "ResNet": (lambda: ResNet("18", num_classes=7, image_size=96), "resnet18"),
    "ResNet of five channels": (lambda: ResNet("18", num_classes=3, image_size=96, in_chans=5), "resnet18"),
    "ViT of another size": (lambda: ViT("Ti/16", num_classes=5, image_size=96), "vit_tiny_patch16_224"),
    "DeiT": (lambda: DeiT("Ti", num_classes=6), "deit_tiny_distilled_patch16_224"),
    "by name": (lambda: Classifier("resnet10t", num_classes=4), "resnet10t"),
}


def random(model):
    """Weights and statistics that no initialisation has, so that equal logits mean something."""
    torch.manual_seed(3)
    for tensor in (*model.parameters(), *(b for b in model.buffers() if b.is_floating_point())):
        torch.nn.init.uniform_(tensor, 0.01, 0.1)
    return model.eval()


def small():
    """CIFAR's network, which timm does not have."""
    model = random(ResNet("20", num_classes=10, image_size=8, lr=0.3))
    model.classes = tuple("abcdefghij")
    model.preprocessing = Preprocessing(8, 8, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    return model


@pytest.mark.parametrize("name", FOR_TIMM)
def test_timm_opens_the_files(name, tmp_path):
    build, theirs = FOR_TIMM[name]
    model = random(build())
    size = model.image_size or 64
    images = torch.randn(2, model.in_chans, size, size)
    folder = model.save_pretrained(tmp_path / "ours")
    opened = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    with torch.no_grad():
        torch.testing.assert_close(opened(images), model(images), rtol=1e-5, atol=1e-5)
        for back in (type(model).from_pretrained(folder), zoo.load(folder)):
            assert type(back) is type(model) and not back.training and not back.untrained
            assert torch.equal(back(images), model(images))
    assert opened.pretrained_cfg["architecture"] == theirs and opened.num_classes == model.num_classes


def test_timm_prepares_pictures_as_we_do(tmp_path):
    model = random(ResNet("18", num_classes=3, image_size=96))
    model.preprocessing = Preprocessing(96, 128, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6), "bicubic")
    model.classes = ("ant", "bee", "cat")
    opened = timm.create_model(f"local-dir:{model.save_pretrained(tmp_path)}", pretrained=True)
    found = timm.data.resolve_model_data_config(opened)
    assert (*found["input_size"], found["crop_pct"], found["interpolation"]) == (3, 96, 96, 0.75, "bicubic")
    assert (*found["mean"], *found["std"]) == (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)
    assert list(opened.pretrained_cfg["label_names"]) == ["ant", "bee", "cat"]


def test_all_of_a_small_network_comes_back(tmp_path):
    model = small()
    folder = model.save_pretrained(tmp_path / "deep" / "ours")
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    images = torch.randn(3, 3, 8, 8)
    for back in (ResNet.from_pretrained(str(folder)), zoo.Model.from_pretrained(folder), zoo.load(folder)):
        assert torch.equal(back(images), model(images)) and type(back) is ResNet
        assert (back.classes, back.preprocessing) == (model.classes, model.preprocessing)
        assert dict(back.hparams) == dict(model.hparams)
    assert "architecture" not in json.loads((folder / "config.json").read_text())  # timm has no such network
    assert "timm" not in (folder / "README.md").read_text()


def test_files_are_replaced_when_they_are_on_the_disk(tmp_path, monkeypatch):
    """Written over in place, the files of an older model would be lost on a full disk."""
    flushed, replaced, move = [], {}, os.replace

    def watched(old, new):
        replaced[Path(new).name] = Path(old).name
        move(old, new)

    monkeypatch.setattr(os, "fsync", lambda number: flushed.append(Path(os.readlink(f"/proc/self/fd/{number}")).name))
    monkeypatch.setattr(os, "replace", watched)
    small().save_pretrained(tmp_path)
    assert [*replaced] == ["model.safetensors", "config.json", "README.md"] and {*replaced.values()} <= {*flushed}


def test_a_changed_network_comes_back_changed_and_is_not_offered_to_timm(tmp_path, trainer):
    model = ResNet("18", num_classes=10, image_size=96)
    trainer(callbacks=[Activation("silu")], fast_dev_run=1).fit(
        model, torch.utils.data.DataLoader([(torch.randn(3, 96, 96), 1)] * 2, 2)
    )
    folder, images = random(model).save_pretrained(tmp_path), torch.randn(2, 3, 96, 96)
    back = ResNet.from_pretrained(folder)
    assert torch.equal(back(images), model(images)) and back.surgery == model.surgery != []
    assert "architecture" not in json.loads((folder / "config.json").read_text())


def test_a_network_of_ones_own(tmp_path):
    model = random(Classifier(TinyNetwork(), num_classes=10))
    folder, images = model.save_pretrained(tmp_path), torch.randn(2, 3, 16, 16)
    assert torch.equal(zoo.load(folder, network=TinyNetwork())(images), model(images))
    for read in (zoo.load, Classifier.from_pretrained):
        with pytest.raises(ValueError, match=r"holds a network of your own.*zoo.load\(.*network=module\)"):
            read(folder)


@pytest.fixture
def remote(tmp_path, monkeypatch):
    """A folder that behaves like the Hub: repositories are its folders."""
    root = tmp_path / "hub"

    class Api:
        def __init__(self, token=None):
            self.token = token

        def create_repo(self, repo_id, private=None, exist_ok=False):
            assert exist_ok
            if self.token == "read":
                raise refused
            (root / repo_id).mkdir(parents=True, exist_ok=True)
            return type("Url", (), {"repo_id": repo_id})

        def upload_folder(self, repo_id, folder_path, commit_message):
            shutil.copytree(folder_path, root / repo_id, dirs_exist_ok=True)
            return f"hub/{repo_id}/commit/1"

    def download(repo, file, **options):
        if not (root / repo).is_dir():
            raise refused if "/" in repo else LocalEntryNotFoundError(file)
        if not (root / repo / file).is_file():
            raise EntryNotFoundError(file)
        return str(root / repo / file)

    refused = RepositoryNotFoundError.__new__(RepositoryNotFoundError)
    monkeypatch.setattr(hub, "HfApi", Api)
    monkeypatch.setattr(hub, "hf_hub_download", download)
    monkeypatch.setattr(weights, "hf_hub_download", download)
    return root


def test_there_and_back(remote):
    model, images = small(), torch.randn(2, 3, 8, 8)
    assert model.push_to_hub("us/resnet20", license="cc0-1.0") == "hub/us/resnet20/commit/1"
    for back in (ResNet.from_pretrained("us/resnet20"), Classifier.from_pretrained("us/resnet20")):
        assert torch.equal(back(images), model(images)) and back.classes == model.classes
    loaded = ResNet("20", num_classes=10, image_size=8, weights="hf:us/resnet20").eval()
    assert torch.equal(loaded(images), model(images)) and loaded.preprocessing == model.preprocessing
    assert 'ResNet.from_pretrained("us/resnet20")' in (remote / "us/resnet20/README.md").read_text()


def test_without_a_network_the_files_can_be_written(remote, monkeypatch):
    monkeypatch.setattr("zoo.frame.hub.HfApi.create_repo", Mock(side_effect=ConnectionError("no route")))
    with pytest.raises(ValueError, match=r"cannot be reached \(no route\): model.save_pretrained\(FOLDER\)"):
        small().push_to_hub("us/resnet20")


def test_errors_say_what_to_do(remote, tmp_path):
    model = small()
    with pytest.raises(ValueError, match="the Hub refuses us/resnet20: .*`hf auth login` with a token that may write"):
        model.push_to_hub("us/resnet20", token="read")
    model.push_to_hub("us/resnet20")
    with pytest.raises(ValueError, match=r"holds a ResNet, not a ViT: zoo.ResNet.from_pretrained\('us/resnet20'\)"):
        ViT.from_pretrained("us/resnet20")
    with pytest.raises(ValueError, match="no folder and no repository us/other; a private one needs token="):
        ResNet.from_pretrained("us/other")
    with pytest.raises(ValueError, match="elsewhere is neither a folder nor in the cache, and the Hub"):
        ResNet.from_pretrained("elsewhere")
    (remote / "us/resnet20/model.safetensors").write_bytes(b"cut")
    with pytest.raises(ValueError, match="model.safetensors is cut short or not a safetensors file"):
        ResNet.from_pretrained("us/resnet20")
    (remote / "us/resnet20/model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"us/resnet20 has no model.safetensors: upload .* model.push_to_hub\("):
        ResNet.from_pretrained("us/resnet20")
    with pytest.raises(ValueError, match=r"has no config.json: write the folder with model.save_pretrained\("):
        ResNet.from_pretrained(tmp_path)
    (tmp_path / "config.json").write_text('{"architecture": "resnet50"}')
    with pytest.raises(ValueError, match=r"holds the resnet50 of another library: Classifier\('local-dir:"):
        zoo.load(tmp_path)


def test_the_card_is_made_from_the_run(tmp_path, trainer, monkeypatch):
    monkeypatch.setenv("PL_GLOBAL_SEED", "5")
    monkeypatch.setattr("sys.argv", ["somebody/code/train.py", "--epochs", "1 2"])
    model = ResNet("20", num_classes=10, image_size=8)
    run = trainer(callbacks=[CosineDecay(), LabelSmoothing(0.2)], max_epochs=1, limit_train_batches=2)
    run.fit(model, Digits(64, num_workers=0))
    scores = run.test(model, Digits(64, num_workers=0), verbose=False)[0]
    text = (model.save_pretrained(tmp_path / "card", license="mit") / "README.md").read_text()
    card = ModelCard(text)
    assert {"license": "mit", "library_name": "lightning-zoo"}.items() <= card.data.to_dict().items()
    (result,) = card.data.eval_results
    assert (result.metric_name, result.dataset_name) == ("test/acc", "Digits")
    assert result.metric_value == pytest.approx(scores["test/acc"])
    for line in (
        "| network | ResNet('20') |",
        "| data | Digits |",
        "| seeds | 5 |",
        "| command | `train.py --epochs '1 2'` |",
        "| commit | not recorded |",
        f"| test/acc | {scores['test/acc']:.4f} |",
    ):
        assert line in text
    assert "CosineDecay(), LabelSmoothing(eps=0.2)" in text and "somebody" not in text


def test_what_is_given_wins_over_the_run(tmp_path):
    facts = {"data": "digits", "seeds": [1, 2], "metrics": {"test/acc": 0.5}, "command": "zoo run x", "commit": "abc"}
    text = (small().save_pretrained(tmp_path, **facts) / "README.md").read_text()
    for line in ("| data | digits |", "| seeds | 1, 2 |", "| test/acc | 0.5000 |", "| command | `zoo run x` |"):
        assert line in text
    assert "| tricks | not recorded |" in text and "| license | not recorded |" in text

"""Networks of timm by name: arguments and weights go in, checkpoints give both back; images of any channels."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import timm
import torch
from timm.models import adapt_input_conv
from torch import nn

import zoo
from tests.conftest import TinyNetwork
from zoo import Classifier, ConvNet, Preprocessing, ResNet
from zoo.frame import by_name as by_name_module
from zoo.frame.about import check_classes, metadata

NAME = "test_resnet.r160_in1k"  # timm's smallest network with a tag: 160 px


@pytest.fixture
def file(tmp_path) -> Path:
    """Weights of `NAME` as timm has them: 1,000 classes, 3 channels."""
    torch.manual_seed(3)
    path = tmp_path / "weights.pth"
    torch.save(timm.create_model(NAME).state_dict(), path)
    return path


@pytest.fixture
def local(file) -> dict:
    """In the place of timm's download, by timm's own means."""
    return {"pretrained_cfg_overlay": {"file": str(file)}}


def saved(model: Classifier, path: Path, trainer) -> Path:
    run = trainer(max_epochs=0)
    run.strategy.connect(model)
    run.save_checkpoint(path)
    return path


def test_weights_and_arguments_come_by_name_and_a_checkpoint_gives_them_back(file, local, tmp_path, trainer):
    model = Classifier(NAME, 5, weights="timm", in_chans=2, drop_path_rate=0.25, **local).eval()
    theirs = torch.load(file)
    torch.testing.assert_close(model.network.conv1[0].weight, adapt_input_conv(2, theirs["conv1.0.weight"]))
    torch.testing.assert_close(model.network.layer4[0].conv1.weight, theirs["layer4.0.conv1.weight"])
    assert not model.untrained and model.in_chans == 2 and model.num_classes == 5
    path = saved(model, tmp_path / "model.ckpt", trainer)
    file.unlink()  # a checkpoint brings its own weights
    again, images = zoo.load(path), torch.randn(2, 2, 160, 160)
    assert again.hparams["drop_path_rate"] == 0.25 and again.preprocessing == model.preprocessing
    rates = [layer.drop_prob for layer in again.modules() if type(layer).__name__ == "DropPath"]
    assert max(rates) == pytest.approx(0.25)
    with torch.no_grad():
        torch.testing.assert_close(again(images), model(images))


@pytest.mark.parametrize(("name", "heads"), [("test_efficientnet", 1), ("deit_tiny_distilled_patch16_224", 2)])
def test_under_a_new_head_all_classes_begin_equally_likely(name, heads, tmp_path):
    """timm draws the first of these up to 1 / sqrt(5)."""
    torch.manual_seed(3)
    torch.save(timm.create_model(name).state_dict(), tmp_path / "weights.pth")
    local = {"pretrained_cfg_overlay": {"file": str(tmp_path / "weights.pth"), "num_classes": 1000}}
    network = by_name_module.fetch(name, num_classes=5, **local)
    drawn = network.get_classifier()
    drawn = drawn if isinstance(drawn, tuple) else (drawn,)
    assert len(drawn) == heads
    for head in drawn:
        assert head.out_features == 5 and not head.bias.any()
        assert 0.005 < head.weight.std() < 0.015
    theirs = by_name_module.fetch(name, num_classes=1000, **local)  # a head of the weights stays
    drawn = theirs.get_classifier()
    theirs_head = drawn[0] if isinstance(drawn, tuple) else drawn
    key = "head.weight" if heads == 2 else "classifier.weight"
    assert torch.equal(theirs_head.weight, torch.load(tmp_path / "weights.pth")[key])


def test_pictures_are_told_in_words_of_imagenet_until_data_has_others(file, local, tmp_path, trainer):
    whole = Classifier(NAME, weights="timm", **local)
    [found] = whole.predict(torch.zeros(1, 3, 160, 160, dtype=torch.uint8))
    assert found.label in whole.pretrained_classes and whole.pretrained_classes[517] == "crane"
    assert json.loads(metadata(whole)["classes"])[281] == "tabby"
    check_classes(whole.classes, SimpleNamespace(classes=[f"n{i:08}" for i in range(1000)]))  # they are not compared
    whole.classes = tuple(map(str, range(1000, 2000)))
    [found] = whole.predict(torch.zeros(1, 3, 160, 160, dtype=torch.uint8))
    assert found.label in whole.classes
    assert Classifier(NAME, 5, weights="timm", **local).pretrained_classes is None
    assert Classifier(NAME).pretrained_classes is None  # random weights know no tabby


def test_without_a_network_the_error_names_the_weights(monkeypatch):
    def create(name, pretrained=False, **arguments):
        raise FileNotFoundError("No connection. And more")

    monkeypatch.setattr(timm, "create_model", create)
    with pytest.raises(ValueError, match=r"weights of timm's test_resnet.* \(No connection\): connect"):
        Classifier(NAME, weights="timm")


def test_load_weights_takes_those_of_the_same_network_only(file, monkeypatch):
    make = timm.create_model
    overlay = {"pretrained_cfg_overlay": {"file": str(file)}}
    monkeypatch.setattr(
        timm, "create_model", lambda name, pretrained=False, **k: make(name, pretrained, **overlay, **k)
    )
    model = Classifier("test_resnet", 5, in_chans=1)
    model.load_weights(f"timm:{NAME}")
    theirs = torch.load(file)
    torch.testing.assert_close(model.network.conv1[0].weight, theirs["conv1.0.weight"].sum(1, keepdim=True))
    assert model.network.fc.weight.shape[0] == 5 and not model.untrained
    assert model.preprocessing.channels == 1 and model.preprocessing.size == 160
    with pytest.raises(ValueError, match="this network is timm's test_resnet, the weights are of resnet18"):
        model.load_weights("timm:resnet18.a1_in1k")


def test_random_weights_under_a_name_with_a_tag_are_told(monkeypatch, trainer, tiny_data):
    told = []
    monkeypatch.setattr(by_name_module, "rank_zero_info", told.append)
    for name in ("test_resnet", NAME):
        trainer(max_epochs=1, limit_train_batches=1).fit(Classifier(name, 10), tiny_data)
    assert len(told) == 1 and told[0].startswith(f"{NAME} begins with random weights")


def test_wrong_arguments_are_refused():
    with pytest.raises(TypeError, match="timm cannot make test_resnet with these arguments .drop_pth"):
        Classifier("test_resnet", drop_pth=0.1)
    with pytest.raises(TypeError, match="act_layer=.* cannot be kept in a checkpoint"):
        Classifier("test_resnet", act_layer=nn.SiLU)
    with pytest.raises(TypeError, match="Classifier takes no 'drop_path_rate'"):
        Classifier(TinyNetwork(), drop_path_rate=0.1)
    with pytest.raises(ValueError, match="in_chans=1, but the network takes 3"):
        Classifier(TinyNetwork(), in_chans=1)
    with pytest.raises(ValueError, match="from 1 to 16, got 17"):
        ResNet("20", num_classes=10, in_chans=17)


# ---- channels


@pytest.mark.parametrize("channels", [1, 5])
def test_a_file_of_colours_is_adapted_as_timm_does(channels, tmp_path):
    torch.manual_seed(0)
    colours = ResNet("20", num_classes=10, image_size=32)
    colours.export(tmp_path / "colours.safetensors")
    model = ResNet("20", num_classes=10, image_size=32, in_chans=channels, weights=tmp_path / "colours.safetensors")
    torch.testing.assert_close(model.conv1.weight, adapt_input_conv(channels, colours.conv1.weight))
    torch.testing.assert_close(model.layer1[0].conv1.weight, colours.layer1[0].conv1.weight)
    grey = torch.randn(2, 1, 32, 32)
    if channels == 1:  # a grey picture gives what it gave as three equal colours
        torch.testing.assert_close(model.eval()(grey), colours.eval()(grey.expand(-1, 3, -1, -1)))


def test_random_first_layers_keep_the_variance_of_their_outputs():
    torch.manual_seed(0)
    three, twelve = (ResNet("18", in_chans=c).conv1 for c in (3, 12))
    ratio = twelve(torch.randn(8, 12, 64, 64)).std() / three(torch.randn(8, 3, 64, 64)).std()
    assert ratio.item() == pytest.approx(1, rel=0.05)


def test_a_layer_of_three_channels_inside_is_no_first_layer():
    model = ConvNet("3@3 8@3", 10, image_size=16, in_chans=1)
    assert model(torch.randn(2, 1, 16, 16)).shape == (2, 10)


def test_images_of_other_channels_say_what_to_do(trainer, tiny_data):
    model = ResNet("20", num_classes=10, image_size=8, in_chans=1)
    with pytest.raises(ValueError, match=r"images have 3 channels, this ResNet takes 1: make it with in_chans=3"):
        trainer().fit(model, tiny_data)


def test_a_first_layer_on_blocks_of_pixels_takes_what_it_was_made_for():
    with torch.device("meta"):
        colours, grey = Classifier("tresnet_m", 10), Classifier("tresnet_m", 10, in_chans=1)
    assert colours.in_chans == colours.preprocessing.channels == 3
    assert grey.in_chans == grey.preprocessing.channels == 1


def test_the_channels_of_anothers_network_are_its_own_affair(trainer, tiny_data):
    network = nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(12, 4, 3), nn.Flatten(), nn.Linear(16, 10))
    trainer(max_epochs=1, limit_train_batches=1).fit(Classifier(network), tiny_data)


def test_mean_and_std_follow_the_channels():
    network = timm.create_model("test_resnet")
    assert Preprocessing.of_timm(network, 1).mean == (pytest.approx(sum(network.pretrained_cfg["mean"]) / 3),)
    assert Preprocessing.of_timm(network, 4).std == (*network.pretrained_cfg["std"], network.pretrained_cfg["std"][0])

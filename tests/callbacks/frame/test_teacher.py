"""The teacher: its source, its state during a fit, and its inputs."""

import lightning as L
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from callbacks import AttentionTransfer, GradientAttentionTransfer, Hints, KnowledgeDistillation
from callbacks.frame import teacher as teacher_module
from callbacks.frame.teacher import Teacher, load_teacher
from tests.callbacks.conftest import At, SeenSteps, assert_equal
from tests.conftest import TEACHERS, build_trick, tiny_classifier, tiny_network
from zoo import ResNet

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Published(nn.Module):
    """A stand-in for a timm network: it knows the preprocessing of its training."""

    pretrained_cfg = {"mean": MEAN, "std": STD, "input_size": (3, 16, 16)}
    num_classes = 10

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3, 10)
        self.feature_info = [{"module": "fc", "num_chs": 10, "reduction": 1}]

    def forward(self, x):
        self.seen = x
        return self.fc(x.mean((2, 3)))


@pytest.fixture
def asked(monkeypatch):
    """Record the calls of timm's `create_model`, which returns a `Published`."""
    calls = []

    def create_model(name, pretrained=False):
        calls.append((name, pretrained))
        return Published()

    monkeypatch.setattr(teacher_module.timm, "create_model", create_model)
    return calls


class Plain(L.LightningDataModule):
    mean, std = (0.5, 0.25, 0.0), (0.5, 2.0, 1.0)

    def __init__(self, loader):
        super().__init__()
        self.loader = loader

    def train_dataloader(self):
        return self.loader


# ---- its source


def test_of_timm_comes_with_its_weights_stages_and_images(asked):
    teacher = Teacher("timm:resnet18.a1_in1k")
    assert asked == [("resnet18.a1_in1k", True)]
    assert [*teacher.network.stages] == ["stage1"]
    assert (teacher.normalization, teacher.image_size) == ((MEAN, STD), 16)
    own = Teacher("timm:resnet18", ((0, 0, 0), (1, 1, 1)), 32)
    assert (own.normalization, own.image_size) == (((0, 0, 0), (1, 1, 1)), 32)


def test_a_real_network_of_timm_says_the_same(monkeypatch):
    create = teacher_module.timm.create_model
    monkeypatch.setattr(teacher_module.timm, "create_model", lambda name, pretrained: create(name))
    teacher = Teacher("timm:test_resnet.r160_in1k")
    assert teacher.image_size == 160 and len(teacher.normalization) == 2
    assert teacher.network(torch.randn(1, 3, 160, 160)).shape == (1, 1000)


def test_from_the_hub_is_a_checkpoint_of_the_zoo(trainer, tiny_data, tmp_path, monkeypatch):
    torch.manual_seed(0)
    model = ResNet("20", num_classes=10, image_size=8)
    run = trainer(max_epochs=1, limit_train_batches=1)
    run.fit(model, tiny_data)
    run.save_checkpoint(tmp_path / "model.ckpt")
    monkeypatch.setattr(teacher_module, "hf_hub_download", lambda repo, file: tmp_path / repo.partition("/")[0] / file)
    with pytest.raises(FileNotFoundError):
        load_teacher("nobody/resnet")
    monkeypatch.setattr(teacher_module, "hf_hub_download", lambda repo, file: {"us/resnet": tmp_path}[repo] / file)
    network = load_teacher("hf:us/resnet")
    assert type(network) is ResNet and not network.training
    assert_equal(network.state_dict(), model.state_dict())


def test_a_network_of_its_own_sees_the_images_as_they_come():
    network = Published()
    teacher = Teacher(network)
    assert teacher.network is network and teacher.normalization is None and teacher.image_size is None


# ---- its state


def state(network):
    """Return the modes of all modules, and which parameters are trained."""
    return [m.training for m in network.modules()], [p.requires_grad for p in network.parameters()]


@pytest.mark.parametrize("failing", [False, True])
@pytest.mark.parametrize("name", TEACHERS)
def test_is_at_rest_in_the_fit_and_afterwards_as_it_was(name, failing, tiny_data, trainer):
    """No graph is built through its weights during the fit. Afterwards it can be trained as before."""
    trick, seen = build_trick(name), []
    teacher = trick.teacher
    next(teacher.network.parameters()).requires_grad_(False)
    teacher.network.block2.eval()
    before = state(teacher)

    def look(run, model):
        seen.append(state(teacher))
        if failing:
            raise RuntimeError("stop")

    run = trainer(callbacks=[trick, At("on_before_zero_grad", look)], max_epochs=1, limit_train_batches=1)
    if failing:
        with pytest.raises(RuntimeError, match="stop"):
            run.fit(tiny_classifier(network=tiny_network(name)), tiny_data)
    else:
        run.fit(tiny_classifier(network=tiny_network(name)), tiny_data)
    assert [any(part) for part in seen[0]] == [False, False]
    assert state(teacher) == before


def test_goes_back_with_the_last_who_shares_it(tiny_model, tiny_data, trainer):
    network = tiny_classifier(width=6)
    tricks = [KnowledgeDistillation(network), AttentionTransfer(network), Hints(network)]
    for _ in range(2):
        trainer(callbacks=tricks, max_epochs=1, limit_train_batches=1).fit(tiny_model, tiny_data)
        assert all(map(all, state(network)))
    assert network not in teacher_module.LENT


@pytest.mark.parametrize("name", TEACHERS)
def test_answers_in_its_own_precision(name, tiny_data, trainer):
    """The student is all in bfloat16."""
    trick, model = build_trick(name), tiny_classifier(network=tiny_network(name))
    trainer(callbacks=[trick], precision="bf16-true", max_epochs=1).fit(model, tiny_data)
    assert {p.dtype for p in trick.teacher.parameters()} == {torch.float32}
    assert all(p.isfinite().all() for p in model.parameters())


# ---- its inputs


def test_sees_published_images_of_the_students_batch(asked, tiny_model, tiny_data, trainer):
    steps = SeenSteps()
    trick = KnowledgeDistillation("timm:anything", weight=1.0)
    run = trainer(callbacks=[trick, steps], max_epochs=1, limit_train_batches=1)
    run.fit(tiny_model, datamodule=Plain(tiny_data))
    images = steps.steps[0].images
    pixels = images * torch.tensor(Plain.std).view(3, 1, 1) + torch.tensor(Plain.mean).view(3, 1, 1)
    wanted = (pixels - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    seen = trick._teacher.network.network.seen
    torch.testing.assert_close(seen, F.interpolate(wanted, (16, 16), mode="bilinear", antialias=True))


@pytest.mark.parametrize("trick", [AttentionTransfer, GradientAttentionTransfer, Hints, KnowledgeDistillation])
def test_of_its_own_normalisation_and_resolution(trick, tiny_model, tiny_data, trainer):
    torch.manual_seed(1)
    teacher, seen = tiny_classifier(width=6), []
    run = trainer(callbacks=[trick(teacher, normalization=(MEAN, STD), image_size=16)], max_epochs=1)
    teacher.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    data = Plain(tiny_data)
    if trick is Hints:  # its regressors need to know
        with pytest.raises(ValueError, match="give the model or the data module an `image_size`"):
            run.fit(tiny_model, datamodule=data)
    data.image_size = 8
    run.fit(tiny_model, datamodule=data)
    pixels = next(iter(tiny_data))[0] * torch.tensor(Plain.std).view(3, 1, 1) + torch.tensor(Plain.mean).view(3, 1, 1)
    wanted = (pixels - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    wanted = F.interpolate(wanted, (16, 16), mode="bilinear", antialias=True)
    first = next(images for images in seen if len(images) == len(wanted))  # not the dry run of hints
    torch.testing.assert_close(first, wanted)


def test_gradients_go_through_what_it_sees(asked, tiny_model, tiny_data, trainer):
    trick = GradientAttentionTransfer("timm:anything")
    run = trainer(callbacks=[trick], max_epochs=1, limit_train_batches=1)
    run.fit(tiny_model, datamodule=Plain(tiny_data))
    assert trick._teacher.network.network.seen.shape[-2:] == (16, 16)


@pytest.mark.parametrize("side", [4, 16])
def test_other_resolution_keeps_what_is_constant_and_the_mean(side):
    teacher = Teacher(nn.Identity(), image_size=side)
    images = torch.full((2, 3, 8, 8), 0.7)
    torch.testing.assert_close(teacher.see(images), torch.full((2, 3, side, side), 0.7))
    images = torch.randn(2, 3, 8, 8)
    if side == 4:  # antialiased: every pixel counts
        impulse = torch.zeros(1, 1, 8, 8)
        impulse[0, 0, 3, 3] = 1
        assert teacher.see(impulse).sum().item() == pytest.approx(1 / 4, rel=1e-4)
        assert (Teacher(nn.Identity(), image_size=2).see(impulse.roll((-3, -3), (2, 3))) > 0).any()  # a corner's too
    assert teacher.see(images).shape == (2, 3, side, side)
    same = Teacher(nn.Identity(), image_size=8)
    assert same.see(images) is images


def test_attention_of_a_teacher_on_larger_images(tiny_model, tiny_data, trainer):
    torch.manual_seed(1)
    teacher, sides = tiny_classifier(width=6), []
    teacher.register_forward_pre_hook(lambda module, inputs: sides.append(inputs[0].shape[-1]))
    tricks = [AttentionTransfer(teacher, image_size=32), KnowledgeDistillation(teacher, image_size=32)]
    trainer(callbacks=tricks, max_epochs=1, limit_train_batches=2).fit(tiny_model, tiny_data)
    assert sides == [32, 32]  # one pass a batch for both
    tricks = [KnowledgeDistillation(teacher), KnowledgeDistillation(teacher, image_size=32)]
    trainer(callbacks=tricks, max_epochs=1, limit_train_batches=1).fit(tiny_model, tiny_data)
    assert sides[2:] == [8, 32]


def test_refuses_its_own_normalisation_on_whitened_data(tiny_model, tiny_data, trainer, asked):
    data = Plain(tiny_data)
    data.whitening = object()
    with pytest.raises(ValueError, match="data module with `mean` and `std`"):
        trainer(callbacks=[KnowledgeDistillation("timm:anything")]).fit(tiny_model, datamodule=data)

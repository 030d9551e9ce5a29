"""SyncBatchNorm: the norms are torch's for the time of a fit; one process gives a batch norm's bits; refusals."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from callbacks import Norm, SyncBatchNorm
from tests.callbacks.conftest import At, assert_equal, weights
from tests.conftest import tiny_classifier
from zoo import ConvNeXt


def kinds(model):
    return [type(m) for m in model.modules()]


def test_in_one_process_it_is_batch_norm_bit_for_bit(trainer, tiny_data):
    ends, during = [], []
    for tricks in ([], [SyncBatchNorm(), At("on_train_epoch_end", lambda t, m: during.append(kinds(m)))]):
        torch.manual_seed(0)
        model = tiny_classifier()
        before = kinds(model)
        trainer(callbacks=tricks).fit(model, tiny_data, tiny_data)
        assert kinds(model) == before
        ends.append(weights(model))
    assert_equal(*ends)
    assert nn.SyncBatchNorm in during[0] and nn.BatchNorm2d not in during[0]


def test_the_changed_class_is_what_torch_converts_to():
    """No attribute of torch's own is missing."""
    norm = nn.BatchNorm2d(3)
    trick, model = SyncBatchNorm(), nn.Sequential(norm)
    trick.on_fit_start(None, model)
    theirs = nn.SyncBatchNorm.convert_sync_batchnorm(nn.BatchNorm2d(3))
    assert vars(norm).keys() == vars(theirs).keys() and norm.process_group is theirs.process_group is None
    trick.leave(None, model)
    assert vars(norm).keys() == vars(nn.BatchNorm2d(3)).keys() and type(norm) is nn.BatchNorm2d


def test_an_exception_gives_the_norms_back(trainer, tiny_data):
    def fail(trainer, model):
        raise RuntimeError("stop")

    model = tiny_classifier()
    before = kinds(model)
    with pytest.raises(RuntimeError, match="stop"):
        trainer(callbacks=[SyncBatchNorm(), At("on_train_epoch_end", fail)]).fit(model, tiny_data)
    assert kinds(model) == before


def test_refusals(trainer, tiny_data):
    with pytest.raises(TypeError, match="ConvNeXt has no batch norms: take SyncBatchNorm out"):
        trainer(callbacks=[SyncBatchNorm()]).fit(ConvNeXt("T", num_classes=10, image_size=32), tiny_data)
    with pytest.raises(ValueError, match="both choose the norms"):
        trainer(callbacks=[SyncBatchNorm(), Norm()]).fit(tiny_classifier(), tiny_data)
    two = SimpleNamespace(world_size=2, strategy=SimpleNamespace(root_device=torch.device("cpu")))
    with pytest.raises(TypeError, match="SyncBatchNorm needs GPUs"):
        SyncBatchNorm().prepare(two, tiny_classifier(), "fit")

"""Batches as other people's loaders give them: they train as a list does, or are refused in one line."""

import pytest
import torch
from torch.utils.data import DataLoader

from callbacks import Cutout, MixUp
from tests.callbacks.conftest import Foreign, SeenBatches
from tests.conftest import CLASSES, collate
from zoo.frame.batches import as_list, images_and_targets

FORMS = {
    "list": list,
    "tuple": tuple,
    "dict": lambda batch: dict(zip(("image", "label"), batch, strict=True)),
    "another dict": lambda batch: dict(zip(("pixel_values", "labels"), batch, strict=True)) | {"path": ["x"]},
}


def loader(form, size=8):
    torch.manual_seed(1)
    items = list(zip(torch.randn(8, 3, size, size), torch.arange(8) % CLASSES, strict=True))
    return DataLoader(items, batch_size=4, collate_fn=lambda items: form(collate(items)))


@pytest.mark.parametrize("form", list(FORMS))
def test_every_form_reaches_tricks_and_network_as_a_list(form, tiny_model, trainer):
    seen, plain = SeenBatches(), SeenBatches()
    for spy, each in ((seen, FORMS[form]), (plain, list)):
        trainer(callbacks=[MixUp(0.5), spy], max_epochs=1).fit(tiny_model, loader(each), loader(each))
    for mine, theirs in zip(seen.train + seen.val, plain.train + plain.val, strict=True):
        assert len(mine) == 2 and all(torch.equal(a, b) for a, b in zip(mine, theirs, strict=True))
    assert seen.train[0][1].is_floating_point()  # mixed


@pytest.mark.parametrize("form", ["tuple", "dict"])
def test_another_module_with_such_batches_is_told_what_tricks_need(form, trainer):
    with pytest.raises(TypeError, match=f"Cutout changes the batch in place, and it is a {form}: let the loader's"):
        trainer(callbacks=[Cutout(2)], max_epochs=1).fit(Foreign(), loader(FORMS[form]))


@pytest.mark.parametrize(
    ("batch", "said"),
    [
        ((torch.zeros(1), torch.zeros(1), 5), "got Tensor, Tensor, int"),
        ([torch.zeros(1)], "got Tensor: let"),
        (torch.zeros(1), "got Tensor: let"),
        ("text", "got str"),
    ],
)
def test_what_has_no_two_parts_is_refused(batch, said):
    with pytest.raises(TypeError, match=rf"a batch must be a list of two tensors \[images, targets\], {said}"):
        images_and_targets(as_list(batch))


def test_a_dict_of_other_names_is_refused():
    with pytest.raises(TypeError, match="the batch is a dict of a, b: call its parts 'images' and 'targets', or let"):
        as_list({"a": 1, "b": 2})


def test_mixing_tricks_refuse_a_third_part(tiny_model, trainer):
    data = loader(lambda batch: [*batch, batch[1]])
    with pytest.raises(TypeError, match=r"got Tensor, Tensor, Tensor: let the loader's collate_fn"):
        trainer(callbacks=[MixUp(0.5)], max_epochs=1).fit(tiny_model, data)


def test_images_alone_are_predicted(tiny_model, trainer):
    data = loader(lambda batch: {"image": batch[0]})
    (first, _), (same, _) = (trainer().predict(tiny_model.eval(), x) for x in (data, loader(list)))
    assert torch.equal(first, same)

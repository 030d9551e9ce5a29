"""Options of data modules: written out for the command line, and a wrong one is told with the nearest right ones."""

import inspect

import pytest

import datamodules
from datamodules import CIFAR10, Arrays, Digits, ImageData, ImageFolder, Shapes
from recipes.frame.catalogue import datamodules as listed

OF_IMAGES = [name for name in datamodules.__all__ if issubclass(getattr(datamodules, name), ImageData)]


def test_the_list_is_of_the_members():
    assert "ImageData" not in datamodules.__all__ and datamodules.ImageData is ImageData
    assert [entry.name for entry in listed()] == datamodules.__all__
    assert set(OF_IMAGES) == set(datamodules.__all__) - {"MNIST1D"}


@pytest.mark.parametrize("name", OF_IMAGES)
def test_signatures_are_written_out(name):
    parameters = inspect.signature(getattr(datamodules, name)).parameters
    assert {"batch_size", "val_split", "fold", "fraction", "sampling", "repeats", "num_workers"} <= set(parameters)
    assert not [p for p in parameters.values() if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    assert parameters["split_seed"].default == 0


def test_defaults_are_those_of_the_class():
    assert inspect.signature(Digits).parameters["padding"].default == 1
    assert inspect.signature(CIFAR10).parameters["padding"].default == 4


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Digits(transfrom="flip"), "Digits has no option 'transfrom': did you mean 'transform'"),
        (lambda: Shapes(image=3), "Shapes has no option 'image': did you mean 'images'"),
        (lambda: ImageFolder("x", batchsize=3), "ImageFolder has no option 'batchsize': did you mean 'batch_size'"),
        (lambda: CIFAR10(zzz=3), "CIFAR10 has no option 'zzz': there are root, batch_size"),
        (lambda: Arrays([[[0]]], [0], fractoin=1), "did you mean 'fraction'"),
    ],
)
def test_a_wrong_option(make, said):
    with pytest.raises(TypeError, match=said):
        make()

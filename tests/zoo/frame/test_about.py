"""The names of classes: no run goes on, and none is scored, with labels that have come to mean something else."""

import lightning as L
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

import zoo
from zoo import Classifier


class Named(L.LightningDataModule):
    """Two classes with these names."""

    def __init__(self, *classes: str):
        super().__init__()
        self.classes, self.num_classes = classes, len(classes)

    def train_dataloader(self):
        return DataLoader([(torch.randn(3, 4, 4), torch.tensor(i % 2)) for i in range(4)], 2)

    val_dataloader = test_dataloader = train_dataloader


def network():
    return nn.Sequential(nn.Flatten(), nn.Linear(48, 2))


@pytest.fixture
def trained(trainer, tmp_path):
    """A model that knows cats and dogs, and its checkpoint."""
    run, model = trainer(max_epochs=1), Classifier(network(), 2)
    run.fit(model, Named("cat", "dog"))
    run.save_checkpoint(tmp_path / "last.ckpt")
    return model, tmp_path / "last.ckpt"


@pytest.mark.parametrize("task", ["fit", "validate", "test"])
def test_other_names_are_refused_unless_they_are_meant(task, trained, trainer):
    _, path = trained
    ask = lambda model, *names: getattr(trainer(max_epochs=2), task)(model, Named(*names), ckpt_path=path)  # noqa: E731
    for names, label in ((("dog", "horse"), "'cat' would mean 'dog'"), (("cat", "horse"), "'dog' would mean 'horse'")):
        with pytest.raises(ValueError, match=f"label of {label}.*weights=FILE.*replace_classes = True"):
            ask(Classifier(network(), 2), *names)
    ask(Classifier(network(), 2), "cat", "dog")
    model = Classifier(network(), 2)
    model.replace_classes = True
    ask(model, "dog", "horse")
    assert model.classes == (("dog", "horse") if task == "fit" else None)


@pytest.mark.parametrize("task", ["validate", "test"])
def test_a_model_that_knows_its_classes_is_not_scored_on_others(task, trained, trainer):
    model, path = trained
    for known in (model, zoo.load(path, network=network())):
        with pytest.raises(ValueError, match="label of 'cat' would mean 'dog'"):
            getattr(trainer(), task)(known, Named("dog", "cat"))
        getattr(trainer(), task)(known, Named("cat", "dog"))
    getattr(trainer(), task)(Classifier(network(), 2), Named("dog", "cat"))  # which knows none

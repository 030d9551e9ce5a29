"""Wrong labels that a network fits or corrects: by hand, and in a test after a fit."""

import pytest
import torch
from torch import nn, tensor

from callbacks import NoisyLabels
from callbacks.diagnostics.noisy_labels import fitted_and_corrected
from datamodules import Digits
from zoo import Classifier


def test_by_hand():
    logits = torch.eye(4)[[0, 1, 2, 3, 3]]
    assert fitted_and_corrected(logits, tensor([0, 1, 3, 0, 0]), tensor([1, 0, 2, 1, 2])) == (0.4, 0.2)


class Says(nn.Module):
    """Says class 3 of everything."""

    def __init__(self):
        super().__init__()
        self.bias = nn.Parameter(10.0 * torch.eye(10)[3])

    def forward(self, x):
        return self.bias.expand(len(x), 10) + 0 * x.sum()


@pytest.mark.parametrize("noise", [0.4, 0.0])
def test_scores_the_wrong_labels_of_the_images_trained_on(noise, trainer):
    data, trick = Digits(64, label_noise=noise, val_split=0.1), NoisyLabels()
    run = trainer(callbacks=[trick], max_epochs=1, limit_train_batches=1)
    model = Classifier(Says(), 10, lr=1e-6)
    run.fit(model, data)
    scores = run.test(model, data, verbose=False)[0]
    labels, classes = data.train_set.targets[data.train_indices], data.clean_targets[data.train_indices]
    if not noise:
        assert not any("wrong" in name for name in scores) and trick.findings == ()
        return
    wrong = labels != classes
    assert scores["test/wrong_fitted"] == pytest.approx((labels[wrong] == 3).double().mean().item())
    assert scores["test/wrong_corrected"] == pytest.approx((classes[wrong] == 3).double().mean().item())
    assert f"of {int(wrong.sum())} wrong labels" in trick.findings[0].text

"""What a network may give: each form trains and is scored as its logits alone, or is refused in one line."""

from collections import namedtuple

import pytest
import torch
from torch import nn

from tests.conftest import TinyNetwork
from zoo import Classifier
from zoo.frame.outputs import over_views, split_outputs

Named = namedtuple("Named", "logits aux_logits")
FORMS = {
    "dict": lambda z: {"logits": z, "hidden": z},
    "torchvision's": lambda z: {"out": z},
    "named": lambda z: Named(z, None),
    "pair": lambda z: (z, {"hidden": z}),
}


class Giving(nn.Module):
    def __init__(self, form):
        super().__init__()
        torch.manual_seed(0)
        self.network, self.form = TinyNetwork(), form

    def forward(self, x):
        return self.form(self.network(x))


@pytest.mark.parametrize("form", list(FORMS))
def test_every_form_counts_as_its_logits(form, tiny_data, trainer):
    metrics = []
    for each in (FORMS[form], lambda z: z):
        run = trainer(max_epochs=1)
        run.fit(Classifier(Giving(each), 10), tiny_data, tiny_data)
        metrics.append(run.callback_metrics)
    assert metrics[0].keys() == metrics[1].keys()
    assert all(torch.equal(metrics[0][name], metrics[1][name]) for name in metrics[0])


def test_extras_are_kept_and_torchvisions_auxiliary_head_counts_half():
    z, aux = torch.zeros(2, 3), torch.ones(2, 3)
    assert split_outputs(Named(z, aux)) == (z, {"aux_logits": aux})
    logits, extras = split_outputs({"out": z, "aux": aux})
    assert logits is z and extras == {"aux": [(0.5, aux)]}


def test_views_of_such_a_network():
    images, network = torch.randn(2, 3, 3, 8, 8), Giving(FORMS["dict"]).eval()
    torch.testing.assert_close(over_views(network, images), over_views(network.network, images))


@pytest.mark.parametrize(
    ("outputs", "said"),
    [
        ((torch.zeros(1),), "a tuple of 1"),
        ([torch.zeros(1)] * 2, "a list of 2"),
        ((torch.zeros(1), torch.zeros(1)), "a tuple of 2"),
        ({"scores": torch.zeros(1)}, "a dict of scores"),
        (None, "a NoneType"),
    ],
)
def test_other_outputs_are_refused(outputs, said):
    with pytest.raises(TypeError, match=f"the network gives {said}: it must give logits"):
        split_outputs(outputs)

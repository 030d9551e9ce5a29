"""What a network computes: operations in their order, weights by name, and a network that is left as it was."""

import torch
from torch import nn

from zoo.tools.trace import Value, Weight, trace


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.drop = nn.Conv2d(3, 4, 1, bias=False), nn.BatchNorm2d(4), nn.Dropout(0.5)

    def forward(self, x):
        y = self.norm(self.conv(x))
        return self.drop(y.relu_() + x[:, :1]).mean((2, 3))


def test_operations_in_their_order():
    seen = trace(Small(), 8)
    names = [call.name for call in seen.calls if call.name not in ("empty", "slice")]
    assert names == ["convolution", "native_batch_norm", "relu", "add", "mean"]  # no dropout: eval mode
    conv = seen.calls[0]
    assert conv.args[:3] == (seen.images, Weight("conv.weight"), None) and conv.outputs[0].shape == (1, 4, 8, 8)
    assert seen.calls[-1].outputs == seen.outputs and seen.outputs[0].shape == (1, 4)


def test_weights_by_name_and_values_apart():
    norm = next(call for call in trace(Small(), 8).calls if call.name == "native_batch_norm")
    assert norm.weights() == ["norm.weight", "norm.bias", "norm.running_mean", "norm.running_var"]
    assert all(isinstance(value, Value) for value in norm.values()) and len([*norm.values()]) == 1


def test_what_an_operation_writes_into_is_a_new_value():
    calls = {call.name: call for call in trace(Small(), 8).calls}
    before, after = next(calls["relu"].values()), calls["relu"].outputs[0]
    assert before.number != after.number and next(calls["add"].values()) == after


def test_the_network_stays_as_it_is():
    network = Small().train()
    network.norm.eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    trace(network, 8)
    assert network.training and not network.norm.training and network.drop.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert {value.device.type for value in network.state_dict().values()} == {"cpu"}

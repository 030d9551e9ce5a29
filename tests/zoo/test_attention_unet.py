"""AttentionUNet: the gate's two equations by hand, its gradients, and its limits: open gates are U-Net."""

import math

import pytest
import torch
from torch import Tensor

from zoo import AttentionUNet, UNet
from zoo.attention_unet import Gate

OPEN, CLOSED = 30.0, -30.0  # of psi's bias: a = 1 or 0, to the last bits of a float32


def upsampled(a: list[list[float]], y: int, x: int) -> float:
    """Return pixel (y, x) of a map of twice the size, bilinear: its centre lies at (y + 1/2) / 2 of the small map."""

    def neighbours(i: int, size: int) -> list[tuple[int, float]]:
        at = max((i + 0.5) / 2 - 0.5, 0)
        low = int(at)
        return [(low, 1 - (at - low)), (min(low + 1, size - 1), at - low)]

    rows, columns = neighbours(y, len(a)), neighbours(x, len(a[0]))
    return sum(a[i][j] * v * w for i, v in rows for j, w in columns)


def gate_by_hand(gate: Gate, x: Tensor, g: Tensor) -> Tensor:
    """Return a x of one image: x (C, H, W), g (2C, H/2, W/2). A sum for each pixel of g, a product for each of x."""
    theta, phi, psi = (layer.weight.tolist() for layer in (gate.theta, gate.phi, gate.psi))
    b_phi, b_psi = gate.phi.bias.tolist(), gate.psi.bias.item()
    xs, gs, (c, h, w) = x.tolist(), g.tolist(), x.shape

    def coefficient(i: int, j: int) -> float:
        q = b_psi
        for k in range(c):
            seen = sum(
                theta[k][n][u][v] * xs[n][2 * i + u][2 * j + v] for n in range(c) for u in (0, 1) for v in (0, 1)
            )
            asked = b_phi[k] + sum(phi[k][n][0][0] * gs[n][i][j] for n in range(2 * c))
            q += psi[0][k][0][0] * max(seen + asked, 0)
        return 1 / (1 + math.exp(-q))

    a = [[coefficient(i, j) for j in range(w // 2)] for i in range(h // 2)]
    return torch.tensor([[[xs[k][y][z] * upsampled(a, y, z) for z in range(w)] for y in range(h)] for k in range(c)])


@pytest.fixture
def inputs() -> tuple[Gate, Tensor, Tensor]:
    """A gate of 3 channels in double precision, and maps of 4 x 8 and 2 x 4 pixels."""
    torch.manual_seed(0)
    return Gate(3).double(), torch.randn(2, 3, 4, 8).double(), torch.randn(2, 6, 2, 4).double()


def test_the_gates_equations_pixel_by_pixel(inputs):
    gate, x, g = inputs
    expected = torch.stack([gate_by_hand(gate, *pair) for pair in zip(x, g, strict=True)])
    torch.testing.assert_close(gate(x, g), expected.double(), atol=1e-6, rtol=1e-6)


def test_the_gates_gradients(inputs):
    """Against differences of its outputs: with respect to the skip, the map below, and every parameter."""
    gate, *maps = inputs
    names, parameters = zip(*gate.named_parameters(), strict=True)
    call = lambda x, g, *p: torch.func.functional_call(gate, dict(zip(names, p, strict=True)), (x, g))  # noqa: E731
    assert torch.autograd.gradcheck(call, [v.detach().requires_grad_() for v in (*maps, *parameters)])


def set_gates(model: AttentionUNet, bias: float) -> None:
    for gate in (model.gate4, model.gate3, model.gate2):
        torch.nn.init.zeros_(gate.psi.weight)
        torch.nn.init.constant_(gate.psi.bias, bias)


def test_open_gates_are_unet_and_closed_ones_leave_the_first_skip():
    """On images that are not square."""
    torch.manual_seed(0)
    model, unet, x = AttentionUNet("8", image_size=32), UNet("8", image_size=32), torch.randn(2, 3, 32, 48)
    unet.load_state_dict({k: v for k, v in model.state_dict().items() if not k.startswith("gate")})
    with torch.no_grad():
        set_gates(model, OPEN)
        torch.testing.assert_close(model(x), unet(x))
        set_gates(model, CLOSED)
        for i in (2, 3, 4):
            decoder = getattr(unet, f"decoder{i}")
            decoder.register_forward_pre_hook(lambda module, inputs: (inputs[0], torch.zeros_like(inputs[1])))
        torch.testing.assert_close(model(x), unet(x))
    assert model(x).shape == (2, 2, 32, 48)


def test_every_parameter_of_a_gate_learns():
    torch.manual_seed(0)
    model = AttentionUNet("8", num_classes=3, image_size=32)
    torch.nn.functional.cross_entropy(model(torch.randn(2, 3, 32, 48)), torch.randint(3, (2, 32, 48))).backward()
    gates = {name: p.grad for name, p in model.named_parameters() if name.startswith("gate")}
    assert len(gates) == 3 * 5 and all(grad.abs().max() > 0 for grad in gates.values())

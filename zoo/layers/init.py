"""Initialisations that several papers share. A function takes one module: `model.apply(he_fan_out)`."""

from torch import nn


def he_fan_out(module: nn.Module) -> None:
    """Draw convolutions from N(0, 2 / (k^2 C_out)). Leave biases, norms and linear layers as torch has them."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def he_fan_in(module: nn.Module) -> None:
    """Draw convolutions from N(0, 2 / (k^2 C_in / groups)); set their biases to 0. Leave norms and linear layers."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def he_fan_out_01(module: nn.Module) -> None:
    """Draw convolutions from N(0, 2 / (k^2 C_out)) and linear layers from N(0, .01^2); set biases to 0."""
    he_fan_out(module)
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.01)
    if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)


def draw_normal(module: nn.Module, std: float) -> None:
    """Draw convolutions and linear layers from N(0, std^2); set their biases to 0."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.normal_(module.weight, std=std)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def normal_01(module: nn.Module) -> None:
    """Draw convolutions and linear layers from N(0, .01^2); set their biases to 0."""
    draw_normal(module, std=0.01)


def normal_02(module: nn.Module) -> None:
    """Draw convolutions and linear layers from N(0, .02^2); set their biases to 0."""
    draw_normal(module, std=0.02)


def normal_02_linear(module: nn.Module) -> None:
    """Draw linear layers from N(0, .02^2); set their biases to 0. Leave convolutions as torch has them (DeiT's code).

    The authors truncate at +-2, 100 standard deviations, which changes nothing. torch 2.11's truncated normal is not
    used: it gives 2 itself to one weight in 2^24.
    """
    if isinstance(module, nn.Linear):
        normal_02(module)

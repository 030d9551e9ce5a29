"""Kind "penalty": a penalty on one weight and its gradient."""

from typing import Any

import numpy as np
from torch import Tensor

from callbacks.frame.pictures.curves import Lines, panels, values_and_slopes
from callbacks.frame.schedule import rate_values
from zoo.frame.figures import Drawing

WEIGHTS = np.linspace(-2, 2, 80)


def draw(trick: Any) -> Drawing:
    """Draw the term of the loss over the value of a weight, at the largest weight of its schedule."""
    factor = max(rate_values(trick.weight))

    def term(w: Tensor) -> Tensor:
        found: Tensor = factor * trick.penalty([w.view(1, 1)])
        return found

    value, slope = values_and_slopes(term, WEIGHTS)
    axes: dict[str, Lines] = {"term of the loss": {"": (WEIGHTS, value)}, "its gradient": {"": (WEIGHTS, slope)}}
    return panels(axes, "weight", f"What {trick!r} adds to the loss for one weight, and the gradient that pulls at it.")

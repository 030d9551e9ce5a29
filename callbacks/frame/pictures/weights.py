"""Kind "weights": the parameters that a trick changes, before and after, from the stem to the head."""

import numpy as np
import torch
from torch import Tensor

from callbacks.frame.pictures.apart import apart, fit, fresh
from callbacks.frame.pictures.networks import SIDE, first_that_fits, name_of, size_of
from callbacks.frame.pictures.photographs import batch
from callbacks.frame.trick import Trick
from zoo import Classifier
from zoo.frame.figures import WITH, WITHOUT, Drawing, new_figure, style

TINY = 1e-12  # a learning rate


def draw(trick: Trick) -> Drawing:
    """Draw the size of each parameter that a trick sets before a run, by depth, and the histogram of all."""
    with apart():
        make, model = first_that_fits(lambda model: run(model, [fresh(trick, image_size=SIDE)]))
    with apart():
        run(plain := make(), [])
    without, after = ({n: p.detach() for n, p in m.named_parameters()} for m in (plain, model))
    changed = [name for name in after if not torch.allclose(after[name], without[name], 0, 1e-6)]
    own = [name for name in changed if after[name].ndim > 1] or changed
    return draw_panels(trick, [without[n] for n in own], [after[n] for n in own], name_of(model))


def run(model: Classifier, tricks: list[Trick]) -> None:
    """Train one step at a learning rate that changes nothing."""
    model.hparams["lr"] = TINY
    fit(model, batch(size_of(model)), tricks)


def draw_panels(trick: Trick, without: list[Tensor], after: list[Tensor], network: str) -> Drawing:
    """Draw both panels."""
    with style():
        figure = new_figure()
        left, right = figure.subplots(1, 2)
        spread = max(np.percentile(torch.cat([p.flatten() for p in ps]).abs().numpy(), 99.5) for ps in (without, after))
        for label, colour, ps in (("without", WITHOUT, without), (f"with {type(trick).__name__}", WITH, after)):
            left.plot([p.square().mean().sqrt().item() for p in ps], "o-", color=colour, markersize=3, label=label)
            values = torch.cat([p.flatten() for p in ps]).numpy()
            right.hist(values, np.linspace(-spread, spread, 61) * 1.05, color=colour, alpha=0.6, histtype="stepfilled")
        left.set(xlabel="tensor, from stem to head", ylabel="root mean square", ylim=(0, None))
        right.set(xlabel="value", ylabel="weights", yscale="log", ylim=(0.7, None))
        figure.legend(*left.get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return Drawing(figure, f"The {len(after)} tensors of a {network} that {trick!r} sets, and those without it.")

"""Layer decay: train the deeper layers of a pretrained network with larger learning rates.

Paper:    ELECTRA (Clark, Luong, Le, Manning; ICLR 2020) https://arxiv.org/abs/2003.10555, appendix A; for ViT in BEiT
          (Bao, Dong, Piao, Wei; ICLR 2022) https://arxiv.org/abs/2106.08254; for ConvNeXt https://arxiv.org/abs/2201.03545
Code:     timm `param_groups_layer_decay`; the authors' `get_num_layer_for_vit` and `get_num_layer_for_convnext`
Equation: eta_l = eta decay^(n - l),   l = 0 the stem, 1 .. n - 1 the blocks, n the head, which keeps eta
Shapes:   each layer's parameters -> a group of their own
Defaults: decay = .75, timm's; ConvNeXt is fine-tuned with .7 from ImageNet-1K and .8 from ImageNet-22K (TRAINING.md)
Differs:  layers are timm's: the last norm belongs to the last block, where BEiT gives it to the head. ConvNeXt has its
          authors' 12 groups of three blocks; T, which their code leaves out, has 6 by the same rule.
"""

import lightning as L

from callbacks.frame.depth import depths
from callbacks.frame.groups import regroup
from callbacks.frame.needs import Range
from callbacks.frame.pair_needs import Claims
from callbacks.frame.trick import Trick


def scales(layers: dict[str, int], decay: float) -> dict[str, float]:
    """Return what each parameter's learning rate is multiplied by: 1 in the last layer.

    Args:
        layers: name of a parameter -> its layer, from 0.
        decay: rate of a layer divided by that of the next layer.
    """
    last = max(layers.values())
    return {name: decay ** (last - layer) for name, layer in layers.items()}


class LayerDecay(Trick):
    """Split the parameter groups of any LightningModule by depth, before training. Schedules keep the ratios.

    Args:
        decay: rate of a layer divided by the rate of the next one, in (0, 1).

    Raises:
        ValueError: for a decay out of its range, or with a second trick that scales rates by depth.
    """

    picture = "rates"
    needs = (Claims("scale the learning rate by depth"), Range("decay", 0, 1, open_low=True))
    examples = ({"decay": 0.5},)

    def __init__(self, decay: float = 0.75):
        if decay == 1:
            raise ValueError("LayerDecay: a decay of 1 changes nothing; to train without it, leave LayerDecay out")
        self.decay = decay

    def on_fit_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        scale = scales(depths(model), self.decay)
        by_parameter = {p: scale[name] for name, p in model.named_parameters()}
        regroup(trainer, lambda group: split(group, by_parameter))


def split(group: dict, scale: dict) -> list[dict]:
    """Split a parameter group into one for each scale of its parameters, the smallest scale first."""
    kinds = sorted({scale.get(p, 1.0) for p in group["params"]})
    return [
        {**group, "params": [p for p in group["params"] if scale.get(p, 1.0) == kind], "scale": kind} for kind in kinds
    ]

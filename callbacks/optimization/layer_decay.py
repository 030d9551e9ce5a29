"""Layer decay: the deeper a layer of a pretrained network, the larger its learning rate.

Paper:    ELECTRA (Clark, Luong, Le, Manning; ICLR 2020) https://arxiv.org/abs/2003.10555, appendix A; for ViT in BEiT
          (Bao, Dong, Piao, Wei; ICLR 2022) https://arxiv.org/abs/2106.08254; for ConvNeXt https://arxiv.org/abs/2201.03545
Code:     timm `param_groups_layer_decay`; the authors' `get_num_layer_for_vit` and `get_num_layer_for_convnext`
Equation: eta_l = eta decay^(n - l),   l = 0 the stem, 1 .. n - 1 the blocks, n the head, which keeps eta
Shapes:   each layer's parameters -> a group of their own
Defaults: decay .75, timm's; ConvNeXt is fine-tuned with .7 from ImageNet-1K and .8 from ImageNet-22K (TRAINING.md)
Differs:  layers are timm's (the last norm belongs to the last block, where BEiT gives it to the head). ConvNeXt has its
          authors' 12 groups of three blocks; T, which their code leaves out, has 6 by the same rule. Not checked
          against the papers' text.
"""

import lightning as L

from callbacks.frame.depth import depths
from callbacks.frame.groups import regroup
from callbacks.frame.trick import Trick, needs_range, refuse_second


def scales(layers: dict[str, int], decay: float) -> dict[str, float]:
    """Layer of each parameter -> what its learning rate is multiplied by: 1 for the last layer."""
    last = max(layers.values())
    return {name: decay ** (last - layer) for name, layer in layers.items()}


class LayerDecay(Trick):
    """Splits the parameter groups of any LightningModule by depth, before training; schedules follow.

    Args:
        decay: the rate of a layer by that of the next, in (0, 1).

    Raises:
        ValueError: for a decay out of its range, or with a second trick that does the same.
    """

    claims = "scale the learning rate by depth"

    def __init__(self, decay: float = 0.75):
        needs_range(self, "decay", decay, 0, 1, open_low=True)
        if decay == 1:
            raise ValueError("LayerDecay: a decay of 1 changes nothing; to train without it, leave LayerDecay out")
        self.decay = decay

    def setup(self, trainer: L.Trainer, model: L.LightningModule, stage: str) -> None:
        refuse_second(self, trainer.callbacks)

    def on_fit_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        scale = scales(depths(model), self.decay)
        by_parameter = {p: scale[name] for name, p in model.named_parameters()}
        regroup(trainer, lambda group: split(group, by_parameter))


def split(group: dict, scale: dict) -> list[dict]:
    """A parameter group -> one for each scale of its parameters, the smallest first."""
    kinds = sorted({scale.get(p, 1.0) for p in group["params"]})
    return [
        {**group, "params": [p for p in group["params"] if scale.get(p, 1.0) == kind], "scale": kind} for kind in kinds
    ]

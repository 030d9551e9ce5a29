"""Linear scaling: a batch k times as large takes a learning rate k times as large.

Paper:    Accurate, Large Minibatch SGD (Goyal et al.; 2017) https://arxiv.org/abs/1706.02677, section 2.1
          Bag of Tricks for Image Classification with CNNs (He et al.; CVPR 2019) https://arxiv.org/abs/1812.01187, 3.1
Code:     GluonCV's training script
Equation: eta' = eta b / 256,   b = images per optimizer step, over all processes and accumulated batches
Shapes:   none
Defaults: base = 256, the batch for which He et al. 2015 chose eta = .1
Differs:  nothing. The rate is set once: under an `AccumulationSchedule`, b is that of the first epoch
"""

from callbacks.frame.scaling import Scaling


class LinearScaling(Scaling):
    """Scale the learning rate of every parameter group once, before training. Works on any LightningModule.

    Args:
        base: batch size, in images, for which the model's `lr` is meant, > 0.

    Raises:
        ValueError: if base <= 0, the batch size cannot be read, the model has a scheduler of its own, or a second
            scaling rule is listed.
    """

    examples = ({"base": 128},)

    def factor(self, k: float) -> float:
        return k

"""Alpha dropout, the dropout of self-normalizing networks."""

import torch.nn.functional as F
from torch import Tensor

from callbacks.frame.feature_dropout import ANY, FeatureDropout


class AlphaDropout(FeatureDropout):
    """Set features to SELU's lower limit with probability p; restore mean and variance (torch's `alpha_dropout`)."""

    acts_on = ANY

    def drop(self, x: Tensor, p: float) -> Tensor:
        """Return the features as the rest of the network gets them in training."""
        return F.alpha_dropout(x, p, training=True)

"""P x K batches, for losses that compare images: K images of each of P classes.

Paper: In Defense of the Triplet Loss for Person Re-Identification (Hermans, Beyer, Leibe; 2017)
       https://arxiv.org/abs/1703.07737, section 2
"""

from bisect import bisect_right
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from datamodules.frame.order import Order
from datamodules.frame.split import order_by_class


def most_batches(groups: Tensor, p: int) -> int:
    """Return how many batches of p groups, of p different classes, can be made of `groups` (C,) of each class.

    A class has one place in a batch: it is the largest B with sum_c min(groups_c, B) >= p B.
    """
    most = int(groups.sum()) // p
    return bisect_right(range(1, most + 1), False, key=lambda b: bool(groups.clamp(max=b).sum() < p * b))


def deal(groups: Tensor, p: int, seed: int) -> Tensor:
    """Return the classes of each batch, (B, p) int64: those with the most groups left, at random among equals.

    Args:
        groups: (C,) int64, the groups of each class.
        p: classes a batch.
        seed: of the draws.
    """
    generator = torch.Generator().manual_seed(seed)
    left, dealt = groups.double(), torch.empty(most_batches(groups, p), p, dtype=torch.int64)
    for batch in dealt:
        ties = torch.rand(len(left), generator=generator, dtype=torch.float64)
        batch[:] = (left + ties).topk(p).indices
        left[batch] -= 1
    return dealt[torch.randperm(len(dealt), generator=generator)]


def places(dealt: Tensor) -> Tensor:
    """Return how often each entry of `dealt`, of any shape, has come before."""
    flat = dealt.flatten()
    order, counts = flat.argsort(stable=True), flat.bincount()
    first = (counts.cumsum(0) - counts)[flat[order]]
    return torch.empty_like(flat).scatter(0, order, torch.arange(len(flat)) - first).view(dealt.shape)


class ByClass(Order):
    """An order whose every `p * k` images are k images of each of p classes, in each process.

    An epoch has each image at most once, over all processes; a class of fewer than k images repeats them, with other
    draws. What is left over, fewer than k images of a class or p classes, is another rest in each epoch.

    Args:
        indices, targets, seed: of `Order`; `targets` are the classes.
        p: classes a batch.
        k: images of each.

    Raises:
        ValueError: there are fewer than p classes.
    """

    def __init__(self, indices: Tensor, targets: Tensor, p: int, k: int, **others: Any):
        super().__init__(indices, shuffle=True, targets=targets, **others)
        self.p, self.k, self.sizes = p, k, targets.bincount()
        self.groups = torch.where(self.sizes > 0, (self.sizes // k).clamp(min=1), 0)
        if (count := int((self.sizes > 0).sum())) < p:
            raise ValueError(
                f"batches of {p} classes, {k} images of each, need {p} classes, and there are {count}: lower "
                f"batch_size to at most {count * k}, or raise per_class"
            )
        self.batches = most_batches(self.groups, p)

    @cached_property
    def fingerprint(self) -> int:
        """Hash of the images, their classes and K."""
        return super().fingerprint ^ hash((self.k, *self.sizes.tolist()))

    def __len__(self) -> int:
        """Return the number of images of this process in a whole epoch."""
        return self.batches // self.num_replicas * self.p * self.k

    def _shuffle(self, key: int) -> tuple[Tensor, Tensor]:
        assert self.targets is not None
        by_class = self.indices[order_by_class(self.targets, key)[0]]
        dealt = deal(self.groups, self.p, key)[: self.batches // self.num_replicas * self.num_replicas]
        number = self.k * places(dealt)[..., None] + torch.arange(self.k)  # (B, p, k), of an image in its class
        size, first = self.sizes[dealt, None], (self.sizes.cumsum(0) - self.sizes)[dealt, None]
        index, copy = by_class[first + number % size], number // size
        return self._by_process(index), self._by_process(copy)

    def _by_process(self, batches: Tensor) -> Tensor:
        """Order batches (B, p, k) so that process r of w, which has every w-th image from r on, gets whole ones."""
        return batches.reshape(-1, self.num_replicas, self.p * self.k).transpose(1, 2).reshape(-1)

"""Which image comes when, and with which random numbers: pure functions of (seed, epoch, image).

Nothing here has a state that training could lose: the order of an epoch follows from (seed, epoch), the augmentation of
an image from (seed, epoch, index). So the number of workers and of processes, and a stop in the middle of an epoch,
change nothing.
"""

import torch
import torch.distributed as dist
from torch import Tensor
from torch.utils.data import DistributedSampler

# The increment and the two multipliers of splitmix64 (Steele, Lea, Flood; OOPSLA 2014), as signed 64-bit numbers.
GOLD, MUL1, MUL2 = -7046029254386353131, -4658895280553007687, -7723592293110705685


def mix(x: Tensor) -> Tensor:
    """splitmix64's finaliser: int64 of any shape -> int64 of that shape. `>>` keeps the sign, hence the masks."""
    x = (x ^ (x >> 30 & (1 << 34) - 1)) * MUL1
    x = (x ^ (x >> 27 & (1 << 37) - 1)) * MUL2
    return x ^ (x >> 31 & (1 << 33) - 1)


def epoch_key(seed: int, epoch: int) -> int:
    """A 64-bit hash, on which everything random in an epoch depends."""
    return mix(mix(torch.tensor(seed) + GOLD) + GOLD + epoch).item()


def draws(index: Tensor, count: int, key: int) -> Tensor:
    """Uniform numbers that depend on (`key`, image, number of the draw) only, not on the batch around the image.

    Args:
        index: (N,) int64, which images.
        count: draws an image.
        key: of the seed and epoch.

    Returns:
        (N, count) float32 in [0, 1), of 24 random bits each.
    """
    state = mix(index[:, None] + key) + GOLD * torch.arange(1, count + 1)
    return (mix(state) >> 40 & (1 << 24) - 1).float() * 2**-24


def permutation(count: int, number: int) -> Tensor:
    """Random order of `count` things, (count,) int64, always the same for the same `number`."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(number))


class Order(DistributedSampler):
    """Yields (key of the epoch, index of an image): the share of this process, from `start` on.

    A `DistributedSampler` so that Lightning leaves it alone, which otherwise would replace it by one that pads with
    duplicates. Shuffled (training), the tail that cannot be shared equally is dropped, another one each epoch. In order
    (evaluation), every image comes exactly once over all processes. The key goes along with each index because workers
    hold a copy of the data set that no `set_epoch` reaches.

    Args:
        indices: (n,) int64, the images to take from the data set.
        shuffle: a new random order each epoch, or always that of `indices`.
        seed: of the random orders.
    """

    def __init__(self, indices: Tensor, *, shuffle: bool, seed: int = 0):
        distributed = dist.is_available() and dist.is_initialized()
        rank, world = (dist.get_rank(), dist.get_world_size()) if distributed else (0, 1)
        super().__init__(indices, num_replicas=world, rank=rank, shuffle=shuffle, seed=seed, drop_last=shuffle)
        self.indices = indices
        self.start = 0  # images of this process's share to leave out, once

    def __len__(self) -> int:
        """Images of this process in a whole epoch, wherever it starts."""
        if self.shuffle:
            return len(self.indices) // self.num_replicas
        return len(range(self.rank, len(self.indices), self.num_replicas))

    def __iter__(self):
        order, key = self.indices, epoch_key(self.seed, self.epoch)
        if self.shuffle:
            order = order[permutation(len(order), key)[: len(self) * self.num_replicas]]
        share, self.start = order[self.rank :: self.num_replicas][self.start :], 0
        return iter([(key, index) for index in share.tolist()])

"""Order and random numbers of images: pure functions of (seed, epoch, image).

There is no state that a stop could lose: the order of an epoch depends on (seed, epoch), and the augmentation of an
image on (seed, epoch, index). So the number of workers or processes, and a stop in mid-epoch, change nothing.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property

import torch
import torch.distributed as dist
from torch import Tensor
from torch.utils.data import DistributedSampler

from datamodules.frame.sampling import balance, balanced_length

# The increment and the two multipliers of splitmix64 (Steele, Lea, Flood; OOPSLA 2014), as signed 64-bit numbers.
# `zoo.frame.seeds` repeats it, because data modules import no other package; a test compares the two.
GOLD, MUL1, MUL2 = -7046029254386353131, -4658895280553007687, -7723592293110705685
ALL = (1 << 64) - 1


def mix(x: Tensor) -> Tensor:
    """Apply splitmix64's finaliser to int64 of any shape. `>>` keeps the sign, hence the masks."""
    x = (x ^ (x >> 30 & (1 << 34) - 1)) * MUL1
    x = (x ^ (x >> 27 & (1 << 37) - 1)) * MUL2
    return x ^ (x >> 31 & (1 << 33) - 1)


def epoch_key(seed: int, epoch: int) -> int:
    """Return the 64-bit hash that determines all random numbers of an epoch; it is odd in odd epochs."""
    return int(mix(mix(torch.tensor(seed) + GOLD) + GOLD + epoch)) & ~1 | epoch & 1


def draws(index: Tensor, count: int, key: int | Tensor) -> Tensor:
    """Draw uniform numbers that depend only on (key, image, number of the draw), not on the rest of the batch.

    Args:
        index: (N,) int64, which images.
        count: draws an image.
        key: hash of the seed, the epoch and the repeat: one for all, or (N,) int64.

    Returns:
        (N, count) float32 in [0, 1), of 24 random bits each.
    """
    state = mix(index + key)[:, None] + GOLD * torch.arange(1, count + 1, device=index.device)
    return (mix(state) >> 40 & (1 << 24) - 1).float() * 2**-24


@contextmanager
def lend_generator() -> Iterator[Callable[[int, int], None]]:
    """Lend torch's CPU generator to transforms that need it, and restore its state.

    `with lend_generator() as seed:`, then `seed(key, index)` before each image: later draws depend on these two only.
    Unlike `torch.manual_seed`, it leaves the generators of other devices alone. It takes 5 us an image, 3 us a batch.
    """
    before = torch.default_generator.get_state()
    try:
        yield _seed
    finally:
        torch.default_generator.set_state(before)


def _seed(key: int, index: int) -> None:
    """Seed the generator with draw number 0, which `draws` does not use."""
    torch.default_generator.manual_seed(_mix(_mix(key + index)))


def _mix(x: int) -> int:
    """Return `mix` of a single int, twenty times faster than with tensors: any int -> int in [0, 2^64)."""
    x &= ALL
    x = (x ^ x >> 30) * MUL1 & ALL
    x = (x ^ x >> 27) * MUL2 & ALL
    return x ^ x >> 31


def permutation(count: int, number: int) -> Tensor:
    """Return a random permutation (count,) int64 that depends only on `number`."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(number))


class Order(DistributedSampler[tuple[int, int]]):
    """The images of this process as (key of the epoch and copy, index of an image), from position `start` on.

    It is a `DistributedSampler` because Lightning would replace any other by one that pads with duplicates. When
    shuffled (training), it drops the images that cannot be divided equally, different ones in each epoch. In order
    (evaluation), every image comes exactly once over all processes. Each index has its key, because `set_epoch` does
    not reach the workers' copies of the data set.

    Args:
        indices: (n,) int64, the images to take from the data set.
        shuffle: use a new random order in each epoch; if False, that of `indices`.
        seed: of the random orders.
        repeats: take a part of the images in each epoch, each this many times, one copy after the other. Copies go to
            different processes and have different draws. The epoch keeps its length.
        sampling: "over" or "under": the same number of images of each class, as in `balance`; or None.
        targets: (n,) int64, the classes of `indices`; needed for `sampling`.
    """

    def __init__(
        self,
        indices: Tensor,
        *,
        shuffle: bool,
        seed: int = 0,
        repeats: int = 1,
        sampling: str | None = None,
        targets: Tensor | None = None,
    ):
        distributed = dist.is_available() and dist.is_initialized()
        rank, world = (dist.get_rank(), dist.get_world_size()) if distributed else (0, 1)
        super().__init__(
            indices,  # type: ignore[arg-type]  # only its length is used
            num_replicas=world,
            rank=rank,
            shuffle=shuffle,
            seed=seed,
            drop_last=shuffle,
        )
        self.indices, self.targets = indices, targets
        self.repeats, self.sampling = repeats, sampling
        self.total = len(indices) if sampling is None else balanced_length(self._targets(), sampling)
        self.start = 0  # images of this process to skip, once

    def _targets(self) -> Tensor:
        if self.targets is None:
            raise ValueError(f"sampling={self.sampling!r} needs targets, the classes of the images")
        return self.targets

    @cached_property
    def fingerprint(self) -> int:
        """Hash of the images and their frequencies: two orders of one seed are equal if it is."""
        positions = mix(self.indices + mix(torch.arange(len(self.indices))))
        return int(positions.sum()) ^ self.repeats ^ {None: 0, "over": 1 << 32, "under": 1 << 33}[self.sampling]

    def __len__(self) -> int:
        """Return the number of images of this process in a whole epoch, whatever `start` is."""
        if self.shuffle:
            return self.total // self.num_replicas
        return len(range(self.rank, self.total, self.num_replicas))

    def __iter__(self) -> Iterator[tuple[int, int]]:
        keys, index = self.items()
        return iter(list(zip(keys.tolist(), index.tolist(), strict=True)))

    def items(self) -> tuple[Tensor, Tensor]:
        """Return keys and indices (n,) int64 of what is left of this process's epoch; the next one is whole."""
        key = epoch_key(self.seed, self.epoch)
        index, copy = self._shuffle(key) if self.shuffle else (self.indices, torch.zeros_like(self.indices))
        mine = slice(self.rank + self.start * self.num_replicas, None, self.num_replicas)
        self.start = 0
        return key + GOLD * copy[mine], index[mine]

    def _shuffle(self, key: int) -> tuple[Tensor, Tensor]:
        """Return the epoch of all processes: indices and numbers of copies, equally many for each process."""
        index, copy = self.indices, torch.zeros_like(self.indices)
        if self.sampling is not None:
            position, copy = balance(self._targets(), self.sampling, key)
            index = self.indices[position]
        order = permutation(self.total, key)
        if self.repeats > 1:
            order = order.repeat_interleave(self.repeats)[: self.total]
            copy = torch.arange(self.total) % self.repeats
            return self._drop_tail(index[order]), self._drop_tail(copy)
        return self._drop_tail(index[order]), self._drop_tail(copy[order])

    def _drop_tail(self, whole: Tensor) -> Tensor:
        return whole[: len(self) * self.num_replicas]

"""A DataLoader that resumes in mid-epoch, at exactly the next batch."""

from collections.abc import Callable, Iterator, Sized

from torch import Tensor
from torch.utils.data import DataLoader, DistributedSampler

from datamodules.frame.order import Order


class ResumableLoader(DataLoader[list[Tensor]]):
    """A loader with `sampler=Order(...)`; Lightning saves and restores its state with the training loop's.

    The state is a position modulo the epoch's length, so that the end of epoch 3 is the start of epoch 4: position 6 of
    6 would give the resumed run an empty epoch. `finished` returns the number of finished batches in this epoch. The
    data module sets it to Lightning's own count, which is right in every hook. Without it (no Trainer), the returned
    batches are counted. Batches that workers prefetched do not count.
    """

    finished: Callable[[], int] | None = None
    _handed_out = 0
    _resume_at = (0, 0)  # epoch, batch

    @property
    def _epoch(self) -> int:
        return getattr(self.sampler, "epoch", 0)  # the sampler of Trainer(overfit_batches=...) has no epochs

    @property
    def _shape(self) -> dict[str, int]:
        """Return the settings that must not change in mid-epoch: batch size, processes, images, their choice."""
        world = getattr(self.sampler, "num_replicas", 1)
        choice = getattr(self.sampler, "fingerprint", 0)
        return {"batch_size": self._size, "processes": world, "images": len(self._indices), "choice": choice}

    @property
    def _indices(self) -> Sized:
        """The sampler, which has a length as all that Lightning puts in instead."""
        assert isinstance(self.sampler, Sized)
        return self.sampler

    @property
    def _size(self) -> int:
        """Images a batch."""
        assert self.batch_size is not None  # never None, because the data set makes whole batches
        return self.batch_size

    def __iter__(self) -> Iterator[list[Tensor]]:  # type: ignore[override]  # a plain loader has an iterator class
        # A generator on purpose: Lightning calls iter() before set_epoch(), and workers start to read at iter().
        epoch, batch = self._resume_at
        self._handed_out, self._resume_at = batch if epoch == self._epoch else 0, (0, 0)
        if isinstance(self.sampler, Order):
            self.sampler.start = self._handed_out * self._size
        for images_and_targets in self._batches():
            self._handed_out += 1
            yield images_and_targets

    def _batches(self) -> Iterator[list[Tensor]]:
        return super().__iter__()

    def state_dict(self) -> dict[str, int]:
        """Return the position of the next batch, and the settings that it depends on."""
        done = self._handed_out if self.finished is None else self.finished()
        epochs, batch = divmod(done, len(self))
        return {"epoch": self._epoch + epochs, "batch": batch, **self._shape}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Let the next `iter()` start at a saved position.

        Raises:
            ValueError: the position is in mid-epoch, and batch size, number of processes or images have changed.
        """
        for name, now in self._shape.items():
            if state["batch"] > 0 and state[name] != now:
                there, here = (f"{name}={state[name]}", f"{name}={now}")
                if name == "choice":
                    there, here = "other images (val_split, fold, fraction, sampling, repeats, per_class)", "these"
                raise ValueError(
                    f"the checkpoint was written in the middle of an epoch with {there}, this run has {here}: resume "
                    "with the same, or from a checkpoint at the end of an epoch"
                )
        self._resume_at, self._handed_out = (state["epoch"], state["batch"]), state["batch"]
        if isinstance(self.sampler, DistributedSampler):
            self.sampler.set_epoch(state["epoch"])

"""A line an epoch, where a progress bar would fill a file: metrics, learning rate and seconds."""

import re
import time
from typing import Any

from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only

SHOWN = r"(train|val)/(loss|acc\S*)|lr-\w+(/pg1)?"  # of the groups' rates, the first
END = "train/loss"  # a model of the zoo logs it last in each epoch


class Lines(Logger):
    """Print a line at the end of each epoch. It is a logger, since callbacks are called before train/loss is known.

    Args:
        epochs: of the run, for "epoch 3/20"; None: not known.
    """

    name, version = "lines", 0

    def __init__(self, epochs: int | None = None):
        super().__init__()
        self.epochs = epochs
        self._seen: dict[str, float] = {}  # in this epoch
        self._start = time.perf_counter()

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Keep the metrics; print them when the epoch's last ones are there."""
        self._seen |= metrics
        if END not in metrics:
            return
        now = time.perf_counter()
        epoch = int(self._seen.pop("epoch", 0)) + 1
        of = f"/{self.epochs}" if self.epochs and self.epochs > 0 else ""
        names = sorted(filter(re.compile(SHOWN).fullmatch, self._seen), key=lambda name: (name.startswith("lr"), name))
        words = [f"{name} {self._seen[name]:.4g}" for name in names]
        print(f"epoch {epoch}{of}  {'  '.join(words)}  {now - self._start:.1f} s", flush=True)
        self._seen, self._start = {}, now

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Do nothing: `run.yaml` has them."""

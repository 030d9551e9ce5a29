"""Record a run in memory for curves and tables: metrics, learning rates, images and seconds."""

import time
from typing import Any

import lightning as L
from lightning.pytorch.loggers.logger import Logger


class History(Logger):
    """A logger that keeps metrics in `rows`, dicts with "epoch", "step" and metrics."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[dict[str, Any]] = []

    name, version = "history", 0

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Keep the metrics of one step."""
        self.rows.append({"step": step, **metrics})

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Do nothing: the recipe has them."""

    def curve(self, metric: str) -> tuple[list[float], list[float]]:
        """Return epochs (the first is 1) and values of `metric`, wherever it was logged."""
        points = [(row["epoch"] + 1, row[metric]) for row in self.rows if metric in row]
        return [x for x, _ in points], [y for _, y in points]

    @property
    def metrics(self) -> set[str]:
        """The names of all metrics that were logged."""
        return {name for row in self.rows for name in row} - {"epoch", "step"}


class Watch(L.Callback):
    """Count seconds of training (validation included), images trained on, and the learning rate of each batch.

    The counts go on after a resume.
    """

    _last = 0.0  # seconds, of `time.perf_counter`

    def __init__(self) -> None:
        self.seconds, self.images = 0.0, 0
        self.rates: list[float] = []

    def on_train_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        """Start the watch."""
        self._last = time.perf_counter()

    def on_train_batch_end(
        self, trainer: L.Trainer, model: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the images of a batch, on all ranks."""
        self.images += len(batch[0]) * trainer.world_size
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])

    def on_train_end(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        """Stop the watch."""
        self._tick()

    def state_dict(self) -> dict[str, Any]:
        """Return the counts, for a checkpoint."""
        self._tick()
        return {"seconds": self.seconds, "images": self.images, "rates": [float(rate) for rate in self.rates]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the counts of a checkpoint."""
        self.seconds, self.images = state_dict["seconds"], state_dict["images"]
        self.rates, self._last = list(state_dict["rates"]), time.perf_counter()

    def _tick(self) -> None:
        if not self._last:
            return  # nothing was trained: the resumed run was already finished
        now = time.perf_counter()
        self.seconds, self._last = self.seconds + now - self._last, now

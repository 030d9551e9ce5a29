"""What a run leaves behind for curves and tables, kept in memory: metrics, learning rates, images and seconds."""

import time
from typing import Any

import lightning as L
from lightning.pytorch.loggers.logger import Logger


class History(Logger):
    """A logger that keeps what is logged: `rows`, dicts with "epoch", "step" and metrics."""

    def __init__(self):
        super().__init__()
        self.rows: list[dict[str, float]] = []

    name, version = "history", 0

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.rows.append({"step": step, **metrics})

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        pass  # the recipe has them

    def curve(self, metric: str) -> tuple[list[float], list[float]]:
        """Epochs (1 is the first) and values of `metric`, wherever it was logged."""
        points = [(row["epoch"] + 1, row[metric]) for row in self.rows if metric in row]
        return [x for x, _ in points], [y for _, y in points]

    @property
    def metrics(self) -> set[str]:
        return {name for row in self.rows for name in row} - {"epoch", "step"}


class Watch(L.Callback):
    """Seconds of training (validation included), images trained on, learning rate of each batch. Survives a resume."""

    def __init__(self):
        self.seconds, self.images, self.rates = 0.0, 0, []

    def on_train_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        self._last = time.perf_counter()

    def on_train_batch_end(self, trainer: L.Trainer, model: L.LightningModule, outputs, batch, batch_idx) -> None:
        self.images += len(batch[0]) * trainer.world_size
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])

    def on_train_end(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        self._tick()

    def state_dict(self) -> dict[str, Any]:
        self._tick()
        return {"seconds": self.seconds, "images": self.images, "rates": [float(rate) for rate in self.rates]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.seconds, self.images, self.rates = state["seconds"], state["images"], list(state["rates"])

    def _tick(self) -> None:
        now = time.perf_counter()
        self.seconds, self._last = self.seconds + now - self._last, now

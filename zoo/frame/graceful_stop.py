"""The first Ctrl-C ends `fit` cleanly and keeps the model."""

import signal
import threading
from typing import Any

import lightning as L
from lightning.pytorch.utilities import rank_zero_info


class GracefulStop(L.Callback):
    """Turn the first SIGINT of a `fit` into `trainer.should_stop`; Lightning handles the second. Added to every run.

    Lightning alone raises `SystemExit`, without validation, checkpoint or `on_train_end`; in a notebook the cell
    dies. With this callback, the running batch is finished, validation and the callbacks run, and `fit` returns.
    Outside the main thread, which gets no signals, and with several processes, which would stop at different batches,
    Lightning's handling stays.
    """

    interrupted = False  # whether Ctrl-C ended the run
    _old: Any = None

    def on_train_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        """Install the handler here: Lightning saves the handlers that it restores at the end after `on_fit_start`."""
        if trainer.world_size > 1 or threading.current_thread() is not threading.main_thread():
            return
        self._old = signal.getsignal(signal.SIGINT)

        def stop(*_: Any) -> None:
            trainer.should_stop = self.interrupted = True
            self._restore()
            rank_zero_info("Ctrl-C: stopping after this batch and validation; press it again to stop at once")

        signal.signal(signal.SIGINT, stop)

    def _restore(self) -> None:
        if self._old is not None:
            signal.signal(signal.SIGINT, self._old)
            self._old = None

    def teardown(self, trainer: L.Trainer, model: L.LightningModule, stage: str) -> None:
        self._restore()

    def on_exception(self, trainer: L.Trainer, model: L.LightningModule, exception: BaseException) -> None:
        self._restore()

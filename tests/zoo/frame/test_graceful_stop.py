"""Ctrl-C: the first ends `fit` cleanly, the second is Lightning's."""

import os
import signal
import threading

import lightning as L
import pytest

from zoo.frame.graceful_stop import GracefulStop


class Interrupt(L.Callback):
    """Sends this process real SIGINTs in one batch; notes what still happens."""

    def __init__(self, batch: int = 1, times: int = 1):
        self.batch, self.times, self.events = batch, times, []

    def on_train_batch_start(self, trainer, model, batch, batch_idx):
        self.events.append(f"batch {batch_idx}")
        for _ in range(self.times if batch_idx == self.batch else 0):
            os.kill(os.getpid(), signal.SIGINT)

    def on_validation_epoch_end(self, trainer, model):
        if not trainer.sanity_checking:
            self.events.append("validated")

    def on_train_end(self, trainer, model):
        self.events.append("ended")


@pytest.fixture(autouse=True)
def handler():
    """Python's own, also after Lightning has changed it."""
    before = signal.getsignal(signal.SIGINT)
    yield before
    signal.signal(signal.SIGINT, before)


def test_the_first_finishes_the_batch_validates_and_returns(tiny_model, tiny_data, trainer, handler):
    interrupt = Interrupt(batch=1)
    run = trainer(callbacks=[interrupt], max_epochs=5)
    run.fit(tiny_model, tiny_data, tiny_data)
    assert interrupt.events == ["batch 0", "batch 1", "validated", "ended"]
    assert run.global_step == 2 and run.state.finished
    assert {"train/loss", "val/acc"} <= {*run.callback_metrics}
    assert signal.getsignal(signal.SIGINT) is handler


def test_the_second_is_lightnings(tiny_model, tiny_data, trainer, handler):
    interrupt = Interrupt(batch=1, times=2)
    with pytest.raises(SystemExit):
        trainer(callbacks=[interrupt], max_epochs=5).fit(tiny_model, tiny_data, tiny_data)
    assert interrupt.events == ["batch 0", "batch 1"]


def test_a_run_without_ctrl_c_leaves_the_handler_as_it_was(tiny_model, tiny_data, trainer, handler):
    trainer().fit(tiny_model, tiny_data)
    assert signal.getsignal(signal.SIGINT) is handler


def test_an_error_in_training_leaves_the_handler_as_it_was(tiny_model, tiny_data, trainer, handler):
    class Break(L.Callback):
        def on_train_batch_start(self, trainer, model, batch, batch_idx):
            assert signal.getsignal(signal.SIGINT) is not handler
            raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        trainer(callbacks=[Break()]).fit(tiny_model, tiny_data)
    assert signal.getsignal(signal.SIGINT) is handler


def test_a_second_fit_can_be_stopped_too(tiny_model, tiny_data, trainer):
    for _ in range(2):
        interrupt = Interrupt(batch=0)
        trainer(callbacks=[interrupt], max_epochs=5).fit(tiny_model, tiny_data)
        assert interrupt.events == ["batch 0", "ended"]


def test_threads_keep_their_hands_off(handler):
    """Python lets only the main thread take signals: elsewhere the callback stands aside."""
    stop, errors = GracefulStop(), []

    class World:
        world_size = 1

    def run():
        try:
            stop.on_train_start(World(), None)
        except ValueError as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert not errors and signal.getsignal(signal.SIGINT) is handler


def test_several_processes_are_left_to_lightning(handler):
    class World:
        world_size = 2

    GracefulStop().on_train_start(World(), None)
    assert signal.getsignal(signal.SIGINT) is handler

"""Ctrl-C: fit returns, the model is kept, the last file is whole and a resume from it is exact."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from tests.reliability.runs import StopAfter, differences, fit

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("batches", [1, 5, 7])
def test_the_first_ctrl_c_ends_fit_cleanly(batches, in_processes, tmp_path):
    assert in_processes("fit_and_interrupt", (tmp_path, batches, {})) == [0]
    left = torch.load(tmp_path / "final.pt", weights_only=True)
    assert left["handler restored"]
    assert len(left["seen"]) == left["/progress/steps"] == batches  # no further batch
    assert left["/metrics/val/acc"] >= 0  # but validation
    last = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert all(torch.equal(left[f"/weights/{name}"], value) for name, value in last["state_dict"].items())
    keep = ModelCheckpoint(tmp_path, save_last=True)
    straight, resumed = fit("all"), fit("all", more=(keep,), ckpt_path=tmp_path / "last.ckpt")
    assert len(resumed["seen"]) == len(straight["seen"]) - batches
    assert differences(straight, resumed) == []


def test_the_second_leaves_at_once(in_processes, tmp_path):
    """As Lightning does: SystemExit(1). The next batches' Ctrl-C come before the run can stop, for min_epochs."""
    assert in_processes("fit_and_interrupt", (tmp_path, 2, {"min_epochs": 2})) == [1]
    assert not (tmp_path / "final.pt").exists()


@pytest.mark.parametrize("more", [(), (StopAfter(3),)], ids=["finished", "failed"])
def test_the_handler_is_put_back(more):
    """Else Ctrl-C would do nothing from then on."""
    before = signal.getsignal(signal.SIGINT)
    fit("none", more=more)
    assert signal.getsignal(signal.SIGINT) is before


SCRIPT = """
import lightning as L
import torch
from tests.reliability.runs import QUIET, build_tricks, data, model

class Ready(L.Callback):
    def on_train_batch_end(self, trainer, *args):
        if trainer.global_step == 3:
            print("running", flush=True)

trained = model()
trainer = L.Trainer(**{**QUIET, "max_epochs": 100_000}, callbacks=[*build_tricks("all"), Ready()])
trainer.fit(trained, data())
print("returned", trainer.state.status.value, trainer.global_step > 2, trained.eval()(torch.zeros(1, 3, 8, 8)).shape)
"""


@pytest.mark.slow
def test_a_script(tmp_path):
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "running\n"
    process.send_signal(signal.SIGINT)
    out, error = process.communicate(timeout=60)
    assert process.returncode == 0, error
    assert out == "returned finished True torch.Size([1, 10])\n"


@pytest.mark.slow
def test_a_notebook():
    """The cell ends without an error; the next one has the model."""
    manager = pytest.importorskip("jupyter_client.manager")
    pytest.importorskip("ipykernel")
    kernel, client = manager.start_new_kernel(kernel_name="python3", cwd=str(ROOT))
    try:
        script = "import warnings; warnings.filterwarnings('ignore')\n" + SCRIPT
        client.execute(script)
        wait_for(client, "running")
        time.sleep(0.5)
        kernel.interrupt_kernel()
        assert client.get_shell_msg(timeout=120)["content"]["status"] == "ok"
        wait_for(client, "returned finished")
        client.execute("print('kept', trained.training, trainer.global_step > 2, trained.untrained)")
        assert client.get_shell_msg(timeout=60)["content"]["status"] == "ok"
        wait_for(client, "kept")
    finally:
        client.stop_channels()
        kernel.shutdown_kernel(now=True)


def wait_for(client, text):
    """Reads what the kernel prints until that text comes; raises queue.Empty if it does not come in two minutes."""
    while True:
        content = client.get_iopub_msg(timeout=120)["content"]
        assert "traceback" not in content, content
        if text in content.get("text", ""):
            return

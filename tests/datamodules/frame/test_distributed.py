"""Two processes: each image evaluated once, disjoint shares of training, and a resume of both."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SCRIPT = """
import json, sys
import lightning as L, torch
from torch import nn
from datamodules import Digits

class Model(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.net, self.seen = nn.Linear(192, 10), {"train": [], "val": []}
    def note(self, stage, batch):
        rows = batch[0].flatten(1).double().sum(1).tolist()
        self.seen[stage] += [[self.current_epoch, *pair] for pair in zip(rows, batch[1].tolist())]
    def training_step(self, batch, i):
        self.note("train", batch)
        return nn.functional.cross_entropy(self.net(batch[0].flatten(1)), batch[1])
    def validation_step(self, batch, i):
        self.note("val", batch)
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.01)

class Save(L.Callback):
    def on_train_batch_end(self, trainer, *args):
        if trainer.global_step == 4:
            trainer.save_checkpoint(f"{out}/four.ckpt")

out, ckpt = sys.argv[1], sys.argv[2] or None
torch.set_num_threads(1)
# 101 training images of which 2 processes x batches of 8 take 96; 1,336 validation images
data = Digits(batch_size=8, val_split=1437 - 101, padding=0)
trainer = L.Trainer(accelerator="cpu", devices=2, strategy="ddp", max_epochs=2, callbacks=[Save()], logger=False,
                    num_sanity_val_steps=0, enable_checkpointing=False, enable_progress_bar=False,
                    enable_model_summary=False, default_root_dir=out)
model = Model()
trainer.fit(model, data, ckpt_path=ckpt)
json.dump(model.seen, open(f"{out}/{trainer.global_rank}.json", "w"))
"""


def fit(out, ckpt=""):
    """What each of two processes saw: {"train": [[epoch, pixels, class]...], "val": ...}."""
    out.mkdir()
    (out / "run.py").write_text(SCRIPT)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PL_GLOBAL_SEED": "3"}
    command = [sys.executable, str(out / "run.py"), str(out), str(ckpt)]
    done = subprocess.run(command, env=environment, cwd=out, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr
    return [json.loads((out / f"{rank}.json").read_text()) for rank in (0, 1)]


@pytest.mark.slow
def test_two_processes(tmp_path):
    from datamodules import Digits

    data = Digits(batch_size=8, val_split=1437 - 101, padding=0)
    data.setup("fit")
    both = fit(tmp_path / "whole")

    def counted(indices):
        images = data.on_after_batch_transfer([data.val_set.__getitems__(indices.tolist())[0], None], 0)[0]
        targets = data.train_set.targets[indices].tolist()
        return sorted(zip(images.flatten(1).double().sum(1).tolist(), targets, strict=True))

    for epoch in (0, 1):
        val = sorted(tuple(row[1:]) for part in both for row in part["val"] if row[0] == epoch)
        assert val == counted(data.val_indices)  # each once, 668 by either
        train = [[tuple(row[1:]) for row in part["train"] if row[0] == epoch] for part in both]
        assert [len(part) for part in train] == [48, 48]
        assert not set(train[0]) & set(train[1])
        assert set(train[0]) | set(train[1]) <= set(counted(data.train_indices))

    resumed = fit(tmp_path / "resumed", ckpt=tmp_path / "whole" / "four.ckpt")
    for whole, rest in zip(both, resumed, strict=True):
        assert rest["train"] == whole["train"][4 * 8 :]

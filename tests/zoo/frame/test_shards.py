"""Checkpoints in pieces: read whole without processes, and nothing that a stranger wrote into them is run."""

import os
import pickle
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed.checkpoint as dcp

import zoo
from zoo.frame import shards
from zoo.frame.sharded_files import PlainPlanner, replace_folder
from zoo.frame.weight_files import read_checkpoint


@pytest.fixture
def pieces(tmp_path):
    """As Lightning writes them, in one process."""
    torch.manual_seed(0)
    model, folder = zoo.ResNet("20", num_classes=10, image_size=8), tmp_path / "pieces.ckpt"
    optimizer = {"state": {"momentum": torch.ones(3)}, "lr": 0.1}
    with pytest.warns(UserWarning, match="torch.distributed is disabled"):
        dcp.save({"state_dict": model.state_dict(), "optimizer_0": optimizer}, checkpoint_id=folder, no_dist=True)
    torch.save({"class": "ResNet", "hyper_parameters": dict(model.hparams)}, folder / "meta.pt")
    return model, folder


def test_model_and_weights_come_out(pieces):
    model, folder = pieces
    loaded = zoo.load(folder)
    weights = zoo.ResNet("20", num_classes=10, image_size=8, weights=folder)
    assert type(loaded) is zoo.ResNet
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value) and torch.equal(weights.state_dict()[name], value)


class Hostile:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_a_hostile_one_is_refused(pieces, tmp_path):
    _, folder = pieces
    (folder / ".metadata").write_bytes(pickle.dumps(Hostile(tmp_path / "done")))
    with pytest.raises(ValueError, match=r"cannot be read \(UnpicklingError: _?io.open\): write whole files"):
        zoo.load(folder)
    assert not (tmp_path / "done").exists()


def test_a_lost_piece_is_said(pieces):
    _, folder = pieces
    next(folder.glob("*.distcp")).unlink()
    with pytest.raises(ValueError, match="in pieces that cannot be read .FileNotFoundError: .*distcp"):
        zoo.load(folder)


def test_entries_that_are_no_tensors_run_nothing(tmp_path):
    with pytest.warns(UserWarning, match="torch.distributed is disabled"):
        dcp.save({"lr": 0.5, "hostile": Hostile(tmp_path / "done")}, checkpoint_id=tmp_path / "x", no_dist=True)
        (tmp_path / "done").unlink(missing_ok=True)
        reader = shards.Reader(tmp_path / "x")
        found = {"lr": 0.0}
        dcp.load(found, storage_reader=reader, planner=PlainPlanner(), no_dist=True)
        with pytest.raises(dcp.api.CheckpointException, match="Weights only load failed"):
            dcp.load({"hostile": None}, storage_reader=reader, planner=PlainPlanner(), no_dist=True)
    assert found == {"lr": 0.5} and not (tmp_path / "done").exists()


def killed(new, path):
    """Replace the path, and die after the first of two renames, or before the only one."""
    rename = os.rename
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(os, "rename", lambda a, b: sys.exit() if Path(a) == new else rename(a, b))
        replace_folder(new, path)


def test_a_kill_between_two_renames_loses_nothing(tmp_path):
    path, new = tmp_path / "last.ckpt", tmp_path / ".last.ckpt.part"
    torch.save({"state_dict": {"w": torch.ones(2)}}, path)
    new.mkdir()
    (new / "new.pt").touch()
    for _ in range(2):  # killed again at the next save
        killed(new, path)
        assert not path.exists() and torch.equal(read_checkpoint(path)["state_dict"]["w"], torch.ones(2))
    replace_folder(new, path)
    assert [*tmp_path.iterdir()] == [path] and (path / "new.pt").exists()


def test_a_folder_takes_the_place_of_a_folder_or_a_file(tmp_path):
    path = tmp_path / "last.ckpt"
    path.write_text("a file")
    for text in ("one", "two"):
        new = tmp_path / ".last.ckpt.part"
        new.mkdir()
        (new / f"{text}.pt").write_text(text)
        replace_folder(new, path)
        assert [file.name for file in path.iterdir()] == [f"{text}.pt"] and [*tmp_path.iterdir()] == [path]

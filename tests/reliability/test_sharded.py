"""Weights in parts (FSDP2), in 2 processes or 4: the weights of one process, both checkpoints, every trick."""

import signal

import pytest
import torch

import callbacks
import zoo
from callbacks.frame.trick import Trick
from tests.reliability.runs import ON_GPUS, same
from tests.reliability.sharded_runs import SMALL
from tests.reliability.test_ddp import free_port
from zoo.vit import ViT

pytestmark = pytest.mark.slow


def run(in_processes, which, folder, *arguments, count=2, timeout=240):
    """What all ranks return; they have each come to the end."""
    port, ranks = free_port(), range(count)
    jobs = [(which, folder, rank, port, count, *arguments) for rank in ranks]
    assert in_processes("in_parts", *jobs, timeout=timeout) == [0] * count
    return [torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in ranks]


def equal(one, other):
    return one.keys() == other.keys() and all(same(value, other[name]) for name, value in one.items())


@pytest.mark.parametrize("count", [pytest.param(2, marks=pytest.mark.whole), 4])  # the tests below run two processes
def test_weights_are_those_of_one_process(in_processes, tmp_path, count):
    for found in run(in_processes, "against_one_process", tmp_path, count=count):
        assert found.keys() == {kind.__name__ for kind in SMALL}
        assert max(found.values()) < 1e-5


def test_checkpoints_in_pieces_and_whole(in_processes, tmp_path, monkeypatch):
    monkeypatch.setitem(ViT.variants, "small", SMALL[ViT])
    one, two = run(in_processes, "checkpoints", tmp_path)
    for name in ("pieces", "file"):
        for part in ("weights", "average"):
            straight, kept = one[f"{name} straight"][part], one[f"{name} written"][part]
            for resumed in (one[f"{name} resumed"][part], two[f"{name} resumed"][part]):
                assert equal(straight, resumed)
            assert not same(straight["head.weight"], kept["head.weight"])
            path = tmp_path / name / "on_train_batch_end-3.ckpt"
            loaded = zoo.load(path, None if part == "weights" else "EMA(0.5)")
            assert type(loaded) is ViT and equal(loaded.state_dict(), kept)


def test_a_process_that_is_killed_while_it_writes_leaves_the_older_one(in_processes, tmp_path, monkeypatch):
    monkeypatch.setitem(ViT.variants, "small", SMALL[ViT])
    port = free_port()
    jobs = [("killed_while_writing", tmp_path, rank, port, 2) for rank in (0, 1)]
    zero, one = in_processes("in_parts", *jobs, timeout=120)
    assert one == -signal.SIGKILL and zero != 0
    before = torch.load(tmp_path / "before0.pt", weights_only=True)
    assert equal(zoo.load(tmp_path / "last.ckpt").state_dict(), before)


REFUSES = sorted(name for name in callbacks.__all__ if getattr(callbacks, name).whole_weights)


def one_of_a_kind() -> list[str]:
    """One trick of those that one room has at the same moments of a run; each that refuses."""
    moments = [name for name in dir(Trick) if not name.startswith("__") and callable(getattr(Trick, name))]
    kinds = {}
    for name in sorted(set(callbacks.__all__) - ON_GPUS):
        kind = getattr(callbacks, name)
        own = [moment for moment in moments if getattr(kind, moment) is not getattr(Trick, moment)]
        kinds[kind.__module__.split(".")[1], *own, kind.whole_weights and name] = name
    return [*kinds.values()]


@pytest.mark.parametrize("which", ["a sixth of the kinds", pytest.param("all", marks=pytest.mark.whole)])
def test_tricks_are_right_or_refuse_by_name(in_processes, tmp_path, which):
    """Weights, averages and scores are those of DDP."""
    names = sorted(set(callbacks.__all__) - ON_GPUS) if which == "all" else sorted({*one_of_a_kind()[::6], *REFUSES})
    for found in run(in_processes, "tricks", tmp_path, names, timeout=600):
        refused = {name: error for name, error in found.items() if error}
        assert sorted(refused) == REFUSES, refused
        assert all(f"{name} needs whole weights" in error for name, error in refused.items())

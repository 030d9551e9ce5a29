"""Two processes (gloo, CPU): the same weights, averages and scores on both; each image evaluated once."""

import socket

import lightning as L
import pytest
import torch

from callbacks import Retrieval
from tests.reliability.runs import (
    BATCHES,
    EPOCHS,
    QUIET,
    REST,
    SIZE,
    SLOW,
    differences,
    model,
    on_a_schedule,
    same,
    uneven,
)

MOMENTS = [("on_train_batch_end", 7), ("on_train_batch_end", 5), ("on_validation_end", 1), ("on_train_epoch_end", 1)]


def train_in_two(in_processes, folder, port, which, moments=(), ckpt_path=None, **options):
    """What both ranks end with."""
    folder.mkdir(exist_ok=True, parents=True)
    jobs = [(which, folder, rank, port, list(moments), ckpt_path, options) for rank in (0, 1)]
    assert in_processes("fit_as_rank", *jobs, timeout=240) == [0, 0]
    return [torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in (0, 1)]


def keys(run, *prefixes):
    return [key for key in run if key.startswith(prefixes)]


@pytest.fixture(scope="module")
def both(in_processes, tmp_path_factory):
    """The ends of a run with every trick, on both ranks; and the folder with its checkpoint."""
    folder = tmp_path_factory.mktemp("both")
    return train_in_two(in_processes, folder, free_port(), "all", MOMENTS), folder


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def test_same_parameters_averages_and_scores(both):
    (one, two), _ = both
    parameters = [f"/weights/{name}" for name, _ in model().named_parameters()]
    shared = keys(one, "/averages", "/metrics", "/optimizer", "/progress", "/states") + parameters
    assert any(key.endswith("running_var") for key in shared)  # of the average: batch norm's statistics too
    assert [key for key in shared if not same(one[key], two[key])] == []


LISTS = [f"rest{i}" for i in range(len(REST))] + [pytest.param(name, marks=pytest.mark.slow) for name in sorted(SLOW)]


@pytest.mark.parametrize("which", LISTS)
@pytest.mark.one_in(3)
def test_those_that_are_not_in_it_train_alike_too(which, in_processes, tmp_path):
    """So that every trick has trained in two processes: a parameter that one of them moved elsewhere would differ."""
    one, two = train_in_two(in_processes, tmp_path, free_port(), which, max_epochs=1)
    assert len(one["seen"]) == BATCHES
    parameters = [key for key in keys(one, "/weights") if "running_" not in key and "num_batches" not in key]
    assert len(parameters) > 20 and all(one[key].isfinite().all() for key in parameters)
    assert [key for key in parameters + keys(one, "/averages", "/optimizer") if not same(one[key], two[key])] == []


@pytest.mark.slow
def test_a_detector_is_the_same_on_both(in_processes, tmp_path):
    """Each rank has other images; weights, average and scores are those of both."""
    pytest.importorskip("pycocotools", reason="counts mean average precision")
    port = free_port()
    assert in_processes("detect_as_rank", (tmp_path, 0, port), (tmp_path, 1, port), timeout=240) == [0, 0]
    one, two = (torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in (0, 1))
    weights = [key for key in keys(one, "/weights") if "running_" not in key and "num_batches" not in key]
    shared = weights + keys(one, "/averages", "/metrics", "/optimizer", "/progress")
    assert len(weights) > 60 and any("/averages/EMA" in key for key in shared) and "/metrics/val/map_ema0.5" in shared
    assert [key for key in shared if not same(one[key], two[key])] == []
    assert len(one["losses"]) == 2 and one["boxes"] != two["boxes"]
    mean = sum(one["losses"] + two["losses"]) / 4
    assert one["logged"]["train/loss"] == two["logged"]["train/loss"] == pytest.approx(mean, rel=1e-5)


def test_each_image_is_evaluated_once(both, trainer):
    (one, two), _ = both
    data = uneven()
    data.setup("fit")
    images = torch.cat([data.on_after_batch_transfer(batch, 0)[0] for batch in data.val_dataloader()])
    expected = images.double().flatten(1).sum(1).tolist()
    assert len(expected) == 33 and (len(one["evaluated"]), len(two["evaluated"])) == (17, 16)
    assert sorted(one["evaluated"] + two["evaluated"]) == sorted(expected)


def test_batches_and_mixing_differ_by_rank(both):
    (one, two), _ = both
    assert [s[0] for s in one["seen"]] == [s[0] for s in two["seen"]]
    assert len(one["seen"]) == BATCHES * EPOCHS
    shares = [{round(p, 5) for p in run["seen"][0][1][1]} - {0.0, 1.0} for run in (one, two)]
    assert all(shares) and shares[0].isdisjoint(shares[1])  # the probabilities tell the draws of lam


@pytest.mark.parametrize("which", ["raw", "average"])
def test_scores_are_those_of_one_process(which, both, trainer):
    (one, _), _ = both
    trained = model()
    prefix = "/weights/" if which == "raw" else "/averages/EMA(0.999)/"
    trained.load_state_dict({key.removeprefix(prefix): one[key] for key in keys(one, prefix)})
    single = L.Trainer(**{**QUIET, "limit_val_batches": 1.0}, callbacks=[Retrieval()])
    scores = single.validate(trained, uneven(), verbose=False)[0] | single.test(trained, uneven(), verbose=False)[0]
    suffix = "" if which == "raw" else "_ema0.999"
    for name in ("r1", "r_precision", "map_at_r") if which == "raw" else ():  # each image against those of both
        assert one[f"/metrics/test/{name}"].item() == pytest.approx(scores[f"test/{name}"], rel=1e-5)
    for name in ("loss", "acc", "top5"):
        assert one["logged"][f"val/{name}{suffix}"] == pytest.approx(scores[f"val/{name}"], rel=1e-5)
        assert one[f"/metrics/test/{name}{suffix}"].item() == pytest.approx(scores[f"test/{name}"], rel=1e-5)


@pytest.mark.parametrize("which", ["none", "all"])
def test_training_accuracy_is_that_of_both(which, both, in_processes, tmp_path):
    one, two = both[0] if which == "all" else train_in_two(in_processes, tmp_path, free_port(), "none")
    hits = one["hits"] + two["hits"]
    assert len(hits) == 2 * SIZE * BATCHES * (1 + (which == "all"))  # RDrop doubles each batch
    name = "train/acc_mixed" if which == "all" else "train/acc"
    assert one["logged"][name] == two["logged"][name] == pytest.approx(sum(hits) / len(hits), rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.one_in(4)
def test_resume(moment, both, in_processes, tmp_path):
    """Exact on both ranks."""
    ends, folder = both
    path = folder / "{}-{}.ckpt".format(*moment)
    resumed = train_in_two(in_processes, tmp_path, free_port(), "all", ckpt_path=path)
    for straight, again in zip(ends, resumed, strict=True):
        for run in (straight, again):
            for key in ("evaluated", "hits", "logged"):
                run.pop(key, None)
        assert differences(straight, again) == []


@pytest.mark.slow
def test_one_process_goes_on_with_a_run_of_two_at_the_same_rates_or_not_at_all(in_processes, tmp_path):
    """Twice the batch gives as many batches an epoch; the same batch gives twice as many, and no schedule would fit."""
    port = free_port()
    assert in_processes("save_as_rank", *[(tmp_path, rank, port) for rank in (0, 1)], timeout=120) == [0, 0]
    straight = torch.load(tmp_path / "rank0.pt", weights_only=True)
    assert straight["steps"] == 9 and len({rate for rates in straight["rates"] for rate in rates}) > 3
    at_the_end, in_the_middle = tmp_path / "on_train_epoch_end-1.ckpt", tmp_path / "on_train_batch_end-5.ckpt"
    resumed = on_a_schedule(2 * SIZE, ckpt_path=at_the_end)
    assert resumed == {"steps": 9, "rates": straight["rates"][3:]}
    for path, size, said in (
        (at_the_end, SIZE, "had 2 processes and 3 batches an epoch, this one has 1 and 6"),
        (in_the_middle, SIZE, "in the middle of an epoch with processes=2, this run has processes=1"),
        (in_the_middle, 2 * SIZE, "in the middle of an epoch with batch_size=8, this run has batch_size=16"),
    ):
        with pytest.raises(ValueError, match=said):
            on_a_schedule(size, ckpt_path=path)


@pytest.mark.slow
def test_a_compiled_network_is_compiled_once_and_nothing_warns_of_the_log(in_processes, tmp_path):
    """Under DDP Lightning calls the training step through the module, which must not be compiled in its place."""
    port = free_port()
    assert in_processes("compile_as_rank", *[(tmp_path, rank, port) for rank in (0, 1)], timeout=120) == [0, 0]
    one, two = (torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in (0, 1))
    for run in (one, two):
        assert len(run["steps"]) == 2 * BATCHES
        assert run["steps"][0] == 1 and len({*run["steps"][BATCHES:]}) == 1  # another in evaluation; then none
        assert run["steps"][-1] <= 3
        assert [text for text in run["warnings"] if "sync_dist" in text] == []
    assert same(one["weights"]["network.head.weight"], two["weights"]["network.head.weight"])

"""The engine: what is done is not done again, crashes and Ctrl-C are survived, runs that diverged are counted."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import lightning as L
import numpy as np
import pytest
from torch import nn

from callbacks import EMA, Cutout, MixUp
from datamodules import Digits
from recipes.frame import compare_engine as engine
from recipes.frame import records
from recipes.frame.answers import unpack
from recipes.frame.compare import Plus, compare, compare_recipes
from recipes.frame.compare_result import Comparison
from recipes.frame.compare_work import Job, read_result, run_job, score
from recipes.frame.recipe import Recipe
from zoo import Classifier


def tiny(epochs: int = 1, val_split: float | None = None, seed: int = 0, slow: float = 0) -> Recipe:
    """A linear network on handwritten digits: a second a run."""
    L.seed_everything(seed, workers=True, verbose=False)
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 64, 10))
    return Recipe(
        name="tiny",
        model=Classifier(network, num_classes=10, image_size=8, lr=0.05),
        data=Digits(64, val_split=val_split),
        callbacks=[EMA(0.9), *([Wait(slow)] if slow else [])],
        trainer={"max_epochs": epochs, "limit_val_batches": 0},
        seed=seed,
        arguments={"epochs": epochs},
    )


class Wait(L.Callback):
    def __init__(self, seconds):
        self.seconds = seconds

    def on_train_epoch_end(self, trainer, model):
        time.sleep(self.seconds)


class Die(L.Callback):
    """Kill the process of the first run that comes here."""

    def __init__(self, mark):
        self.mark = mark

    def on_train_end(self, trainer, model):
        if not Path(self.mark).exists():
            Path(self.mark).touch()
            os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "RESULTS", tmp_path / "results")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def drawn(monkeypatch):
    """Results that are drawn instead of trained: `drawn(job) -> accuracy` may be set; counts the runs."""
    ran = []

    def measure(job: Job, folder: Path, tell) -> dict:
        ran.append(str(job))
        accuracy = drawn.accuracy(job)
        metrics = {"test/acc": accuracy, "test/loss": 1.0}
        arguments = {"recipe": "tiny"}
        result = {"metrics": metrics, "seconds": 1.0, "classes": 10, "images": 1000, "arguments": arguments}
        (folder / "result.json").write_text(json.dumps(result))
        return result

    def drawn(accuracy):
        drawn.accuracy = accuracy
        return ran

    monkeypatch.setattr("recipes.frame.compare_work._measure", measure)
    return drawn


def noise(job: Job, gain: float = 0.0) -> float:
    random = np.random.default_rng([job.seed, sum(map(ord, job.arm))])
    return 0.6 + 0.003 * random.standard_normal() + gain * (job.arm != "none")


here = partial(compare, workers=0, quiet=True)


# ---- what is run


def test_arms_share_seeds_and_a_second_call_runs_nothing(drawn):
    ran = drawn(noise)
    first = here(tiny, {"none": [], "MixUp": [MixUp()]}, 3)
    assert ran == [f"{arm}, seed {seed}" for seed in range(3) for arm in ("none", "MixUp")]
    again = here(tiny, {"none": [], "MixUp": [MixUp()]}, 3)
    assert len(ran) == 6 and str(again) == str(first)
    here(tiny, {"none": [], "MixUp": [MixUp()], "Cutout": [Cutout(2)]}, 4)
    assert ran[6:] == [
        "Cutout, seed 0",
        "Cutout, seed 1",
        "Cutout, seed 2",
        "none, seed 3",
        "MixUp, seed 3",
        "Cutout, seed 3",
    ]
    lines = records.read("compare")
    assert len(lines) == 12 and len({line["key"] for line in lines}) == 12


def test_a_changed_arm_is_another_run(drawn):
    ran = drawn(noise)
    here(tiny, {"none": [], "MixUp": [MixUp(0.2)]}, 2)
    here(tiny, {"none": [], "MixUp": [MixUp(0.3)]}, 2)
    here(partial(tiny, epochs=2), {"none": [], "MixUp": [MixUp(0.3)]}, 2)
    assert (
        ran
        == [*["none, seed 0", "MixUp, seed 0", "none, seed 1", "MixUp, seed 1"], "MixUp, seed 0", "MixUp, seed 1"]
        + ran[6:]
    )
    assert len(ran) == 10


def test_a_run_that_another_process_holds_is_left_to_it(tmp_path):
    from filelock import FileLock

    job = Job("k", "none", 0, tiny, Plus())
    (tmp_path / "k").mkdir()
    with FileLock(tmp_path / "k" / "lock", is_singleton=False):
        assert run_job(job, tmp_path / "k") is None


def test_a_run_measures_every_test_image(tmp_path):
    result = run_job(Job("k", "EMA", 1, tiny, Plus([Cutout(2)])), tmp_path / "k")
    right = unpack(result["right"], result["images"])
    assert right.mean() == pytest.approx(score(result))
    assert score(result) == result["metrics"]["test/acc_ema0.9"]
    assert read_result(tmp_path / "k") == result and not (tmp_path / "k" / "run").exists()


def test_a_mean_average_precision_at_one_overlap_is_no_average_of_the_goal():
    metrics = {"test/map": 0.2, "test/map_50": 0.3, "test/map_75": 0.1}
    assert score({"metrics": metrics}, "test/map") == 0.2
    assert score({"metrics": {**metrics, "test/map_ema0.9": 0.25}}, "test/map") == 0.25


# ---- what is said


def test_a_gain_is_better_and_noise_is_undecided(drawn):
    drawn(partial(noise, gain=0.02))
    found = here(tiny, {"none": [], "MixUp": [MixUp()]}, 5)
    assert found["MixUp"].verdict == "better" and found["none"].verdict == "" and "paired t" in found.method
    assert found["MixUp"].difference.mean == pytest.approx(0.02, abs=0.006)
    drawn(noise)
    found = here(partial(tiny, epochs=2), {"none": [], "a": [MixUp()], "b": [Cutout(2)]}, 5)
    assert found["a"].verdict == "undecided" and "more seeds" in found["a"].advice
    assert "simultaneous over 2 arms" in found.method and "undecided" in str(found)


def test_a_run_that_diverged_is_counted_and_there_is_no_interval(drawn):
    drawn(lambda job: 0.1 if (job.arm, job.seed) == ("MixUp", 2) else noise(job, 0.02))
    found = here(tiny, {"none": [], "MixUp": [MixUp()], "Cutout": [Cutout(2)]}, 5)
    assert found["MixUp"].verdict == "4 of 5 trained" and found["MixUp"].difference is None
    assert found["Cutout"].verdict == "better" and "4 of 5 trained" in str(found)
    assert "no intervals: not all runs of the other arms" in here(tiny, {"none": [], "MixUp": [MixUp()]}, 5).method
    drawn(lambda job: 0.1 if (job.arm, job.seed) == ("none", 2) else noise(job, 0.02))
    found = here(partial(tiny, epochs=2), {"none": [], "Cutout": [Cutout(2)]}, 5)
    assert found["Cutout"].difference is None and "baseline" in found.method
    drawn(lambda job: 0.1 if job.arm == "MixUp" else noise(job, 0.02))
    found = here(partial(tiny, epochs=3), {"none": [], "MixUp": [MixUp()]}, 3)
    assert "none trained" in str(found) and "nan" not in found._repr_html_().split("<img")[0]


def test_until_decided_stops_each_arm_when_it_is(drawn):
    ran = drawn(lambda job: noise(job, 0.05 if job.arm == "clear" else 0.0))
    found = here(tiny, {"none": [], "clear": [MixUp()], "open": [Cutout(2)]}, 12, until="decided")
    assert found["clear"].verdict == "better" and 4 <= found["clear"].n < 12
    assert found["open"].verdict == "undecided" and found["open"].n == found["none"].n == 12
    assert "however often one looks" in found.method and len(ran) == 24 + found["clear"].n


def test_it_is_shown_in_notebooks_and_pictures(drawn, tmp_path):
    drawn(partial(noise, gain=0.02))
    found = here(tiny, {"none": [], "a [b]": [MixUp()]}, 3)
    assert isinstance(found, Comparison)
    page = found._repr_html_()
    assert "<td>a [b]</td>" in page and "data:image/png;base64," in page
    found.plot(tmp_path / "picture.png")
    assert (tmp_path / "picture.png").stat().st_size > 5000
    assert "a [b]" in str(found)


def test_the_picture_has_a_bar_as_long_as_the_interval_and_a_circle_a_seed(drawn):
    drawn(partial(noise, gain=0.02))
    found = here(tiny, {"none": [], "a": [MixUp()]}, 3)
    mean, half = 100 * found["a"].difference.mean, 100 * found["a"].difference.half
    zero, *lines = ([*map(float, line.get_xdata())] for line in found.plot().axes[0].lines)
    circles = [100 * (found["a"].accuracies[i] - found["none"].accuracies[i]) for i in range(3)]
    assert zero == [0, 0] and len(lines) == 3
    for line, expected in zip(lines, ([mean - half, mean + half], [mean, mean], circles), strict=True):
        assert line == pytest.approx(expected)


def test_no_seed_and_no_arm_are_refused_and_one_seed_has_no_interval(drawn):
    for arms, seeds in (({}, 3), ({"none": []}, 0)):
        with pytest.raises(ValueError, match="at least one arm, and a seed"):
            here(tiny, arms, seeds)
    drawn(noise)
    found = here(tiny, {"none": [], "MixUp": [MixUp()]}, 1)
    assert found["MixUp"].n == 1 and found["MixUp"].verdict == "" and found.method == "no intervals: one seed"


def test_another_goal_is_compared_and_named(tmp_path, monkeypatch):
    def measure(job, folder, tell):
        dice = 0.05 + 0.01 * job.seed + 0.01 * (job.arm == "new")  # an accuracy would be below guessing
        metrics = {"test/acc": 0.9, "test/dice": dice, "test/loss": 1.0}
        result = {"metrics": metrics, "seconds": 1.0, "classes": 10, "images": 1000, "arguments": {"recipe": "tiny"}}
        (folder / "result.json").write_text(json.dumps(result))
        return result

    monkeypatch.setattr("recipes.frame.compare_work._measure", measure)
    found = here(lambda seed: replace(tiny(seed=seed), goal="test/dice"), {"none": [], "new": [MixUp()]}, 3)
    assert found["none"].mean == pytest.approx(0.06) and found["new"].difference.mean == pytest.approx(0.01)
    assert found.heads()[1] == "dice %" and found["new"].verdict == "better"


# ---- recipes with several arms


def test_a_recipe_that_was_stopped_goes_on_and_each_run_has_one_line_in_its_own_file(drawn, capsys):
    def stopped(job):
        if (job.arm, job.seed) == ("2 epochs", 1):
            raise KeyboardInterrupt
        return noise(job) + 0.05 * (job.arm == "2 epochs")

    builds = {f"{n} epochs": partial(tiny, n) for n in (1, 2)}
    ran = drawn(stopped)
    with pytest.raises(KeyboardInterrupt):
        compare_recipes(builds, 3, workers=0, record=True)
    assert len(ran) == 4 and not records.read("compare")
    drawn(lambda job: noise(job) + 0.05 * (job.arm == "2 epochs"))
    for _ in range(2):
        found = compare_recipes(builds, 3, workers=0, record=True)
    assert ran[3:] == ["2 epochs, seed 1", "2 epochs, seed 1", "1 epochs, seed 2", "2 epochs, seed 2"]
    lines = records.lines("tiny")
    assert len(lines) == 6 == len({line["key"] for line in lines}) and "arm" not in lines[0]["arguments"]
    assert found["2 epochs"].verdict == "better"
    assert any("2 epochs" in line and "better" in line for line in capsys.readouterr().out.splitlines())


def test_a_network_of_another_kind_is_another_run(drawn):
    def other(seed: int = 0) -> Recipe:
        return replace(tiny(seed=seed), model=Classifier(nn.Flatten(), num_classes=192, image_size=8))

    ran = drawn(noise)
    here(tiny, {"none": []}, 2)
    here(other, {"none": []}, 2)
    assert len(ran) == 4


def test_folds_measure_each_training_image_once(tmp_path):
    found = here(partial(tiny, epochs=1), {"none": []}, folds=3)
    assert found["none"].n == 3 and found["none"].difference is None
    whole = tiny()
    whole.data.prepare_data()
    whole.data.setup()
    assert np.sum(found["none"].confusion) == len(whole.data.train_set)
    hits = np.trace(found["none"].confusion) / np.sum(found["none"].confusion)
    assert 0 < hits <= 1 and "share training images" in found.method


# ---- processes


SCRIPT = """
import sys
from functools import partial
from pathlib import Path
from recipes.frame import records
from recipes.frame.compare import compare
from tests.recipes.frame.test_compare import Die, tiny

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    records.RESULTS = folder / "results"
    arms = {"none": [], "dies": [Die(str(folder / "mark"))] if sys.argv[2] == "die" else lambda recipe: recipe}
    base = partial(tiny, slow=float(sys.argv[3]), epochs=3)
    print(compare(base, arms, 2, workers=2, folder=folder / "runs"))
"""
ROOT = Path(__file__).parents[3]


def script(tmp_path: Path, *arguments: str) -> subprocess.Popen:
    file = tmp_path / "script.py"
    file.write_text(SCRIPT)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(file), str(tmp_path), *arguments]
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


@pytest.mark.slow
def test_a_killed_worker_is_replaced_and_each_run_recorded_once(tmp_path):
    process = script(tmp_path, "die", "0")
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 0, out
    assert (tmp_path / "mark").exists() and "dies, seed 0: 0." in out
    lines = records.read("compare")
    assert len(lines) == 4 == len((tmp_path / "results" / "compare.jsonl").read_text().splitlines())


@pytest.mark.slow
def test_ctrl_c_stops_and_the_next_call_goes_on(tmp_path):
    process = script(tmp_path, "live", "2")
    deadline = time.monotonic() + 200
    while not [*tmp_path.glob("runs/*/run/last.ckpt")] and time.monotonic() < deadline:
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=100)
    assert process.returncode != 0 and "KeyboardInterrupt" in out
    held = [*tmp_path.glob("runs/*/run/last.ckpt")]
    assert held and not [*tmp_path.glob("runs/*/result.json")]
    again = script(tmp_path, "live", "2")
    out, _ = again.communicate(timeout=300)
    assert again.returncode == 0, out
    assert len(records.read("compare")) == 2  # the two arms are the same runs, done once


class Ended:
    """A process that has ended in good order, and its end of a pipe."""

    exitcode = 3

    def join(self):
        """Return at once."""

    close = join


def test_a_message_of_a_run_that_has_just_ended_is_dropped(tmp_path, monkeypatch):
    pool = engine.Pool(engine.Engine(tmp_path, 1, record=False, quiet=True))
    monkeypatch.setattr(engine, "wait", lambda sentinels, seconds: [7])
    monkeypatch.setattr(engine.time, "sleep", lambda seconds: None)
    with engine.Progress(console=pool.engine.console, disable=True) as pool.display:
        job = Job("key", "arm", 0, tiny, Plus())
        pool.running[7] = engine.Running(job, Ended(), Ended(), pool.display.add_task("arm", total=1.0))
        pool.tell.send(("key", 0.5))
        assert pool.look() == [job] and not pool.running and not pool.told.poll()


def test_a_message_moves_the_bar_of_its_run(tmp_path, monkeypatch):
    pool = engine.Pool(engine.Engine(tmp_path, 2, record=False, quiet=True))
    monkeypatch.setattr(engine, "wait", lambda sentinels, seconds: [pool.told])
    monkeypatch.setattr(engine.time, "sleep", lambda seconds: None)
    with engine.Progress(console=pool.engine.console, disable=True) as pool.display:
        for i, key in enumerate(("first", "second")):
            task = pool.display.add_task(key, total=1.0)
            pool.running[i] = engine.Running(Job(key, "arm", i, tiny, Plus()), Ended(), Ended(), task)
        pool.tell.send(("second", 0.5))
        assert pool.look() == [] and [task.completed for task in pool.display.tasks] == [0, 0.5]

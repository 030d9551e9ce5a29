"""`zoo reproduce`: what is recorded is not run again, the queue's order, verdicts printed."""

import signal
import subprocess
from types import SimpleNamespace

import lightning as L
import pytest
import torch
from filelock import FileLock

from recipes.command import reproduce
from recipes.frame import records
from recipes.frame.errors import UsageError
from recipes.papers.frame.data import Batches, Images, Moves, shift_images
from recipes.papers.frame.results import judge, read_runs
from recipes.papers.frame.row import Effect, Fit, Published, Row, Trained
from zoo import MLP


def images(n=30):
    torch.manual_seed(0)
    return Images(torch.rand(n, 1, 4, 4), torch.arange(n) % 10, torch.rand(20, 1, 4, 4), torch.arange(20) % 10)


@pytest.fixture
def row(monkeypatch, tmp_path):
    """A row of two arms that count their runs and score 90 + seed and 91 + seed."""
    monkeypatch.setattr(records, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(records, "commit", lambda: "abc")
    monkeypatch.chdir(tmp_path)
    ran = []

    def arm(name, score):
        def train(run):
            ran.append((name, run.seed))
            return Trained(None, {"last": score + run.seed, "best": score + run.seed}, [score])

        return train

    claims = (Published("base", (91.0,)), Published("trick", (80.0,)), Effect("trick", "base", (1.0,)))
    arms = {"base": arm("base", 90.0), "trick": arm("trick", 91.0)}
    row = Row("some_row", lambda root: images(), arms, claims, seeds=3, minutes=1)
    monkeypatch.setattr(reproduce, "load_row", lambda name: row)
    monkeypatch.setattr(reproduce, "names", lambda: ["some_row"])
    return SimpleNamespace(row=row, ran=ran)


def test_runs_what_is_missing_and_says_the_verdicts(row, capsys):
    reproduce.main(["some_row", "--seeds", "2"])
    assert row.ran == [("base", 0), ("trick", 0), ("base", 1), ("trick", 1)]
    row.ran.clear()
    reproduce.main(["some_row"])
    assert row.ran == [("base", 2), ("trick", 2)]
    out = capsys.readouterr().out
    assert "base: published 91.00; ours 91.00 ± 1.00 (n = 3), interval 86.03 to 95.97: undecided" in out
    assert "trick: published 80.00; ours 92.00 ± 1.00 (n = 3), interval 87.03 to 96.97: outside" in out
    assert "trick - base: published +1.00; ours +1.00 ± 0.00 (n = 3), interval +1.00 to +1.00: inside" in out


def test_one_row_commits_each_seed_that_ran(row, monkeypatch):
    done = []
    monkeypatch.setattr(reproduce, "commit_results", lambda: done.append(len(row.ran)))
    reproduce.main(["some_row", "--seeds", "1"])
    reproduce.main(["some_row", "--seeds", "3", "--commit"])
    assert done == [4, 6]


def test_all_goes_on_where_it_stopped(row):
    records.append(
        "papers", {"arguments": {"row": "some_row", "arm": "base"}, "seed": 1, "metrics": {}, "seconds": 1.0}
    )
    reproduce.main(["--all"])
    assert ("base", 1) not in row.ran and len(row.ran) == 5


def test_what_another_process_is_at_is_left_to_it(row):
    reproduce.LOCKS.mkdir(parents=True)
    with FileLock(reproduce.LOCKS / "some_row 1.lock"):
        reproduce.main(["--all"])
    assert [seed for _, seed in row.ran] == [0, 0, 2, 2]
    reproduce.main(["--all"])
    assert [seed for _, seed in row.ran] == [0, 0, 2, 2, 1, 1]


class Other:
    """In the place of another process."""

    started = ()
    returncode = 0

    def __init__(self, command):
        Other.started = (*Other.started, command)
        self.signals = []

    def send_signal(self, number):
        self.signals.append(number)
        self.returncode = -number

    def wait(self):
        return self.returncode


def test_several_processes_do_all_rows(row, monkeypatch):
    monkeypatch.setattr(reproduce.subprocess, "Popen", Other)
    monkeypatch.setattr(Other, "started", ())
    reproduce.main(["--all", "--workers", "3", "--scale", "0.5"])
    assert len(Other.started) == 2 and len(row.ran) == 6
    for command in Other.started:
        assert reproduce.parse(command[4:]).workers == 1 and reproduce.parse(command[4:]).scale == 0.5
    monkeypatch.setattr(Other, "returncode", 1)
    with pytest.raises(UsageError, match="1 of 2 processes ended with an error"):
        reproduce.main(["--all", "--workers", "2"])
    others = []
    monkeypatch.setattr(reproduce.subprocess, "Popen", lambda command: others.append(Other(command)) or others[-1])
    monkeypatch.setattr(reproduce, "fill", lambda *_: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        reproduce.main(["--all", "--workers", "2"])
    assert others[0].signals == [signal.SIGINT]


def test_a_crash_loses_one_run(row, monkeypatch):
    arms = dict(row.row.arms)

    def crash(run):
        raise RuntimeError("out of memory")

    row.row.arms["trick"] = crash
    with pytest.raises(RuntimeError):
        reproduce.main(["some_row", "--seeds", "1"])
    assert read_runs(row.row)["base"] == {0: {"last": 90.0, "best": 90.0}}
    row.row.arms["trick"] = arms["trick"]
    reproduce.main(["some_row", "--seeds", "1"])
    assert row.ran == [("base", 0), ("trick", 0)]


def test_a_run_that_ctrl_c_ended_is_not_recorded(row):
    class CtrlC(L.Callback):
        def on_train_batch_end(self, *_):
            signal.raise_signal(signal.SIGINT)

    fit = Fit(lambda run: MLP("5", 10, image_size=4, in_chans=1), lambda run: [CtrlC()], epochs=2, batch=10)
    row.row.arms["base"] = fit
    with pytest.raises(KeyboardInterrupt):
        reproduce.main(["some_row", "--seeds", "1"])
    assert records.read("papers") == []


def test_a_trial_is_not_recorded(row):
    reproduce.main(["some_row", "--seeds", "1", "--scale", "0.1"])
    assert len(row.ran) == 2 and records.read("papers") == []


def test_the_list_counts_seeds_and_verdicts(row, capsys, monkeypatch):
    monkeypatch.setattr(reproduce, "first_line", lambda path: "What it is")
    reproduce.main(["some_row"])
    capsys.readouterr()
    reproduce.main([])
    assert capsys.readouterr().out == "some_row  3/3  1 inside, 1 outside, 1 undecided  What it is\n"


def test_the_queue_gives_every_row_three_seeds_before_more():
    cheap, dear = (Row(name, images, {}, (), seeds, minutes) for name, seeds, minutes in (("c", 5, 1), ("d", 4, 9)))
    order = [(row.name, seed) for row, seed in reproduce.queue([dear, cheap])]
    assert order == [("c", 0), ("c", 1), ("c", 2), ("d", 0), ("d", 1), ("d", 2), ("c", 3), ("c", 4), ("d", 3)]


def test_commits_the_file_of_results_alone(tmp_path, monkeypatch):
    git = ["git", "-C", str(tmp_path), "-c", "user.name=x", "-c", "user.email=x@y"]
    subprocess.run([*git, "init", "-q"], check=True)
    for name in ("user.name", "user.email"):
        subprocess.run([*git, "config", name, "x"], check=True)
    results = tmp_path / "results"
    results.mkdir()
    (results / "papers.jsonl").write_text("{}\n")
    (tmp_path / "other.py").write_text("")
    subprocess.run([*git, "add", "other.py"], check=True)
    monkeypatch.setattr(records, "RESULTS", results)
    reproduce.commit_results()
    reproduce.commit_results()  # nothing new: no commit, no error
    log = subprocess.run([*git, "log", "--name-only", "--format=%s"], capture_output=True, text=True, check=True)
    assert log.stdout.split("\n\n") == ["Measured: rows of papers", "results/papers.jsonl\n"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nielsen"], "no row 'nielsen'; did you mean nielsen_l2"),
        (["--seeds", "0"], "must be positive"),
        (["--no"], "--no"),
        pytest.param(
            ["--device", "gpu"], "there is none", marks=pytest.mark.skipif(torch.cuda.is_available(), reason="")
        ),
        (["some_row", "--workers", "2"], "--workers is for --all"),
    ],
)
def test_wrong_arguments_say_what_is_right(arguments, message):
    with pytest.raises(UsageError, match=message):
        reproduce.main(arguments)


# ---- what rows train on


def test_arms_of_a_seed_see_the_same_order():
    one, two, other = (Batches(images(), 7, seed) for seed in (0, 0, 1))
    first, again, third = ([y for _, y in batches] for batches in (one, two, other))
    assert len(one) == len(first) == 5 and all(map(torch.equal, first, again))
    assert not torch.equal(first[0], third[0])
    assert not torch.equal(next(iter(one))[1], first[0])  # the next epoch
    assert torch.cat(first).bincount(minlength=10).tolist() == [3] * 10


def test_an_incomplete_batch_may_be_dropped_and_the_order_kept():
    batches = Batches(images(), 7, 0, drop_last=True, shuffle=False)
    assert len(batches) == 4 and torch.equal(torch.cat([y for _, y in batches]), torch.arange(28) % 10)


def test_images_are_moved():
    image, still = torch.arange(9.0).view(1, 1, 3, 3), torch.tensor([[0, 0]])
    assert shift_images(image, torch.tensor([[1, 0]]), 1)[0, 0].tolist() == [[0, 0, 0], [0, 1, 2], [3, 4, 5]]
    assert shift_images(image, torch.tensor([[0, -1]]), 1)[0, 0].tolist() == [[1, 2, 0], [4, 5, 0], [7, 8, 0]]
    assert torch.equal(shift_images(image, still, 2), image)
    inside = shift_images(image, torch.tensor([[-1, 1]]), 1, "reflect")
    assert inside[0, 0].tolist() == [[4, 3, 4], [7, 6, 7], [4, 3, 4]]
    wide = torch.rand(2, 3, 4, 6) - 5  # black is the least value of each channel
    moved = shift_images(wide, torch.tensor([[2, 0], [0, -3]]), 3)
    assert torch.equal(moved[0, :, 2:], wide[0, :, :2]) and torch.equal(moved[1, :, :, :3], wide[1, :, :, 3:])
    assert torch.equal(moved[0, :, 0, 0], wide.amin((0, 2, 3))) and torch.equal(moved[1, :, 3, 5], wide.amin((0, 2, 3)))


def test_moves_are_even_over_the_places_and_mirror_one_half():
    image = torch.zeros(4000, 1, 5, 5)
    image[:, :, 2, 3] = 1
    moved = Moves(1, flip=True)(image, torch.Generator().manual_seed(3))
    counts = moved.sum(0)[0]
    assert counts.sum() == 4000 and counts[0].sum() == counts[4].sum() == 0
    assert abs(float(counts[:, :2].sum()) - 4000 / 3) < 150 and abs(float(counts[:, 3:].sum()) - 4000 / 3) < 150
    assert all(abs(float(row) - 4000 / 3) < 150 for row in counts[1:4].sum(1))


def test_claims_of_arms_that_did_not_run_have_no_verdict(row):
    assert [found for _, found in judge(row.row, {"base": {}, "trick": {}})] == [None] * 3

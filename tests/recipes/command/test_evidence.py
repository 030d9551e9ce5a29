"""The programme: its order, what is skipped, choices before seeds, one run recorded and committed."""

import subprocess
from dataclasses import replace

import pytest
from filelock import FileLock

from recipes.command import evidence as command
from recipes.frame import evidence, records, regime
from recipes.frame.arms import (
    DATA_IS_SHORT,
    DOZEN_OF_DATA,
    DOZEN_OF_TIME,
    OTHERS_OF_DATA,
    REGIMES,
    SMALL_TRANSFORMER,
    TIME_IS_SHORT,
)
from recipes.frame.evidence import Job, best_value, is_done, is_ready, precision, programme
from recipes.frame.regime import CHOICE_SEED, NONE, TEACHER, Trial
from tests.recipes.conftest import write_shades

STAMP = {"hardware": {"device": "A chip", "threads": 1}, "versions": {}, "commit": "abc", "seconds": 1.0}


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "RESULTS", tmp_path / "results")
    monkeypatch.chdir(tmp_path)


def record(one, arm, seed, value=None, accuracy=0.5, choosing=False, **other):
    arguments = {"arm": arm, "value": value, "images": one.images, "epochs": one.epochs, "precision": "32-true"}
    metrics = {"val/acc" if choosing else "test/acc": accuracy}
    line = {"arguments": arguments | other, "seed": seed, "metrics": metrics, **STAMP}
    records.append(one.name + "_choices" * choosing, line)


def choose_rates():
    for one in REGIMES:
        for value, accuracy in zip(one.arms[NONE].values, (0.6, 0.7, 0.7), strict=True):
            record(one, NONE, CHOICE_SEED, value, accuracy, choosing=True)


def test_the_programme_begins_with_the_base_and_the_dozen():
    jobs = programme()
    assert (
        all(job.arm == NONE for job in jobs[:26]) and [job.choosing for job in jobs[:26]] == [True] * 6 + [False] * 20
    )
    count = {one: sum(job[:2] == (one, NONE) and not job.choosing for job in jobs) for one in REGIMES}
    assert [*count.values()] == [10, 10, 10]
    for name in DOZEN_OF_DATA:
        mine = [job for job in jobs if job[:2] == (DATA_IS_SHORT, name)]
        assert [job.choosing for job in mine] == [True] * 3 + [False] * 5
        assert [job.seed for job in mine] == [CHOICE_SEED] * 3 + [0, 1, 2, 3, 4]
    for one in REGIMES:
        assert {job.arm for job in jobs if job.regime is one} == {*one.arms}


def test_transformers_follow_the_dozen_whole_arm_by_arm():
    jobs = programme()
    places = [i for i, job in enumerate(jobs) if job.regime is SMALL_TRANSFORMER]
    assert places == [*range(places[0], places[0] + len(places))]
    assert jobs[places[0] - 1].arm in (*DOZEN_OF_DATA, *DOZEN_OF_TIME)
    assert jobs[places[-1] + 1].arm in OTHERS_OF_DATA
    mine = [jobs[i][1:3] for i in places]
    assert mine[:13] == [(NONE, CHOICE_SEED)] * 3 + [(NONE, seed) for seed in range(10)]
    assert mine[-4:] == [("convolutional teacher", CHOICE_SEED), *(("TokenLabeling", seed) for seed in range(3))]


def test_a_choice_takes_the_first_of_the_best():
    assert best_value(DATA_IS_SHORT, NONE) is None
    choose_rates()
    assert best_value(DATA_IS_SHORT, NONE) == 0.1
    assert best_value(DATA_IS_SHORT, "SWA") is None  # nothing to choose


def test_a_run_waits_for_what_it_needs(tmp_path):
    mixup, rate = Job(DATA_IS_SHORT, "MixUp", 0), Job(DATA_IS_SHORT, "MixUp", CHOICE_SEED, 0.2, True)
    plain, taught = Job(DATA_IS_SHORT, "SWA", 0), Job(DATA_IS_SHORT, "Hints", 0)
    assert is_ready(Job(DATA_IS_SHORT, NONE, CHOICE_SEED, 0.05, True))
    assert not any(map(is_ready, (mixup, rate, plain, taught)))
    choose_rates()
    assert [*map(is_ready, (mixup, rate, plain, taught))] == [False, True, True, False]
    for value in (0.2, 0.5, 1.0):
        record(DATA_IS_SHORT, "MixUp", CHOICE_SEED, value, value / 2, choosing=True)
    assert is_ready(mixup) and best_value(DATA_IS_SHORT, "MixUp") == 1.0
    labels = Job(SMALL_TRANSFORMER, "TokenLabeling", 0)
    for one, name in ((DATA_IS_SHORT, TEACHER), (SMALL_TRANSFORMER, TEACHER)):
        evidence.teacher_path(one, name).parent.mkdir(parents=True)
        evidence.teacher_path(one, name).touch()
    assert is_ready(taught) and not is_ready(labels)  # which has another teacher
    evidence.teacher_path(SMALL_TRANSFORMER, "convolutional teacher").parent.mkdir()
    evidence.teacher_path(SMALL_TRANSFORMER, "convolutional teacher").touch()
    assert is_ready(labels)


def test_a_teacher_is_done_when_its_weights_are_there_too():
    record(SMALL_TRANSFORMER, "convolutional teacher", CHOICE_SEED)
    job = Job(SMALL_TRANSFORMER, "convolutional teacher", CHOICE_SEED)
    assert not is_done(job)
    evidence.teacher_path(*job[:2]).parent.mkdir(parents=True)
    evidence.teacher_path(*job[:2]).touch()
    assert is_done(job)


def test_what_is_recorded_at_this_budget_with_this_value_is_done():
    choose_rates()
    job = Job(DATA_IS_SHORT, NONE, 3)
    record(DATA_IS_SHORT, NONE, 3, 0.05)  # another learning rate
    record(DATA_IS_SHORT, NONE, 3, 0.1, epochs=2)  # another budget
    record(DATA_IS_SHORT, NONE, 2, 0.1)
    record(TIME_IS_SHORT, NONE, 3, 0.1)
    assert not is_done(job) and is_done(job._replace(seed=2))
    record(DATA_IS_SHORT, NONE, 3, 0.1)
    assert is_done(job)


def test_an_arm_has_one_precision_and_so_has_the_arm_it_is_compared_with(monkeypatch):
    monkeypatch.setattr(evidence, "fast_precision", lambda: "bf16-mixed")
    kaiming = Job(TIME_IS_SHORT, "Kaiming", 0)
    assert precision(kaiming) == "bf16-mixed"
    record(TIME_IS_SHORT, "Uniform", 0)
    record(TIME_IS_SHORT, "SWA", CHOICE_SEED, 0.2, choosing=True)
    record(DATA_IS_SHORT, TEACHER, CHOICE_SEED)
    assert precision(kaiming) == precision(kaiming._replace(arm="Uniform", seed=1)) == "32-true"
    assert precision(Job(TIME_IS_SHORT, "SWA", CHOICE_SEED, 0.5, True)) == "32-true"
    assert precision(Job(TIME_IS_SHORT, "SWA", 0)) == "bf16-mixed"  # a choice holds in both
    assert precision(Job(DATA_IS_SHORT, TEACHER, CHOICE_SEED)) == "bf16-mixed"  # nothing is compared with it


def test_the_base_has_five_seeds_in_the_other_precision_where_that_is_fast(monkeypatch):
    choose_rates()  # in float32
    monkeypatch.setattr(evidence, "fast_precision", lambda: "32-true")
    assert {job.precision for job in programme() if job.arm == NONE and not job.choosing} == {"32-true"}
    monkeypatch.setattr(evidence, "fast_precision", lambda: "bf16-mixed")
    for one in REGIMES:
        mine = [job for job in programme() if job.regime is one and job.arm == NONE and not job.choosing]
        assert [(job.precision, job.seed) for job in mine if job.precision == "bf16-mixed"] == [
            ("bf16-mixed", seed) for seed in range(5)
        ]
        assert [job.seed for job in mine if job.precision == "32-true"] == [*range(10)]
    record(TIME_IS_SHORT, NONE, 0, 0.1)
    base = Job(TIME_IS_SHORT, NONE, 0, precision="32-true")
    assert is_done(base) and not is_done(base._replace(precision="bf16-mixed"))


def test_a_run_in_bfloat16_waits_for_a_processor_that_has_it(monkeypatch):
    choose_rates()
    monkeypatch.setattr(evidence, "fast_precision", lambda: "32-true")
    record(DATA_IS_SHORT, "SWA", 0, precision="bf16-mixed")
    assert not is_ready(Job(DATA_IS_SHORT, "SWA", 1)) and is_ready(Job(DATA_IS_SHORT, "L1", 1))
    monkeypatch.setattr(evidence, "fast_precision", lambda: "bf16-mixed")
    assert is_ready(Job(DATA_IS_SHORT, "SWA", 1)) and is_ready(Job(DATA_IS_SHORT, NONE, 1, precision="32-true"))


def test_a_run_that_another_process_is_at_is_left_to_it():
    job, lock = command._take(set())
    assert job == programme()[0] and lock.is_locked
    assert command._take(set(), "small_transformer")[0] == Job(SMALL_TRANSFORMER, NONE, CHOICE_SEED, 0.001, True)
    other = FileLock(lock.lock_file, is_singleton=False)
    assert command._take(set())[0] != job and not other.is_locked
    lock.release()


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """One arm in one regime, on a few images."""
    monkeypatch.setattr(regime, "VALIDATION_IMAGES", 130)
    monkeypatch.setattr(regime, "TRAINING_IMAGES", 130)
    one = replace(TIME_IS_SHORT, images=130, epochs=1)
    jobs = [Job(one, NONE, CHOICE_SEED, value, True) for value in one.arms[NONE].values]
    jobs += [Job(one, NONE, seed) for seed in range(2)]
    monkeypatch.setattr(command, "programme", lambda: jobs)
    return ["--folder", str(write_shades(tmp_path / "tiny", train=26, test=2))]


def test_it_goes_on_where_it_stopped_and_commits_the_results_alone(tiny, tmp_path, monkeypatch, capsys):
    for arguments in (["init", "-q"], ["config", "user.email", "a@b"], ["config", "user.name", "A"]):
        subprocess.run(["git", *arguments], cwd=tmp_path, check=True)
    ran, whole = [], Trial.run
    monkeypatch.setattr(Trial, "run", lambda self, **k: (ran.append(self.seed), whole(self, **k))[1])
    assert command.main([*tiny, "--commit", "--most", "2"]) == 0
    assert ran == [1000] * 2 and len(records.read("time_is_short_choices")) == 2
    assert command.main([*tiny, "--commit"]) == 0
    assert ran == [1000] * 3 + [0, 1] and command.main(tiny) == 0 and len(ran) == 5
    log = subprocess.run(["git", "log", "--name-only", "--format=%s"], cwd=tmp_path, capture_output=True, text=True)
    assert log.stdout.count("results/time_is_short_choices.jsonl") == 3
    assert log.stdout.count("results/time_is_short.jsonl") == 2 and "none, seed 1: 0." in log.stdout
    command.main(["--list"])
    command.main(["--list", "--regime", "data_is_short"])
    assert capsys.readouterr().out.count("done ") == 5


def test_runs_that_wait_for_bfloat16_are_told(tiny, monkeypatch, capsys):
    monkeypatch.setattr(evidence, "fast_precision", lambda: "32-true")
    one = command.programme()[0].regime
    record(one, NONE, 0, precision="bf16-mixed")
    monkeypatch.setattr(command, "programme", lambda: [Job(one, NONE, seed) for seed in range(3)])
    assert command.main(tiny) == 0 and len(records.read("time_is_short")) == 1
    assert capsys.readouterr().out.endswith("in which their arms were begun: 2\n")


def test_a_run_that_fails_stops_none_of_the_others(tiny, monkeypatch, capsys):
    whole = Trial.run

    def run(self, **options):
        if self.seed == 0:
            raise RuntimeError("out of luck")
        return whole(self, **options)

    monkeypatch.setattr(Trial, "run", run)
    assert command.main(tiny) == 1
    assert "out of luck" in capsys.readouterr().err
    assert [line["seed"] for line in records.read("time_is_short")] == [1]


def test_a_run_that_is_stopped_is_not_recorded(tiny, monkeypatch):
    def stop(self, **options):
        self.stopped = True
        return {}

    monkeypatch.setattr(Trial, "run", stop)
    assert command.main(tiny) == 0 and not (records.RESULTS / "time_is_short_choices.jsonl").exists()

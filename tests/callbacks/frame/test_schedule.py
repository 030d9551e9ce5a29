"""Times in optimizer steps, and rates in a run."""

from types import SimpleNamespace

import pytest

from callbacks import Cosine, LabelSmoothing, Linear, Schedule, Steps
from callbacks.frame.schedule import in_steps, parse_time, rate_now, rate_values, total_steps
from tests.callbacks.conftest import At


def run_at(step, total=20, batches=9, accumulate=2):
    """Return a trainer at an optimizer step of a run of 4 epochs of 9 batches, two per step."""
    return SimpleNamespace(
        global_step=step,
        train_dataloader=[],
        estimated_stepping_batches=total,
        num_training_batches=batches,
        limit_train_batches=1.0,
        accumulate_grad_batches=accumulate,
        callbacks=[],
    )


@pytest.mark.parametrize(
    "time, parsed",
    [(5, (5.0, "ep")), (0.5, (0.5, "ep")), ("0.3dur", (0.3, "dur")), ("10ep", (10.0, "ep")), ("500st", (500.0, "st"))],
)
def test_times(time, parsed):
    assert parse_time(time) == parsed


@pytest.mark.parametrize("time", ["5", "5 ep", "ep", "-1ep", -1, "1e3st", "0.3dur!", None, float("inf")])
def test_refuses_what_is_no_time(time):
    with pytest.raises(ValueError, match="a time is a number of epochs"):
        parse_time(time)


@pytest.mark.parametrize(
    "time, steps",
    [
        (1, 5),  # nine batches, two per step: the fifth step has one
        (2.2, 11),
        ("0.5ep", 2),  # whole steps
        ("0.5dur", 10),
        ("0.35dur", 7),  # 0.35 * 20 may be 7.000000000000001: still step 7, not 8
        ("12st", 12),
    ],
)
def test_times_in_steps(time, steps):
    assert in_steps(time, run_at(0)) == steps
    assert isinstance(in_steps(time, run_at(0)), int)


def test_a_share_of_the_run_is_exact_whatever_its_length():
    for total in range(10, 400, 10):
        for tenths in range(11):
            assert in_steps(f"{tenths / 10}dur", run_at(0, total)) == tenths * total // 10


def test_refuses_a_run_without_end():
    with pytest.raises(ValueError, match="set max_epochs or max_steps"):
        total_steps(run_at(0, float("inf")))


def test_data_without_a_length():
    """For such a run of epochs, Lightning returns -1 steps. A schedule must not take this for a run that has ended."""
    unknown = run_at(0, -1, batches=float("inf"), accumulate=1)
    with pytest.raises(ValueError, match="the training data has no length: set max_steps"):
        Linear(0, 1).now(unknown)
    steps = run_at(5, 20, batches=float("inf"), accumulate=1)
    assert Linear(0, 1).now(steps) == 0.25 and in_steps(0, steps) == 0
    with pytest.raises(ValueError, match="cannot turn 5 epochs into steps.*'500st'"):
        in_steps(5, steps)


def test_linear():
    rate = Linear(1, 3)
    assert [rate.now(run_at(step)) for step in (0, 5, 10, 20, 30)] == [1, 1.5, 2, 3, 3]
    assert [Linear(1, 3, "4st").now(run_at(step)) for step in (0, 1, 4, 9)] == [1, 1.5, 3, 3]


def test_cosine():
    rate = Cosine(4, 0, until="12st")
    assert [rate.now(run_at(step)) for step in (0, 4, 6, 8, 12, 15)] == pytest.approx([4, 3, 2, 1, 0, 0])


def test_steps():
    rate = Steps(0.1, {"0.5dur": 0.2, 1: 0.3, "19st": 0.4})  # in any order
    assert [rate.now(run_at(step)) for step in (0, 4, 5, 9, 10, 18, 19)] == [0.1, 0.1, 0.3, 0.3, 0.2, 0.2, 0.4]


def test_numbers_are_rates_too():
    assert rate_now(0.3, None) == 0.3
    assert rate_now(Linear(0, 1), run_at(10)) == 0.5


@pytest.mark.parametrize(
    "rate, values", [(0.3, [0.3]), (Linear(0, 1), [0, 1]), (Cosine(2, 1), [2, 1]), (Steps(1, {2: 3, 4: 5}), [1, 3, 5])]
)
def test_values_that_a_trick_checks(rate, values):
    assert rate_values(rate) == values


@pytest.mark.parametrize("make", [lambda: Linear(0, 1, "x"), lambda: Cosine(0, 1, "x"), lambda: Steps(0, {"x": 1})])
def test_schedules_refuse_what_is_no_time_at_once(make):
    with pytest.raises(ValueError, match="a time is"):
        make()


@pytest.mark.parametrize("rate", [Linear(0, 0.5), Cosine(1, 0, "0.5dur"), Steps(0.1, {2: 0.3, "5st": 0.4})])
def test_prints_as_the_call_that_makes_it(rate):
    assert eval(repr(rate), {"Linear": Linear, "Cosine": Cosine, "Steps": Steps}) == rate


def test_another_schedule_is_a_few_lines(tiny_model, tiny_data, trainer):
    class Odd(Schedule):
        def now(self, trainer):
            return 0.2 if trainer.global_step % 2 else 0.1

        def values(self):
            return [0.1, 0.2]

    trainer(callbacks=[LabelSmoothing(Odd())]).fit(tiny_model, tiny_data)


@pytest.mark.parametrize("arguments", [{}, {"accumulate_grad_batches": 2}, {"max_epochs": -1, "max_steps": 6}])
def test_in_a_run_a_rate_goes_from_its_start_to_its_end(tiny_model, tiny_data, trainer, arguments):
    seen = []
    look = At("on_train_batch_start", lambda trainer, _: seen.append(Linear(0, 1).now(trainer)))
    run = trainer(callbacks=[look], **arguments)
    run.fit(tiny_model, tiny_data)
    steps = run.global_step
    assert steps == (4 if "accumulate_grad_batches" in arguments else 6)
    assert sorted(set(seen)) == pytest.approx([i / steps for i in range(steps)])
    assert Linear(0, 1).now(run) == 1

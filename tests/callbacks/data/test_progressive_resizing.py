"""ProgressiveResizing: sizes by hand, refusals, and the note in an error of a network with a fixed size."""

import pytest

from callbacks import Linear, ProgressiveResizing, Steps
from tests.callbacks.conftest import At
from tests.callbacks.data.sizes import FixedSize, sizes
from tests.conftest import tiny_classifier


def test_sizes_by_hand(tiny_data, trainer):
    assert sizes(ProgressiveResizing(Linear(0.5, 1.0, until="4st"), 1), tiny_data, trainer) == [4, 5, 6, 7, 8, 8]
    assert sizes(ProgressiveResizing(Steps(0.5, {"1ep": 1.0})), tiny_data, trainer) == [4, 4, 4, 8, 8, 8]
    assert sizes(ProgressiveResizing(), tiny_data, trainer)[-1] == 8


@pytest.mark.parametrize("wrong", [{"scale": 0.0}, {"scale": Linear(0.5, 1.5)}, {"multiple": 0}])
def test_refuses_wrong_arguments(wrong):
    with pytest.raises(ValueError, match="ProgressiveResizing"):
        ProgressiveResizing(**wrong)


def test_an_error_of_a_network_with_a_fixed_size_names_the_size(tiny_data, trainer):
    with pytest.raises(RuntimeError, match="cannot be multiplied") as caught:
        trainer(callbacks=[ProgressiveResizing(0.5)]).fit(FixedSize(), tiny_data)
    assert caught.value.__notes__[0].startswith("ProgressiveResizing had made the images 4 x 4 px")


def test_other_errors_get_no_note(tiny_data, trainer):
    fails = At("on_validation_epoch_start", lambda trainer, model: 1 / (trainer.global_step == 0))
    with pytest.raises(ZeroDivisionError) as caught:
        trainer(callbacks=[ProgressiveResizing(0.5), fails]).fit(tiny_classifier(), tiny_data, tiny_data)
    assert not hasattr(caught.value, "__notes__")

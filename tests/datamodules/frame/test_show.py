"""show_batch: the pictures as the network sees them, and what stands above them."""

import numpy as np
import pytest
import torch

from datamodules import Digits
from datamodules.frame.show import sheet, title


@pytest.fixture
def data():
    data = Digits(batch_size=12)
    data.setup("fit")
    return data


def pictures(figure):
    return [axis.images[0].get_array() for axis in figure.axes if axis.images]


def test_draws_the_first_training_images(data):
    images, targets = next(iter(data.train_dataloader()))
    figure = data.show_batch(5)
    assert len(pictures(figure)) == 5
    for picture, image in zip(pictures(figure), images, strict=False):
        assert np.array_equal(picture, image.permute(1, 2, 0))
    assert [axis.get_title() for axis in figure.axes][:5] == [str(k) for k in targets[:5].tolist()]


def test_leaves_the_seed_alone(data, monkeypatch):
    data.load_state_dict({"seed": 5})
    monkeypatch.setenv("PL_GLOBAL_SEED", "6")
    data.show_batch(1)
    assert data.seed == 5


def test_normalised_images_come_back_to_bytes(data):
    batch = next(iter(data.train_dataloader()))
    bytes_, floats = data.show_batch(4, batch), data.show_batch(4, data.on_after_batch_transfer(batch, 0))
    for one, other in zip(pictures(bytes_), pictures(floats), strict=True):
        assert np.array_equal(one, other)


def test_mixed_targets_are_named_with_their_shares(data):
    images = torch.zeros(3, 3, 8, 8)
    targets = torch.tensor([[0.7, 0.3], [1.0, 0.0], [0.004, 0.996]])
    targets = torch.cat([targets, torch.zeros(3, 8)], 1)
    figure = data.show_batch(batch=[images, targets])
    assert [axis.get_title() for axis in figure.axes][:3] == ["0 70%, 1 30%", "0", "1"]


def test_at_most_three_classes_in_a_title():
    assert title(torch.full((5,), 0.2), tuple("abcde")) == "a 20%, b 20%, c 20%"


@pytest.mark.parametrize(("n", "places"), [(1, 1), (2, 2), (4, 4), (5, 6), (12, 12)])
def test_the_grid_has_room(data, n, places):
    assert len(data.show_batch(n).axes) == places


@pytest.mark.parametrize(("n", "grid"), [(3, (2, 2)), (5, (2, 3)), (7, (3, 3)), (12, (3, 4))])
def test_the_figure_is_nearly_square_and_never_higher_than_wide(data, n, grid):
    """Rows and columns: 5 images stand in two rows of three."""
    figure = data.show_batch(n)
    assert figure.axes[0].get_gridspec().get_geometry() == grid
    assert figure.get_size_inches().tolist() == pytest.approx([1.6 * grid[1], 1.8 * grid[0]])


def test_a_batch_of_a_training_step_may_have_gradients(data):
    """Images that an attack is computed for, and soft targets that are learned."""
    images, targets = torch.zeros(2, 3, 8, 8, requires_grad=True), torch.eye(10)[:2].requires_grad_()
    figure = data.show_batch(batch=[images + 0, targets + 0])
    assert [axis.get_title() for axis in figure.axes][:2] == ["0", "1"]


def test_can_be_saved_without_a_display(data, tmp_path):
    data.show_batch(4).savefig(tmp_path / "x.png")
    assert (tmp_path / "x.png").stat().st_size > 1000


def test_a_data_module_shows_a_sheet_and_the_counts_of_its_classes():
    data = Digits(batch_size=4)
    assert "not set up" in data._repr_html_()
    data.setup("fit")
    page, counts = data._repr_html_(), data.class_counts.tolist()
    assert f"0: {counts[0]}, 1: {counts[1]}" in page and "<img" in page and f"{sum(counts):,} training images" in page
    many = sheet("<many>", data.show_batch(1), [(f"c{i}", i) for i in range(50)])
    assert "&lt;many&gt;" in many and "c39: 39 and 10 more classes" in many

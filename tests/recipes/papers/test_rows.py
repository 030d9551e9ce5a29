"""Every row of a paper: its arms train, and give every number that its claims are judged by."""

import ast
import dataclasses

import pytest
import torch

from recipes.command.reproduce import ROWS, load_row, names
from recipes.papers.frame.data import Images
from recipes.papers.frame.results import judge, sentence
from recipes.papers.frame.row import Effect
from zoo.tools.complexity import total_macs

FIELDS = ["Paper", "Source", "Settings", "Trap", "Rule"]


def few_images(row):
    """As many as the largest batch needs, of the shape that the row's data have."""
    torch.manual_seed(0)
    shape, n = SHAPES.get(row.name, (1, 28, 28)), COUNTS.get(row.name, 40 if row.gpu else 600)
    return Images(torch.rand(n, *shape), torch.arange(n) % 10, torch.rand(50, *shape), torch.arange(50) % 10)


SHAPES = dict.fromkeys(("mnist1d_pooling", "mnist1d_pooling_large"), (1, 1, 40)) | dict.fromkeys(
    ("he_cifar", "zagoruyko_at", "zhong_cifar", "devries_cutout"), (3, 32, 32)
)
COUNTS = {"shunk_nsdropout": 1700, "hysts_cutout": 140, "hysts_fashion": 140}  # 1,600 are held out; batches are whole
HEAVY = {  # rows that take two seconds or more
    "course22p2", "devries_cutout", "garbin_dropout", "garbin_short", "geron_deep", "he_cifar", "hysts_cutout",
    "hysts_fashion", "mnist1d_pooling", "mnist1d_pooling_large", "zagoruyko_at", "zhong_cifar",
}  # fmt: skip


@pytest.fixture
def row(request):
    row = load_row(request.param)
    return dataclasses.replace(row, data=lambda root: few_images(row))


every_row = pytest.mark.parametrize("row", names(), indirect=True)
every_row_trained = pytest.mark.parametrize(
    "row", [pytest.param(n, marks=[pytest.mark.slow] * (n in HEAVY)) for n in names()], indirect=True
)


@every_row_trained
@pytest.mark.one_in(6)
def test_arms_give_what_claims_are_judged_by(row, tmp_path, monkeypatch):
    monkeypatch.setattr("recipes.papers.frame.row.EPOCHS", 2)
    run = row.run(tmp_path, seed=0)
    lines = {arm: run.record(arm) for arm in row.arms}
    runs = {arm: {0: line["metrics"]} for arm, line in lines.items()}
    for claim, found in judge(row, runs):
        assert found.word == "undecided" and found.ours.n == 1 or isinstance(claim, Effect)
        assert "undecided" in sentence(claim, found)
    assert all(line["arguments"]["row"] == row.name and line["curve"] for line in lines.values())


@every_row
def test_file_says_source_settings_trap_and_rule(row):
    tree = ast.parse((ROWS / f"{row.name}.py").read_text())
    doc = ast.get_docstring(tree)
    heads = [line.split(":")[0] for line in doc.splitlines() if line[:1].isupper() and ":" in line]
    assert [head for head in heads if head in FIELDS] == FIELDS
    assert not doc.splitlines()[0].endswith(".")
    assert row.seeds >= 3 and row.claims


@every_row
def test_every_arm_has_a_network_before_anything_is_trained(row):
    assert all(row.build(arm).num_classes == 10 for arm in row.arms)


def test_multiply_adds_of_signals_by_hand():
    network = load_row("mnist1d_pooling").build("max, 1000")
    # 40 positions of 3 x 20 weights, 20 of 20 x 3 x 20, a linear layer of 20 x 10 to 10
    assert total_macs(network, network.image_size) == 40 * 60 + 20 * 1200 + 2000


@every_row
def test_claims_name_arms(row):
    for claim in row.claims:
        assert claim.arm in row.arms
        assert not isinstance(claim, Effect) or claim.base in row.arms

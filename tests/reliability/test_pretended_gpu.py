"""Every trick and every model on a pretended GPU: one device, no waits, the layout kept, the weights of a CPU run."""

import functools
import json

import pytest
import torch
from filelock import FileLock
from torch import nn

import zoo
from tests.zoo.test_every_model import batch, make

pytestmark = pytest.mark.slow

WAITING = {  # what reads a number in every step, and why it may
    "Checklist": "runs NaNGuard and LearningRateRange",
    "LearningRateRange": "reads every loss of Lightning's finder, before the run's own steps",
    "NaNGuard": "has to know the loss before the step; says so",
}
NO_MAP = "relation_reuse_conv"  # DVT's, over the attention of all heads
UNSCALES = "lightning/pytorch/plugins/precision/amp.py"  # with a scaler, Lightning asks whether gradients overflowed


@pytest.fixture(scope="module", params=[12, pytest.param(2, marks=pytest.mark.whole)], ids=["a sixth", "all"])
def parts(request):
    """Into how many parts tricks and models are dealt, of which two run."""
    return request.param


@pytest.fixture(scope="module")
def seen(in_processes, tmp_path_factory, parts):
    """What two processes saw: see `gpu_runs.py`. Of pytest's own processes, the first starts them for all."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if base.name.startswith("popen-") else base) / f"gpu{parts}"
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            folder.mkdir()
            assert in_processes("on_a_pretended_gpu", (0, parts, folder), (1, parts, folder), timeout=1800) == [0, 0]
    first, second = (json.loads((folder / f"{part}.json").read_text()) for part in (0, 1))
    return first | {"runs": first["runs"] | second["runs"]}


@pytest.fixture
def ended(seen):
    return {name: run for name, run in seen["runs"].items() if run["error"] is None}


def test_every_run_has_all_tensors_on_one_device(seen, parts):
    assert len(seen["runs"]) > 400 // parts
    assert {name: run["error"] for name, run in seen["runs"].items() if run["error"] is not None} == {}


@pytest.mark.parametrize(("precision", "tolerance"), [("32-true", 1e-4), ("16-mixed", 0.2)])
def test_ends_with_the_weights_of_a_cpu_run(precision, tolerance, ended, parts):
    """Distance of the ends as a fraction of the way that training went. In 16 bits, CUDA rounds other operations."""
    runs = {name: run for name, run in ended.items() if name.endswith(f" {precision}")}
    assert len(runs) > 20 // parts and all(run["same keys"] for run in runs.values())
    assert {name: run["distance"] for name, run in runs.items() if not run["distance"] <= tolerance} == {}


def test_no_step_between_two_logs_waits(ended):
    waits = {name: [w for w in run["step"] if UNSCALES not in w] for name, run in ended.items()}
    assert {name: found for name, found in waits.items() if found and name.split()[0] not in WAITING} == {}
    assert {name.split()[0] for name, found in waits.items() if found} == WAITING.keys() & {n.split()[0] for n in ended}


def test_no_batch_of_an_evaluation_waits(ended):
    assert {name: run["evaluation"] for name, run in ended.items() if run["evaluation"]} == {}


def test_channels_last_is_kept(ended):
    lost = {name: [path for path in run["lost"] if NO_MAP not in path] for name, run in ended.items()}
    assert {name: paths for name, paths in lost.items() if paths} == {}


def test_losses_are_finite_float32(ended):
    assert [name for name, run in ended.items() if not run["float32"]] == []


def look(lost, name, path, module, inputs):
    if inputs[0].shape[1] > 1 and inputs[0].stride(1) != 1:
        lost.setdefault(name, path)


@torch.no_grad()
def test_every_convolution_of_every_model_sees_channels_last():
    lost = {}
    for name in sorted(zoo.__all__):
        model = make(name).to(memory_format=torch.channels_last)
        for path, layer in model.named_modules():
            if isinstance(layer, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d) and NO_MAP not in path:
                layer.register_forward_pre_hook(functools.partial(look, lost, name, path))
        model(batch(name, 2)[0].contiguous(memory_format=torch.channels_last))
    assert lost == {}


def test_images_made_on_the_device_are_those_of_the_cpu_and_cost_no_copy(seen):
    data = seen["data"]
    assert len(data["equal"]) == 2 * 12 and all(data["equal"])
    assert data["loaders"] == ["ResumableLoader", "DeviceLoader"] and data["steady"] == {}


def test_boxes_are_turned_without_a_wait(seen):
    assert seen["turned"] == {"boxes": [[[5.0, 2.0, 7.0, 4.0]], [[5.0, 2.0, 7.0, 4.0]] * 2], "waits": []}


# ---- the pretence itself


def test_it_refuses_what_a_gpu_refuses(seen):
    assert seen["refused"] == {**dict.fromkeys(("mask", "index", "cat", "generator"), "Mixed"), "numpy": "TypeError"}


def test_it_notes_what_a_gpu_waits_for(seen):
    assert len(seen["noted"]) == 9 and set(seen["noted"].values()) == {1.0}


def test_its_autocast_is_cudas(seen):
    assert seen["autocast"] == ["torch.bfloat16", "torch.float32", "torch.float32", "torch.bfloat16"]

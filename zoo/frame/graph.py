"""Export a network as a graph that runs without this project: `.onnx` (ONNX Runtime), `.pt2` (`torch.export.load`)."""

from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import nn

from zoo.frame import atomic, onnx_pictures
from zoo.frame.evaluation import evaluating, in_channels
from zoo.frame.fast import as_written
from zoo.frame.preprocessing import Preprocessing

SUFFIXES = (".onnx", ".pt2")


def write(
    network: nn.Module,
    path: str | Path,
    image_size: int,
    metadata: Mapping[str, str],
    preprocessing: Preprocessing | None = None,
) -> None:
    """Write the network in eval mode, images (N, C, S, S) -> logits (N, K), for any N.

    Args:
        network: its weights become constants of the graph.
        path: ends in `.onnx` or `.pt2`.
        image_size: S.
        metadata: written into the file.
        preprocessing: `.onnx` only: pictures uint8 (N, H, W, C) of any size -> probabilities (N, K).

    Raises:
        ModuleNotFoundError: `.onnx` needs the packages onnx and onnxscript.
    """
    path = Path(path).expanduser()
    whole = network if preprocessing is None else nn.Sequential(network, _probabilities(network))
    with evaluating(whole), TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        graph, new = _graph(whole, image_size), Path(folder, path.name)
        if path.suffix == ".pt2":
            buffer = BytesIO()  # into memory: writing to a file on a full disk, torch ends the process
            torch.export.save(graph, buffer, extra_files=dict(metadata))
            new.write_bytes(buffer.getbuffer())
        else:
            _write_onnx(graph, new, metadata, preprocessing)
        for file in sorted(
            new.parent.iterdir(), key=new.__eq__
        ):  # the graph last; weights above 2 GB are in files beside it
            atomic.publish(file, path.with_name(file.name))


def _probabilities(network: nn.Module) -> nn.Module:
    return nn.Sigmoid() if getattr(network, "multi_label", False) else nn.Softmax(1)


def _graph(network: nn.Module, image_size: int) -> torch.export.ExportedProgram:
    weight = next(network.parameters())
    shape = (2, in_channels(network), image_size, image_size)  # two images: torch would fix a batch size of one
    images = weight.new_zeros(shape)
    with torch.no_grad(), as_written(network):
        return torch.export.export(network, (images,), dynamic_shapes=({0: torch.export.Dim("N")},))


def _write_onnx(
    graph: torch.export.ExportedProgram,
    path: str | Path,
    metadata: Mapping[str, str],
    preprocessing: Preprocessing | None,
) -> None:
    program = _onnx(graph, "logits" if preprocessing is None else "probabilities")
    program.model.metadata_props.update(metadata)
    if preprocessing is None:
        program.save(str(path))
        return
    import onnx

    model = onnx_pictures.prepend(program.model_proto, preprocessing, "images")
    onnx.helper.set_model_props(model, dict(metadata))
    onnx.save(model, path)


def _onnx(graph: torch.export.ExportedProgram, output: str) -> torch.onnx.ONNXProgram:
    try:
        program = torch.onnx.export(graph, dynamo=True, input_names=["images"], output_names=[output], verbose=False)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"{error}: pip install onnx onnxscript") from error
    assert program is not None  # never None with dynamo=True
    return program

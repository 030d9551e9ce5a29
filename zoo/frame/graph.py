"""A network as a graph that runs without this project: `.onnx` for ONNX Runtime, `.pt2` for `torch.export.load`."""

from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import nn

from zoo.frame import atomic
from zoo.frame.evaluating import evaluating, in_channels

SUFFIXES = (".onnx", ".pt2")


def write(network: nn.Module, path: str | Path, image_size: int) -> None:
    """Write the network in eval mode, images (N, C, S, S) -> logits (N, K), for any N.

    Raises:
        ModuleNotFoundError: `.onnx` needs the packages onnx and onnxscript.
    """
    path = Path(path).expanduser()
    with evaluating(network), TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        graph, new = _graph(network, image_size), Path(folder, path.name)
        if path.suffix == ".pt2":
            buffer = BytesIO()  # to a file, torch's writer ends the process where the disk is full
            torch.export.save(graph, buffer)
            new.write_bytes(buffer.getbuffer())
        else:
            _onnx(graph).save(str(new))
        for file in sorted(new.parent.iterdir(), key=new.__eq__):  # the graph last; of 2 GB, its weights are beside it
            atomic.publish(file, path.with_name(file.name))


def _graph(network: nn.Module, image_size: int) -> torch.export.ExportedProgram:
    weight = next(network.parameters())
    shape = (2, in_channels(network), image_size, image_size)  # two: torch would take a batch of one as always one
    images = weight.new_zeros(shape)
    with torch.no_grad():
        return torch.export.export(network, (images,), dynamic_shapes=({0: torch.export.Dim("N")},))


def _onnx(graph: torch.export.ExportedProgram):
    try:
        return torch.onnx.export(graph, dynamo=True, input_names=["images"], output_names=["logits"], verbose=False)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"{error}: pip install onnx onnxscript") from error

"""Quantise a trained network to int8 for CPUs: weights and activations are 8-bit integers with a scale a tensor.

    x = s (q - z),  q = clip(round(x / s) + z, 0, 255);  weights: one s for each output channel, z = 0

Paper: Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference (Jacob et al.; CVPR
2018) https://arxiv.org/abs/1712.05877, section 2. Ranges of activations are histograms over calibration images.

It uses torch's FX quantisation, `torch.ao.quantization`. torch calls it deprecated, but only it runs int8 kernels
without a compiler. We tried its successor, torchao 0.18, on torch 2.15: its quantizer for CPUs refuses every network
that uses one ReLU module twice, as all ResNets here do.
"""

import copy
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from zoo.frame.checks import check_images, validate_choice
from zoo.frame.classifier import Classifier

ENGINES = ("x86", "onednn", "fbgemm", "qnnpack")


class Quantised(Classifier):
    """An int8 network that evaluates and predicts on a CPU as any `Classifier`; it cannot be trained.

    It cannot be saved: keep the checkpoint that it was made from, and the calibration images.
    """

    def __init__(self, network: nn.Module, num_classes: int, image_size: int | None):
        super().__init__(network, num_classes, stages={}, image_size=image_size)
        self.untrained = False
        self.eval()

    def configure_optimizers(self) -> NoReturn:
        raise RuntimeError("an int8 network cannot be trained: train the one that zoo.quantise was given")

    def export(self, path: Any, image_size: int | None = None, preprocessing: bool = False) -> NoReturn:
        """Refuse: export the float model, and quantise with the tools of its destination."""
        raise NotImplementedError(
            "an int8 network has no export: export the model that zoo.quantise was given, and quantise it where it "
            "will run (onnxruntime and others do so)"
        )


def quantise(model: nn.Module, batches: Iterable[Tensor | Sequence[Tensor]], engine: str = "x86") -> Quantised:
    """Return the int8 form of a trained network, for CPUs; batch norms are fused into the convolutions before them.

    Convolutions, linear layers, sums, ReLUs and pooling are int8; concatenations, and operations without an int8 form
    in torch, stay float. It works on the zoo's convolutional networks, and refuses transformers. Measure the loss in
    accuracy: depthwise convolutions (MobileNets) lose most.

    Args:
        model: a trained `Classifier`, or any network; unchanged.
        batches: some hundred training images as the network sees them: float, normalised (N, C, H, W), or lists
            `[images, ...]`. From a data module: `data.on_after_batch_transfer(batch, 0)` for each batch of its loader.
        engine: of torch's int8 kernels: "x86" for every such processor (weights lose a bit where sums could
            overflow), "onednn" for those with VNNI (full range), "fbgemm", "qnnpack" (ARM).

    Raises:
        TypeError: the network cannot be traced.
        ValueError: there are no batches, images are not float, or torch does not have the engine here.
    """
    supported = torch.backends.quantized.supported_engines
    validate_choice(engine, [name for name in ENGINES if name in supported], "quantise")
    source = copy.deepcopy(model).cpu().eval()
    with _silence_deprecations(), _engine(engine), torch.no_grad():
        prepared = _prepare(source, engine)
        count = 0
        for batch in batches:
            images = batch if isinstance(batch, Tensor) else batch[0]
            check_images(images, getattr(model, "image_size", None), type(model).__name__)
            prepared(images.cpu())
            count += len(images)
        if not count:
            raise ValueError("quantise needs images to see the ranges of activations: the batches are empty")
        network = _quantizer().convert_fx(prepared)
        try:
            logits = network(images[:1].cpu())
        except (RuntimeError, NotImplementedError) as error:
            raise TypeError(_refusal(model, "torch has no int8 form of what it does", error)) from error
    return Quantised(network, logits.shape[1], getattr(model, "image_size", None))


def _prepare(source: nn.Module, engine: str) -> nn.Module:
    # in int8, a concatenation has one scale for all its inputs; torch 2.15 mixes int8 and float if one input is float
    quantizer = _quantizer()
    settings = torch.ao.quantization.get_default_qconfig_mapping(engine).set_object_type(torch.cat, None)
    example = (torch.zeros(1, 3, 8, 8),)  # torch requires it, and reads only its type
    try:
        prepared: torch.fx.GraphModule = quantizer.prepare_fx(source, settings, example)
    except (torch.fx.proxy.TraceError, TypeError, RuntimeError, ValueError, AssertionError) as error:
        raise TypeError(_refusal(source, "its forward is more than a list of layers", error)) from error
    # `y.add_(x)` alone would change a copy of y that nothing reads; `y += x` and `y = y.add_(x)` are traced as sums
    calls = (node for node in prepared.graph.nodes if node.op == "call_method" and not node.users)
    if lost := [name for node in calls if (name := str(node.target)).endswith("_")]:
        raise TypeError(_refusal(source, "it changes tensors in place", f"{lost[0]}: write y += x, or y = y + x"))
    return prepared


def _refusal(model: nn.Module, why: str, error: Exception | str) -> str:
    return f"{type(model).__name__} cannot be quantised: {why} ({str(error).partition(chr(10))[0]})"


def _quantizer() -> Any:
    try:
        from torch.ao.quantization import quantize_fx
    except ImportError as error:
        raise ImportError(
            "quantise needs torch.ao.quantization, which this torch no longer has: install torch 2.15"
        ) from error
    return quantize_fx


@contextmanager
def _engine(name: str) -> Iterator[None]:
    """Set torch's engine inside the block: weights are packed for the engine at conversion, and always run on it."""
    before = torch.backends.quantized.engine
    torch.backends.quantized.engine = name
    try:
        yield
    finally:
        torch.backends.quantized.engine = before


@contextmanager
def _silence_deprecations() -> Iterator[None]:
    """Silence torch's warnings about its own deprecated modules."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        warnings.filterwarnings("ignore", ".*reduce_range will be deprecated", UserWarning)
        warnings.filterwarnings("ignore", ".*torch.quantize_per_tensor", UserWarning)
        warnings.filterwarnings(
            "ignore", "Default qconfig of oneDNN", UserWarning
        )  # CPUs without VNNI: the tests bound it
        yield

"""Shapes of modules' outputs, from one pass without arithmetic."""

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from zoo.frame.evaluation import probe


def output_shapes(network: nn.Module, paths: Sequence[str], image_size: int) -> dict[str, tuple[int, ...]]:
    """Return path -> shape of the module's output for one image, in the order in which the modules are run.

    Args:
        network: not changed.
        paths: of modules whose output is a tensor.
        image_size: side of the image in pixels.
    """
    shapes: dict[str, tuple[int, ...]] = {}

    def note(path: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...], out: Tensor) -> None:
            shapes[path] = tuple(out.shape)

        return hook

    hooks = [network.get_submodule(path).register_forward_hook(note(path)) for path in paths]
    try:
        probe(network, image_size)
    finally:
        for hook in hooks:
            hook.remove()
    return shapes

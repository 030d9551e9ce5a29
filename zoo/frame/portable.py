"""Load weights from timm, torchvision, the Hub and files; export plain weights and graphs."""

from collections.abc import Mapping
from pathlib import Path

import lightning as L
from torch import Tensor, nn

from zoo.frame import graph
from zoo.frame.about import metadata
from zoo.frame.prediction import preprocessing_of
from zoo.frame.preprocessing import Preprocessing
from zoo.frame.weight_files import write
from zoo.frame.weights import load_into, plain_key


class Portable(L.LightningModule):
    """A module that loads and exports weights under the keys of other libraries."""

    aliases: Mapping[str, str] = {}  # prefixes of keys in others' files -> ours
    # variant -> the timm model with the same keys and the same function; several where only the image size differs
    timm_names: Mapping[str, str | tuple[str, ...]] = {}
    torchvision_names: Mapping[str, str] = {}  # likewise for torchvision
    twins: Mapping[str, str] = {}  # variant -> the one with the same keys and another function
    num_classes: int
    in_chans: int
    image_size: int | None
    untrained: bool
    preprocessing: Preprocessing | None
    classes: tuple[str, ...] | None
    pretrained_classes: tuple[str, ...] | None

    def load_weights(self, weights: str | Path, which: str | None = None) -> None:
        """Load weights from `"zoo"`, `"timm:NAME"`, `"torchvision:WEIGHTS"`, `"hf:USER/REPO"` or a file.

        Args:
            weights: the source.
            which: key of the weights in a file with several, such as "model" or "model_ema", or the name of a trick's
                average, such as "EMA(0.999)". None: the average if the file has one; from a checkpoint of this
                project, the raw weights. The choice is logged.
        """
        load_into(self, weights, which)

    def adapt(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Adapt weights under our keys before they are compared with the model's; return them unchanged by default.

        A network whose weights depend on the image size overrides this.
        """
        return state

    def plain_state_dict(self) -> dict[str, Tensor]:
        """Return the weights under the keys that timm, torchvision or the authors use."""
        network: nn.Module = getattr(self, "network", self)
        return {plain_key(key): value for key, value in network.state_dict().items()}

    def export(self, path: str | Path, image_size: int | None = None, preprocessing: bool = False) -> None:
        """Write the network for use elsewhere; the file's suffix chooses the format.

        Class names, preprocessing (size, mean, std, ...) and versions are written as JSON if they are known: into the
        metadata of `.onnx`, the extra files of `.pt2`, the header of `.safetensors`.

        Args:
            path: `.onnx` and `.pt2`: the graph of the network in eval mode, for batches of any size (`frame/graph.py`);
                otherwise the plain weights, keys as in the reference (no prefix): `.safetensors`, else torch's format.
            image_size: side of a graph's images in pixels; None: the model's.
            preprocessing: `.onnx` only: the graph takes uint8 pictures (N, H, W, C) of any size, resizes, crops and
                normalises them, and returns probabilities (N, K) instead of logits.

        Raises:
            ValueError: the image size or the preprocessing of a graph is not known, or preprocessing is asked for in
                another format than `.onnx`.
        """
        suffix, words = Path(path).suffix, metadata(self)
        if preprocessing and suffix != ".onnx":
            raise ValueError(f"preprocessing goes into .onnx only, not into {path}: export('x.onnx', ...)")
        if suffix not in graph.SUFFIXES:
            write(self.plain_state_dict(), path, words)
            return
        how = preprocessing_of(self) if preprocessing else None
        if (size := how.size if how else image_size or self.image_size) is None:
            raise ValueError(f"how large are the images? export({str(path)!r}, image_size=...)")
        graph.write(self, path, size, words, how)

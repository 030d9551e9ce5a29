"""Base class of the zoo's models: variants of the paper's table, classes, image size, weights.

To write a model:

1. Derive from `Model` (a network of pixels: `class UNet(Model, Segmenter)`), and say `variants = VARIANTS`. A row of
   `VARIANTS` is a frozen dataclass, here called `Row`, whose fields have a comment each; never a bare tuple.
2. Keep the signature explicit, `**training: Unpack[Training]` at its end, and hand all but your own arguments on:
   `super().__init__(variant, num_classes, image_size, weights, **training)`. It checks the variant; it sets
   `self.variant`, `self.num_classes` and `self.image_size`, the latter to `default_size` where none is given; when your
   constructor has run, weights are loaded. So no `validate_choice`, no `image_size or 224`, no `load_weights`.
3. `small_only = CIFAR` names rows that take up to 64 px only, and 32 px by default. `self.needs_at_least(8)` refuses
   smaller images. Where each row has its own default, override `size_for`; where names beside the rows are taken
   (`MLP("75-45")`), override `check_variant`.
4. Name the stages in the class, as in the paper's figure: `stage_paths = ("layer1", "layer2", "layer3", "layer4")`. A
   row that ends earlier sets the others to None (`self.layer4 = None`). Where the paths follow from the row, assign
   `self.stage_paths = (...)` in the constructor. Layers with timm's keys `stages.0`, ... are kept in a `Stages`:
   `self.stages = Stages(...)`.
   `block_path = "layer2.1"` names the block that the paper's figure shows; without it, diagrams show the whole network.
5. A paper that trains in another way than He et al. 2015 says so: `training_defaults = ADAMW`, and in `Defaults:`. The
   rate is for 256 images a step.
6. Write `forward` out: `x = self.layer2(self.layer1(x))`, no loop over names of attributes.
7. In the class's docstring, `Args:` and `Raises:` have what is the model's own. What all models share is added to
   `help(Model)` and to the command line by `Model`.
"""

import inspect
from collections.abc import Collection, Mapping
from typing import Any, ClassVar, Unpack

from zoo.frame.arguments import Training
from zoo.frame.checks import SMALL, validate_choice
from zoo.frame.classifier import Classifier
from zoo.frame.fields import fields_of


class Model(Classifier):
    """A paper's network, in the variants of its table.

    Args:
        variant: row of the paper's table, as a string or a number.
        num_classes: K.
        image_size: side of the images in pixels; None: that of the paper. Up to 64, the stem is the small-image one.
        weights: `"zoo"` (what comes with the package), `"timm:NAME"`, `"torchvision:WEIGHTS"`, `"hf:USER/REPO"` or a
            file, see `load_weights`; None: random.
        training: training arguments of `Classifier`.

    Raises:
        ValueError: an unknown variant (the error names the nearest), an unsuitable image size, or weights of another
            network.
    """

    variants: ClassVar[Mapping[str, Any]] = {}  # the paper's table
    default_size: ClassVar[int] = 224  # side of the images in pixels
    block_path: str = ""  # of the block that `zoo.diagram` draws; "": it draws the whole network
    small_only: ClassVar[Collection[str]] = ()  # rows for images of up to 64 px; their default is 32

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        cls.__doc__ = build_docstring(cls)

    def __init__(
        self,
        variant: str | int,
        num_classes: int = 1000,
        image_size: int | None = None,
        weights: str | None = None,
        **training: Unpack[Training],
    ):
        variant, name = str(variant), type(self).__name__
        self.check_variant(variant)
        image_size = image_size or self.size_for(variant)
        if variant in self.small_only and image_size > SMALL:
            raise ValueError(f"{name}-{variant} is for images of up to {SMALL} px, got image_size={image_size}")
        vars(self)["_levels"][0] |= {"variant": variant, "image_size": image_size}
        super().__init__(num_classes=num_classes, image_size=image_size, **training)
        self.variant = variant
        self.image_size: int = image_size
        self._weights = weights

    @classmethod
    def check_variant(cls, variant: str) -> None:
        """Raise ValueError for an unknown variant; the error names the nearest ones."""
        validate_choice(variant, cls.variants, cls.__name__)

    @classmethod
    def size_for(cls, variant: str) -> int:
        """Return the default side of a row's images, in pixels."""
        return 32 if variant in cls.small_only else cls.default_size

    @property
    def small(self) -> bool:
        """Whether images have up to 64 px, so that the stem is the literature's for CIFAR."""
        return self.image_size <= SMALL

    def needs_at_least(self, pixels: int) -> None:
        """Raise ValueError if the images are smaller than this."""
        if self.image_size < pixels:
            raise ValueError(
                f"{type(self).__name__}-{self.variant} needs images of at least {pixels} px, "
                f"got image_size={self.image_size}"
            )


def build_docstring(cls: type[Model]) -> str:
    """Return a model's docstring with the fields of its file and the arguments that all models share."""
    own, shared = sections(cls.__doc__ or ""), sections(Model.__doc__ or "")
    classifier = entries(sections(Classifier.__doc__ or "")["Args"])
    training = [line for name, line in classifier if name in Training.__annotations__]
    mine = entries(own.get("Args", ""))
    taken = {name for name, _ in mine}
    before = [line for name, line in entries(shared["Args"]) if name not in {*taken, "training"}]
    rows = f"\n        one of {', '.join(cls.variants)}." if cls.variants else ""
    before = [line + rows if line.startswith("    variant:") else line for line in before]
    arguments = "\n".join([*before, *(line for _, line in mine), *training])
    errors = "\n".join(filter(None, [shared["Raises"], own.get("Raises", "")]))
    others = [f"{name}:\n{text}" for name, text in own.items() if name not in ("", "Args", "Raises")]
    fields = [text for text in [fields_of(cls)] if text]
    return "\n\n".join([own[""], *fields, *others, f"Args:\n{arguments}", f"Raises:\n{errors}"]) + "\n"


def sections(doc: str) -> dict[str, str]:
    """Split a docstring at "Args:", "Returns:" and "Raises:"; the key of the text before them is ""."""
    found: dict[str, list[str]] = {"": []}
    name = ""
    for line in inspect.cleandoc(doc).splitlines():
        if line in ("Args:", "Returns:", "Raises:"):
            name = line.rstrip(":")
        else:
            found.setdefault(name, []).append(line)
    return {name: "\n".join(lines).strip("\n") for name, lines in found.items()}


def entries(section: str) -> list[tuple[str, str]]:
    """Split "Args" into (name, text), the text with its continuation lines."""
    found: list[tuple[str, str]] = []
    for line in section.splitlines():
        if line.startswith("    ") and not line.startswith("     ") and ":" in line:
            found.append((line.split(":")[0].strip(), line))
        elif found:
            name, text = found.pop()
            found.append((name, f"{text}\n{line}"))
    return found

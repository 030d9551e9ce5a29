"""The names of operations, presets and evaluation protocols, and the transforms that they stand for."""

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from torch import Tensor
from torchvision.transforms import InterpolationMode, v2

from datamodules.frame.choices import validate_choice
from datamodules.transforms.cutout import Cutout
from datamodules.transforms.evaluation import Center, MultiScale, TenCrop
from datamodules.transforms.gridmask import GridMask
from datamodules.transforms.hsv_scaling import HSVScaling
from datamodules.transforms.lighting import Lighting
from datamodules.transforms.rand_augment import RandAugment
from datamodules.transforms.random_erasing import RandomErasing
from datamodules.transforms.random_horizontal_flip import RandomHorizontalFlip
from datamodules.transforms.random_resized_crop import RandomResizedCrop
from datamodules.transforms.resize import ResizeShort, ScaleJitter

Operation = Callable[[Tensor], Tensor]
if TYPE_CHECKING:
    Spec = str | Operation | Sequence[str | Operation]
else:  # the command line would take a callable of these types for a function that makes a tensor
    Spec = str | list[str | Callable] | Callable


def random_crop(size: int) -> Operation:
    """Pad with an eighth of the side in black, then crop at random (He et al. 2015: 4 pixels at 32)."""
    return v2.RandomCrop(size, padding=size // 8, pad_if_needed=True)


def resized_crop(size: int) -> Operation:
    """Crop a part of random area (8 to 100 %) and aspect ratio (3/4 to 4/3), and resize it bilinearly."""
    return RandomResizedCrop(size)


def resized_crop_bicubic(size: int) -> Operation:
    """Crop a part of random area (8 to 100 %) and aspect ratio (3/4 to 4/3), and resize it bicubically."""
    return RandomResizedCrop(size, interpolation="bicubic")


def scale_jitter(size: int) -> Operation:
    """Resize the short side to a random length (256 to 480 for 224), then crop at random (VGG, ResNet)."""
    return ScaleJitter(size)


def resize_short(size: int) -> Operation:
    """Resize the short side to 256/224 of the size, at the same aspect ratio: a step before a crop."""
    return ResizeShort(Center(size).resized)


def center_crop(size: int) -> Operation:
    """Crop the middle of the image; a smaller image gets a black border."""
    return v2.CenterCrop(size)


def flip(size: int) -> Operation:
    """Mirror left to right, with probability 1/2."""
    return RandomHorizontalFlip()


def rotation(size: int) -> Operation:
    """Rotate by -10 to 10 degrees, bilinearly, with black outside the image (SENet)."""
    return v2.RandomRotation(10, interpolation=InterpolationMode.BILINEAR)


def color_jitter(size: int) -> Operation:
    """Scale brightness, contrast and saturation, each by .6 to 1.4, in random order (GluonCV, fb.resnet.torch)."""
    return v2.ColorJitter(0.4, 0.4, 0.4)


def hsv_scaling(size: int) -> Operation:
    """Scale hue, saturation and brightness, each by .6 to 1.4 (Bag of Tricks, section 2.1)."""
    return HSVScaling()


def lighting(size: int) -> Operation:
    """Add PCA noise: shift all pixels along the principal directions of ImageNet's colours (AlexNet)."""
    return Lighting()


def cutout(size: int) -> Operation:
    """Erase a square of half the side at a random place (DeVries & Taylor 2017: 16 at 32)."""
    return Cutout(max(1, size // 2))


def random_erasing(size: int) -> Operation:
    """Fill a rectangle of 2 to 33 % of the area with noise, with probability 1/2 (Zhong et al. 2020)."""
    return RandomErasing()


def random_erasing_quarter(size: int) -> Operation:
    """Fill a rectangle of 2 to 33 % of the area with noise, with probability 1/4 (DeiT, ConvNeXt)."""
    return RandomErasing(0.25)


def gridmask(size: int) -> Operation:
    """Erase a randomly rotated grid of squares, with probability .8 (Chen et al. 2020)."""
    return GridMask(max(1, size * 96 // 224), max(2, size))


def autoaugment(size: int) -> Operation:
    """Apply one of 25 learned pairs of operations, ImageNet's policy (Cubuk et al. 2019)."""
    return v2.AutoAugment()


def randaugment(size: int) -> Operation:
    """Apply two random operations of 14 at magnitude 9 of 30 (Cubuk et al. 2020)."""
    return v2.RandAugment()


def randaugment_timm(size: int) -> Operation:
    """Apply two random operations of 15, each with probability 1/2, at magnitude N(9, .5) of 10 (DeiT, ConvNeXt)."""
    return RandAugment()


def randaugment_7(size: int) -> Operation:
    """Apply two random operations of 15, each with probability 1/2, at magnitude N(7, .5) of 10 (A1, A2)."""
    return RandAugment(7)


def randaugment_6(size: int) -> Operation:
    """Apply two random operations of 15, each with probability 1/2, at magnitude N(6, .5) of 10 (A3)."""
    return RandAugment(6)


def trivialaugment(size: int) -> Operation:
    """Apply one random operation of 14 at a random magnitude (Mueller & Hutter 2021, wide)."""
    return v2.TrivialAugmentWide()


# Name -> function of the images' side in pixels; its docstring says what the operation does. All map uint8 to uint8.
OPERATIONS: dict[str, Callable[[int], Operation]] = {
    "random-crop": random_crop,
    "resized-crop": resized_crop,
    "resized-crop-bicubic": resized_crop_bicubic,
    "scale-jitter": scale_jitter,
    "resize-short": resize_short,
    "center-crop": center_crop,
    "flip": flip,
    "rotation": rotation,
    "color-jitter": color_jitter,
    "hsv-scaling": hsv_scaling,
    "lighting": lighting,
    "cutout": cutout,
    "random-erasing": random_erasing,
    "random-erasing-0.25": random_erasing_quarter,
    "gridmask": gridmask,
    "autoaugment": autoaugment,
    "randaugment": randaugment,
    "rand-m9-mstd0.5-inc1": randaugment_timm,
    "rand-m7-mstd0.5-inc1": randaugment_7,
    "rand-m6-mstd0.5-inc1": randaugment_6,
    "trivialaugment": trivialaugment,
}

MODERN = ("resized-crop-bicubic", "flip", "rand-m9-mstd0.5-inc1", "random-erasing-0.25")

# Name -> names of operations, in order: what a paper trains with, up to normalisation.
PRESETS: dict[str, tuple[str, ...]] = {
    "inception": ("resized-crop", "flip"),
    "resnet": ("scale-jitter", "flip"),  # He et al. 2015 add the PCA noise: ("scale-jitter", "flip", "lighting")
    "bag-of-tricks": ("resized-crop", "flip", "hsv-scaling", "lighting"),
    # DeiT and ConvNeXt evaluate with Center(224, interpolation="bicubic"); DeiT has `repeats=3`.
    "deit": MODERN,
    "convnext": MODERN,
    # Wightman et al. 2021, table 2: of A1 and A2, and of A3
    "resnet-strikes-back": ("resized-crop-bicubic", "flip", "rand-m7-mstd0.5-inc1"),
    "resnet-strikes-back-a3": ("resized-crop-bicubic", "flip", "rand-m6-mstd0.5-inc1"),
}

# Name -> class that takes the images' side in pixels: evaluation protocols.
PROTOCOLS: dict[str, Callable[[int], Operation]] = {"center": Center, "10-crop": TenCrop, "multi-scale": MultiScale}

ELSEWHERE = {
    **dict.fromkeys(
        ("normalisation", "normalization", "normalise", "normalize"),
        "the data module normalises, on the device: give it mean= and std=",
    ),
    "whitening": "the data module whitens, on the device: data.whitening = Whitening.fit(data)",
}


class Pipeline:
    """Apply operations in order, and check that the result fits into a batch.

    Args:
        operations: callables on uint8 (3, H, W).
        size: side of the result in pixels.
        views: also accept results (V, 3, S, S).
    """

    def __init__(self, operations: Sequence[Operation], size: int, views: bool = False):
        self.operations, self.size, self.views = operations, size, views

    def __call__(self, image: Tensor) -> Tensor:
        """Return (C, S, S) of (C, H, W), uint8 or float. Raise a ValueError if the operations give something else."""
        kind, wanted = image.dtype, (len(image), self.size, self.size)
        for operation in self.operations:
            image = operation(image)
        right = isinstance(image, Tensor) and image.dtype == kind and image.shape[-3:] == wanted
        if not right or image.ndim != 3 and not (self.views and image.ndim == 4):
            got = f"{image.dtype} {tuple(image.shape)}" if isinstance(image, Tensor) else type(image).__name__
            raise ValueError(
                f"{self} gives {got}, not {kind} {wanted}: end with a crop to that size, such as 'resized-crop', "
                "and leave the conversion to float and the normalisation to the data module"
            )
        return image

    def __repr__(self) -> str:
        return f"[{', '.join(repr(operation) for operation in self.operations)}]"


def train_transform(spec: Spec, size: int) -> Pipeline:
    """Make a transform for training: uint8 (3, H, W) -> uint8 (3, size, size).

    Args:
        spec: a name of PRESETS or OPERATIONS, a callable, or a list of names and callables, applied in order.
        size: side of the result in pixels.

    Raises:
        ValueError: unknown name.
    """
    return Pipeline(_operations(spec, size), size)


def evaluation_transform(spec: Spec, size: int) -> Pipeline:
    """Make a transform for evaluation: uint8 (3, H, W) -> uint8 (3, size, size), or (V, 3, size, size) for V views.

    Args:
        spec: a name of PROTOCOLS, a callable such as `Center(224, 248, "bicubic")`, or a list of names of OPERATIONS
            and callables.
        size: side of the result in pixels.

    Raises:
        ValueError: unknown name.
    """
    if isinstance(spec, str):
        spec = PROTOCOLS[_validate(spec, PROTOCOLS, "evaluation protocols")](size)
    return Pipeline(_operations(spec, size), size, views=True)


def operation(name: str, size: int) -> Operation:
    """Make the operation of that name for results `size` pixels wide. Raise a ValueError for an unknown name."""
    return OPERATIONS[_validate(name, OPERATIONS, "transforms")](size)


def _operations(spec: Spec, size: int) -> list[Operation]:
    if isinstance(spec, str):
        if spec in PRESETS:
            return [operation(name, size) for name in PRESETS[spec]]
        return [OPERATIONS[_validate(spec, [*PRESETS, *OPERATIONS], "transforms")](size)]
    if callable(spec) and not isinstance(spec, type):
        return [spec]
    if not isinstance(spec, Iterable):
        raise ValueError(f"a transform is a name, a callable object (not its class) or a list of them, got {spec!r}")
    return [operation for part in spec for operation in _operations(part, size)]


def _validate(name: str, table: Iterable[str], what: str) -> str:
    """Return the name if the table has it; else raise an error that says which data module option does the same."""
    if name not in table and name.lower() in ELSEWHERE:
        raise ValueError(f"{name!r} is not one of the {what}: {ELSEWHERE[name.lower()]}")
    return validate_choice(name, table, what)

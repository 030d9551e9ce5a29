"""ImageNet: 1,281,167 + 50,000 photographs in 1,000 classes (ILSVRC 2012).

Paper: ImageNet Large Scale Visual Recognition Challenge (Russakovsky et al.; IJCV 2015)
       https://arxiv.org/abs/1409.0575
"""

import os
import warnings
from contextlib import suppress
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Unpack

import numpy as np
import torch
from torch import Tensor

from datamodules.frame.decode import SUFFIXES
from datamodules.frame.download import lock, matches
from datamodules.frame.files import FileData, Paths
from datamodules.frame.options import FileOptions
from datamodules.frame.synsets import WNID, check_owners, first_names
from datamodules.frame.unpack import members, unpack

# torchvision's checksums (`datasets/imagenet.py`)
TRAIN = ("ILSVRC2012_img_train.tar", "md5:1d675b47d978889d74fa0da5fadfb00e")
VAL = ("ILSVRC2012_img_val.tar", "md5:29b22e2961454d5413ddabcf34fc5622")
DEVKIT = ("ILSVRC2012_devkit_t12.tar.gz", "md5:fa75699e90414af021442c21a62c3abf")
OFFICIAL = {"train": 1_281_167, "val": 50_000}  # images
CLASSES = 1000
VAL_SPLIT = 0.01  # enough to choose by: 12,811 images


class ImageNet(FileData):
    """ImageNet: 1,281,167 + 50,000 photographs in 1,000 classes (ILSVRC 2012).

    The official test images have no labels. So, as in the literature, results are reported on the official validation
    images: they are the *test* set here, and `val_split` takes validation images from the training images. Classes are
    in the order of their wnids, as in torchvision and timm, with the first of their names; `wnids` has the numbers.
    A subset of the classes works too, if `train/` and `val/` have the same ones.

    ImageNet must not be redistributed, so there is no download. `root` holds the three archives of image-net.org, or
    the unpacked folders. Archives are checked and unpacked once into `root/train/<wnid>` and `root/val/<wnid>` (145 GB
    more); then they may be deleted. Images directly in `root/val` are read too, if the devkit with their labels is
    there. For testing alone, `val` is enough.

    Args:
        root: the folder.
        batch_size: images a batch and process.
        options: `image_size` (224), `transform`, `evaluation`, `skip_unreadable`, `channels`, `mean`, `std`,
            `num_workers`, `val_split` (0.01: 12,812 of the training images), `split_seed` and more, as in `FileData`
            and `ImageData`.

    Raises:
        RuntimeError: nothing is there.
        ValueError: an archive with a wrong checksum; images, labels and classes that do not belong together.
    """

    def __init__(self, root: str | Path = "data", batch_size: int = 64, **options: Unpack[FileOptions]):
        if options.get("folds") is None:
            options.setdefault("val_split", VAL_SPLIT)
        super().__init__(batch_size, **options)
        self.root = Path(root).expanduser()

    def prepare_data(self) -> None:
        """Unpack the archives that are not unpacked yet; one process does it for all, others wait."""
        if not any((self.root / name).exists() for name in ("train", "val", TRAIN[0], VAL[0])):
            raise RuntimeError(advise(self.root))
        self._unpack("train", TRAIN)
        self._unpack("val", VAL)
        super().prepare_data()

    def _unpack(self, part: str, archive: tuple[str, str]) -> None:
        folder, path = self.root / part, self.root / archive[0]
        if folder.exists() or not path.exists():
            return
        with lock(path):
            if not folder.exists():
                check_archive(path, archive[1])
                labels = {} if part == "train" else validation_labels(self.root)
                unpack(path, folder, lambda name: name if part == "train" else class_path(name, labels))

    @cached_property
    def wnids(self) -> tuple[str, ...]:
        """WordNet's numbers of the classes."""
        for part in ("train", "val"):
            if found := folders(self.root / part):
                return found
        if (self.root / "val").is_dir():
            return tuple(sorted(set(validation_labels(self.root).values())))
        raise RuntimeError(advise(self.root))

    @cached_property
    def classes(self) -> tuple[str, ...]:  # type: ignore[override]  # read at first use, not an attribute
        """The first of each class's names."""
        from timm.data import ImageNetInfo  # here because the other data sets do not need it

        info, names = ImageNetInfo("imagenet-1k"), {}
        for wnid in self.wnids:
            with suppress(KeyError):  # it has all 21,844 classes of the whole ImageNet
                names[wnid] = info.label_name_to_description(wnid)
        return first_names(self.wnids, names)

    def source(self, part: str) -> tuple[Paths, Tensor] | None:
        """Return files and targets of "train" or "test" (the official validation images)."""
        if part == "val":
            return None
        folder = self.root / ("train" if part == "train" else "val")
        if not folder.is_dir():
            if part == "test":
                return None
            raise RuntimeError(advise(self.root))
        found = self._by_class(folder)
        self._check(found, folder)
        files = [(f"{folder}/{name}", i) for i, wnid in enumerate(self.wnids) for name in sorted(found[wnid])]
        return Paths([path for path, _ in files]), torch.tensor([target for _, target in files])

    def _by_class(self, folder: Path) -> dict[str, list[str]]:
        """Return {wnid: its images, as paths below `folder`}."""
        if folder.name == "train" or folders(folder):
            return {wnid: [f"{wnid}/{name}" for name in images(folder / wnid)] for wnid in folders(folder)}
        labels = validation_labels(self.root)
        found: dict[str, list[str]] = {wnid: [] for wnid in sorted(set(labels.values()))}
        for name in images(folder):
            found[class_path(name, labels).split("/")[0]].append(name)
        return found

    def _check(self, found: dict[str, list[str]], folder: Path) -> None:
        if unknown := sorted(set(found) - set(self.wnids)):
            raise ValueError(
                f"{folder} has classes missing from {self.root / 'train'}: {name_three(unknown)}: delete them"
            )
        if empty := [wnid for wnid in self.wnids if not found.get(wnid)]:
            raise ValueError(
                f"{folder} has no images of {len(empty)} of {len(self.wnids)} classes: {name_three(empty)}: unpack the "
                "official archive again, or delete these classes everywhere"
            )
        count = sum(map(len, found.values()))
        if len(self.wnids) == CLASSES and count != OFFICIAL[folder.name]:
            warnings.warn(
                f"{folder} has {count:,} images instead of ImageNet's {OFFICIAL[folder.name]:,}", stacklevel=2
            )
        if folder.name == "train":
            check_owners({wnid: [base(name) for name in names] for wnid, names in found.items()})
        elif (self.root / DEVKIT[0]).exists():
            check_labels(found, validation_labels(self.root), folder)


def advise(root: Path) -> str:
    """Return the error's advice when no data is found."""
    return (
        f"ImageNet is not in {root}: log in at https://image-net.org/download-images, fetch {TRAIN[0]} (138 GB), "
        f"{VAL[0]} (6 GB) and {DEVKIT[0]} (2 MB) and put them there, or the folders train/<wnid> and "
        "val/<wnid> with the images"
    )


def base(name: str) -> str:
    """Return the name of a file without its folders."""
    return name.rpartition("/")[2]


def class_path(name: str, labels: dict[str, str]) -> str:
    """Return a validation image's path in the folder of its class. Raise a ValueError if nothing tells that."""
    if base(name) not in labels:
        raise ValueError(f"{name} is not one of the official validation images in {DEVKIT[0]}: delete it")
    return f"{labels[base(name)]}/{base(name)}"


def name_three(names: list[str]) -> str:
    """Name the first three."""
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def folders(folder: Path) -> tuple[str, ...]:
    """Return the names of the classes, sorted. Raise a ValueError for folders of other names."""
    if not folder.is_dir():
        return ()
    names = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith("."))
    if strange := [name for name in names if not WNID.fullmatch(name)]:
        raise ValueError(
            f"{folder} has a folder {strange[0]}, which is not a class number such as n01440764: read other folders "
            f"with ImageFolder({str(folder.parent)!r})"
        )
    return tuple(names)


def images(folder: Path) -> list[str]:
    """Return the names of the images in a folder; hidden ones are passed over."""
    names = (entry.name for entry in os.scandir(folder) if not entry.name.startswith("."))
    return [name for name in names if os.path.splitext(name)[1].lower() in SUFFIXES]


def check_archive(path: Path, checksum: str) -> None:
    """Raise a ValueError unless the file has this checksum. It is not deleted, because it took days to download."""
    if not matches(path, checksum):
        raise ValueError(
            f"{path} is damaged or incomplete (its checksum does not match): fetch it again from image-net.org"
        )


def validation_labels(root: Path) -> dict[str, str]:
    """Return {name of a validation image: its wnid}, from the devkit.

    The devkit's `ILSVRC2012_validation_ground_truth.txt` has a number of its own for each class, 1 to 1,000 in another
    order than the wnids'; its `meta.mat` maps it to the wnid. Confusing the two is the classic cause of a validation
    accuracy of 0.1 %.
    """
    path = root / DEVKIT[0]
    if not path.exists():
        raise RuntimeError(
            f"the labels of ImageNet's validation images are in {DEVKIT[0]}: fetch it from image-net.org and put it "
            f"into {root}, or sort the images into folders val/<wnid>"
        )
    check_archive(path, DEVKIT[1])
    with open(path, "rb") as file:
        content = {base(name): data.read() for name, data in members(file, path.name) if "/data/" in name}
    numbers = content["ILSVRC2012_validation_ground_truth.txt"].split()
    wnids = wnids_by_number(content["meta.mat"])
    return {f"ILSVRC2012_val_{i:08}.JPEG": wnids[int(number)] for i, number in enumerate(numbers, 1)}


def wnids_by_number(meta: bytes) -> dict[int, str]:
    """Return {ILSVRC2012_ID: wnid} of the content of meta.mat, which lists synsets above the classes as well."""
    from scipy.io import loadmat  # scikit-learn brings it

    synsets = np.atleast_1d(loadmat(BytesIO(meta), squeeze_me=True)["synsets"])
    return {int(s["ILSVRC2012_ID"]): str(s["WNID"]) for s in synsets if s["num_children"] == 0}


def check_labels(found: dict[str, list[str]], labels: dict[str, str], folder: Path) -> None:
    """Raise a ValueError if images are in folders of other classes than the devkit says."""
    wrong = [name for wnid, names in found.items() for name in names if labels.get(base(name), wnid) != wnid]
    if wrong:
        raise ValueError(
            f"the labels look shuffled: {len(wrong)} images of {folder} are in folders of other classes than "
            f"{DEVKIT[0]} says, such as {name_three(sorted(wrong))}: delete the folder and unpack {VAL[0]} again"
        )

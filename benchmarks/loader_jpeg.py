"""From ImageNet's JPEGs to training batches of 224 pixels, on one core: ours against torchvision's loader and DALI.

Command: python benchmarks/loader_jpeg.py IMAGES --record true
Ours:    files: decode to bytes, random crop before the resize, flip; the batch stays bytes ("bytes"), or is normalised
         on the CPU ("normalised"). Prepared: the same from `zoo prepare --size 256`.
Theirs:  torchvision's reference: PIL, RandomResizedCrop, flip, ToTensor, Normalize. DALI (if it is installed): its CPU
         pipeline with the decoder that crops, resize and flip, bytes. The upper limit: libjpeg-turbo decoding alone.
The figures are images a second of CPU time, over all threads of the process. Batches of 50 are made in the main
process. All loaders take turns, round by round. The pixels are also compared with PIL's.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import _loaders
import jsonargparse
import simplejpeg
import torch
from PIL import Image
from torchvision import transforms

from datamodules.frame.files import FileSet, Paths
from datamodules.frame.order import lend_generator
from datamodules.frame.pack import Packed
from datamodules.frame.pack_writer import write
from datamodules.frame.tensor import normalise
from datamodules.transforms import evaluation_transform, train_transform

BATCH = 50
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
Way = Callable[[int, int, int], object]  # (round, first image, one after the last)


def file_set(source) -> FileSet:
    targets = torch.zeros(len(source), dtype=torch.int64)
    return FileSet(source, targets, train_transform("inception", 224), evaluation_transform("center", 224))


def ours(images: FileSet, ready: bool = False) -> Way:
    def run(key: int, first: int, end: int):
        batch, _ = images.__getitems__([(key, i % len(images)) for i in range(first, end)])
        return normalise(batch, MEAN, STD) if ready else batch

    return run


def torchvisions(paths: list[Path], last: list) -> Way:
    steps = transforms.Compose([transforms.RandomResizedCrop(224), transforms.RandomHorizontalFlip(), *last])

    def run(key: int, first: int, end: int):
        images = []
        with lend_generator() as seed:  # the same crops as ours
            for i in (i % len(paths) for i in range(first, end)):
                seed(key, i)
                with Image.open(paths[i]) as image:
                    images.append(steps(image.convert("RGB")))
        return torch.stack(images)

    return run


def decoding(paths: list[Path]) -> Way:
    source = Paths(paths)  # read as ours are: reading with pathlib would lower the limit

    def run(key: int, first: int, end: int) -> None:
        for i in range(first, end):
            simplejpeg.decode_jpeg(source.read(i % len(paths)))

    return run


def dalis(paths: list[Path]) -> Way | None:
    """Return DALI's CPU pipeline; None if DALI is not installed."""
    try:
        from nvidia.dali import fn, pipeline_def, types
    except ImportError:
        return None

    @pipeline_def(batch_size=BATCH, num_threads=1, device_id=None, prefetch_queue_depth=1)
    def pipeline():
        data, _ = fn.readers.file(files=[str(path) for path in paths], random_shuffle=True)
        images = fn.decoders.image_random_crop(data, random_area=(0.08, 1.0), random_aspect_ratio=(3 / 4, 4 / 3))
        images = fn.resize(images, resize_x=224, resize_y=224, interp_type=types.INTERP_TRIANGULAR)
        return fn.flip(images, horizontal=fn.random.coin_flip())

    made = pipeline()
    made.build()
    return lambda key, first, end: made.run()


def rate(way: Way, key: int, images: int) -> float:
    begin = time.process_time()
    for first in range(0, images, BATCH):
        way(key, first, first + BATCH)
    return images / (time.process_time() - begin)


def differences(paths: list[Path], images: FileSet) -> tuple[int, float, float]:
    """Return the largest difference from PIL's pixels, of 255, and the fractions that differ at all and by over 1."""
    mine, theirs = ours(images), torchvisions(paths, [transforms.PILToTensor()])
    parts = [(mine(0, i, i + 1).int() - theirs(0, i, i + 1).int()).abs() for i in range(len(paths))]
    shares = [statistics.fmean((part > least).double().mean().item() for part in parts) for least in (0, 1)]
    return max(part.max().item() for part in parts), *shares


def main(folder: Path, images: int = 600, rounds: int = 5, record: bool = False) -> None:
    """Measure, and print a table.

    Args:
        folder: folder with JPEGs of ImageNet's size, at any depth.
        images: images in a round; with fewer files, files are repeated.
        rounds: rounds of each loader, after one to warm up.
        record: add the result to `results/loader_jpeg.jsonl`.
    """
    torch.set_num_threads(1)
    begin, paths = time.perf_counter(), sorted(p for p in folder.rglob("*") if p.suffix.lower() in (".jpeg", ".jpg"))
    files = file_set(Paths(paths))
    usual = torchvisions(paths, [transforms.ToTensor(), transforms.Normalize(MEAN, STD)])
    ways = {
        "bytes": ours(files),
        "normalised": ours(files, ready=True),
        "torchvision": usual,
        "decoding": decoding(paths),
    }
    with tempfile.TemporaryDirectory() as place:
        write(Path(place) / "p", {"train": (Paths(paths), files.targets)}, ("all",), side=256)
        prepared = file_set(Packed(Path(place) / "p", "train"))
        ways |= {"prepared, bytes": ours(prepared), "prepared, normalised": ours(prepared, ready=True)}
        if (dali := dalis(paths)) is not None:
            ways["DALI"] = dali
        rates = {name: [] for name in ways}
        for i in range(rounds + 1):
            for name, way in ways.items():
                measured = rate(way, i, images)
                if i:
                    rates[name].append(measured)
    metrics = _loaders.show(rates)
    for name, (a, b) in {
        "normalised / torchvision": ("normalised", "torchvision"),
        "prepared / torchvision": ("prepared, normalised", "torchvision"),
        "bytes / torchvision": ("bytes", "torchvision"),
        "bytes / decoding": ("bytes", "decoding"),
        "bytes / DALI": ("bytes", "DALI"),
    }.items():
        if {a, b} <= rates.keys():
            metrics[name] = statistics.median(x / y for x, y in zip(rates[a], rates[b], strict=True))
            print(f"{name:<26} {metrics[name]:.2f} times")
    levels, differ, further = differences(paths, files)
    metrics |= {"levels from PIL": levels, "pixels that differ": differ, "by more than one level": further}
    print(f"at most {levels} levels from PIL, {differ:.1%} of the pixels; by more than one level {further:.5%}")
    if record:
        arguments = {"files": len(paths), "images": images, "rounds": rounds}
        _loaders.record("loader_jpeg", arguments, metrics, begin)


if __name__ == "__main__":
    jsonargparse.auto_cli(main)

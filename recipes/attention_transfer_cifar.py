"""Attention transfer and distillation on CIFAR-10: a student alone, with KD, with AT, and with both.

Paper:    Paying More Attention to Attention (Zagoruyko, Komodakis; ICLR 2017) https://arxiv.org/abs/1612.03928,
          table 1
Command:  zoo run attention_transfer_cifar --images 5000 --epochs 12 --precision bf16-mixed --folder CIFAR-10-JPEG
          --seeds 3 --record
Data:     CIFAR-10: 50,000 images of 32 x 32 pixels to train, 10,000 to test. For smaller budgets, `--images` takes a
          part of them, stratified by class, and `--epochs` shortens the run and its schedule. `--folder` names
          CIFAR-10-JPEG, lossy copies (quality 75): compare runs on them with each other only
Settings: those of the authors' code. SGD with momentum .9 without Nesterov, weight decay 5e-4 on all parameters, batch
          128, 200 epochs. The rate is .1, times .2 at 30, 60 and 80 % of the run. Crop from 4 pixels of padding, flip.
          KD: T = 4, a = .9. AT: beta = 1000 on the three groups. AT+KD: beta falls linearly from 1000 to 0 (the paper
          lets it decay, we do not know how). One teacher serves all students and seeds. It is trained in the same way
          with a seed of its own, and the students' seconds leave its training out. A short run does not train a
          ResNet-56 from scratch (12 epochs of 5,000 images: test accuracy .12; with a warm-up .44, below its
          student's). For such runs, `--teacher` takes published weights, trained by others on all of CIFAR-10. The
          command of the second pair is the first's with `--pair "ResNet-56 -> ResNet-20" --teacher resnet56-4bfd9763.th
          --epochs 8` (weights of github.com/akamaster/pytorch_resnet_cifar10). The published run leaves out `--images`,
          `--epochs` and `--precision`
Differs:  padding is black, where the authors reflect. Their code also sets the momentum to 0 where the rate falls.
          ResNet-56 -> ResNet-20 is not in the paper
Published: test accuracy of WRN-16-2 -> WRN-16-1, from the errors in table 1 (median of 5 runs), where we could check it
Result:
| epochs | method | pair | published | teacher | test/acc | images/s | seconds | seeds |
| --- | --- | --- | --- | --- | --- | --- | --- | --- |
| 12 | teacher | WRN-16-2 -> WRN-16-1 | 0.9369 |  | 0.5460 (1 run) | 73 (1 run) | 822.0 (1 run) | 1 |
| 12 | AT | WRN-16-2 -> WRN-16-1 | 0.9207 |  | 0.5252 ± 0.0039 | 396 ± 197 | 173.6 ± 67.4 | 3 |
| 12 | AT+KD | WRN-16-2 -> WRN-16-1 |  |  | 0.5099 ± 0.0059 | 505 ± 212 | 140.3 ± 77.7 | 3 |
| 12 | KD | WRN-16-2 -> WRN-16-1 |  |  | 0.5095 ± 0.0030 | 452 ± 173 | 148.1 ± 62.9 | 3 |
| 12 | student | WRN-16-2 -> WRN-16-1 | 0.9123 |  | 0.5033 ± 0.0119 | 796 ± 408 | 87.8 ± 37.6 | 3 |
| 8 | AT+KD | ResNet-56 -> ResNet-20 |  | resnet56-4bfd9763 | 0.4573 ± 0.0157 | 436 ± 8 | 91.6 ± 1.7 | 3 |
| 8 | student | ResNet-56 -> ResNet-20 |  | resnet56-4bfd9763 | 0.4302 ± 0.0124 | 746 ± 22 | 53.6 ± 1.6 | 3 |
| 8 | AT | ResNet-56 -> ResNet-20 |  | resnet56-4bfd9763 | 0.4223 ± 0.0116 | 438 ± 5 | 91.3 ± 1.0 | 3 |
| 8 | KD | ResNet-56 -> ResNet-20 |  | resnet56-4bfd9763 | 0.4038 ± 0.0119 | 449 ± 8 | 89.0 ± 1.6 | 3 |

- Published: test accuracy of WRN-16-2 -> WRN-16-1, from the errors in table 1 (median of 5 runs), where we could
  check it
- Data: CIFAR-10: 50,000 images of 32 x 32 pixels to train, 10,000 to test. For smaller budgets, `--images` takes a
  part of them, stratified by class, and `--epochs` shortens the run and its schedule. `--folder` names CIFAR-10-JPEG,
  lossy copies (quality 75): compare runs on them with each other only
- Command: zoo run attention_transfer_cifar --images 5000 --epochs 12 --precision bf16-mixed --folder CIFAR-10-JPEG
  --seeds 3 --record
- Arguments: data=CIFAR-10-JPEG, images=5000, precision=bf16-mixed
- Hardware: AMD EPYC, 1 threads
- Versions: lightning 2.6.6, python 3.11.7, timm 1.0.31, torch 2.14.1
- Commit: 38edb41; 4498ce4
"""

from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import lightning as L

import zoo
from callbacks import AttentionTransfer, KnowledgeDistillation, Linear, StepDecay
from recipes import Recipe
from recipes.frame.cifar import IMAGENET, PLAIN, TRAINING_IMAGES, Cifar, published_resnet56
from recipes.frame.compare import compare_recipes
from recipes.frame.teachers import train_teacher

COLUMNS = {"images/s": 0}  # further columns of the table: digits after the point
Pair = Literal["WRN-16-2 -> WRN-16-1", "ResNet-56 -> ResNet-20"]
Method = Literal["student", "KD", "AT", "AT+KD", "teacher"]
PAPER = {"student": "0.9123", "AT": "0.9207", "teacher": "0.9369"}  # of the first pair of networks
TEACHER_SEED = 1000  # no student has this seed


def network(name: str) -> zoo.Classifier:
    """Build "WRN-16-2" or "ResNet-56" with the authors' optimizer."""
    family, variant = name.split("-", 1)
    training = {"optimizer": "momentum", "lr": 0.1, "weight_decay": 5e-4}
    kind = {"WRN": zoo.WideResNet, "ResNet": zoo.ResNet}[family]
    return kind(variant, num_classes=10, image_size=32, **training)


def tricks(method: Method, teacher: Path | None) -> list[L.Callback]:
    """Return the schedule, and the teacher's tricks."""
    schedule = StepDecay(("0.3dur", "0.6dur", "0.8dur"), gamma=0.2)
    if teacher is None or method in ("student", "teacher"):
        return [schedule]
    ours = teacher.suffix == ".ckpt"
    network = zoo.load(teacher) if ours else published_resnet56(teacher)  # both tricks share its forward pass
    wants: dict[str, Any] = {} if ours else {"normalization": IMAGENET}
    knowledge = [KnowledgeDistillation(network, T=4.0, weight=0.9, **wants)] if "KD" in method else []
    beta = Linear(1000, 0) if method == "AT+KD" else 1000.0
    return [schedule, *knowledge, *([AttentionTransfer(network, beta=beta, **wants)] if "AT" in method else [])]


def recipe(
    pair: Pair = "WRN-16-2 -> WRN-16-1",
    method: Method = "AT",
    teacher: Path | None = None,
    images: int = TRAINING_IMAGES,
    epochs: int = 200,
    source: Cifar = PLAIN,
    seed: int = 0,
) -> Recipe:
    """Train and test one student. If the teacher has no file yet, it is trained first.

    Args:
        pair: teacher and student.
        method: what the student learns from; "teacher" trains the teacher itself.
        teacher: its checkpoint (.ckpt), or published weights of a ResNet-56, see `published_resnet56`. None: this
            recipe trains one with the same arguments, and keeps it in runs/.
        images: number of training images, at most 50,000, stratified by class.
        epochs: passes over them; the schedule shrinks with them.
        source: where the images are, see `Cifar`.
        seed: of the weights, the order of the images and every random draw.
    """
    if method in ("KD", "AT", "AT+KD") and teacher is None:
        teacher = trained_teacher(pair, images, epochs, source)
    on = tricks(method, teacher)
    L.seed_everything(seed, workers=True, verbose=False)
    published = PAPER.get(method, "") if pair == get_args(Pair)[0] else ""
    return Recipe(
        name="attention_transfer_cifar",
        model=network(pair.split(" -> ")[method != "teacher"]),
        data=source.load(128, images),
        callbacks=on,
        trainer={"max_epochs": epochs, "limit_val_batches": 0, "precision": source.precision},
        seed=seed,
        arguments={
            "pair": pair,
            "method": method,
            "teacher": teacher.stem if teacher and teacher.suffix != ".ckpt" else "",
            "published": published,
            "images": images,
            "epochs": epochs,
            **source.record,
        },
    )


def trained_teacher(pair: Pair, images: int, epochs: int, source: Cifar, record: bool = False) -> Path:
    """Return the checkpoint of the teacher that is trained with these arguments, once.

    Args:
        pair, images, epochs, source: as in `recipe`.
        record: if it is trained now, add that run to results/.
    """
    return train_teacher(recipe(pair, "teacher", None, images, epochs, source, TEACHER_SEED), record)


def main(
    pair: Pair = "WRN-16-2 -> WRN-16-1",
    seeds: int = 1,
    images: int = TRAINING_IMAGES,
    epochs: int = 200,
    source: Cifar = PLAIN,
    teacher: Path | None = None,
    workers: int = 1,
    record: bool = False,
) -> None:
    """Train the teacher once, then compare all students with the one alone. The same command again goes on.

    Args:
        pair: teacher and student.
        teacher: as in `recipe`.
        seeds: number of runs of each student, with the seeds 0, 1, ...
        images, epochs, source: as in `recipe`.
        workers: runs at a time; 0: one after the other in this process.
        record: add each run to results/, from which the tables are made.
    """
    teacher = teacher or trained_teacher(pair, images, epochs, source, record)
    student = partial(recipe, pair, teacher=teacher, images=images, epochs=epochs, source=source)
    *students, _ = get_args(Method)
    compare_recipes({method: partial(student, method=method) for method in students}, seeds, workers, record)

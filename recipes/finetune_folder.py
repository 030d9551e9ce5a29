"""Fine-tuning of a pretrained network on your own photographs: the head first, then one stage after the other.

Paper:    Universal Language Model Fine-tuning for Text Classification (Howard, Ruder; ACL 2018)
          https://arxiv.org/abs/1801.06146, for the order; How transferable are features in deep neural networks?
          (Yosinski et al.; NIPS 2014) https://arxiv.org/abs/1411.1792, for what to keep
Command:  zoo run finetune_folder --folder photos --model timm:resnet18 --record
Data:     one folder for each class, as `ImageFolder` reads them
Settings: chosen by the number of training images a class and their likeness to those of the pretraining, as the course
          CS231n advises, but for one corner. Few: the head, then a stage at each .3 of the run, the early ones at
          lower rates. Many and similar: so too, one stage an epoch. Many and different: all at once. "Many" is 100:
          ours. For few and similar images the course advises the head alone. `transfer_tiny_imagenet20` finds all stages
          at a low rate better from 20 images a class on, and the best weights are restored in any case
Result:
not measured yet

- Data: one folder for each class, as `ImageFolder` reads them
- Command: zoo run finetune_folder --folder photos --model timm:resnet18 --record
"""

from pathlib import Path
from typing import NamedTuple

import lightning as L

import zoo
from callbacks import CosineDecay, EarlyStopping, FrozenBatchNorm, GradualUnfreezing, LabelSmoothing
from datamodules import ImageFolder
from datamodules.transforms import Center
from recipes import Recipe
from zoo import Classifier, Preprocessing
from zoo.frame.by_name import fetch

MANY = 100  # with this many training images a class, all stages learn
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


class Plan(NamedTuple):
    """What learns, when, and for how long."""

    unfreeze: str | float | None  # time between the starts of two stages; None: all learn at once
    ratio: float  # learning rate of a stage divided by that of the stage before it
    freeze_norms: bool  # batch norms keep the statistics of the pretraining
    epochs: int


FROM_SCRATCH = Plan(None, 1, False, 60)  # for a network without pretrained weights


def plan(images_a_class: float, similar: bool) -> Plan:
    """Choose what learns: one of four plans, for few or many images that are similar or different.

    Args:
        images_a_class: mean number of training images over the classes.
        similar: whether the images are like those of the pretraining (photographs of things, for ImageNet).
    """
    if images_a_class < MANY:
        return Plan("0.3dur", 2.6, True, 15 if similar else 20)
    return Plan(1, 2.6, True, 15) if similar else Plan(None, 1, False, 30)


def load_pretrained(source: str, num_classes: int, image_size: int | None = None) -> Classifier:
    """Build a network with pretrained weights and a new head.

    Args:
        source: "timm:NAME", a checkpoint of the zoo (.ckpt), or "Model:variant" of the zoo, which is not pretrained.
        num_classes: K.
        image_size: side of the images in pixels, for a model of the zoo; None: its own.

    Raises:
        ValueError: the source has another form, or its weights cannot be fetched.
    """
    kind, _, name = source.partition(":")
    if kind == "timm":
        state = fetch(name, num_classes=num_classes).state_dict()
        model = Classifier(name, num_classes)
        model.network.load_state_dict(state)
        model.untrained = False
        return model
    if source.endswith(".ckpt"):
        return _of_checkpoint(source, num_classes)
    if kind in zoo.__all__ and name:
        built: Classifier = getattr(zoo, kind)(name, num_classes=num_classes, image_size=image_size)
        return built
    raise ValueError(
        f"{source!r} is not a source of weights: give timm:NAME, a file .ckpt, or Model:variant of `zoo models`"
    )


def _of_checkpoint(path: str, num_classes: int) -> Classifier:
    trained = zoo.load(path)
    arguments = {**trained.hparams, "num_classes": num_classes}
    model = type(trained)(**arguments)
    model.load_weights(path)
    model.preprocessing = trained.preprocessing
    return model


def images_of(folder: Path, how: Preprocessing, batch_size: int) -> ImageFolder:
    """Read the photographs with the preprocessing of the pretrained weights."""
    evaluation = Center(how.size, how.short_side, how.interpolation)
    mean, std = how.mean, how.std
    return ImageFolder(folder, batch_size, image_size=how.size, evaluation=evaluation, mean=mean, std=std)


def recipe(
    folder: Path = Path("photos"),
    model: str = "timm:resnet18",
    similar: bool = True,
    epochs: int | None = None,
    lr: float = 1e-3,
    batch_size: int = 32,
    image_size: int | None = None,
    patience: int = 5,
    seed: int = 0,
) -> Recipe:
    """Train and test.

    Args:
        folder: the photographs, one folder for each class; in `train/`, `val/` and `test/` if they are already split.
        model: "timm:NAME", a checkpoint (.ckpt) of the zoo, or "Model:variant" of the zoo, which is not pretrained.
        similar: whether the photographs are like those of the pretraining.
        epochs: most passes over the training images; None: chosen by their number.
        lr: peak learning rate of the head (AdamW).
        batch_size: images per optimizer step.
        image_size: side in pixels; None: that of the pretrained weights.
        patience: training ends after so many epochs without a better validation accuracy.
        seed: of the new head, the order of the images and every random draw.
    """
    L.seed_everything(seed, workers=True, verbose=False)
    classes = ImageFolder(folder).classes
    network = load_pretrained(model, len(classes), image_size)
    size = network.image_size or 224
    how = network.preprocessing or Preprocessing(size, -(-size * 256 // 224), *IMAGENET)
    if image_size not in (None, how.size):
        how = Preprocessing(image_size, round(image_size * how.short_side / how.size), how.mean, how.std)
    data = images_of(folder, how, batch_size)
    data.prepare_data()
    data.setup("fit")
    chosen = FROM_SCRATCH if network.untrained else plan(len(data.train_indices) / len(classes), similar)
    network.hparams.update({"optimizer": "adamw", "lr": lr, "weight_decay": 0.01})
    return Recipe(
        name="finetune_folder",
        model=network,
        data=data,
        callbacks=[
            CosineDecay("0.05dur"),
            LabelSmoothing(0.1),
            EarlyStopping("val/acc", "max", patience),
            *([] if chosen.unfreeze is None else [GradualUnfreezing(chosen.unfreeze, chosen.ratio)]),
            *([FrozenBatchNorm()] if chosen.freeze_norms and _has_batch_norms(network) else []),
        ],
        trainer={"max_epochs": chosen.epochs if epochs is None else epochs, "log_every_n_steps": 10},
        seed=seed,
        arguments={"folder": str(folder), "model": model, "similar": similar, "epochs": epochs, "lr": lr},
    )


def _has_batch_norms(network: Classifier) -> bool:
    return any("BatchNorm" in type(module).__name__ for module in network.modules())

"""Where a method acts: stages and modules by name, or the classifiers."""

from torch import nn

from callbacks.frame.trick import Trick
from zoo.frame.checks import classes_of, did_you_mean

Where = str | tuple[str, ...] | None  # see `FeatureDropout`


def modules_at(trick: Trick, model: nn.Module, where: Where, default_stages: slice) -> list[tuple[str, nn.Module]]:
    """Return the modules that `where` names, with their names; none for the input. Raises as `FeatureDropout`.

    Args:
        trick: named in errors.
        model: any network, with stages or without.
        where: see `FeatureDropout`.
        default_stages: the stages that None means.
    """
    if where == "input":
        return []
    if where == "classifier":
        return classifiers(trick, model)
    stages = dict(getattr(model, "stages", {}).items())
    if where is None:
        if not stages:
            raise TypeError(
                f"{type(trick).__name__} acts on stages, and {type(model).__name__} names none: name modules, "
                "where=('path.of.module', ...), or zoo.Classifier(network, stages={'stage1': 'path.of.module'})"
            )
        return [*stages.items()][default_stages] or [*stages.items()]
    names = (where,) if isinstance(where, str) else where
    modules = dict(model.named_modules()) | stages
    for name in names:
        if name not in modules:
            raise ValueError(
                f"{type(trick).__name__}: {type(model).__name__} has no {name!r} for where; "
                f"{did_you_mean(name, modules)}there are {', '.join([*stages, 'classifier', 'input'])}, "
                "and every module's path"
            )
    return [(name, modules[name]) for name in names]


def classifiers(trick: Trick, model: nn.Module) -> list[tuple[str, nn.Module]]:
    """Return the layers with K outputs, with those of auxiliary heads."""
    classes = getattr(model, "num_classes", None) or classes_of(model)
    gives = lambda m: m.out_features if isinstance(m, nn.Linear) else m.out_channels  # noqa: E731
    found: list[tuple[str, nn.Module]] = [
        (n, m) for n, m in model.named_modules() if isinstance(m, nn.Linear | nn.Conv2d) and gives(m) == classes
    ]
    if not found:
        raise TypeError(
            f"{type(trick).__name__}: no linear layer or convolution of {type(model).__name__} gives {classes} "
            "classes: name the module before the classifier, where='path.of.module'"
        )
    return found

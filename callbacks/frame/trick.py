"""Base class of all tricks: prints as its call, keys its state, checks its declarations and removes its hooks."""

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any, ClassVar, Protocol, final

import lightning as L

from callbacks.frame.declaration import Declaring
from callbacks.frame.pair_needs import OthersTakeBoxes
from callbacks.frame.schedule import Schedule
from zoo.frame import html
from zoo.frame.fields import fields_of, with_fields
from zoo.frame.figures import Picture
from zoo.frame.sharded_files import protect
from zoo.frame.step import changes_loss

PLAIN = (bool, int, float, str, tuple, type(None), Schedule)
# where a trick regularises (Kukacka, Golkov, Cremers; 2017; https://arxiv.org/abs/1710.10686): the five symbols of
# arg min_w 1/|D| sum_(x, t) in D E(f_w(x), t) + R
TAXONOMY = {"data": r"\mathcal D", "architecture": "f", "error term": "E", "penalty": "R", "optimisation": r"\arg\min"}
OF_ROOM = {  # dropout counts as data there: hidden features are the next layers' inputs
    "data": "data",
    "dropout": "data",
    "network": "architecture",
    "loss": "error term",
    "distillation": "error term",
    "optimization": "optimisation",
}


WITH_BOXES = {"batch": "boxes", "loss": "overlap"}  # the pictures of tricks that need boxes


class Removable(Protocol):
    """A handle of torch that removes one hook or several."""

    def remove(self) -> None: ...


class Trick(Declaring):
    """A callback that prints as the call that makes it, and keeps its state under that name.

    So two of a kind with different arguments have different states; Lightning alone would raise an error. Each argument
    of `__init__` is an attribute of the same name.

    A subclass declares what it needs (`callbacks.frame.needs`) and overrides Lightning's hooks, `on_loss` to change the
    loss, `prepare` in place of `setup` and `leave` in place of `teardown`.

    Attributes:
        examples: arguments that differ from the defaults, for cards and tests; a class without its own has none.
        taxonomy: where it regularises, one of `TAXONOMY`; None: it does not. The default is that of its room.
        picture: the kind of its picture, a file of `callbacks/frame/pictures`. The default is "batch" where it changes
            the batch, else "loss" where it changes the loss; "boxes" and "overlap" where it needs boxes.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = ()
    taxonomy: ClassVar[str | None] = None
    picture: ClassVar[str] = ""

    _hooks: Sequence[Removable] = ()
    _key = ""  # the state's, in a run: Lightning reads it at every hook of every step

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        cls.__doc__ = with_fields(cls)
        cls.examples = vars(cls).get("examples", ())
        if cls.taxonomy is None and "taxonomy" not in vars(cls):
            package, _, room = cls.__module__.rpartition(".")[0].partition(".")
            cls.taxonomy = OF_ROOM.get(room) if package == "callbacks" else None
        if cls.needs_boxes and OthersTakeBoxes() not in cls.needs:
            cls.needs = (*cls.needs, OthersTakeBoxes())
        if not cls.picture:
            kind = "batch" if cls.changes_batch else "loss" if changes_loss(cls) else ""
            cls.picture = WITH_BOXES.get(kind, kind) if cls.needs_boxes else kind
        if "__init__" in vars(cls):
            setattr(cls, "__init__", _check_first(vars(cls)["__init__"]))  # noqa: B010 - mypy refuses the plain assignment
        if cls.changes_batch and "on_train_batch_start" in vars(cls):
            setattr(cls, "on_train_batch_start", _on_a_list(vars(cls)["on_train_batch_start"]))  # noqa: B010

    def __repr__(self) -> str:
        make: Callable[..., Trick] = type(self)
        arguments = parameters(make)
        given = {name: getattr(self, name) for name in arguments}
        words = [f"{name}={_word(v)}" for name, v in given.items() if not _is_same(v, arguments[name].default)]
        return f"{type(self).__name__}({', '.join(words)})"

    @property
    def state_key(self) -> str:
        return self._key or repr(self)

    def draw(self) -> Picture:
        """Draw what the trick does: `MixUp(0.4).draw()` in a notebook, `.draw().save("mixup.svg")` elsewhere.

        A fresh copy with the same arguments acts in a run of seconds on embedded images; this trick and all random
        states stay as they are.

        Returns:
            A `zoo.frame.figures.Picture`: `caption` says what is seen, `save(path)` writes SVG, WebP, PNG and others.

        Raises:
            NotImplementedError: for a trick of your own without a kind of picture.
        """
        if not self.picture:
            raise NotImplementedError(
                f"{type(self).__name__} names no kind of picture: set picture to a file of callbacks/frame/pictures, "
                "or override draw"
            )
        drawn: Picture = import_module(f"callbacks.frame.pictures.{self.picture}").draw(self)
        return drawn

    def _repr_html_(self) -> str:
        """Show the card in a notebook: the call, the fields of the file, and the picture."""
        drawn = self.draw() if self.picture or type(self).draw is not Trick.draw else None
        return html.heading(repr(self)) + (drawn.html() if drawn else "") + html.fields(fields_of(type(self)))

    # ---- begin and end of a run

    @final
    def setup(self, trainer: L.Trainer, model: L.LightningModule, stage: str) -> None:
        """Refuse a run that cannot work, as `needs` declares; then `prepare`."""
        for need in self.needs:
            need.check_run(self, trainer, model)
        self._key = repr(self)
        protect(trainer.strategy)  # what a trick keeps of weights in parts is saved whole, also for foreign modules
        self.prepare(trainer, model, stage)

    def prepare(self, trainer: L.Trainer, model: L.LightningModule, stage: str) -> None:
        """Get ready for a run, before weights are restored: the place to change the network.

        Args:
            trainer: of the run.
            model: as the user made it, with the changes of tricks earlier in the list.
            stage: "fit", "validate", "test" or "predict".
        """

    def keep_hooks(self, *hooks: Removable) -> None:
        """Register hooks that are removed when the run ends, also by an exception."""
        self._hooks = [*self._hooks, *hooks]

    def remove_hooks(self) -> None:
        """Remove all hooks given to `keep_hooks`."""
        for hook in self._hooks:
            hook.remove()
        self._hooks = ()

    def leave(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        """Undo what the trick did for the run. Called at its end, also after an exception; its hooks are gone then."""

    @final
    def teardown(self, trainer: L.Trainer, model: L.LightningModule, stage: str) -> None:
        """Remove the hooks; then `leave`."""
        self._key = ""
        self.remove_hooks()
        self.leave(trainer, model)

    def on_exception(self, trainer: L.Trainer, model: L.LightningModule, exception: BaseException) -> None:
        """Do the work of `teardown`, which Lightning skips after an exception."""
        self._key = ""
        self.remove_hooks()
        self.leave(trainer, model)


def _check_first(init: Callable[..., None]) -> Callable[..., None]:
    """Return a constructor that first checks its arguments as the class declares."""
    signature = inspect.signature(init)

    @functools.wraps(init)
    def __init__(self: Trick, *args: Any, **kwargs: Any) -> None:
        try:
            bound = signature.bind(self, *args, **kwargs)
        except TypeError:
            return init(self, *args, **kwargs)  # its error explains what is wrong
        bound.apply_defaults()
        for need in self.needs:
            need.check_arguments(type(self).__name__, bound.arguments)
        return init(self, *args, **kwargs)

    return __init__


def _on_a_list(hook: Callable[..., None]) -> Callable[..., None]:
    """Return a hook that refuses a batch that is not a list, because tricks change batches in place."""

    @functools.wraps(hook)
    def on_train_batch_start(self: Trick, trainer: L.Trainer, model: L.LightningModule, batch: Any, *args: Any) -> None:
        if not isinstance(batch, list):
            raise TypeError(
                f"{type(self).__name__} changes the batch in place, and it is a {type(batch).__name__}: let the "
                "loader's collate_fn return a list [images, targets]"
            )
        return hook(self, trainer, model, batch, *args)

    return on_train_batch_start


@functools.cache
def parameters(kind: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    """Return the constructor's parameters. Cached: Lightning reads `state_key` at every hook of every step."""
    return inspect.signature(kind).parameters


def _word(value: Any) -> str:
    return repr(value) if isinstance(value, PLAIN) else type(value).__name__


def _is_same(value: Any, default: Any) -> bool:
    return value is default or (isinstance(value, PLAIN) and value == default)


def names_of(stages: str | Sequence[str] | None) -> tuple[str, ...] | None:
    """Return names of stages as a tuple, so that a list from YAML prints as in Python."""
    return (stages,) if isinstance(stages, str) else stages if stages is None else tuple(stages)

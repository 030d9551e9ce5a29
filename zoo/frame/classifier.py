"""The contract between a network, its data and the tricks: `Classifier` and `Step`.

A batch is a list `[images, targets]`: images (N, C, H, W), float and normalised; targets (N,) class indices, int64, or
(N, K) probabilities. In evaluation images may be (N, V, C, H, W), V views of each: see `over_views`. A callback may
refill that list in `on_train_batch_start`: what it refills reaches `training_step`, what it returns is dropped.

Alphabet of the project: N batch, C channels, H W pixels, L tokens, D width, K classes.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lightning as L
import timm
import torch
import torch.nn.functional as F
from timm.optim import create_optimizer_v2
from torch import Tensor, nn

from zoo.frame import graph, optimizers, surgery
from zoo.frame.about import ABOUT, about, check_classes, learn_from_data, restore
from zoo.frame.arguments import constructor
from zoo.frame.checks import check_images, check_targets, classes_of
from zoo.frame.exact_resume import ExactResume
from zoo.frame.graceful_stop import GracefulStop
from zoo.frame.prediction import Prediction, predict
from zoo.frame.preprocessing import Preprocessing
from zoo.frame.scores import RunningMean, Scores
from zoo.frame.stages import Paths, Stages, stages_of, timm_stages
from zoo.frame.weight_files import explained, write
from zoo.frame.weights import load_into

optimizers.register()

Outputs = Tensor | tuple[Tensor, dict[str, Any]]  # logits (N, K), or (logits, extras) in training
MODELS: dict[str, type["Classifier"]] = {}  # the models of the zoo by name: `load` makes no others


@dataclass
class Step:
    """One training step, as loss tricks see and change it.

    Attributes:
        images: (N, C, H, W), as the network saw them.
        targets: (N,) class indices or (N, K) probabilities, as the loss takes them.
        logits: (N, K). Of a `Segmenter` (N, K, H, W), and targets (N, H, W) or (N, K, H, W).
        loss: scalar, what will be differentiated. Starts as the cross-entropy; tricks replace it (`over_heads`) or add.
        extras: what the network gives in training only (keep decisions, a distillation token's logits, ...), by name.
            `"aux"`: the auxiliary heads, a list of (weight, logits (N, K)), which count in the loss.
    """

    images: Tensor
    targets: Tensor
    logits: Tensor
    loss: Tensor
    extras: dict[str, Any] = field(default_factory=dict)

    def over_heads(self, loss: Callable[[Tensor], Tensor]) -> Tensor:
        """`loss` of the logits, plus that of each auxiliary head times its weight."""
        return over_heads(loss, self.logits, self.extras)


def over_heads(loss: Callable[[Tensor], Tensor], logits: Tensor, extras: Mapping[str, Any]) -> Tensor:
    """Compute `loss` of the logits, plus that of each auxiliary head of `extras["aux"]` times its weight."""
    aux = (weight * loss(z) for weight, z in extras.get("aux", ()))
    return sum(aux, start=loss(logits))


class LossTrick(L.Callback):
    """A callback with the one hook that Lightning lacks: `on_loss`. Tricks of `callbacks` are, others may be.

    Override `on_loss`; one that does not is never called.
    """

    def on_loss(self, model: L.LightningModule, step: Step) -> None:
        """Change `step.loss`: put another loss in its place, or add a term.

        Called in each training step after the forward pass, in the order of `Trainer(callbacks=...)`.

        Args:
            model: the module that trains.
            step: images, targets, logits, the loss so far and what else the network gave.
        """


def changes_loss(kind: type[L.Callback]) -> bool:
    """Return whether a class of callbacks has an `on_loss` of its own."""
    return issubclass(kind, LossTrick) and kind.on_loss is not LossTrick.on_loss


class Classifier(L.LightningModule):
    """How every model trains and is scored; with `network`, the same for any `nn.Module`.

    A model of the zoo is a subclass that builds its layers in `__init__`, defines `forward` and names its `stages`.
    `Classifier(network)` brings a foreign network (all of timm, say) to the same tricks, data and recipes.

    Training logs `train/loss`, `train/acc` (hard targets) and `train/acc_mixed` (mixed targets) once an epoch, and
    `train/loss_step` every `log_every_n_steps`; evaluation logs `val/` and `test/` `loss`, `acc` and, if K > 5, `top5`.

    Two callbacks join every run unasked: `ExactResume` (a resumed run ends with the same bits) and `GracefulStop`
    (Ctrl-C ends the run in order). Listed in `Trainer(callbacks=...)`, yours are taken.

    Args:
        network: images (N, C, H, W) -> logits (N, K); in training it may give `(logits, extras)`. A string is the
            name of a timm model, made with random weights.
        num_classes: K; None: read from the network.
        optimizer: a name of `timm.optim` ("sgd" has Nesterov momentum .9, "momentum" plain momentum .9, "adamw", ...),
            or "adabound" (`zoo/optimizers.py`).
        lr: learning rate, > 0. Default: He et al. 2015, at batch 256.
        weight_decay: >= 0, on every parameter (see `NoBiasDecay`). Default: He et al. 2015.
        optimizer_options: further arguments of that optimizer, such as `{"momentum": 0.8}`.
        channels_last: NHWC memory; the faster layout for convolutions on most devices.
        compile: `torch.compile` the network in place, after all surgery; keys in checkpoints stay as they are.
        stages: for a foreign network, name -> path of the module that gives the stage's features, such as
            `{"stage1": "layer1"}`; None: what timm's `feature_info` says, or nothing.
        image_size: side of the images in pixels, where the network cares; None: it does not.

    Raises:
        ValueError: if K is not given and cannot be read, or a training argument is out of range.
    """

    replace_classes = False  # True: a checkpoint may be resumed on data of other class names
    calls_on_loss = True  # what a loss trick asks of a LightningModule: see `training_step`
    masks = False  # whether targets have a class for each pixel: see `Segmenter`
    aliases: Mapping[str, str] = {}  # prefixes of keys in others' files -> ours
    # variant -> the timm model with the same keys and the same function; several where only the image size differs
    timm_names: Mapping[str, str | tuple[str, ...]] = {}
    torchvision_names: Mapping[str, str] = {}  # likewise for torchvision
    stage_paths: Paths = ()  # of the modules that are the stages, in order

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        if "__init__" in vars(cls):
            cls.__init__ = constructor(vars(cls)["__init__"])  # type: ignore[method-assign]
        package, _, file = cls.__module__.partition(".")
        if package == "zoo" and "." not in file:
            MODELS[cls.__name__] = cls

    @constructor
    def __init__(
        self,
        network: nn.Module | str | None = None,
        num_classes: int | None = None,
        *,
        optimizer: str = "sgd",
        lr: float = 0.1,
        weight_decay: float = 1e-4,
        optimizer_options: dict[str, Any] | None = None,
        channels_last: bool = False,
        compile: bool = False,
        stages: dict[str, str] | None = None,
        image_size: int | None = None,
    ):
        super().__init__()
        self._keep_hyperparameters(network)
        if lr <= 0 or weight_decay < 0:
            raise ValueError(f"lr must be > 0 and weight_decay >= 0, got {lr} and {weight_decay}")
        if isinstance(network, str):
            network = timm.create_model(network, **({} if num_classes is None else {"num_classes": num_classes}))
        if network is not None:
            self.network = network
            stages = timm_stages(network) if stages is None else stages
            self.stage_paths = {name: f"network.{path}" for name, path in stages.items()}
        self.num_classes = classes_of(network) if num_classes is None else num_classes
        self.image_size = image_size
        self.surgery: surgery.Record = []
        self.classes: tuple[str, ...] | None = None  # names, from the data or a checkpoint
        self.preprocessing: Preprocessing | None = None  # of pictures, from the data or a checkpoint: see `predict`
        if network is not None:
            self.preprocessing = Preprocessing.of_timm(network)
        self.untrained = True  # until weights are loaded or trained: only then may a trick initialise
        self._window, self._epoch = RunningMean(), RunningMean()
        self._scores: Scores | None = None

    def _keep_hyperparameters(self, network: nn.Module | str | None) -> None:
        """Keep the arguments of all constructors; those of the outermost count. A network is in the state, not here."""
        arguments: dict[str, Any] = {}
        for level in reversed(vars(self)["_levels"]):
            arguments |= level
        if isinstance(arguments.get("variant"), int):
            arguments["variant"] = str(arguments["variant"])  # rows of tables have names; a number will do
        # a checkpoint brings its own weights: reloading it must not ask for the pretrained file again
        ignored = ["weights"] if isinstance(network, str) else ["weights", "network"]
        ignored += ["stages"] if network is None else []  # a model names its own
        self.save_hyperparameters({name: value for name, value in arguments.items() if name not in ignored})
        self._hparams_name = "kwargs"  # what Lightning writes where it finds the arguments itself

    def constructed(self) -> None:
        """Run when the outermost constructor is through: `Model` loads its weights here."""

    def forward(self, x: Tensor) -> Outputs:
        """Images (N, C, H, W) -> logits (N, K), or in training (logits, extras)."""
        outputs: Outputs = self.network(x)
        return outputs

    @property
    def stages(self) -> Mapping[str, nn.Module]:
        """The modules whose outputs are feature maps (N, C, H, W) or tokens (N, L, D), in order, by name."""
        own = self._modules.get("stages")  # layers with timm's keys `stages.0`, ...
        return own if isinstance(own, Stages) else stages_of(self, self.stage_paths)

    @stages.setter
    def stages(self, stages: Stages) -> None:
        self._modules["stages"] = stages  # nn.Module does this by itself, for layers with timm's keys

    # ---- steps

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        images, targets = self._checked(batch, batch_idx)
        logits, extras = split_outputs(self(images))
        loss = over_heads(lambda z: F.cross_entropy(z, targets), logits, extras)
        step = Step(images, targets, logits, loss, extras)
        for trick in self.trainer.callbacks:
            if isinstance(trick, LossTrick) and changes_loss(type(trick)):
                trick.on_loss(self, step)
        self._window.update(step.loss, logits, targets)
        return step.loss

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        self._evaluate(batch, batch_idx)

    def test_step(self, batch: list[Tensor], batch_idx: int) -> None:
        self._evaluate(batch, batch_idx)

    def predict_step(self, batch: list[Tensor] | Tensor, batch_idx: int) -> Tensor:
        """Images, or a batch -> probabilities (N, K), float32; of several views an image, their mean."""
        images = batch if isinstance(batch, Tensor) else batch[0]
        return over_views(self, images).float().softmax(1)

    def _evaluate(self, batch: list[Tensor], batch_idx: int) -> None:
        images, targets = self._checked(batch, batch_idx, views=True)
        self._scores.update(over_views(self, images), targets)

    def _checked(self, batch: list[Tensor], batch_idx: int, views: bool = False) -> list[Tensor]:
        """Check the batch. Labels are read only where that costs no wait for a device."""
        images, targets = batch
        check_images(images, None if self.masks else self.image_size, type(self).__name__, views and not self.masks)
        if batch_idx == 0 or not targets.is_cuda:
            check_targets(targets, self.num_classes, images.shape[-2:] if self.masks else ())
        if self.hparams.channels_last and images.ndim == 4:
            images = images.contiguous(memory_format=torch.channels_last)
        return [images, targets]

    def predict(
        self,
        pictures: Any,
        top: int = 5,
        batch_size: int = 64,
        skip_unreadable: bool = False,
        preprocessing: Preprocessing | None = None,
    ) -> list[Prediction]:
        """Classify pictures: rows with file, class, probability and the `top` most probable classes.

        Args:
            pictures: a path, a folder (flat or nested), a PIL image, a uint8 array (H, W, C) or tensor (C, H, W), or
                batches or lists of these; or a float tensor (N, C, S, S) that is prepared already.
            top: how many classes to name.
            batch_size: pictures at a time.
            skip_unreadable: leave out files that cannot be read, with a warning; else they are an error.
            preprocessing: in place of what the checkpoint or the pretrained weights say.

        Raises:
            ValueError: a file cannot be read, or the model does not know how its images are prepared.
        """
        return predict([self], pictures, top, batch_size, skip_unreadable, preprocessing)

    # ---- scores

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        step = self.trainer.global_step
        if step > self._logged_at and step % self.trainer.log_every_n_steps == 0:  # once, if gradients accumulate
            self._logged_at = step
            self.log("train/loss_step", self._window.compute(self._sum_over_ranks)["loss"], prog_bar=True)
            self._close_window()

    def on_train_epoch_end(self) -> None:
        self._close_window()
        if self._epoch:
            means = self._epoch.compute(self._sum_over_ranks)
            self.log_dict({f"train/{name}": value for name, value in means.items()}, prog_bar=True)
        self._epoch = RunningMean()

    def _close_window(self) -> None:
        self._epoch.merge(self._window)
        self._window = RunningMean()

    def _sum_over_ranks(self, values: Tensor) -> Tensor:
        return self.trainer.strategy.reduce(values, reduce_op="sum")

    def on_validation_epoch_start(self) -> None:
        self._scores = Scores(self.num_classes, self.device, self.masks)

    def on_test_epoch_start(self) -> None:
        self._scores = Scores(self.num_classes, self.device, self.masks)

    def on_validation_epoch_end(self) -> None:
        self.log_dict({f"val/{name}": value for name, value in self._scores.compute().items()}, prog_bar=True)

    def on_test_epoch_end(self) -> None:
        self.log_dict({f"test/{name}": value for name, value in self._scores.compute().items()})

    # ---- set-up

    def configure_callbacks(self) -> list[L.Callback]:
        """Exact resume and the graceful Ctrl-C, for every run; those that the user listed stay as they are."""
        listed = {type(callback) for callback in self.trainer.callbacks}
        return [own() for own in (ExactResume, GracefulStop) if own not in listed]

    def setup(self, stage: str) -> None:
        """Check the model against the data; compile. Runs after the `setup` of every trick, so after all surgery."""
        if stage == "fit" and not self.training:
            self.train()  # Lightning would train a model that `zoo.load` or a user put in eval mode as it is
        data = getattr(self.trainer, "datamodule", None)
        if getattr(data, "num_classes", self.num_classes) != self.num_classes:
            raise ValueError(
                f"the data has {data.num_classes} classes, the model {self.num_classes}: "
                f"{type(self).__name__}(..., num_classes={data.num_classes})"
            )
        if stage == "fit":
            learn_from_data(self, data)
        if self.hparams.channels_last:
            self.to(memory_format=torch.channels_last)
        if self.hparams.compile and self._compiled_call_impl is None:
            # by default, a hook put on a module after the first compiled call never fires, and nothing says so
            torch._dynamo.config.skip_nnmodule_hook_guards = False
            self.compile()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        hp = self.hparams
        trained = [p for p in self.parameters() if p.requires_grad]
        options = hp.optimizer_options or {}
        return create_optimizer_v2(
            trained, opt=hp.optimizer, lr=hp.lr, weight_decay=hp.weight_decay, filter_bias_and_bn=False, **options
        )

    def on_train_start(self) -> None:
        self.untrained = False
        self._logged_at = self.trainer.global_step

    # ---- files

    @classmethod
    def load_from_checkpoint(cls, checkpoint_path: Any, *args: Any, weights_only: bool = True, **kwargs: Any):
        """Lightning's, with `zoo.load`'s words for a file that is cut short or carries code. See also `zoo.load`."""
        with explained(checkpoint_path, weights_only):
            return super().load_from_checkpoint(checkpoint_path, *args, weights_only=weights_only, **kwargs)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Repeat the surgery of the file's network. Raises ValueError if other surgery was done already."""
        found = checkpoint.get(ABOUT, {})
        data = getattr(self._trainer, "datamodule", None)
        if not self.replace_classes:
            check_classes(found.get("classes"), data)
        surgery.follow(self, checkpoint.get("surgery", ()))
        if data is None:
            restore(self, found)
        self.untrained = False

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the class's name, classes, preprocessing, tricks, versions, surgery and every average that a trick keeps.

        Runs for weights-only files too.
        """
        checkpoint["model"] = type(self).__name__
        checkpoint[ABOUT] = about(self, self._trainer)
        if self.surgery:
            checkpoint["surgery"] = self.surgery
        tricks = self.trainer.callbacks if self._trainer else []
        averages = {t.state_key: t.average for t in tricks if getattr(t, "average", None)}
        if averages:
            checkpoint["averages"] = averages

    def export(self, path: str | Path, image_size: int | None = None) -> None:
        """Write the network for use elsewhere, as the file's suffix says.

        Args:
            path: `.onnx` and `.pt2`: the graph of the network in eval mode, for batches of any size (`frame/graph.py`);
                otherwise the plain weights, keys as in the reference (no prefix): `.safetensors`, else torch's format.
            image_size: of a graph, in pixels; None: that of the model.

        Raises:
            ValueError: a graph of a network that does not know its image size.
        """
        if Path(path).suffix not in graph.SUFFIXES:
            write(self.plain_state_dict(), path)
            return
        if (size := image_size or self.image_size) is None:
            raise ValueError(f"how large are the images? export({str(path)!r}, image_size=...)")
        graph.write(self, path, size)

    def plain_state_dict(self) -> dict[str, Tensor]:
        """Return the weights under the keys that timm, torchvision or the authors use."""
        return getattr(self, "network", self).state_dict()

    def load_weights(self, weights: str | Path) -> None:
        """Load weights from `"timm:NAME"`, `"torchvision:WEIGHTS"`, `"hf:USER/REPO"` or a file."""
        load_into(self, weights)

    def adapt(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Weights from elsewhere, under our keys, before they are compared with the model's: as they are.

        A network whose weights depend on the image size overrides this.
        """
        return state


def split_outputs(outputs: Tensor | tuple) -> tuple[Tensor, dict[str, Any]]:
    """Split what a network gave, logits, `(logits, extras)` or torchvision's named tuple, into logits and extras."""
    if isinstance(outputs, Tensor):
        return outputs, {}
    if hasattr(outputs, "_asdict"):
        extras = dict(outputs._asdict())
        return extras.pop("logits"), extras
    return outputs


def over_views(network: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """Logits (N, K) of images (N, C, H, W); of V views each, (N, V, C, H, W), the logarithm of their mean softmax.

    So the softmax of what comes out is the mean of the views' softmaxes, and its cross-entropy that mean's. One view
    at a time: the batch is no larger than without.
    """
    if images.ndim == 4:
        return network(images)
    views = [network(view).float().log_softmax(1) for view in images.unbind(1)]
    return torch.stack(views).logsumexp(0) - math.log(len(views))

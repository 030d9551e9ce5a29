"""The contract between a network, its data and the tricks: `Classifier`.

A batch is a list `[images, targets]`: images (N, C, H, W), float and normalised; targets (N,) class indices, int64, or
(N, K) probabilities. A tuple, or a dict with these names, is converted to such a list. In evaluation, images may be
(N, V, C, H, W), V views of each: see `over_views`. A callback may change the list in place in `on_train_batch_start`;
`training_step` gets the changed list. What the callback returns is ignored.

Alphabet of the project: N batch, C channels, H W pixels, L tokens, D width, K classes.
"""

import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, ClassVar

import lightning as L
import torch
from lightning.fabric.utilities.data import AttributeDict
from rich.table import Table
from timm.optim import create_optimizer_v2
from torch import Tensor, nn

from zoo.frame import by_name, describe, optimizers
from zoo.frame.about import check_classes, check_num_classes, learn_from_data
from zoo.frame.arguments import DEFAULTS, Training, constructor, hyperparameters, plain_signature, refuse_unknown
from zoo.frame.batches import as_list, images_and_targets
from zoo.frame.by_name import say_random
from zoo.frame.channels import channels_of, take_channels
from zoo.frame.checkpoint import Checkpointed
from zoo.frame.checks import check_channels, check_images, check_targets, classes_of
from zoo.frame.exact_resume import ExactResume
from zoo.frame.fast import compile_forward, is_compiled, lay_out
from zoo.frame.graceful_stop import GracefulStop
from zoo.frame.hub import Shared
from zoo.frame.labels import check_labels, logits_over_views, loss_of, probabilities_of, refuse_one_label
from zoo.frame.lbfgs import check_lbfgs
from zoo.frame.outputs import Outputs, split_outputs
from zoo.frame.prediction import Prediction, predict
from zoo.frame.preprocessing import Preprocessing
from zoo.frame.run import callbacks_of, datamodule_of
from zoo.frame.scorer import Scorer
from zoo.frame.sharded import class_name, shard
from zoo.frame.stages import Paths, Stages, stages_of, timm_stages
from zoo.frame.step import LossTrick, Step, changes_loss, over_heads
from zoo.tools.complexity import summary
from zoo.tools.stage_table import stage_html

optimizers.register()

MODELS: dict[str, type["Classifier"]] = {}  # the zoo's models by name: `load` builds no others
ALWAYS = (ExactResume, GracefulStop)  # callbacks of every run


class Classifier(Scorer, Checkpointed, Shared):
    """Train and score a model of the zoo, or any `nn.Module` passed as `network`.

    A model of the zoo is a subclass that builds its layers in `__init__`, defines `forward` and names its `stages`.
    `Classifier(network)` gives any other network, such as timm's, the same tricks, data and recipes.

    Training logs `train/loss`, `train/acc` (hard targets) and `train/acc_mixed` (mixed targets) once an epoch, and
    `train/loss_step` every `log_every_n_steps`; evaluation logs `val/` and `test/` `loss`, `acc` and, if K > 5, `top5`.

    Two callbacks are added to every run: `ExactResume` (a resumed run ends with the same bits) and `GracefulStop`
    (Ctrl-C ends the run in order). If you list your own in `Trainer(callbacks=...)`, those are used.

    Args:
        network: images (N, C, H, W) -> logits (N, K); in training it may return `(logits, extras)`. A string is the
            name of a timm model, "resnet50" or with the tag of its weights, "resnet50.a1_in1k".
        num_classes: K; None: read from the network.
        weights: "timm" for the weights of a timm model's name, or a source as in `load_weights`; None: random.
        optimizer: a name of `timm.optim` ("sgd" has Nesterov momentum .9, "momentum" plain momentum .9, "adamw", ...),
            "adabound" (`zoo/frame/optimizers.py`), "lbfgs" (`zoo/frame/lbfgs.py`) or "filtermuon" (`muon.py`).
        lr: learning rate, > 0. The default is for 256 images a step: that of `Defaults` in a model's file, else of He
            et al. 2015.
        weight_decay: >= 0, on every parameter (see `NoBiasDecay`). Default: as `lr`.
        optimizer_options: further arguments of that optimizer, such as `{"momentum": 0.8}`.
        channels_last: NHWC memory; the faster layout for convolutions on most devices.
        compile: `torch.compile` the network in place, after all surgery; keys in checkpoints stay as they are.
        stages: for a network that is not the zoo's, name -> path of the module whose output is the stage's features,
            such as `{"stage1": "layer1"}`; None: from timm's `feature_info`, or none.
        image_size: side of the images in pixels, if the network depends on it; None: it does not.
        in_chans: C of the images, 1 to 16; None: the network's, or 3. Pretrained first layers are adapted as in timm.
        timm_options: further arguments of `timm.create_model`, such as `drop_path_rate=0.1`, if `network` is the
            name of a timm model; plain values, saved in checkpoints.

    Raises:
        ValueError: K is not given and cannot be read, or a training argument is out of range.
        TypeError: an unknown argument.
    """

    task = "classification"  # or "segmentation", "detection": what a target is
    calls_on_loss = True  # the interface that loss tricks need: see `training_step`
    stage_paths: Paths = ()  # paths of the stages' modules, in order
    aux_paths: tuple[str, ...] = ()  # of auxiliary heads, which run in training alone
    training_defaults: ClassVar[Training] = {}  # where the paper's differ from those of He et al. 2015
    own_channels = False  # True: the constructor builds first layers for `self.in_chans`; False: they are adapted

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        if "__init__" in vars(cls):
            cls.__init__ = constructor(vars(cls)["__init__"], DEFAULTS | cls.training_defaults)  # type: ignore[method-assign]
        package, _, file = cls.__module__.partition(".")
        if package == "zoo" and "." not in file:
            MODELS[cls.__name__] = cls

    @constructor
    def __init__(
        self,
        network: nn.Module | str | None = None,
        num_classes: int | None = None,
        *,
        weights: str | None = None,
        optimizer: str = "sgd",
        lr: float = 0.1,
        weight_decay: float = 1e-4,
        optimizer_options: dict[str, Any] | None = None,
        channels_last: bool = False,
        compile: bool = False,
        stages: dict[str, str] | None = None,
        image_size: int | None = None,
        in_chans: int | None = None,
        **timm_options: Any,
    ):
        super().__init__()
        self._weights = weights
        self.save_hyperparameters(hyperparameters(vars(self)["_levels"], network))
        self._hparams_name = "kwargs"  # as Lightning's own `save_hyperparameters` does
        if not (0 < lr < math.inf and 0 <= weight_decay < math.inf):
            raise ValueError(f"lr must be > 0 and weight_decay >= 0, both finite, got {lr} and {weight_decay}")
        self._knows_channels = not isinstance(network, nn.Module)  # of another's network only its first layer is seen
        if isinstance(network, str):
            network = self._by_name(network, num_classes, in_chans, timm_options)
        elif timm_options:
            refuse_unknown(timm_options, PLAIN, type(self).__name__)
        self.in_chans = channels_of(network, in_chans, self._knows_channels)
        if network is not None:
            self.network, self.own_channels = network, True
            stages = timm_stages(network) if stages is None else stages
            self.stage_paths = {name: f"network.{path}" for name, path in stages.items()}
        self.num_classes = classes_of(network) if num_classes is None else num_classes
        self.image_size = image_size
        if network is not None:
            self.preprocessing = Preprocessing.of_timm(network, self.in_chans)

    def _by_name(self, name: str, num_classes: int | None, in_chans: int | None, options: dict[str, Any]) -> nn.Module:
        """Create a timm network, pretrained if `weights` says so."""
        pretrained = self._weights == by_name.PRETRAINED
        network = by_name.create(name, pretrained, num_classes, in_chans, options)
        if pretrained:
            self._weights, self.untrained = None, False
            if classes_of(network) == by_name.pretrained_classes(network):
                self.pretrained_classes = by_name.names_of_classes(network)
        return network

    def finish_construction(self) -> None:
        """Adapt the channels and load the weights; runs after the outermost constructor, when every layer exists."""
        if not self.own_channels:
            take_channels(self, self.in_chans, not self.untrained)
        weights, self._weights = self._weights, None
        if weights is not None:
            self.load_weights(weights)

    def forward(self, x: Tensor) -> Outputs:
        """Images (N, C, H, W) -> logits (N, K), or in training (logits, extras)."""
        outputs: Outputs = self.network(x)
        return outputs

    @property
    def stages(self) -> Mapping[str, nn.Module]:
        """Modules whose outputs are feature maps (N, C, H, W) or tokens (N, L, D), in order, by name."""
        own = self._modules.get("stages")  # layers with timm's keys `stages.0`, ...
        return own if isinstance(own, Stages) else stages_of(self, self.stage_paths)

    @stages.setter
    def stages(self, stages: Stages) -> None:
        self._modules["stages"] = stages  # done by nn.Module, for layers with timm's keys

    # ---- steps

    def _apply_batch_transfer_handler(self, batch: Any, *args: Any, **kwargs: Any) -> Any:
        """Convert a tuple or a dict to a list before tricks see it: Lightning's public hooks are the data module's."""
        return as_list(super()._apply_batch_transfer_handler(batch, *args, **kwargs))

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        images, targets = self._check(batch, batch_idx)
        logits, extras = split_outputs(self(images))
        loss = over_heads(lambda z: loss_of(z, targets, self.multi_label), logits, extras)
        step = Step(images, targets, logits, loss, extras)
        self._change(step)
        self._count(step.loss, logits, targets)
        return step.loss

    def _change(self, step: Step) -> None:
        """Let the loss tricks of the run change a step, in their order."""
        for trick in callbacks_of(self.trainer):
            if isinstance(trick, LossTrick) and changes_loss(type(trick)):
                trick.on_loss(self, step)

    def validation_step(self, batch: list[Tensor], batch_idx: int, dataloader_idx: int = 0) -> Tensor:
        """Score a batch; return its logits (N, K), which Lightning hands to `on_validation_batch_end`."""
        return self._evaluate(batch, batch_idx, dataloader_idx)

    def test_step(self, batch: list[Tensor], batch_idx: int, dataloader_idx: int = 0) -> Tensor:
        """Score a batch; return its logits (N, K), which Lightning hands to `on_test_batch_end`."""
        return self._evaluate(batch, batch_idx, dataloader_idx)

    def predict_step(self, batch: list[Tensor] | Tensor, batch_idx: int, dataloader_idx: int = 0) -> Tensor:
        """Predict probabilities (N, K), float32, of images or a batch; with several views, the mean over the views."""
        images = batch if isinstance(batch, Tensor) else batch[0]
        return probabilities_of(logits_over_views(self, images, self.multi_label), self.multi_label)

    def _repr_html_(self) -> str | None:
        """Show the stages in a notebook: shape, stride, receptive field and cost. None, so the text, if it has none."""
        if not self.stages or self.image_size is None:
            return None
        with suppress(RuntimeError, ValueError, TypeError):  # a trick's hooks may not take a pass on the meta device
            name = f"{type(self).__name__}({self.hparams.get('variant', '')!r})"
            heading = f"<p>{name}, {self.image_size} × {self.image_size} px, {self.num_classes} classes</p>"
            return heading + stage_html(self)
        return None

    def outputs_for_scores(self, forward: Callable[[Tensor], Any], images: Tensor) -> Any:
        """Return what `new_scores()` takes of images: `forward` is the model's, perhaps with other weights."""
        return logits_over_views(forward, images, self.multi_label)

    def _evaluate(self, batch: list[Tensor], batch_idx: int, loader: int) -> Tensor:
        images, targets = self._check(batch, batch_idx, views=True)
        logits = logits_over_views(self, images, self.multi_label)
        self._score(logits, targets, loader)
        return logits

    def _check(self, batch: list[Tensor], batch_idx: int, views: bool = False) -> list[Tensor]:
        """Check the batch. Labels are read only if the device need not be waited for."""
        images, targets = images_and_targets(batch)
        check_images(images, None if self.masks else self.image_size, type(self).__name__, views and not self.masks)
        if self._knows_channels:
            check_channels(images, self.in_chans, type(self).__name__)
        if batch_idx == 0 or not targets.is_cuda:
            if self.multi_label:
                check_labels(targets, self.num_classes)
            else:
                check_targets(targets, self.num_classes, images.shape[-2:] if self.masks else ())
        if self.hparams["channels_last"] and images.ndim == 4:
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
        """Classify pictures: return file, class, probability and the `top` most probable classes of each.

        Args:
            pictures: a path, a folder (flat or nested), a PIL image, a uint8 array (H, W, C) or tensor (C, H, W), or
                batches or lists of these; or a preprocessed float tensor (N, C, S, S).
            top: number of classes to return.
            batch_size: pictures at a time.
            skip_unreadable: skip unreadable files with a warning; if False, they are an error.
            preprocessing: replaces that of the checkpoint or the pretrained weights.

        Raises:
            ValueError: a file cannot be read, or the model does not know its preprocessing.
        """
        return predict([self], pictures, top, batch_size, skip_unreadable, preprocessing)

    def summary_table(self, image_size: int | None = None) -> Table:
        """Return the table of `zoo.summary`: shape, memory, parameters and multiply-adds of every layer.

        Args:
            image_size: side of the image in pixels; None: the model's.
        """
        return summary(self, image_size)

    # ---- set-up

    @property
    def hparams_initial(self) -> AttributeDict:
        """Arguments of the model, and in a run those of its data and tricks: what Lightning gives to every logger."""
        found = super().hparams_initial
        if self._trainer is None:
            return found
        data = datamodule_of(self._trainer)
        tricks = [callback for callback in callbacks_of(self._trainer) if isinstance(callback, LossTrick)]
        run = {"data": describe.by_name([] if data is None else [data]), "tricks": describe.by_name(tricks)}
        return AttributeDict({**found, **run})

    def configure_callbacks(self) -> list[L.Callback]:
        """Add `ExactResume` and `GracefulStop` to the run, unless the user listed them."""
        listed = {type(callback) for callback in callbacks_of(self.trainer)}
        return [own() for own in ALWAYS if own not in listed]

    def setup(self, stage: str) -> None:
        """Check the model against the data, then compile; runs after the `setup` of every trick and all surgery."""
        if stage == "fit" and not self.training:
            self.train()  # Lightning trains a model in eval mode, as `zoo.load` returns it, without changing the mode
        data = datamodule_of(self.trainer)
        check_num_classes(self, data)
        if stage in ("validate", "test") and not self.replace_classes:
            check_classes(self.classes, data)
        if stage == "fit":
            say_random(self)
            learn_from_data(self, data)
        self.multi_label = getattr(data, "multi_label", self.multi_label)
        if self.multi_label:
            refuse_one_label(self, callbacks_of(self.trainer))
        if self.hparams["channels_last"]:
            lay_out(self)
        if self.hparams["compile"] and not is_compiled(self):
            self.compile()

    def compile(self, **options: Any) -> None:
        """Compile the forward pass, in place: see `compile_forward`.

        Args:
            options: of `torch.compile`.
        """
        compile_forward(self, **options)

    def configure_model(self) -> None:
        """Under `ModelParallelStrategy`, leave each process its part of the weights; runs after all surgery.

        Raises:
            ValueError: the strategy splits layers too (tensor parallel).
        """
        if self._device_mesh is None:
            return
        if self._device_mesh["tensor_parallel"].size() > 1:
            raise ValueError(
                f"{class_name(self)} has no layers for tensor parallelism: "
                "ModelParallelStrategy(data_parallel_size=PROCESSES, tensor_parallel_size=1)"
            )
        shard(self, self._device_mesh["data_parallel"], self.trainer.strategy.root_device)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        trained = [p for p in self.parameters() if p.requires_grad]
        hp, options = self.hparams, self.hparams["optimizer_options"] or {}
        return create_optimizer_v2(
            trained,
            opt=hp["optimizer"],
            lr=hp["lr"],
            weight_decay=hp["weight_decay"],
            filter_bias_and_bn=False,
            **options,
        )

    def on_train_start(self) -> None:
        super().on_train_start()
        self.untrained = False

    def on_train_epoch_start(self) -> None:
        check_lbfgs(self.trainer)  # after tricks have split groups and set the accumulation


PLAIN = plain_signature(Classifier.__init__)

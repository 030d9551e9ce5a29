"""Recipes from config files of `zoo fit`: what `zoo compare a.yaml b.yaml` compares."""

import logging
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]  # its stubs are a separate package

from recipes.command.lightning import CLI, Parser
from recipes.frame.errors import UsageError
from recipes.frame.recipe import Recipe

PARTS = ("model", "data", "trainer")
# arguments of `Trainer` that a recipe sets by itself
OURS = (
    "callbacks",
    "default_root_dir",
    "enable_checkpointing",
    "enable_model_summary",
    "enable_progress_bar",
    "logger",
)


@dataclass(frozen=True)
class FromConfig:
    """Build the recipe of a config file: `FromConfig(Path("run.yaml"))(seed=1)`.

    Attributes:
        path: a file that `zoo fit --print_config` wrote. Its seed and checkpoint are ignored.
    """

    path: Path

    def __call__(self, seed: int = 0) -> Recipe:
        """Return the recipe, with the weights and draws of this seed.

        Raises:
            UsageError: the file does not exist, or is not a config of `zoo fit`.
        """
        config = read_config(self.path)
        logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
        made = instantiate(config, seed)
        given = len(config.get("trainer", {}).get("callbacks") or [])
        trainer = {name: value for name, value in config.get("trainer", {}).items() if name not in OURS}
        return Recipe(
            name=self.path.stem,
            model=made.model,
            data=made.datamodule,
            callbacks=made.config_init["trainer"]["callbacks"][:given] if given else [],  # Trainer adds its own
            trainer={name: value for name, value in trainer.items() if value is not None},
            seed=seed,
            arguments=config,
        )


def instantiate(config: dict[str, Any], seed: int) -> CLI:
    """Instantiate model, data and tricks of a config, with the weights of this seed."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        path = Path(folder) / "config.yaml"
        path.write_text(yaml.safe_dump({**config, "trainer": {**config.get("trainer", {}), "logger": False}}))
        warnings.filterwarnings("ignore", "LightningCLI's args parameter", UserWarning)  # the shell's are unused
        arguments = [f"--config={path}", f"--seed_everything={seed}"]
        return CLI(parser_class=Parser, args=arguments, run=False, save_config_callback=None)


def read_config(path: Path) -> dict[str, Any]:
    """Read model, data and trainer of a config file.

    Raises:
        UsageError: the file does not exist, or is not a config of `zoo fit`.
    """
    if not path.exists():
        raise UsageError(f"there is no config {path}; `zoo fit --print_config > {path.name}` writes one")
    config = yaml.safe_load(path.read_text())
    if not isinstance(config, dict) or not {"model", "data"} <= config.keys():
        raise UsageError(f"{path} is not a config of `zoo fit`: it has no model and data")
    return {name: config[name] for name in PARTS if name in config}

"""Make a notebook quiet: `quiet = silence()` in its first cell, then `Trainer(..., **quiet)`."""

import logging
import warnings

LOGGERS = (
    "lightning",
    "lightning.pytorch",
    "lightning.fabric",
    "lightning.pytorch.utilities.rank_zero",
    "lightning.fabric.utilities.seed",
)


def silence() -> dict[str, bool]:
    """Silence all warnings, and what Lightning says of the machine, the seed and the end of a run.

    Returns:
        Arguments of a `Trainer` without logger, progress bar, summary of the model and checkpoints.
    """
    warnings.filterwarnings("ignore")
    for name in LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)
    return dict.fromkeys(("logger", "enable_progress_bar", "enable_model_summary", "enable_checkpointing"), False)

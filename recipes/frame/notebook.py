"""Make a notebook quiet, in the style of the project: `quiet = silence()` first, then `Trainer(..., **quiet)`."""

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
    """Silence warnings and Lightning's words on machine, seed and end of a run. Set the style of figures.

    Returns:
        Arguments of a `Trainer` without logger, progress bar, summary of the model and checkpoints.
    """
    warnings.filterwarnings("ignore")
    for name in LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)
    from matplotlib import style  # imported here, and what follows, because imports warn

    from zoo.frame.figures import STYLE

    style.use(STYLE)
    return dict.fromkeys(("logger", "enable_progress_bar", "enable_model_summary", "enable_checkpointing"), False)

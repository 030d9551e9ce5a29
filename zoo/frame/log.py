"""Log numbers that are already summed over all processes."""

from collections.abc import Mapping
from typing import Any

import lightning as L
from lightning.pytorch.trainer.connectors.logger_connector.result import warning_cache
from torch import Tensor

ADVICE = (
    "It is recommended to use `self.log({!r}, ..., sync_dist=True)` when logging on epoch level in distributed setting"
    " to accumulate the metric across devices."
)


def log_shared(model: L.LightningModule, values: Mapping[str, Tensor], **options: Any) -> None:
    """Log numbers that are the same in all processes, without Lightning's advice to take their mean.

    `sync_dist=True` would wait forever if one process logs a name that another does not.

    Args:
        model: logs them.
        values: by name.
        options: of `log_dict`.
    """
    warning_cache.update(map(ADVICE.format, values))
    model.log_dict(values, **options)

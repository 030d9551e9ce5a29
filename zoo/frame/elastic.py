"""Restarts by torchrun: warn at the start of a run whose restarts would fail."""

import os

from lightning.pytorch.utilities import rank_zero_warn

SETTING = "TORCH_DISABLE_SHARE_RDZV_TCP_STORE"


def warn_of_restarts() -> None:
    """Warn if torchrun restarts processes and keeps its store for them.

    A restarted process then reads the address of one that is gone, see https://github.com/pytorch/pytorch/issues/135712.
    """
    shared = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    if shared and int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", 0)) > 0:
        rank_zero_warn(f"a restart by torchrun may hang or fail: start it with {SETTING}=1")

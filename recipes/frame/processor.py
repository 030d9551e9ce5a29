"""What a run on a CPU should know: whether the processor computes in bfloat16, and how many of its cores are free."""

import os

import torch


def has_bfloat16() -> bool:
    """Return whether the processor computes in bfloat16. One that emulates it takes ten times as long as in float32."""
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def fast_precision() -> str:
    """Return "bf16-mixed" if this machine computes in bfloat16, else "32-true"."""
    return "bf16-mixed" if torch.cuda.is_available() or has_bfloat16() else "32-true"


def free_cores() -> int:
    """Return the cores that this process may use, less what ran on the machine in the last minute; at least 1."""
    mine = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    busy = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    return min(mine, max(1, round((os.cpu_count() or 1) - busy)))


def advice(precision: str) -> str:
    """Say in one line how a run trains on this CPU, and what would be faster.

    It only says so: precision and threads change the last bits of a run, so that they must not depend on the machine.

    Args:
        precision: of the `Trainer`.
    """
    threads, free = torch.get_num_threads(), free_cores()
    line = f"trains on the CPU in {precision}, {threads} thread{'s' * (threads > 1)}"
    if precision == "32-true" and has_bfloat16():
        line += '; precision "bf16-mixed" is faster here for most networks (table: docs/scale.md)'
    if precision == "bf16-mixed" and not has_bfloat16():
        line += '; this processor emulates bfloat16: precision "32-true" is several times as fast'
    if threads > free:
        line += f"; other programs run, so OMP_NUM_THREADS={free} may be faster"
    return line

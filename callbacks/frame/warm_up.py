"""The factor of the learning rate during a warm-up: the equations of `optimization/warm_up.py`, for all schedules."""

F, CONSTANT = 1e-3, 0.1
KINDS = {
    "linear": lambda x, m: (x + 1) / m,
    "multiplier": lambda x, m: F * (1 - x / m) + x / m,
    "constant": lambda x, m: CONSTANT,
}


def warm_up(x: int, m: int, kind: str = "linear") -> float:
    """Return the factor of the rate at step x of a warm-up of m steps; 1 after it."""
    return KINDS[kind](x, m) if x < m else 1.0

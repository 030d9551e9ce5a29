"""How MobileNets round channels after multiplying them.

Code:     https://github.com/tensorflow/models, research/slim/nets/mobilenet/mobilenet.py (the authors')
"""


def round_to_8(c: float) -> int:
    """Return the nearest multiple of 8, at least 8; the next one up where rounding down would lose more than 10 %."""
    nearest = max(8, int(c + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * c else nearest

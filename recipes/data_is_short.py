"""Where data is short: WRN-16-2 on 4,000 small CIFAR-10 images for 60 epochs, with one trick or none.

Paper:    one for each trick, in its file in callbacks/. The network is WRN-16-2 of Wide Residual Networks (Zagoruyko,
          Komodakis; BMVC 2016) https://arxiv.org/abs/1605.07146. Nobody published this comparison
Command:  zoo run data_is_short --arm MixUp --folder CIFAR-10-JPEG --seeds 3 --record
Data:     CIFAR-10 averaged down to 16 x 16 pixels: 4,000 images to train, stratified by class and the same for all
          seeds; all 10,000 to test. CIFAR-10-JPEG are lossy copies (quality 75): compare runs on them with each other
          only
Settings: 60 epochs of batches of 64, SGD with Nesterov's momentum .9, decay 5e-4, 3 epochs of warm-up, cosine, crop
          from 2 pixels of padding, flip. The base reaches 98 % on its training images, so regularisers, augmentation,
          losses, teachers, averages and dropout can show their effect here. A trick that sets the learning rate
          replaces the cosine. The teacher is a WRN-40-2, trained once in the same way on the same images. The learning
          rate (of three, for the base) and the argument of some tricks (of three) were chosen on 5,000 validation
          images. `make evidence` does all runs; recipes/frame/evidence.py has the programme and the rules
Result:
| arm | as | accuracy % | gain in points | verdict | train % | left at half masked | CPU seconds | seeds | in |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |
| none |  | 67.87 ± 0.54 |  |  | 97.6 ± 0.4 | 0.81 ± 0.05 | 170 ± 5 | 10 | bf16-mixed |
| none |  | 68.00 |  |  | 97.1 | 0.78 | 651 | 1 | 32-true |
| CutMix | CutMix(p=0.5) | 69.55 ± 0.26 | +1.68 ± 0.60 | better | 91.9 ± 0.5 |  | 161 ± 10 | 5 | bf16-mixed |
| MixUp | MixUp(alpha=0.2) | 69.08 ± 0.32 | +1.21 ± 0.60 | better | 84.6 ± 1.4 |  | 168 ± 8 | 5 | bf16-mixed |

- Data: CIFAR-10 averaged down to 16 x 16 pixels: 4,000 images to train, stratified by class and the same for all
  seeds; all 10,000 to test. CIFAR-10-JPEG are lossy copies (quality 75): compare runs on them with each other only
- Command: zoo run data_is_short --arm MixUp --folder CIFAR-10-JPEG --seeds 3 --record
- Arguments: data=CIFAR-10-JPEG, epochs=60, images=4000, lr=0.2
- Hardware: AMD EPYC, 1 threads
- Versions: lightning 2.6.6, python 3.11.7, timm 1.0.31, torch 2.14.1
- Commit: ebbb775; daf09ca; c6083ab; 3ab626f; b27e4a8; 5c3d471
"""

from dataclasses import replace

from recipes import Recipe
from recipes.frame.arms import DATA_IS_SHORT
from recipes.frame.cifar import PLAIN, Cifar
from recipes.frame.evidence import build_arm
from recipes.frame.regime import NONE


def recipe(
    arm: str = NONE,
    value: float | None = None,
    lr: float | None = None,
    images: int = DATA_IS_SHORT.images,
    epochs: int = DATA_IS_SHORT.epochs,
    source: Cifar = PLAIN,
    seed: int = 0,
) -> Recipe:
    """Train and test one arm.

    Args:
        arm: a trick of recipes/frame/arms.py, "none", or "teacher".
        value: value of the trick's argument; None: the one chosen on validation images, else the usual one.
        lr: learning rate; None: the one chosen on validation images, else .1.
        images: number of training images, at most 45,000.
        epochs: passes over them.
        source: where the images are, see `Cifar`.
        seed: of the weights, the order of the images and every random draw.
    """
    return build_arm(replace(DATA_IS_SHORT, images=images, epochs=epochs), arm, value, lr, source, seed)

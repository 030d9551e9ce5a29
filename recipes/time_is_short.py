"""Where time is short: ResNet-20 on 45,000 small CIFAR-10 images for 5 epochs, with one trick or none.

Paper:    one for each trick, in its file in callbacks/. The network is ResNet-20 of Deep Residual Learning (He et al.;
          CVPR 2016) https://arxiv.org/abs/1512.03385, section 4.2. Nobody published this comparison
Command:  zoo run time_is_short --arm StepDecay --folder CIFAR-10-JPEG --seeds 3 --record
Data:     CIFAR-10 averaged down to 16 x 16 pixels: 45,000 images to train, all 10,000 to test. CIFAR-10-JPEG are lossy
          copies (quality 75): compare runs on them with each other only
Settings: 5 epochs of batches of 64, SGD with Nesterov's momentum .9, decay 5e-4, a quarter of an epoch of warm-up,
          cosine, crop from 2 pixels of padding, flip. The base is under-fitted, so schedules, initialisations, norms,
          optimizers and averages can show their effect here, and regularisers their cost. A trick that sets the
          learning rate replaces the cosine. The learning rate (of three, for the base) and the argument of some tricks
          (of three) were chosen on 5,000 validation images. `make evidence` does all runs; recipes/frame/evidence.py
          has the programme and the rules
Result:
| arm | as | accuracy % | gain in points | verdict | train % | left at half masked | CPU seconds | seeds | in |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |
| none |  | 71.74 ± 0.50 |  |  | 70.5 ± 0.6 | 0.85 ± 0.01 | 111 ± 4 | 10 | bf16-mixed |
| none |  | 72.18 ± 0.38 |  |  | 70.8 ± 0.4 | 0.86 ± 0.01 | 329 ± 8 | 5 | 32-true |
| OneCycle | OneCycle(pct_start=0.4) | 72.32 ± 0.29 | +0.59 ± 0.93 | undecided | 69.4 ± 0.3 |  | 94 ± 3 | 5 | bf16-mixed |
| Kaiming | Kaiming() | 72.28 ± 0.29 | +0.16 ± 1.07 (against Uniform) | undecided | 71.1 ± 0.3 |  | 316 ± 12 | 5 | 32-true |
| ZeroGamma | ZeroGamma() | 72.15 ± 0.44 | -0.03 ± 1.07 | undecided | 70.8 ± 0.3 |  | 276 ± 14 | 5 | 32-true |
| Uniform | Uniform() | 72.12 ± 0.62 | -0.06 ± 1.07 | undecided | 70.5 ± 0.5 |  | 320 ± 28 | 5 | 32-true |
| NoBiasDecay | NoBiasDecay() | 71.67 ± 0.29 | -0.51 ± 1.07 | undecided | 70.7 ± 0.3 |  | 320 ± 12 | 5 | 32-true |
| StepDecay | StepDecay(milestones=('0.5dur', '0.75dur'), gamma=0.2, warmup_epochs=0.25) | 70.85 ± 1.08 | -0.89 ± 0.93 | undecided | 69.4 ± 1.0 |  | 108 ± 4 | 5 | bf16-mixed |
| no WarmUp | CosineDecay() | 71.25 ± 0.99 | -0.92 ± 1.07 | undecided | 70.0 ± 0.8 |  | 334 ± 9 | 5 | 32-true |
| SWA | SWA(lr_factor=0.2) | 71.04 ± 0.54 | -1.14 ± 1.07 | worse | 68.6 ± 0.5 |  | 322 ± 8 | 5 | 32-true |
| batch 256 |  | 66.62 ± 0.45 | -5.56 ± 1.07 | worse | 66.0 ± 0.3 |  | 305 ± 19 | 5 | 32-true |

- Data: CIFAR-10 averaged down to 16 x 16 pixels: 45,000 images to train, all 10,000 to test. CIFAR-10-JPEG are lossy
  copies (quality 75): compare runs on them with each other only
- Command: zoo run time_is_short --arm StepDecay --folder CIFAR-10-JPEG --seeds 3 --record
- Arguments: data=CIFAR-10-JPEG, epochs=5, images=45000, lr=0.1
- Hardware: AMD EPYC, 1 threads
- Versions: lightning 2.6.6, python 3.11.7, timm 1.0.31, torch 2.14.1
- Commit: ebbb775; daf09ca; c6083ab; 3ab626f; c3d36b5; eefb873; d317d34; d66277b; 5c3d471; 1220469
"""

from dataclasses import replace

from recipes import Recipe
from recipes.frame.arms import TIME_IS_SHORT
from recipes.frame.cifar import PLAIN, Cifar
from recipes.frame.evidence import build_arm
from recipes.frame.regime import NONE


def recipe(
    arm: str = NONE,
    value: float | None = None,
    lr: float | None = None,
    images: int = TIME_IS_SHORT.images,
    epochs: int = TIME_IS_SHORT.epochs,
    source: Cifar = PLAIN,
    seed: int = 0,
) -> Recipe:
    """Train and test one arm.

    Args:
        arm: a trick of recipes/frame/arms.py, or "none".
        value: value of the trick's argument; None: the one chosen on validation images, else the usual one.
        lr: learning rate; None: the one chosen on validation images, else .1.
        images: number of training images, at most 45,000.
        epochs: passes over them.
        source: where the images are, see `Cifar`.
        seed: of the weights, the order of the images and every random draw.
    """
    return build_arm(replace(TIME_IS_SHORT, images=images, epochs=epochs), arm, value, lr, source, seed)

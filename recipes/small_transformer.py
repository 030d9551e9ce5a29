"""A small transformer: a ViT of four blocks on 1,000 small CIFAR-10 images for 200 epochs, with one trick or none.

Paper:    one for each trick, in its file in callbacks/; the network is that of An Image is Worth 16x16 Words
          (Dosovitskiy et al.; ICLR 2021) https://arxiv.org/abs/2010.11929, made small. Nobody published this comparison
Command:  zoo run small_transformer --arm PatchDropout --folder CIFAR-10-JPEG --seeds 3 --record
Data:     CIFAR-10 averaged down to 16 x 16 pixels: 1,000 images to train, stratified by class and the same for all
          seeds; all 10,000 to test. CIFAR-10-JPEG are lossy copies (quality 75): compare runs on them with each other
          only
Settings: ViT-96: 16 patches of 4 x 4 pixels, 96 wide, 4 blocks, 3 heads. 200 epochs of batches of 64, AdamW with decay
          .05, 10 epochs of warm-up, cosine, crop from 2 pixels of padding, flip. Tricks that need another network have
          one of the same width and depth (EViT, DynamicViT, LV-ViT, MoE-ViT), and are compared with it without the
          trick. Arguments are the tricks' defaults. AttentionPatchDropout acts after a quarter of the blocks. The
          teacher of TokenDistillation is the base with another seed; that of TokenLabeling, which needs a map of
          scores, a ResNet-20 on the same images. The learning rate (of three, for the base) was chosen on 5,000
          validation images. `make evidence` does all runs; recipes/frame/evidence.py has the programme and the rules
Trials:   the budget was found on validation images, a run each. Patches of 2 pixels, 100 epochs at rates 1e-3, 2e-3 and
          4e-3: 76, 79 and 47 % on the training images, 38, 39 and 33 % in validation, 113 to 125 CPU seconds. Patches of
          4 pixels, 200 epochs at 2e-3: 93 %, 37 %, 94 seconds. So the larger patches were taken, though they are few
Result:
| arm | as | accuracy % | gain in points | verdict | train % | left at half masked | CPU seconds | seeds | in |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |
| none |  | 36.24 ± 0.98 |  |  | 93.9 ± 0.2 |  | 98 ± 1 | 3 | bf16-mixed |
| PatchDropout | PatchDropout() | 38.62 | +2.38 ± 8.70 | undecided | 59.1 |  | 71 | 1 | bf16-mixed |
| KeepRate | KeepRate() | 36.23 | +0.11 ± 10.65 (against EViT) | undecided | 94.5 |  | 109 | 1 | bf16-mixed |
| EViT |  | 36.12 | -0.12 ± 8.70 | undecided | 92.4 |  | 106 | 1 | bf16-mixed |

- Data: CIFAR-10 averaged down to 16 x 16 pixels: 1,000 images to train, stratified by class and the same for all
  seeds; all 10,000 to test. CIFAR-10-JPEG are lossy copies (quality 75): compare runs on them with each other only
- Command: zoo run small_transformer --arm PatchDropout --folder CIFAR-10-JPEG --seeds 3 --record
- Arguments: data=CIFAR-10-JPEG, epochs=200, images=1000, lr=0.002, precision=bf16-mixed
- Hardware: AMD EPYC, 1 threads
- Versions: lightning 2.6.6, python 3.11.7, timm 1.0.31, torch 2.14.1
- Commit: 6befdcb; 4ff7265
"""

from dataclasses import replace

from recipes import Recipe
from recipes.frame.arms import SMALL_TRANSFORMER
from recipes.frame.cifar import PLAIN, Cifar
from recipes.frame.evidence import build_arm
from recipes.frame.regime import NONE


def recipe(
    arm: str = NONE,
    value: float | None = None,
    lr: float | None = None,
    images: int = SMALL_TRANSFORMER.images,
    epochs: int = SMALL_TRANSFORMER.epochs,
    source: Cifar = PLAIN,
    seed: int = 0,
) -> Recipe:
    """Train and test one arm.

    Args:
        arm: an arm of recipes/frame/arms.py: a trick, "none", a network, or a teacher.
        value: value of the trick's argument; None: the one chosen on validation images, else the usual one.
        lr: learning rate; None: the one chosen on validation images, else .002.
        images: number of training images, at most 45,000.
        epochs: passes over them.
        source: where the images are, see `Cifar`.
        seed: of the weights, the order of the images and every random draw.
    """
    return build_arm(replace(SMALL_TRANSFORMER, images=images, epochs=epochs), arm, value, lr, source, seed)

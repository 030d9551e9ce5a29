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
Result:
not measured yet

- Data: CIFAR-10 averaged down to 16 x 16 pixels: 1,000 images to train, stratified by class and the same for all
  seeds; all 10,000 to test. CIFAR-10-JPEG are lossy copies (quality 75): compare runs on them with each other only
- Command: zoo run small_transformer --arm PatchDropout --folder CIFAR-10-JPEG --seeds 3 --record
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

"""Zagoruyko, Komodakis 2017, table 1: attention transfer and distillation from WRN-16-2 to WRN-16-1 on CIFAR-10

Paper:    Paying More Attention to Attention (Zagoruyko, Komodakis; ICLR 2017) https://arxiv.org/abs/1612.03928, table 1
Source:   the paper; github szagoruyko/attention-transfer at 083a6126, cifar.py (settings)
Settings: CIFAR-10, 50,000 images; SGD .1, momentum .9, weight decay 5e-4, batch 128, 200 epochs, the rate times .2 at
          60, 120 and 160; crop from 4 reflected pixels, flip; KD with T 4 and weight .9; AT on the ends of the three
          groups, beta 1000
Trap:     The published numbers are medians of five runs without a spread.
Rule:     as one run, last epoch; KD without a claim, since we have not seen its number at a source
Differs:  The code sets the momentum to 0 where the rate falls, and its reflection repeats the pixel at the edge. Each
          seed has a teacher of its own.
"""

from collections.abc import Callable

from callbacks import AttentionTransfer, KnowledgeDistillation, StepDecay
from callbacks.frame.trick import Trick
from recipes.papers.frame.data import Moves, cifar
from recipes.papers.frame.optimization import sgd
from recipes.papers.frame.row import Effect, Fit, Published, Row, Run
from zoo import Classifier, WideResNet


def arm(variant: str, learn: Callable[[Classifier], Trick] | None = None) -> Fit:
    """Return an arm; `learn` makes a trick of the trained teacher."""

    def network(run: Run) -> WideResNet:
        return WideResNet(variant, 10, image_size=32, **sgd(0.1, momentum=0.9, weight_decay=5e-4))

    def tricks(run: Run) -> list[Trick]:
        falling = StepDecay(("0.3dur", "0.6dur", "0.8dur"), gamma=0.2)
        return [falling, *([learn(run["teacher"].network)] if learn else [])]

    return Fit(network, tricks, epochs=200, moves=Moves(4, "reflect", flip=True))


ROW = Row(
    name="zagoruyko_at",
    data=cifar,
    arms={
        "teacher": arm("16-2"),
        "student": arm("16-1"),
        "AT": arm("16-1", lambda teacher: AttentionTransfer(teacher, beta=1000.0)),
        "KD": arm("16-1", lambda teacher: KnowledgeDistillation(teacher, T=4.0, weight=0.9)),
    },
    claims=(
        Published("teacher", (93.69,)),
        Published("student", (91.23,)),
        Published("AT", (92.07,)),
        Effect("AT", "student", (0.84,)),
    ),
    seeds=5,
    minutes=1700,
    gpu=True,
)

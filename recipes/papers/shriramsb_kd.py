"""Knowledge distillation on MNIST, by shriramsb

Paper:    Distilling the Knowledge in a Neural Network (Hinton, Vinyals, Dean; 2015) https://arxiv.org/abs/1503.02531
Source:   github shriramsb/Distilling-the-Knowledge-in-a-Neural-Network at b9c2ec0f, README and notebook outputs (a
          third party's numbers)
Settings: MNIST, 60,000 images, mean .5, std .5; teacher 784-1200-1200-10 with images shifted by up to 2 pixels, student
          784-400-10 without; SGD .01, times .95 each epoch, momentum .9, weight decay 1e-5, batch 128, 60 epochs; T 10,
          both losses weighted by half
Trap:     none found
Rule:     one run, last epoch. The published test errors of 10,000 are: teacher 108, student 181, distilled 134
"""

from callbacks import KnowledgeDistillation
from recipes.papers.frame.data import Moves, digits
from recipes.papers.frame.optimization import Rate, sgd
from recipes.papers.frame.row import Effect, Fit, Published, Row, Run
from zoo import MLP

SGD = sgd(0.01, momentum=0.9, weight_decay=1e-5)
EPOCHS = 60


def student(run: Run) -> MLP:
    """Return the student."""
    return MLP("400", 10, in_chans=1, **SGD)


def falling() -> Rate:
    """Return the schedule, .95 to the power of the epoch."""
    return Rate("by .95 an epoch", lambda t, T: 0.95 ** (EPOCHS * t // T))


ROW = Row(
    name="shriramsb_kd",
    data=lambda root: digits(root, mean=0.5, std=0.5),
    arms={
        "teacher": Fit(
            lambda run: MLP("1200-1200", 10, in_chans=1, **SGD), lambda run: [falling()], epochs=EPOCHS, moves=Moves(2)
        ),
        "student": Fit(student, lambda run: [falling()], epochs=EPOCHS),
        "distilled": Fit(
            student,
            lambda run: [falling(), KnowledgeDistillation(run["teacher"].network, T=10, weight=0.5)],
            epochs=EPOCHS,
        ),
    },
    claims=(
        Published("teacher", (98.92,)),
        Published("student", (98.19,)),
        Published("distilled", (98.66,)),
        Effect("distilled", "student", (0.47,)),
    ),
    seeds=5,
    minutes=30,
)

"""Nielsen's book, chapter 3: L2 with 50,000 digits

Paper:    Neural Networks and Deep Learning (Nielsen; 2015), chapter 3 http://neuralnetworksanddeeplearning.com/chap3.html
Source:   the chapter's text; github mnielsen/neural-networks-and-deep-learning at 72db53d7, src/network2.py
Settings: as `nielsen_l2`, with the first 50,000 images, 30 epochs, lambda 5, n 50,000
Trap:     The book quotes the best epoch on test images, and one run.
Rule:     one run, best epoch; the effect of two runs that share nothing but the settings
"""

from recipes.papers.frame.data import digits
from recipes.papers.frame.row import Effect, Published, Row
from recipes.papers.nielsen_l2 import arm

ROW = Row(
    name="nielsen_l2_full",
    data=lambda root: digits(root, train=slice(50000)),
    arms={"none": arm(0.0, 30), "L2": arm(5 / 50000, 30)},
    claims=(
        Published("none", (95.49,), metric="best"),
        Published("L2", (96.49,), metric="best"),
        Effect("L2", "none", (1.0,), metric="best"),
    ),
    seeds=5,
    minutes=9,
)

"""Initial weights of an MLP, with and without batch norm, by hwalsuklee

Paper:    Xavier https://proceedings.mlr.press/v9/glorot10a.html, He https://arxiv.org/abs/1502.01852, batch norm
          https://arxiv.org/abs/1502.03167; the numbers are not those of the papers
Source:   github hwalsuklee/tensorflow-mnist-MLP-batch_normalization-weight_initializers at 85d4783d, README,
          run_main.py
Settings: MNIST, the last 55,000 images / 255; 784-256-256-10 ReLU; Adam .001, batch 100, 15 epochs; batch norm before
          the ReLUs, decay .9, epsilon .001
Trap:     none found
Rule:     one run, last epoch
Differs:  torch draws He's weights from the whole normal distribution, TensorFlow truncates it at two deviations.
"""

from callbacks import Kaiming, Xavier
from recipes.papers.frame.data import digits
from recipes.papers.frame.initial import Normal, keras_norms
from recipes.papers.frame.optimization import adam
from recipes.papers.frame.row import Effect, Fit, Published, Row
from zoo import MLP
from zoo.layers.norm_order import Norm


def arm(initial, norm: Norm | None = None) -> Fit:
    """Return an arm with the weights that `initial()` draws."""
    return Fit(
        lambda run: keras_norms(MLP("256-256", 10, in_chans=1, norm=norm, **adam()), momentum=0.9),
        lambda run: [initial()],
        epochs=15,
        batch=100,
    )


ROW = Row(
    name="hwalsuklee_init",
    data=lambda root: digits(root, train=slice(5000, None)),
    arms={
        "N(0, 1)": arm(lambda: Normal(1)),
        "N(0, .1), truncated": arm(lambda: Normal(0.1, truncated=True)),
        "Xavier": arm(Xavier),
        "He": arm(Kaiming),
        "Xavier, BN": arm(Xavier, "before"),
        "He, BN": arm(Kaiming, "before"),
    },
    claims=(
        Published("N(0, 1)", (94.85,)),
        Published("N(0, .1), truncated", (97.90,)),
        Published("Xavier", (98.06,)),
        Effect("Xavier", "N(0, 1)", (3.21,)),
        Published("He", (98.11,)),
        Effect("He", "Xavier", (0.05,)),
        Published("Xavier, BN", (98.12,)),
        Published("He, BN", (98.37,)),
        Effect("He, BN", "He", (0.26,)),
    ),
    seeds=10,
    minutes=5,
)

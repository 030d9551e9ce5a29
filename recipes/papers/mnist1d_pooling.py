"""MNIST-1D's benchmark of poolings, with 1,000 and 2,000 signals

Paper:    Scaling Down Deep Learning with MNIST-1D (Greydanus, Kobak; ICML 2024) https://arxiv.org/abs/2011.14439;
          stochastic pooling, our arm: https://arxiv.org/abs/1301.3557
Source:   github greydanus/mnist1d at 7878d960, notebooks/benchmark-pooling.ipynb (outputs)
Settings: MNIST-1D drawn with seed 42, 1,000 test signals; two convolutions of width 3 to 20 channels, each followed by
          a ReLU and a pooling by 2, or with stride 2, or without either, then a linear layer; Adam .01, batch 100 in
          the file's order, 6,000 steps
Trap:     The notebook runs each network once, all with one seed. On another 1,000 test signals an accuracy differs by
          1.5 points (one standard error), but all arms share the signals.
Rule:     one run, last step. The effect of stochastic pooling has no published number and no verdict
"""

from recipes.papers.frame.pooling import row

ROW = row(
    "mnist1d_pooling",
    {1000: (59.2, 57.4, 78.2, 78.0, 77.2), 2000: (82.0, 81.7, 89.2, 90.0, 89.9)},
    seeds=5,
    minutes=3.4,
)

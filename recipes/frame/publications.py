"""Published gains of tricks, with who published them: numbers that were read at the named source."""

PUBLISHED = {
    "AttentionTransfer": "WRN-16-2 to WRN-16-1 on CIFAR-10: error 8.77 to 7.93; ResNet-34 to ResNet-18 on ImageNet: "
    "30.4 to 29.3 (the authors' code)",
    "CutMix": "ResNet-50 on ImageNet, 300 epochs: top-1 error 23.68 to 21.40; PyramidNet-200 on CIFAR-100: 16.45 to "
    "14.23 (the authors' code)",
    "Cutout": "error on CIFAR-10: ResNet-18 4.72 to 3.99, WRN-28-10 3.87 to 3.08; on CIFAR-100: ResNet-18 22.46 to "
    "21.96 (the authors' code)",
    "GridMask": "top-1 on ImageNet: ResNet-50 76.5 to 77.9, ResNet-152 78.3 to 79.7; Faster R-CNN on COCO: 37.4 to "
    "39.2 AP (the authors' code)",
    "KnowledgeDistillation": "ResNet-56 to ResNet-20 on CIFAR-100: accuracy 69.06 to 70.66 (RepDistiller)",
    "MixUp": "ResNet-50 on ImageNet, 300 epochs: top-1 77.31 to 78.28 (PaddleClas)",
    "RICAP": "WRN-28-10: error on CIFAR-10 3.89 to 2.85, on CIFAR-100 18.85 to 17.22; WRN-50-2 on ImageNet, 200 "
    "epochs: 21.84 to 20.33 (the authors' code)",
    "RandomErasing": "ResNet-20: error on CIFAR-10 7.21 to 6.73, on CIFAR-100 30.84 to 29.97; WRN-28-10 on CIFAR-10 "
    "3.80 to 3.08 (the authors' code)",
    "SWA": "CIFAR-100, 1.5 budgets: accuracy of PreResNet-164 78.49 to 80.35, of WRN-28-10 80.82 to 82.15 (the "
    "authors' code)",
    "StochasticDepth": "ResNet-110 on CIFAR-10: error 6.41 to 5.25 (the authors' code)",
}

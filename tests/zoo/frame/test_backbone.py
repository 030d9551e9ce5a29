"""What a detector and a segmenter have from their backbone."""

import pytest

from zoo import Detector, Preprocessing, ResNet, StageSegmenter


@pytest.mark.parametrize("kind", [Detector, StageSegmenter])
def test_channels_size_preprocessing_and_origin_of_the_weights(kind):
    backbone = ResNet("20", num_classes=4, image_size=48, in_chans=2)
    backbone.preprocessing = how = Preprocessing(48, 48, (0.1, 0.2), (0.3, 0.4))
    backbone.untrained = origin = not backbone.untrained
    model = kind(backbone, num_classes=3, width=32)
    assert (model.in_chans, model.image_size, model.preprocessing, model.untrained) == (2, 48, how, origin)
    assert model.hparams["image_size"] == 48 and model.hparams["backbone"]["in_chans"] == 2
    assert kind(ResNet("20", in_chans=2), num_classes=3, width=32, image_size=64).image_size == 64

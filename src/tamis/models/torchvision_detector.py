"""Torchvision's detectors as detection modules.

Torchvision's own forward gives one loss for a whole batch, resizes every image to a size of its own, and answers with
losses or with boxes by the mode that it is in. Here it is the targets that decide, images stay as they are, and the
loss of an image is what torchvision's own model gives for a batch of that image alone.
"""

from functools import partial
from typing import Any, cast

from torch import nn
from torchvision.models import detection
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import mobilenet_backbone, resnet_fpn_backbone
from torchvision.models.detection.faster_rcnn import FasterRCNN
from torchvision.models.detection.retinanet import RetinaNet
from torchvision.models.detection.ssd import SSD
from torchvision.ops import FrozenBatchNorm2d
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

from tamis.models.anchor_detector import AnchorDetector
from tamis.models.detector_parts import MIN_CONFIDENCE, MOST
from tamis.models.region_detector import RegionDetector

_FASTER_RCNN = {
    "fasterrcnn_resnet18_fpn": "resnet18",
    "fasterrcnn_resnet34_fpn": "resnet34",
    "fasterrcnn_resnet50_fpn": "resnet50",
    "fasterrcnn_resnet101_fpn": "resnet101",
}
_MOBILE, _RETINANET = "fasterrcnn_mobilenet_v3_large_fpn", "retinanet_resnet50_fpn"
_SSD, _SSDLITE = "ssd300_vgg16", "ssdlite320_mobilenet_v3_large"
NAMES = (*_FASTER_RCNN, _MOBILE, _RETINANET, _SSD, _SSDLITE)
# What the outputs of the files that torchvision publishes are: COCO's 80 classes, and ten numbers that it left out.
COCO_OUTPUTS = tuple(
    f"not used {number}" if name == "N/A" else name
    for number, name in enumerate(detection.SSD300_VGG16_Weights.COCO_V1.meta["categories"])
)[1:]


def torchvision_detector(name: str, classes: int) -> RegionDetector | AnchorDetector:
    """A detector of torchvision as a detection module with fresh weights and frozen batch norm.

    Args:
        name: one of `NAMES`; as in torchvision, which has no function for ResNet-18, -34 and -101.
        classes: number of classes, without a background.
    """
    if name in (_SSD, _SSDLITE):
        return _ssd(name, classes)
    found: dict[str, Any] = {"num_classes": classes + 1}
    if name == _RETINANET:
        # Without the finest level, as its paper has it.
        top = LastLevelP6P7(256, 256)
        backbone = resnet_fpn_backbone(
            backbone_name="resnet50", weights=None, trainable_layers=5, returned_layers=[2, 3, 4], extra_blocks=top
        )
        limits = {"score_thresh": MIN_CONFIDENCE, "detections_per_img": MOST}
        return AnchorDetector(RetinaNet(backbone, **found, **limits), classes)
    if name == _MOBILE:
        backbone = mobilenet_backbone(backbone_name="mobilenet_v3_large", weights=None, fpn=True, trainable_layers=6)
        sizes, ratios = ((32, 64, 128, 256, 512),) * 3, ((0.5, 1.0, 2.0),) * 3
        found["rpn_anchor_generator"] = AnchorGenerator(sizes, ratios)
    else:
        backbone = resnet_fpn_backbone(backbone_name=_FASTER_RCNN[name], weights=None, trainable_layers=5)
    model = FasterRCNN(cast(nn.Module, backbone), **found, box_score_thresh=MIN_CONFIDENCE, box_detections_per_img=MOST)
    return RegionDetector(model, classes)


def _ssd(name: str, classes: int) -> AnchorDetector:
    limits: dict[str, Any] = {"score_thresh": MIN_CONFIDENCE, "detections_per_img": MOST}
    if name == _SSDLITE:
        limits["norm_layer"] = partial(FrozenBatchNorm2d, eps=0.001)
    make = getattr(detection, name)
    model = make(weights=None, weights_backbone=None, num_classes=classes + 1, **limits)
    return AnchorDetector(cast(SSD, model), classes, least=300 if name == _SSD else 1)

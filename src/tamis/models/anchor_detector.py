"""RetinaNet (Lin et al. 2017) and SSD (Liu et al. 2016) of torchvision as detection modules."""

from typing import cast

import torch
from torch import Tensor, nn
from torchvision.models.detection.retinanet import RetinaNet
from torchvision.models.detection.ssd import SSD
from torchvision.ops import box_iou

from tamis.detections import Detections
from tamis.models.detector_parts import Pixels, detections_of, truth_of


class AnchorDetector(nn.Module):
    """A RetinaNet or an SSD with a loss for each image, on images of any size.

    An image's loss is the sum of the two, of classes and of boxes, that torchvision's own model gives for that image
    alone. An SSD has no loss on an image without boxes, since its negatives are counted by its positives.

    Attributes:
        classes: number of classes.

    Args:
        model: torchvision's, of classes + 1 outputs, the first being its background.
        classes: number of classes.
        least: images are padded up to this side: an SSD of 300 pixels has layers that smaller ones do not fill.
    """

    def __init__(self, model: RetinaNet | SSD, classes: int, *, least: int = 1) -> None:
        super().__init__()
        self.classes = classes
        self.model = model
        multiple = 32 if isinstance(model, RetinaNet) else 1
        self.pixels = Pixels(model.transform.image_mean, model.transform.image_std, multiple=multiple, least=least)

    def forward(self, inputs: Tensor, targets: Tensor | None = None) -> Tensor | list[Detections]:
        """Losses of the images, or what is on them.

        Args:
            inputs: float (b, 3, h, w) in [0, 1].
            targets: float32 (b, k, 5): x1, y1, x2, y2 in pixels of the inputs and the label, -1 for padding.

        Returns:
            With targets float32 (b,) losses, whatever the mode; without, b detections, most confident first.

        Raises:
            ValueError: targets of another shape, or a label that is no class.
        """
        images = self.pixels(inputs)
        size = images.image_sizes[0]
        levels = [level.float() for level in self.model.backbone(images.tensors).values()]
        heads = {name: value.float() for name, value in self.model.head(levels).items()}
        anchors = self.model.anchor_generator(images, levels)
        if targets is None:
            return self._found(heads, anchors, levels, size)
        truth = truth_of(targets, self.classes, size)
        return torch.stack([self._loss(heads, anchors[i], truth[i], i) for i in range(len(truth))])

    def _loss(self, heads: dict[str, Tensor], anchors: Tensor, truth: dict[str, Tensor], i: int) -> Tensor:
        mine = {name: value[i : i + 1] for name, value in heads.items()}
        if isinstance(self.model, RetinaNet):
            losses = self.model.compute_loss([truth], mine, [anchors])
        else:
            matched = torch.full((len(anchors),), -1, device=anchors.device)
            if len(truth["boxes"]):
                matched = self.model.proposal_matcher(box_iou(truth["boxes"], anchors))
            losses = self.model.compute_loss([truth], mine, [anchors], [matched])
        return torch.stack(list(losses.values())).sum()

    def _found(
        self, heads: dict[str, Tensor], anchors: list[Tensor], levels: list[Tensor], size: tuple[int, int]
    ) -> list[Detections]:
        sizes = [size] * len(anchors)
        if isinstance(self.model, SSD):
            found = self.model.postprocess_detections(heads, anchors, sizes)
        else:
            # RetinaNet keeps the best of each level; a level has as many anchors in every cell as any other.
            cells = [level.shape[-2] * level.shape[-1] for level in levels]
            counts = [len(anchors[0]) // sum(cells) * each for each in cells]
            split = {name: list(value.split(counts, 1)) for name, value in heads.items()}
            split_anchors = [list(each.split(counts)) for each in anchors]
            found = self.model.postprocess_detections(cast(dict[str, list[Tensor]], split), split_anchors, sizes)
        return [detections_of(each["boxes"], each["scores"], each["labels"]) for each in found]

"""RetinaNet (Lin et al. 2017) and SSD (Liu et al. 2016) of torchvision as detection modules."""

from typing import cast

from torch import Tensor, nn
from torchvision.models.detection.retinanet import RetinaNet
from torchvision.models.detection.ssd import SSD

from tamis.detections import Detections, ImageLosses
from tamis.models.anchor_losses import anchor_losses
from tamis.models.detector_parts import Pixels, detections_of, levels_of, truth_of
from tamis.models.sigmas import sigmas_of


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
        look = model.transform
        self.pixels = Pixels(look.image_mean, look.image_std, multiple=look.size_divisible, least=least)

    def forward(
        self,
        inputs: Tensor,
        targets: Tensor | None = None,
        sigma: Tensor | None = None,
        background: Tensor | None = None,
        *,
        parts: bool = False,
        regression: bool = False,
    ) -> Tensor | ImageLosses | list[Detections]:
        """Losses of the images, or what is on them.

        Args:
            inputs: float (b, 3, h, w) in [0, 1].
            targets: float32 (b, k, 5): x1, y1, x2, y2 in pixels of the inputs and the label, -1 for padding.
            sigma: float32 (b, k), divides the logits of the anchors matched to a row of targets; None is 1.
            background: float32 (), divides the logits of all other anchors; None is 1.
            parts: also say what is due to each box.
            regression: sigma also is the scale of the noise of its box, for each of the four numbers that an anchor
                gives (`tamis.models.sigmas.noisy`).

        Returns:
            With targets float32 (b,) losses, whatever the mode, or with `parts` `ImageLosses`; without targets, b
            detections, most confident first.

        Raises:
            ValueError: targets or scales of another shape, or a label that is no class.
        """
        images = self.pixels(inputs)
        size = images.image_sizes[0]
        levels = list(levels_of(self.model.backbone(images.tensors)).values())
        heads = {name: value.float() for name, value in self.model.head(levels).items()}
        anchors = self.model.anchor_generator(images, levels)
        if targets is None:
            return self._found(heads, anchors, levels, size)
        truth = truth_of(targets, self.classes, size)
        scales = sigmas_of(targets, sigma, background, regression)
        losses = anchor_losses(self.model, heads, anchors[0], truth, scales)  # images of one size have the same anchors
        return losses if parts else losses.image

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

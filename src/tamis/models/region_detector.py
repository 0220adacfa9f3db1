"""Faster R-CNN (Ren et al. 2015) of torchvision as a detection module."""

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import torch
from torch import Tensor, nn
from torchvision.models.detection.faster_rcnn import FasterRCNN
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.rpn import RegionProposalNetwork, concat_box_prediction_layers
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from tamis.detections import Detections, ImageLosses
from tamis.models.detector_parts import Pixels, detections_of, levels_of, truth_of
from tamis.models.proposal_losses import choose, proposal_losses
from tamis.models.sigmas import sigmas_of
from tamis.moment import seed_of


class RegionDetector(nn.Module):
    """A Faster R-CNN with a loss for each image, on images of any size.

    An image's loss is the sum of the four that torchvision's own model gives for that image alone: objectness and
    boxes of the proposals, classes and boxes of the detections. Both stages learn from a random choice among their
    boxes. Here that is a function of the image, its targets and, in training mode, one number from torch's default
    generator, so it does not depend on the other images of the batch.

    Attributes:
        classes: number of classes.

    Args:
        model: torchvision's, of classes + 1 outputs, the first being its background.
        classes: number of classes.
    """

    def __init__(self, model: FasterRCNN, classes: int) -> None:
        super().__init__()
        self.classes = classes
        self.model = model
        look = cast(GeneralizedRCNNTransform, model.transform)
        self.pixels = Pixels(look.image_mean, look.image_std, multiple=look.size_divisible)

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

        The proposals know no classes: their own two losses are part of the background, and no scale changes them.

        Args:
            inputs: float (b, 3, h, w) in [0, 1].
            targets: float32 (b, k, 5): x1, y1, x2, y2 in pixels of the inputs and the label, -1 for padding.
            sigma: float32 (b, k), divides the logits of the proposals matched to a row of targets; None is 1.
            background: float32 (), divides the logits of all other proposals; None is 1.
            parts: also say what is due to each box.
            regression: sigma also is the scale of the noise of its box, for each of the four numbers that a proposal
                gives (`tamis.models.sigmas.noisy`).

        Returns:
            With targets float32 (b,) losses, whatever the mode, or with `parts` `ImageLosses`; without targets, b
            detections, most confident first.

        Raises:
            ValueError: targets or scales of another shape, or a label that is no class.
        """
        images = self.pixels(inputs)
        truth = None if targets is None else truth_of(targets, self.classes, images.image_sizes[0])
        # Not the module's mode decides but what is asked for: numbers of proposals and the like hang on these flags.
        rpn, heads = self._stages()
        rpn.training = heads.training = truth is not None
        features = levels_of(self.model.backbone(images.tensors))
        anchors, objectness, deltas, proposals = self._propose(images, features)
        if truth is None or targets is None:
            logits, moves = self._classify(images, features, proposals)
            found = heads.postprocess_detections(logits, moves, proposals, images.image_sizes)
            return [detections_of(*each) for each in zip(*found, strict=True)]
        scales = sigmas_of(targets, sigma, background, regression)
        first, chosen = [], []
        for i, (seed, image) in enumerate(zip(self._seeds(inputs, targets), truth.images(), strict=True)):
            with _seeded(seed, inputs.device):
                labels, matched = rpn.assign_targets_to_anchors([anchors[i]], [image])
                wanted = rpn.box_coder.encode(matched, [anchors[i]])
                first.append(torch.stack(rpn.compute_loss(objectness[i], deltas[i], labels, list(wanted))).sum())
                chosen.append(choose(heads, proposals[i], image))
        logits, moves = self._classify(images, features, [each.boxes for each in chosen])
        second = proposal_losses(logits, moves, chosen, targets.shape[1], scales)
        image_losses = torch.stack(first) + second.image
        return ImageLosses(image_losses, second.box) if parts else image_losses

    def _stages(self) -> tuple[RegionProposalNetwork, RoIHeads]:
        return cast(RegionProposalNetwork, self.model.rpn), cast(RoIHeads, self.model.roi_heads)

    def _propose(
        self, images: ImageList, features: dict[str, Tensor]
    ) -> tuple[list[Tensor], Tensor, Tensor, list[Tensor]]:
        """Anchors, objectness (b, n), box changes (b, n, 4) and the proposals of each image."""
        rpn, _ = self._stages()
        levels = list(features.values())
        scores, changes = rpn.head(levels)
        counts = [each[0].numel() for each in scores]
        anchors = rpn.anchor_generator(images, levels)
        flat_scores, flat_changes = concat_box_prediction_layers(scores, changes)
        count = len(images.tensors)
        objectness, deltas = flat_scores.float().view(count, -1), flat_changes.float().view(count, -1, 4)
        boxes = cast(Tensor, rpn.box_coder.decode(deltas.detach().flatten(0, 1), anchors)).view(count, -1, 4)
        proposals, _ = rpn.filter_proposals(boxes, objectness, images.image_sizes, counts)
        return anchors, objectness, deltas, proposals

    def _classify(
        self, images: ImageList, features: dict[str, Tensor], proposals: list[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Logits (n, classes + 1) and box changes (n, 4 (classes + 1)) of the proposals of all images in a row."""
        _, heads = self._stages()
        # The pool takes the sizes only to find the strides, once for all; those of the padded images are exact.
        padded = [(images.tensors.shape[-2], images.tensors.shape[-1])] * len(proposals)
        logits, moves = heads.box_predictor(heads.box_head(heads.box_roi_pool(features, proposals, padded)))
        return logits.float(), moves.float()

    def _seeds(self, inputs: Tensor, targets: Tensor) -> list[int]:
        start = int(torch.randint(1 << 62, ())) if self.training else 0
        height, width = inputs.shape[-2:]
        some = inputs[..., :: max(1, height // 16), :: max(1, width // 16)].detach().float().flatten(1).cpu()
        rows = [each[each[:, 4] >= 0] for each in targets.detach().float().cpu()]  # no matter how much padding
        contents = [a.numpy().tobytes() + b.numpy().tobytes() for a, b in zip(some, rows, strict=True)]
        return [seed_of(start, zlib.crc32(each)) for each in contents]


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Torch's default generators start from a seed within, and go on as they were afterwards."""
    on_card = device.type == "cuda"
    with torch.random.fork_rng([device] if on_card else []):
        torch.default_generator.manual_seed(seed)
        if on_card:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield

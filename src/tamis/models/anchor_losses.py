"""What RetinaNet and SSD learn from, anchor by anchor and summed by box."""

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.models.detection.retinanet import RetinaNet
from torchvision.models.detection.ssd import SSD
from torchvision.ops import (
    box_iou,
    complete_box_iou_loss,
    distance_box_iou_loss,
    generalized_box_iou_loss,
    sigmoid_focal_loss,
)

from tamis.detections import ImageLosses
from tamis.models.detector_parts import Truth
from tamis.models.sigmas import Sigmas, box_losses, tempered

_OVERLAP = {"ciou": complete_box_iou_loss, "diou": distance_box_iou_loss, "giou": generalized_box_iou_loss}
_BACKGROUND, _IGNORED = -1, -2  # what torchvision's matchers say of anchors without a box


def matched_rows(model: RetinaNet | SSD, anchors: Tensor, truth: Truth) -> Tensor:
    """The row of the targets that each anchor has to find, int64 (b, n): -1 background, -2 not to be learned from.

    Args:
        model: whose rule it is.
        anchors: float32 (n, 4).
        truth: of b images.
    """
    matched = []
    for image in truth.images():
        found = torch.full((len(anchors),), _BACKGROUND, device=anchors.device)
        if len(image["boxes"]):
            found = model.proposal_matcher(box_iou(image["boxes"], anchors))
            found = torch.where(found >= 0, image["rows"][found.clamp(min=0)], found)
        matched.append(found)
    return torch.stack(matched)


def anchor_losses(
    model: RetinaNet | SSD, heads: dict[str, Tensor], anchors: Tensor, truth: Truth, sigmas: Sigmas | None
) -> ImageLosses:
    """The losses of classes and boxes of each image, divided by the number of its matched anchors.

    Args:
        model: whose losses they are.
        heads: float32 `cls_logits` (b, n, classes + 1) and `bbox_regression` (b, n, 4).
        anchors: float32 (n, 4).
        truth: of b images.
        sigmas: of the boxes.
    """
    matched = matched_rows(model, anchors, truth)
    image, anchor = torch.where(matched >= 0)
    rows = (image, matched[image, anchor])
    logits = tempered(heads["cls_logits"], sigmas, (image, anchor), rows)
    wanted = torch.zeros_like(matched).index_put((image, anchor), truth.labels[rows])
    if isinstance(model, SSD):
        classes = _with_hard_negatives(logits, wanted, model.neg_to_pos_ratio)
    else:
        classes = _focal(logits, wanted, matched == _IGNORED)
    terms = _box_terms(model, heads["bbox_regression"][image, anchor], anchors[anchor], truth.boxes[rows])
    parts = classes[image, anchor] + box_losses(terms, sigmas, rows)
    count = (matched >= 0).sum(1).clamp(min=1)
    box = parts.new_zeros(truth.good.shape).index_put(rows, parts, accumulate=True) / count[:, None]
    background = classes.masked_fill(matched >= 0, 0).sum(1) / count
    return ImageLosses(box.sum(1) + background, box)


def _with_hard_negatives(logits: Tensor, wanted: Tensor, ratio: float) -> Tensor:
    """Cross-entropy of all positives, and of the `ratio` times as many negatives that are worst (SSD, Eq. 3).

    Which are worst is judged by the logits as they are given, so after they were divided by sigma. As in torchvision,
    where the negatives do not suffice, positives are counted once more in their place.
    """
    losses = F.cross_entropy(logits.flatten(0, 1), wanted.flatten(), reduction="none").view_as(wanted)
    positive = wanted > 0
    worst_first = losses.detach().masked_fill(positive, -torch.inf).argsort(1, descending=True)
    hard = worst_first.argsort(1) < ratio * positive.sum(1, keepdim=True)
    return losses * (positive.to(losses) + hard.to(losses))


def _focal(logits: Tensor, wanted: Tensor, ignored: Tensor) -> Tensor:
    """Focal loss of each anchor (Lin et al. 2017, Eq. 5), summed over the classes; 0 for those between thresholds."""
    hot = torch.zeros_like(logits).scatter_(2, wanted[..., None], (wanted > 0).to(logits)[..., None])
    return sigmoid_focal_loss(logits, hot).sum(2).masked_fill(ignored, 0)


def _box_terms(model: RetinaNet | SSD, found: Tensor, anchors: Tensor, boxes: Tensor) -> Tensor:
    """The residuals (m, 4) of the coordinates of matched anchors, or (m, 1) of their overlap."""
    if isinstance(model, SSD):
        return F.smooth_l1_loss(found, model.box_coder.encode_single(boxes, anchors), reduction="none")
    head = model.head.regression_head
    if head._loss_type in _OVERLAP:
        return _OVERLAP[head._loss_type](head.box_coder.decode_single(found, anchors), boxes)[:, None]
    loss = F.l1_loss if head._loss_type == "l1" else F.smooth_l1_loss
    return loss(found, head.box_coder.encode_single(boxes, anchors), reduction="none")

"""What the second stage of Faster R-CNN learns from, proposal by proposal and summed by box."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.models.detection.roi_heads import RoIHeads

from tamis.detections import ImageLosses
from tamis.models.sigmas import Sigmas, box_losses, tempered


class Chosen(NamedTuple):
    """The n proposals of an image that are learned from.

    Attributes:
        boxes: float32 (n, 4).
        labels: int64 (n,), 0 for background.
        moves: float32 (n, 4), the changes that make it the box it is matched to.
        rows: int64 (n,), the row of the targets it is matched to; any for background.
    """

    boxes: Tensor
    labels: Tensor
    moves: Tensor
    rows: Tensor


def choose(heads: RoIHeads, proposals: Tensor, image: dict[str, Tensor]) -> Chosen:
    """A random choice among the proposals (n, 4) of an image and its true boxes, by torchvision's rule.

    Args:
        heads: whose rule it is.
        proposals: float32 (n, 4).
        image: one of `Truth.images`.
    """
    boxes, matched, labels, moves = heads.select_training_samples([proposals], [image])
    rows = image["rows"][matched[0]] if len(image["rows"]) else matched[0]
    return Chosen(boxes[0], labels[0], moves[0], rows)


def proposal_losses(
    logits: Tensor, moves: Tensor, chosen: Sequence[Chosen], most: int, sigmas: Sigmas | None
) -> ImageLosses:
    """The losses of classes and boxes (Girshick 2015, Eqs 1 to 3), the mean over the proposals of each image.

    Args:
        logits: float32 (n, classes + 1), of all images in a row.
        moves: float32 (n, 4 (classes + 1)), the changes of the boxes for each class.
        chosen: of b images.
        most: rows k of the targets.
        sigmas: of the boxes.
    """
    counts = [len(each.boxes) for each in chosen]
    labels, wanted = torch.cat([each.labels for each in chosen]), torch.cat([each.moves for each in chosen])
    image = torch.cat([torch.full_like(each.rows, i) for i, each in enumerate(chosen)])
    (real,) = torch.where(labels > 0)
    rows = (image[real], torch.cat([each.rows for each in chosen])[real])
    classes = F.cross_entropy(tempered(logits, sigmas, (real,), rows), labels, reduction="none")
    found = moves.unflatten(1, (-1, 4))[real, labels[real]]
    terms = F.smooth_l1_loss(found, wanted[real], beta=1 / 9, reduction="none")
    of_boxes = classes[real] + box_losses(terms, sigmas, rows)
    box = classes.new_zeros(len(chosen), most).index_put(rows, of_boxes, accumulate=True)
    background = torch.stack([each.sum() for each in classes.masked_fill(labels > 0, 0).split(counts)])
    count = torch.tensor(counts, device=logits.device).clamp(min=1)
    box = box / count[:, None]
    return ImageLosses(box.sum(1) + background / count, box)

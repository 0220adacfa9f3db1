"""What a centre detector learns from: the focal loss of its heat maps and the overlap of its boxes, box by box."""

import torch
from torch import Tensor
from torch.nn import functional

from tamis.detections import ImageLosses
from tamis.models.sigmas import Sigmas, noisy

STRIDE = 4  # pixels to a cell
_REACH = 10  # cells to each side of a centre that its Gaussian covers
_NEIGHBOURS = ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1))


def detection_losses(heat: Tensor, boxes: Tensor, targets: Tensor, sigmas: Sigmas | None = None) -> ImageLosses:
    """The focal loss of the heat maps and five times the GIoU loss, each divided by the number of the image's boxes.

    The logits of all classes in the cell of a box's centre are divided by the sigma of the box (a box of a wrong class
    would otherwise still teach that the right one is not there), all others of the heat maps, those around the centres
    included, by the background's. A cell that is the centre of n boxes has the mean of their losses, each with its own
    sigma: for the logit of a class over the boxes of that class, or over all where none is of it.

    Args:
        heat: logits of the centres (b, classes, h, w).
        boxes: (b, 4, h, w), the box in each cell, in pixels.
        targets: (b, k, 5), as for `CenterNet`.
        sigmas: of the boxes.
    """
    labels, corners = targets[..., 4].long(), targets[..., :4].to(heat)
    valid = (labels >= 0) & (corners[..., 2:] > corners[..., :2]).all(-1) & targets.isfinite().all(-1)
    labels, corners = labels.clamp(min=0), corners.masked_fill(~valid[..., None], 0)
    centres = (corners[..., :2] + corners[..., 2:]) / 2 / STRIDE
    wanted = _gaussians(heat, centres, (corners[..., 2:] - corners[..., :2]) / STRIDE, labels, valid)
    cells = _flat(_cells(centres, *heat.shape[2:]), heat.shape[3])
    logits, share = _at_centres(heat, cells, labels, valid)
    others, unwanted, cell_share = _other_classes(heat, wanted, cells, valid)
    centre = torch.zeros_like(heat[:, 0]).flatten(1).scatter_reduce(1, cells, valid.to(heat), "amax")
    wanted = torch.maximum(wanted, centre.view_as(heat[:, 0])[:, None])  # what is left is of no box
    overlap = _overlap_losses(boxes, centres, corners, valid)
    if sigmas is not None:
        sigma = sigmas.box.to(heat).masked_fill(~valid, 1)
        heat, logits, others = heat / sigmas.background.to(heat), logits / sigma, others / sigma[:, None]
        overlap = noisy(overlap, sigma) if sigmas.regression else overlap
    count = valid.sum(1).clamp(min=1)
    of_cell = _found(logits) * share + _absent(others, unwanted).sum(1) * cell_share
    box = (of_cell + 5 * overlap).masked_fill(~valid, 0) / count[:, None]
    return ImageLosses(box.sum(1) + _absent(heat, wanted).flatten(1).sum(1) / count, box)


def _gaussians(heat: Tensor, centres: Tensor, sizes: Tensor, labels: Tensor, valid: Tensor) -> Tensor:
    """The heat maps to learn, in the shape of `heat`: 1 in the cell of a centre, falling off along the box's sides.

    The deviation is 0.09 of a side (TTFNet: 0.54 / 6). Where two overlap, the higher counts.
    """
    height, width = heat.shape[2:]
    cell = _cells(centres, height, width)
    reach = torch.arange(-_REACH, _REACH + 1, device=heat.device)
    deviation = (0.09 * sizes).clamp(0.6, _REACH / 2.5)
    falling = torch.exp(-((reach / deviation[..., None]) ** 2) / 2)
    x, y = cell[..., :1] + reach, cell[..., 1:] + reach
    inside = ((y >= 0) & (y < height))[..., :, None] & ((x >= 0) & (x < width))[..., None, :]
    values = falling[..., 1, :, None] * falling[..., 0, None, :] * (inside & valid[..., None, None])
    place = (labels[..., None, None] * height + y.clamp(0, height - 1)[..., :, None]) * width
    place = place + x.clamp(0, width - 1)[..., None, :]
    wanted = torch.zeros_like(heat).flatten(1)
    return wanted.scatter_reduce(1, place.flatten(1), values.flatten(1), "amax").view_as(heat)


def _at_centres(heat: Tensor, cells: Tensor, labels: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """The logit (b, k) of each box and its class in the cell of its centre, and its share in it, 1 if it is alone."""
    place = labels * heat[0, 0].numel() + cells
    return heat.flatten(1).gather(1, place), _share(place, valid).to(heat)


def _other_classes(heat: Tensor, wanted: Tensor, cells: Tensor, valid: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Logits (b, classes, k) in the cells of the centres, what they should be, and the shares (b, k) of the boxes."""
    place = cells[:, None].expand(-1, heat.shape[1], -1)
    logits, unwanted = (each.flatten(2).gather(2, place) for each in (heat, wanted))
    return logits, unwanted, _share(cells, valid).to(heat)


def _share(place: Tensor, valid: Tensor) -> Tensor:
    """1 / n of n boxes at one place, (b, k)."""
    together = (place[:, :, None] == place[:, None, :]) & valid[:, None, :]
    return 1 / together.sum(2).clamp(min=1)


def _found(logits: Tensor) -> Tensor:
    """Penalty-reduced focal loss where there is a centre (Zhou et al. 2019, Eq. 1; alpha = 2)."""
    return -((1 - logits.sigmoid()) ** 2) * functional.logsigmoid(logits)


def _absent(heat: Tensor, wanted: Tensor) -> Tensor:
    """The same loss where there is none (beta = 4); 0 where there is one."""
    return -((1 - wanted) ** 4) * heat.sigmoid() ** 2 * functional.logsigmoid(-heat)


def _overlap_losses(boxes: Tensor, centres: Tensor, corners: Tensor, valid: Tensor) -> Tensor:
    """Mean GIoU loss (b, k) of the cells of each centre and around it."""
    height, width = boxes.shape[2:]
    around = _cells(centres, height, width)[:, :, None] + torch.tensor(_NEIGHBOURS, device=boxes.device)
    x, y = around[..., 0], around[..., 1]
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height) & valid[..., None]
    place = (y.clamp(0, height - 1) * width + x.clamp(0, width - 1)).flatten(1)
    found = boxes.flatten(2).gather(2, place[:, None].expand(-1, 4, -1)).unflatten(2, x.shape[1:])
    losses = 1 - _giou(found.permute(0, 2, 3, 1), corners[:, :, None])
    return (losses * inside).sum(-1) / inside.sum(-1).clamp(min=1)


def _giou(one: Tensor, other: Tensor) -> Tensor:
    """Generalised intersection over union of boxes (..., 4) in [-1, 1]."""
    overlap = (torch.minimum(one[..., 2:], other[..., 2:]) - torch.maximum(one[..., :2], other[..., :2])).clamp(min=0)
    hull = (torch.maximum(one[..., 2:], other[..., 2:]) - torch.minimum(one[..., :2], other[..., :2])).prod(-1)
    areas = (one[..., 2:] - one[..., :2]).prod(-1) + (other[..., 2:] - other[..., :2]).prod(-1)
    union = (areas - overlap.prod(-1)).clamp(min=1e-6)
    return overlap.prod(-1) / union - (hull - union) / hull.clamp(min=1e-6)


def _cells(centres: Tensor, height: int, width: int) -> Tensor:
    """The cell of each centre (b, k, 2), x and y; those beyond the map are moved to its border."""
    x, y = centres.floor().long().unbind(-1)
    return torch.stack((x.clamp(0, width - 1), y.clamp(0, height - 1)), -1)


def _flat(cells: Tensor, width: int) -> Tensor:
    """The number (b, k) of each cell (b, k, 2), row by row."""
    return cells[..., 1] * width + cells[..., 0]

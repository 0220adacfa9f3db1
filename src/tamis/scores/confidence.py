"""How unsure a detector is of an image, from its confidences alone (Dataset Culling, stage 1)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tamis.detections import Detections


def confidence_loss(
    confidence: Tensor, *, q: float = 3.0, b: float = 0.5, log_base: float = math.e, log_offset: float = 0.0
) -> Tensor:
    """Confidence loss of single detections, -x log(x) Q + (1 - x) e^x / (e^x + 1) + b.

    Dataset Culling, section 2.1. With b = 0.5 it is 1 at x = 0 and 0.5 at x = 1, and highest between.

    Args:
        confidence: x, (...), in [0, 1].
        q: weight of what is neither sure nor background.
        b: what every detection adds, however sure it is.
        log_base: of the logarithm.
        log_offset: the logarithm is taken of x + log_offset.

    Returns:
        float64 (...), on the same device; finite at 0 and 1.
    """
    x = confidence.double()
    unsure = -torch.special.xlogy(x, x + log_offset) / math.log(log_base)
    return q * unsure + (1 - x) * x.sigmoid() + b


@dataclass(frozen=True)
class ConfidenceLoss:
    """The confidence loss of images: the sum over their detections (Dataset Culling, section 2.1).

    Attributes:
        q: weight of what is neither sure nor background, at least 0.
        b: what every detection adds.
        log_base: of the logarithm, above 1.
        log_offset: the logarithm is taken of x + log_offset, at least 0.
        min_confidence: detections of less do not count, nor do those whose confidence is not a number.
        min_side: boxes with a shorter side, in pixels, do not count.
        classes: positions of the classes that count; None = all.
        per_class: the sums of each class are normalised over the images (mean 0, variance 1) and averaged over the
            classes, so that frequent classes do not drown the others. Such scores compare within one call only.

    Raises:
        ValueError: a number out of range, or an empty list of classes.
    """

    q: float = 3.0
    b: float = 0.5
    log_base: float = math.e
    log_offset: float = 0.0
    min_confidence: float = 0.05
    min_side: float = 0.0
    classes: tuple[int, ...] | None = None
    per_class: bool = False

    def __post_init__(self) -> None:
        if not (0 <= self.q < math.inf and math.isfinite(self.b)):
            raise ValueError(
                f"q and b must be finite and q at least 0, got {self.q!r} and {self.b!r}; 3 and 0.5 are usual"
            )
        if not (1 < self.log_base < math.inf and 0 <= self.log_offset < math.inf):
            raise ValueError(
                f"log_base must be above 1 and log_offset at least 0, got {self.log_base!r} and {self.log_offset!r}; "
                f"take e and 0"
            )
        if not (0 <= self.min_confidence <= 1 and 0 <= self.min_side < math.inf):
            raise ValueError(
                f"min_confidence must be in [0, 1] and min_side at least 0 pixels, got {self.min_confidence!r} and "
                f"{self.min_side!r}; take 0.05 and 0"
            )
        if self.classes is not None and (not self.classes or min(self.classes) < 0):
            raise ValueError(f"classes must be positions in the list of classes, got {self.classes!r}; None takes all")

    @classmethod
    def published(cls) -> "ConfidenceLoss":
        """The formula of the published code: log10(x + 1e-5) and Q = 4."""
        return cls(q=4.0, log_base=10.0, log_offset=1e-5)

    def __call__(self, images: Sequence[Detections]) -> Tensor:
        """The score of each image.

        Args:
            images: n detections, in pixels of the full-size images.

        Returns:
            float64 (n,), higher = harder; 0 without detections that count (unless `per_class`).
        """
        image, label, losses = self._detections(images)
        if not self.per_class:
            return _sums(image, losses, len(images))
        classes = 1 + int(label.max()) if len(label) else 1
        return normalized_mean(_by_class(image, label, losses, len(images), classes))

    def by_class(self, images: Sequence[Detections], classes: int) -> Tensor:
        """The sums of each class, float64 (n, classes): what `normalized_mean` takes once all images are known.

        Raises:
            ValueError: a label that is not in [0, classes).
        """
        return _by_class(*self._detections(images), len(images), classes)

    def _detections(self, images: Sequence[Detections]) -> tuple[Tensor, Tensor, Tensor]:
        """Of the detections that count: the image (m,), the label (m,) and the loss float64 (m,)."""
        if not images:
            return torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.int64), torch.zeros(0).double()
        boxes = torch.cat([one.boxes for one in images])
        scores = torch.cat([one.scores for one in images])
        labels = torch.cat([one.labels for one in images])
        counts = torch.tensor([len(one) for one in images], device=scores.device)
        image = torch.arange(len(images), device=scores.device).repeat_interleave(counts)
        kept = scores >= self.min_confidence
        if self.min_side:
            kept &= (boxes[:, 2:] - boxes[:, :2]).amin(1) >= self.min_side
        if self.classes is not None:
            kept &= torch.isin(labels, labels.new_tensor(self.classes))
        losses = confidence_loss(scores[kept], q=self.q, b=self.b, log_base=self.log_base, log_offset=self.log_offset)
        return image[kept], labels[kept], losses


def normalized_mean(sums: Tensor) -> Tensor:
    """Mean over the classes of the sums of each class, brought to mean 0 and variance 1 over the images.

    Args:
        sums: (n, classes). A class that is the same on all images says nothing of them and is left out.

    Returns:
        float64 (n,); 0 where no class tells the images apart.
    """
    sums = sums.double()
    telling = sums[:, (sums != sums[:1]).any(0)]
    if not telling.numel():
        return sums.new_zeros(len(sums))
    return ((telling - telling.mean(0)) / telling.std(0, correction=0)).mean(1)


def _by_class(image: Tensor, label: Tensor, losses: Tensor, images: int, classes: int) -> Tensor:
    wrong = label[(label < 0) | (label >= classes)].tolist()
    if wrong:
        raise ValueError(
            f"labels must be in [0, {classes}), got {wrong[0]!r}; give the number of classes of the detector"
        )
    return _sums(image * classes + label, losses, images * classes).view(images, classes)


def _sums(place: Tensor, values: Tensor, length: int) -> Tensor:
    return values.new_zeros(length).index_add_(0, place, values)

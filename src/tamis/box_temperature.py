"""Data parameters of boxes: a learned temperature for each annotated box (Saxena, Tuzel, DeCoste 2019, section 3.3)."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from tamis.rows import gathered, log_sigma_table


def _alone(values: Tensor) -> Tensor:
    return values


class BoxParameters(nn.Module):
    """Sigma of every annotated box of a data set, and of the background of a batch.

    The logits of the anchors that are matched to a box are divided by its sigma, those of all others by the mean sigma
    over the boxes of the mini-batch: both learn at the same pace (section 3.3). With `classes`, sigma is that of the
    box's class; with `instance`, the box's own; with both it is their sum. Log sigma is what is learned. A step reads
    and writes the rows of its boxes alone, whatever the number of boxes.

    Attributes:
        starts: int64 (n + 1,): box j of image i has the row starts[i] + j.
        regression: whether sigma also is the noise scale of the boxes' regression losses.
        log_sigma_class: float32 (k,), or None.
        log_sigma_instance: float32 (starts[n],), or None.
    """

    starts: Tensor
    log_sigma_class: nn.Parameter | None
    log_sigma_instance: nn.Parameter | None

    def __init__(
        self,
        starts: Tensor,
        *,
        classes: int | None = None,
        instance: bool = True,
        regression: bool = False,
        class_start: float = 1.0,
        instance_start: float | None = None,
        total: Callable[[Tensor], Tensor] = _alone,
    ) -> None:
        """Make the rows.

        Args:
            starts: int64 (n + 1,), rising from 0, such as `BoxedImages.box_starts`.
            classes: number of classes k, for class parameters.
            instance: make a row for each box.
            regression: see the class.
            class_start: sigma that each class starts with.
            instance_start: sigma that each box starts with; by default 1, and 0.001 beside classes, as printed.
            total: sums a tensor over the processes of a training, with gradients.

        Raises:
            ValueError: starts that do not rise from 0, no box or no class, a start that is not above 0, or neither
                classes nor instances.
        """
        super().__init__()
        if starts.dtype != torch.int64 or starts.ndim != 1 or len(starts) < 2:
            raise ValueError(f"starts must be int64 (images + 1,), got {starts.dtype} {tuple(starts.shape)}")
        if starts[0] != 0 or (starts[1:] < starts[:-1]).any():
            raise ValueError("starts must rise from 0, got others; take `BoxedImages.box_starts`")
        if classes is None and not instance:
            raise ValueError("data parameters need classes, instances or both, got neither")
        if instance_start is None:
            instance_start = 1.0 if classes is None else 0.001
        self.regression = regression
        self.log_sigma_class = log_sigma_table("classes", classes, class_start)
        self.log_sigma_instance = log_sigma_table("boxes", int(starts[-1]) if instance else None, instance_start)
        self._total = total
        self.register_buffer("starts", starts, persistent=False)  # the data knows it

    def forward(self, targets: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        """Sigma of the boxes of a batch, and of what is matched to no box; with gradients to the rows.

        Args:
            targets: (b, k, 5), boxes and labels; rows of label -1 are padding, or boxes that are not seen.
            index: int64 (b,), positions of the images in the data set.

        Returns:
            float32 (b, k), 1 for padding, and float32 (), the mean over the boxes of the batch (of all processes); 1
            if there is none.

        Raises:
            ValueError: an image has more boxes than the data set has of it, or not one position for each image.
        """
        if targets.ndim != 3 or targets.shape[2] != 5 or index.shape != targets.shape[:1]:
            raise ValueError(
                f"targets must be (b, k, 5) with one position each, got {tuple(targets.shape)} and {tuple(index.shape)}"
            )
        index = index.to(self.starts.device)
        labels = targets[..., 4].long().to(self.starts.device)
        there, place = labels >= 0, torch.arange(targets.shape[1], device=self.starts.device)
        rows = self.starts[index, None] + place
        if (there & (rows >= self.starts[index + 1, None])).any():
            raise ValueError("targets must have no more boxes than the data set, got more; give the same source")
        seen = gathered(self.log_sigma_class, self.log_sigma_instance, labels[there], rows[there]).exp()
        sigma = torch.ones_like(rows, dtype=seen.dtype).masked_scatter(there, seen)
        sums = self._total(torch.stack([seen.sum(), seen.new_tensor(len(seen))]))
        background = torch.where(sums[1] > 0, sums[0] / sums[1].clamp(min=1), 1)
        return sigma.to(targets.device), background.to(targets.device)

    @torch.no_grad()
    def all_sigma(self, labels: Tensor) -> Tensor:
        """Sigma of every box as it is now.

        Args:
            labels: int64 (m,), the class of every box, by row; looked at for class parameters alone.

        Returns:
            float32 (m,) on the CPU.
        """
        parts = []
        if self.log_sigma_instance is not None:
            parts.append(self.log_sigma_instance.cpu().exp())
        if self.log_sigma_class is not None:
            parts.append(self.log_sigma_class.cpu().exp()[labels])
        return torch.stack(parts).sum(0)

    def extra_repr(self) -> str:
        """Sizes."""
        tables = {"classes": self.log_sigma_class, "boxes": self.log_sigma_instance}
        return ", ".join(f"{name}={len(table)}" for name, table in tables.items() if table is not None)

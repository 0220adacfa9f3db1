"""Small trainings on boxes that can be killed, with a module that has no layers to wait for."""

import io
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from tamis.data import BoxedImages, BoxViews
from tamis.data.decode import Blobs
from tamis.detections import Detections, ImageLosses
from tamis.fit import Cosine, Fitted, Settings, fit
from tamis.methods import METHODS, Temperature
from tamis.run import Run
from tamis.tasks import Detection

COUNTS = (2, 0, 1, 4, 0, 0, 3, 1, 2, 0, 1, 5, 2)
SIZE = 16
SETTINGS = Settings(
    epochs=3, batch_size=4, optimizer=partial(torch.optim.SGD, lr=0.05, momentum=0.9), schedule=Cosine()
)


class Squares(nn.Module):
    """Tells the class of every box from the whole image: a part of the loss for each box, and one for the background.

    The image's loss is the mean of those of its boxes plus that of its background.
    """

    def __init__(self, classes: int = 2) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.boxes, self.background = nn.Linear(3 * SIZE * SIZE + 4, classes), nn.Linear(3 * SIZE * SIZE, 1)

    def forward(
        self,
        inputs: Tensor,
        targets: Tensor | None = None,
        sigma: Tensor | None = None,
        background: Tensor | None = None,
        *,
        parts: bool = False,
        regression: bool = False,
    ) -> Any:
        features = inputs.flatten(1)
        if targets is None:
            return [Detections.none() for _ in inputs]
        there, count = targets[..., 4] >= 0, (targets[..., 4] >= 0).sum(1).clamp(min=1)
        sigma = torch.ones_like(targets[..., 4]) if sigma is None else sigma
        background = torch.ones(()) if background is None else background
        wide = torch.cat([features[:, None].expand(-1, targets.shape[1], -1), targets[..., :4] / SIZE], 2)
        logits = self.boxes(wide) / sigma[..., None]
        own = F.cross_entropy(logits.transpose(1, 2), targets[..., 4].long().clamp(min=0), reduction="none")
        own = own * there / count[:, None] + (sigma.log() * there if regression else 0)
        nothing = F.softplus(self.background(features)[:, 0] / background)
        losses = ImageLosses(own.sum(1) + nothing, own)
        return losses if parts else losses.image


class OldModule(nn.Module):
    """Knows nothing of sigma and of parts."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, inputs: Tensor, targets: Tensor | None = None) -> Any:
        return self.weight + inputs.flatten(1).mean(1)


def squares(counts: tuple[int, ...] = COUNTS, **settings: Any) -> BoxedImages:
    """Noise with so many boxes of two classes."""
    random, files, boxes, classes = np.random.default_rng(1), [], [], []
    for count in counts:
        file = io.BytesIO()
        Image.fromarray(random.integers(0, 255, (SIZE, SIZE, 3), dtype=np.uint8)).save(file, "PNG")
        files.append(file.getvalue())
        corner = random.integers(0, SIZE - 6, (count, 2))
        boxes.append(np.hstack([corner, corner + random.integers(2, 6, (count, 2))]).astype(np.float32))
        classes.append(random.integers(0, 2, count))
    sizes = np.full((len(counts), 2), SIZE)
    keys = [f"{place:02}.png" for place in range(len(counts))]
    return BoxedImages(Blobs(files), boxes, classes, sizes, torch.tensor(counts), ("=car", "person"), keys, **settings)


def train_boxes(
    out: Path | None = None,
    *,
    kind: Any = "joint",
    method: str = "uniform",
    stop: Callable[[], int] | None = None,
    settings: Settings = SETTINGS,
    run: Run | None = None,
    views: BoxViews | None = None,
    **options: Any,
) -> Fitted:
    """Train with zoom, momentum and a schedule; `kind` "none" without data parameters."""
    if out is not None:
        run = Run(out, {"config": {"kind": kind}})
    temperature = None if kind == "none" else Temperature(kind=kind, instance_rate=0.5, **options)
    source = squares(views=views or BoxViews(zoom=0.4))
    try:
        return fit(
            Squares(), Detection(2, box_losses=True, validation_loss=False), source,
            settings=settings, method=METHODS[method](), temperature=temperature, run=run, stop=stop,
        )  # fmt: skip
    finally:
        if run is not None:
            run.close()

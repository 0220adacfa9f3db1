"""Boxes: what the loss of an image is, and how a detector is judged."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from tamis.batch import Batch
from tamis.box_temperature import BoxParameters
from tamis.detections import Detections
from tamis.scores import image_precision, mean_average_precision

Forward = Callable[..., Any]
_COCO = ("map", "map50", "map75", "map_small", "map_medium", "map_large")
_ALARM = 0.5  # what a detector says of an empty image below this is not held against it


@dataclass(frozen=True, eq=False)
class Detected:
    """What a detector makes of one image.

    Attributes:
        index: the image's position in the data set.
        true: its boxes, in pixels of the model's inputs, with confidence 1.
        predicted: what was found, the most confident first.
        loss: None without `validation_loss`.
        precision: average precision at IoU 0.5, in [0, 1]; without a true box 1, or 0 if anything was found with a
            confidence of at least 0.5.
    """

    index: int
    true: Detections
    predicted: Detections
    loss: float | None
    precision: float


@dataclass(frozen=True)
class Detection:
    """The losses of a detection module, and COCO's average precision.

    A detection module gives, of images (b, 3, h, w) and targets (b, k, 5), one loss per image, and of images alone
    b `Detections` in pixels of the images. A row of targets is x1, y1, x2, y2 and the label; rows of label -1 are
    padding.

    Attributes:
        classes: number of classes.
        score: what the ledger is told of how hard an image is: its loss ("image"), or that over its number of boxes,
            at least 1 ("box": crowded images compare with others).
        validation_loss: `evaluate` also tells the mean loss, for which every image passes the model twice.
        coco: `evaluate` also tells map (mean over IoU 0.5 to 0.95), map75, and map of small, medium and large boxes
            (below 32² and 96² pixels of the inputs); needs faster-coco-eval.
        box_losses: `losses` also tells the part of every box, of a module that knows them (see `losses`).
        metric: what `evaluate` is compared by.
        lower_is_better: whether the best is the lowest.

    Raises:
        ValueError: an unknown score, or no class.
        ImportError: `coco` without faster-coco-eval.
    """

    classes: int
    score: Literal["image", "box"] = "image"
    validation_loss: bool = True
    coco: bool = False
    box_losses: bool = False
    metric: str = "map50"
    lower_is_better: bool = False

    def __post_init__(self) -> None:
        if self.classes < 1:
            raise ValueError(f"classes must be at least 1, got {self.classes!r}; name what is to be found")
        if self.score not in ("image", "box"):
            raise ValueError(f"score must be 'image' or 'box', got {self.score!r}")
        if self.coco:
            _faster_coco_eval()  # not after the first epoch

    def losses(
        self, model: Forward, batch: Batch, temperature: BoxParameters | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """One loss per image, and what the history keeps of each.

        With a temperature the losses that are told are those that are minimised, with the logits divided by sigma:
        those without it would take a second pass through the model.

        Args:
            model: a detection module; with a temperature or `box_losses` one that takes sigma, background, parts and
                regression, and gives `tamis.detections.ImageLosses`.
            batch: images (b, 3, h, w) in [0, 1], targets (b, k, 5).
            temperature: sigma of the boxes.

        Returns:
            float32 (b,), with gradients; and detached columns float32 (b,): loss, score, boxes (how many), and with
            `box_losses` box_loss (b, k), NaN for rows of label -1.

        Raises:
            ValueError: targets of another shape, data parameters that are not of boxes, or a model that does not give
                one loss per image, or cannot tell the parts of boxes.
        """
        if temperature is not None and not isinstance(temperature, BoxParameters):
            raise ValueError(f"temperature must be BoxParameters, got {type(temperature).__name__}; sigma is of boxes")
        there = self._targets(batch)[..., 4] >= 0
        of_boxes = None
        if temperature is None and not self.box_losses:
            losses = self._losses(model, batch)
        else:
            losses, of_boxes = self._parts(model, batch, temperature)
        boxes, loss = there.sum(1).float(), losses.detach()
        score = loss / boxes.clamp(min=1) if self.score == "box" else loss
        columns = {"loss": loss, "score": score, "boxes": boxes}
        if of_boxes is None or not self.box_losses:
            return losses, columns
        return losses, columns | {"box_loss": of_boxes.detach().float().where(there, torch.nan)}

    def _parts(self, model: Forward, batch: Batch, temperature: BoxParameters | None) -> tuple[Tensor, Tensor]:
        """The losses of the images (b,), and of their boxes (b, k)."""
        sigma = background = None
        regression = temperature is not None and temperature.regression
        if temperature is not None:
            sigma, background = temperature(batch.targets, batch.index)
        options = {"sigma": sigma, "background": background, "parts": True, "regression": regression}
        try:
            losses, of_boxes = model(batch.inputs, batch.targets, **options)
        except TypeError as error:
            if "unexpected keyword argument" not in str(error):
                raise
            raise ValueError(
                f"model must take {', '.join(options)} for data parameters and losses of boxes, got {error}; implement "
                "forward(inputs, targets, sigma, background, *, parts, regression) -> tamis.detections.ImageLosses"
            ) from error
        losses = self._one_per_image(losses, batch).float()
        if background is not None:
            # Every process passes the gradient of the mean back, also one whose images all went without it.
            losses = losses + 0 * background
        return losses, of_boxes

    def evaluate(self, model: Forward, batches: Iterable[Batch]) -> dict[str, float]:
        """`figures` of all images; the model's mode is left to the caller."""
        return self.figures(list(self.per_image(model, batches)))

    def figures(self, rows: Sequence[Detected]) -> dict[str, float]:
        """Figures over the images that `per_image` tells of.

        Returns:
            map50 (COCO's mAP at IoU 0.5, NaN without a true box); with `validation_loss` loss, its mean over the
            images (NaN without any); with `coco` map, map75, map_small, map_medium and map_large, NaN where there is
            no such true box.
        """
        predicted, true = [row.predicted for row in rows], [row.true for row in rows]
        figures = {"map50": mean_average_precision(predicted, true, self.classes)["map50"]}
        if self.validation_loss:
            losses = torch.tensor([row.loss for row in rows], dtype=torch.float64)
            figures["loss"] = losses.mean().item()
        return _coco_precision(predicted, true, self.classes) | figures if self.coco else figures

    def per_image(self, model: Forward, batches: Iterable[Batch]) -> Iterator[Detected]:
        """What `evaluate` looks at, image by image.

        Args:
            model: a detection module, in the mode to judge it in.
            batches: as for `losses`.

        Raises:
            ValueError: targets of another shape, a label out of range, or a model that does not speak of each image.
        """
        for batch in batches:
            if len(batch):
                yield from self._detected(model, batch)

    def _detected(self, model: Forward, batch: Batch) -> Iterator[Detected]:
        true = [_boxes_of(rows) for rows in self._targets(batch).float().cpu()]
        with torch.inference_mode():
            predicted = [_plain(one) for one in model(batch.inputs)]
            losses = self._losses(model, batch).tolist() if self.validation_loss else [None] * len(batch)
        if len(predicted) != len(batch):
            raise ValueError(f"model must give detections of each of {len(batch)} images, got {len(predicted)}")
        precision = image_precision(predicted, true, self.classes, alarm_confidence=_ALARM).tolist()
        for row in zip(batch.index.tolist(), true, predicted, losses, precision, strict=True):
            yield Detected(*row)

    def _losses(self, model: Forward, batch: Batch) -> Tensor:
        return self._one_per_image(model(batch.inputs, batch.targets), batch).float()

    def _one_per_image(self, losses: Any, batch: Batch) -> Tensor:
        if not isinstance(losses, Tensor) or losses.shape != (len(batch),):
            found = tuple(losses.shape) if isinstance(losses, Tensor) else type(losses).__name__
            raise ValueError(
                f"model must give one loss per image, shape {(len(batch),)}, got {found}; take a detection module"
            )
        return losses

    def _targets(self, batch: Batch) -> Tensor:
        targets = batch.targets
        if targets.ndim != 3 or targets.shape[2] != 5:
            raise ValueError(
                f"targets must be boxes with labels (b, k, 5), got {tuple(targets.shape)}; take a source of boxes"
            )
        return targets


def _boxes_of(rows: Tensor) -> Detections:
    """Targets (k, 5) of an image, without padding."""
    rows = rows[rows[:, 4] >= 0]
    return Detections(rows[:, :4], torch.ones(len(rows)), rows[:, 4].long())


def _plain(found: Detections) -> Detections:
    """In float32 on the CPU."""
    return Detections(found.boxes.float().cpu(), found.scores.float().cpu(), found.labels.cpu())


def _coco_precision(predicted: Sequence[Detections], true: Sequence[Detections], classes: int) -> dict[str, float]:
    """The six average precisions that COCO reports; NaN where there is no such true box."""
    if not any(map(len, true)):
        return dict.fromkeys(_COCO, math.nan)
    coco, evaluation = _faster_coco_eval()
    categories = [{"id": label, "name": str(label)} for label in range(classes)]
    images = [{"id": image} for image in range(len(true))]
    truth = coco({"images": images, "annotations": _annotations(true), "categories": categories})
    judged = evaluation(truth, truth.loadRes(_annotations(predicted)), "bbox")
    judged.run()
    found = [float(value) for value in judged.stats[: len(_COCO)]]
    return {name: value if value >= 0 else math.nan for name, value in zip(_COCO, found, strict=True)}


def _annotations(images: Sequence[Detections]) -> list[dict[str, Any]]:
    """As COCO writes boxes; without those whose confidence is not a number."""
    found = []
    for image, one in enumerate(images):
        corners, sides = one.boxes[:, :2].double(), (one.boxes[:, 2:].double() - one.boxes[:, :2].double())
        columns = torch.cat([corners, sides], 1).tolist(), one.scores.tolist(), one.labels.tolist()
        for box, score, label in zip(*columns, strict=True):
            if not math.isnan(score):
                about = {"bbox": box, "area": box[2] * box[3], "score": score, "iscrowd": 0}
                found.append({"id": len(found) + 1, "image_id": image, "category_id": label, **about})
    return found


def _faster_coco_eval() -> tuple[Any, Any]:
    try:
        from faster_coco_eval import COCO, COCOeval_faster
    except ImportError as error:
        raise ImportError(
            "COCO's average precisions need faster-coco-eval, got no such package; pip install 'tamis[detection]'"
        ) from error
    return COCO, COCOeval_faster

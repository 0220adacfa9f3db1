import contextlib
import io
import math
import sys
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tamis.batch import Batch
from tamis.detections import Detections
from tamis.fit import Settings, fit
from tamis.methods import clip, infobatch, self_paced
from tamis.scores import image_precision, mean_average_precision
from tamis.tasks import Detection
from tamis.temperature import DataParameters


class Fixed:
    """A detection module that knows what it says, image by image."""

    def __init__(self, found: list[Detections], losses: list[float] | None = None) -> None:
        self.found, self.losses, self.calls = found, losses, 0

    def __call__(self, inputs: Tensor, targets: Tensor | None = None) -> Any:
        first = int(inputs[0, 0, 0, 0]) if len(inputs) else 0
        if targets is not None:
            return torch.tensor((self.losses or [0.0] * len(self.found))[first : first + len(inputs)])
        self.calls += 1
        return self.found[first : first + len(inputs)]


def made(*rows: tuple[tuple[float, float, float, float], float, int]) -> Detections:
    return Detections(
        torch.tensor([box for box, _, _ in rows]).float().view(-1, 4),
        torch.tensor([score for _, score, _ in rows]).float(),
        torch.tensor([label for _, _, label in rows], dtype=torch.int64),
    )


def batches_of(true: list[Detections], size: int = 2, first: int = 100) -> list[Batch]:
    """Images whose pixels are their number, indices from 100 on, targets padded."""
    most = max([1, *map(len, true)])
    targets = torch.full((len(true), most, 5), -1.0)
    for rows, one in zip(targets, true, strict=True):
        rows[: len(one)] = torch.cat([one.boxes, one.labels[:, None].float()], 1)
    numbers = torch.arange(len(true))
    inputs = numbers.float()[:, None, None, None].expand(-1, 3, 64, 64)
    whole = Batch(first + numbers, inputs, targets)
    return [whole.part(start, min(start + size, len(true))) for start in range(0, len(true), size)]


def random_images(count: int, seed: int) -> tuple[list[Detections], list[Detections]]:
    """What is found, and what is true."""
    generator = torch.Generator().manual_seed(seed)
    found, true = [], []
    for _ in range(count):
        boxes = int(torch.randint(0, 9, (1,), generator=generator))
        corner, side = torch.rand(2, boxes, 2, generator=generator).mul(150)
        corners, labels = torch.cat([corner, corner + side + 5], 1), torch.randint(0, 3, (boxes,), generator=generator)
        true.append(Detections(corners, torch.ones(boxes), labels))
        moved = corners + (torch.randn(boxes, 2, generator=generator) * 0.15 * (side + 5)).repeat(1, 2)
        found.append(Detections(moved, torch.rand(boxes, generator=generator), labels))
    return found, true


BOX, FAR = (0.0, 0.0, 10.0, 10.0), (30.0, 30.0, 40.0, 40.0)

# ----- losses ---------------------------------------------------------------------------------------------------


def test_the_losses_are_those_of_the_model():
    batch = batches_of([made((BOX, 1, 0), (FAR, 1, 1)), made()])[0]
    losses, columns = Detection(2).losses(Fixed([made()] * 2, [3.0, 0.5]), batch)
    assert losses.tolist() == columns["loss"].tolist() == columns["score"].tolist() == [3, 0.5]
    assert columns["boxes"].tolist() == [2, 0]
    assert all(column.dtype == torch.float32 for column in (losses, *columns.values()))


def test_the_score_can_be_per_box():
    batch = batches_of([made((BOX, 1, 0), (FAR, 1, 1)), made()])[0]
    losses, columns = Detection(2, score="box").losses(Fixed([made()] * 2, [3.0, 0.5]), batch)
    assert losses.tolist() == columns["loss"].tolist() == [3, 0.5]
    assert columns["score"].tolist() == [1.5, 0.5]


def test_gradients_reach_the_model_and_columns_have_none():
    parameter = torch.ones(2, requires_grad=True)

    def model(inputs: Tensor, targets: Tensor) -> Tensor:
        return (parameter * targets[:, 0, 2]).double()

    losses, columns = Detection(1).losses(model, batches_of([made((BOX, 1, 0))] * 2)[0])
    losses.sum().backward()
    assert parameter.grad is not None
    assert parameter.grad.tolist() == [10, 10]
    assert losses.dtype == torch.float32
    assert not any(column.requires_grad for column in columns.values())


def test_wrong_shapes_are_refused():
    task, batch = Detection(1), batches_of([made((BOX, 1, 0))] * 2)[0]
    maps = Batch(batch.index, batch.inputs, torch.zeros(2, 1, 8, 8))
    with pytest.raises(ValueError, match=r"targets must be boxes with labels \(b, k, 5\), got \(2, 1, 8, 8\)"):
        task.losses(Fixed([made()] * 2), maps)
    with pytest.raises(ValueError, match=r"one loss per image, shape \(2,\), got \(\)"):
        task.losses(lambda inputs, targets: torch.tensor(1.0), batch)
    with pytest.raises(ValueError, match=r"one loss per image, shape \(2,\), got dict"):
        task.losses(lambda inputs, targets: {"loss": 1}, batch)
    with pytest.raises(ValueError, match="temperature must be BoxParameters, got DataParameters"):
        task.losses(Fixed([made()] * 2), batch, DataParameters(classes=1))  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="detections of each of 2 images, got 1"):
        Detection(1, validation_loss=False).evaluate(Fixed([made()]), [batch])


@pytest.mark.parametrize(
    ("wrong", "text"), [({"classes": 0}, "classes must"), ({"classes": 1, "score": "x"}, "score must")]
)
def test_settings_out_of_range_are_refused(wrong, text):
    with pytest.raises(ValueError, match=text):
        Detection(**wrong)


# ----- evaluation -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 3, 8])
def test_it_judges_the_whole_set(size):
    found, true = random_images(8, 0)
    losses = [float(number) for number in range(8)]
    figures = Detection(3).evaluate(Fixed(found, losses), batches_of(true, size))
    assert figures == {"map50": mean_average_precision(found, true, 3)["map50"], "loss": 3.5}
    assert 0 < figures["map50"] < 1


def test_the_loss_can_be_left_out():
    found, true = random_images(4, 0)
    assert set(Detection(3, validation_loss=False).evaluate(lambda inputs: found, batches_of(true, 4))) == {"map50"}


def test_images_are_told_one_by_one():
    found, true = random_images(7, 1)
    true[2], found[2], found[3] = made(), made((BOX, 0.4, 0)), made()
    losses = [float(number) for number in range(7)]
    rows = list(Detection(3).per_image(Fixed(found, losses), batches_of(true, 3)))
    assert [row.index for row in rows] == list(range(100, 107))
    assert [row.loss for row in rows] == losses
    assert [len(row.true) for row in rows] == [len(one) for one in true]
    assert all(torch.equal(row.true.boxes, one.boxes) for row, one in zip(rows, true, strict=True))
    assert all(torch.equal(row.true.labels, one.labels) for row, one in zip(rows, true, strict=True))
    expected = image_precision(found, true, 3, alarm_confidence=0.5).tolist()
    assert [row.precision for row in rows] == pytest.approx(expected)
    assert (rows[2].precision, rows[3].precision) == (1, 0)  # a doubt is no alarm
    plain = Detection(3, validation_loss=False).per_image(Fixed(found), batches_of(true, 3))
    assert [row.loss for row in plain] == [None] * 7


def test_no_gradients_are_kept():
    parameter = nn.Parameter(torch.ones(1))

    def model(inputs: Tensor, targets: Tensor | None = None) -> Any:
        if targets is not None:
            return parameter * targets[:, 0, 0]
        return [Detections(torch.tensor([BOX]) * parameter, parameter.sigmoid(), torch.zeros(1).long())] * len(inputs)

    row = next(Detection(1).per_image(model, batches_of([made((BOX, 1, 0))])))
    assert not row.predicted.boxes.requires_grad
    assert row.precision == pytest.approx(1)


def test_half_precision_is_judged_in_full():
    one = made((BOX, 0.5, 0))
    half = Detections(one.boxes.bfloat16(), one.scores.bfloat16(), one.labels)
    row = next(Detection(1, validation_loss=False).per_image(lambda inputs: [half], batches_of([one], 1)))
    assert row.predicted.boxes.dtype == row.predicted.scores.dtype == torch.float32


# ----- nothing, and what is no number ---------------------------------------------------------------------------


@pytest.mark.parametrize("coco", [False, True])
def test_without_an_image_or_a_box_there_is_no_figure(coco):
    task = Detection(2, coco=coco and _has_coco())
    figures = task.evaluate(Fixed([]), [])
    assert all(math.isnan(value) for value in figures.values())
    empty = task.evaluate(Fixed([made((BOX, 0.9, 1)), made()], [1.0, 2.0]), batches_of([made(), made()]))
    assert empty.pop("loss") == 1.5
    assert all(math.isnan(value) for value in empty.values())
    nothing = Batch(torch.zeros(0).long(), torch.zeros(0, 3, 8, 8), torch.zeros(0, 0, 5))
    assert list(task.per_image(Fixed([]), [nothing])) == []


def test_images_without_boxes_count_by_their_alarms():
    true = [made((BOX, 1, 0)), made()]
    quiet = Detection(1).evaluate(Fixed([made((BOX, 0.5, 0)), made()]), batches_of(true))
    alarmed = Detection(1).evaluate(Fixed([made((BOX, 0.5, 0)), made((BOX, 0.9, 0))]), batches_of(true))
    assert (quiet["map50"], alarmed["map50"]) == (pytest.approx(1), pytest.approx(0.5))


@pytest.mark.parametrize("coco", [False, True])
def test_a_model_that_broke_finds_nothing(coco):
    broken = made((BOX, math.nan, 0), (FAR, math.nan, 0))
    task = Detection(1, coco=coco and _has_coco())
    figures = task.evaluate(Fixed([broken], [math.nan]), batches_of([made((BOX, 1, 0))]))
    assert figures["map50"] == 0
    assert math.isnan(figures["loss"])


# ----- COCO -----------------------------------------------------------------------------------------------------


def _has_coco() -> bool:
    pytest.importorskip("faster_coco_eval")
    return True


def test_the_whole_set_of_coco_is_that_of_pycocotools():
    _has_coco()
    found, true = random_images(60, 2)
    figures = Detection(3, coco=True).evaluate(Fixed(found), batches_of(true, 60))
    expected = _pycocotools(found, true, 3)
    names = ("map", "map50", "map75", "map_small", "map_medium", "map_large")
    assert [figures[name] for name in names] == pytest.approx(expected, abs=1e-9)
    assert len(set(expected)) == 6
    assert min(expected) > 0


def test_a_size_that_no_box_has_is_no_number():
    _has_coco()
    figures = Detection(1, coco=True).evaluate(Fixed([made((BOX, 0.5, 0))]), batches_of([made((BOX, 1, 0))]))
    assert figures["map_small"] == pytest.approx(1)
    assert math.isnan(figures["map_large"])


def test_without_the_package_it_says_so_at_once(monkeypatch):
    monkeypatch.setitem(sys.modules, "faster_coco_eval", None)
    with pytest.raises(ImportError, match=r"pip install 'tamis\[detection\]'"):
        Detection(1, coco=True)
    assert Detection(1).evaluate(Fixed([made()]), batches_of([made((BOX, 1, 0))]))["map50"] == 0


def _pycocotools(found: list[Detections], true: list[Detections], classes: int) -> list[float]:
    module, evaluation = pytest.importorskip("pycocotools.coco"), pytest.importorskip("pycocotools.cocoeval")

    def rows(images: list[Detections]) -> list[dict[str, Any]]:
        result = []
        for image, one in enumerate(images):
            for box, score, label in zip(one.boxes.double(), one.scores.tolist(), one.labels.tolist(), strict=True):
                x1, y1, x2, y2 = box.tolist()
                row = {"id": len(result) + 1, "image_id": image, "category_id": label, "iscrowd": 0}
                result.append(row | {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1), "score": score})
        return result

    with contextlib.redirect_stdout(io.StringIO()):
        coco = module.COCO()
        categories = [{"id": label} for label in range(classes)]
        images = [{"id": image} for image in range(len(true))]
        coco.dataset = {"images": images, "annotations": rows(true), "categories": categories}
        coco.createIndex()
        judged = evaluation.COCOeval(coco, coco.loadRes(rows(found)), "bbox")
        judged.evaluate()
        judged.accumulate()
        judged.summarize()
    return judged.stats[:6].tolist()


# ----- training -------------------------------------------------------------------------------------------------


class Squares:
    """A bright square on each image of 16 x 16 pixels; every fifth has none."""

    def __init__(self, count: int) -> None:
        generator = torch.Generator().manual_seed(count)
        corner = torch.randint(0, 9, (count, 2), generator=generator)
        self.inputs, self.targets = torch.zeros(count, 3, 16, 16), torch.full((count, 2, 5), -1.0)
        for place, (x, y) in enumerate(corner.tolist()):
            if place % 5:
                self.inputs[place, :, y : y + 8, x : x + 8] = 1
                self.targets[place, 0] = torch.tensor([x, y, x + 8, y + 8, 0.0])
        self.labels = (self.targets[..., 4] >= 0).sum(1)
        self.keys, self.class_names = [f"square-{place}" for place in range(count)], ("square",)

    def __len__(self) -> int:
        return len(self.labels)

    def batches(self, plan: Iterable[Tensor], *, epoch: int, seed: int, train: bool) -> Iterator[Batch]:
        for index in plan:
            yield Batch(index, self.inputs[index], self.targets[index])


class OneBox(nn.Module):
    """A detection module that finds the one box of an image."""

    def __init__(self) -> None:
        super().__init__()
        self.classes = 1
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(3 * 256, 32), nn.ReLU(), nn.Linear(32, 5))

    def forward(self, inputs: Tensor, targets: Tensor | None = None) -> Any:
        outputs = self.body(inputs)
        if targets is None:
            labels = torch.zeros(1, dtype=torch.int64)
            return [Detections(16 * row[None, :4], row[4:].sigmoid(), labels.to(row.device)) for row in outputs]
        there = (targets[:, 0, 4] >= 0).float()
        distance = (outputs[:, :4] - targets[:, 0, :4] / 16).abs().sum(1)
        return there * distance + nn.functional.binary_cross_entropy_with_logits(outputs[:, 4], there, reduction="none")


@pytest.mark.parametrize("method", [clip(refresh=5), infobatch(), self_paced()])
def test_a_detector_trains_by_any_method(method):
    torch.manual_seed(0)
    optimizer = partial(torch.optim.Adam, lr=0.004)
    fitted = fit(
        OneBox(),
        Detection(1, score="box"),
        Squares(120),
        settings=Settings(15, 8, optimizer, device="cpu", evaluate_every=15),
        method=method,
        validation=Squares(30),
    )
    figures = fitted.rows[-1]["validation"]
    assert set(figures) == {"map50", "loss"}
    assert figures["map50"] > 0.8
    assert fitted.ledger.score.isfinite().all()

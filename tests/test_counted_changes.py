"""The images or points of a counter changed between two runs: added, removed, edited or in another order."""

import csv
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from tamis.data import CountedImages, CountViews, Quarantine, open_points
from tamis.recipes.reconcile import Known, reconcile, remember

LONG_AGO = 1_600_000_000_000_000_000
Edit = Callable[["Crowd"], None]


@dataclass
class Crowd:
    """Images and points on disk, and a run that has begun with them; the last four images are held out."""

    root: Path
    points: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    pixels: dict[str, int] = field(default_factory=dict)
    date: int = LONG_AGO

    @property
    def run(self) -> Path:
        return self.root / "run"

    def put(self, name: str, seed: int, count: int) -> None:
        rng = np.random.default_rng(seed)
        self.pixels[name] = seed
        self.points[name] = [(float(x), float(y)) for x, y in rng.random((count, 2)).round(3) * (40, 30)]

    def open(self) -> CountedImages:
        """Everything written anew, with a later date than before, and opened."""
        folder = self.root / "data"
        folder.mkdir(parents=True, exist_ok=True)
        self.date += 10**9
        for path in folder.glob("*.bmp"):
            path.unlink()
        for name, seed in self.pixels.items():
            pixels = np.random.default_rng(seed).integers(0, 256, (30, 40, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name)  # all files have the same size
            os.utime(folder / name, ns=(self.date, self.date))
        with (folder / "points.csv").open("w", newline="") as file:
            rows = [(name, *point) for name, points in self.points.items() for point in points or [("", "")]]
            csv.writer(file).writerows([("image", "x", "y"), *rows])
        found, _ = open_points(folder)
        return CountedImages.from_points(found, stride=4, views=CountViews(16, brightness=0.2))

    def again(self, *, accept: bool = False) -> Known:
        known = reconcile(self.run, self.open(), None, accept=accept)
        known.write()
        return known


@pytest.fixture
def crowd(tmp_path: Path) -> Crowd:
    where = Crowd(tmp_path)
    for place in range(12):
        where.put(f"{place:02d}.bmp", place, place % 5)
    train, validation = parts(where.open())
    remember(where.run, train, validation, None)
    return where


def parts(source: CountedImages) -> tuple[CountedImages, CountedImages]:
    train, validation = torch.arange(len(source)).split([8, len(source) - 8])
    return source.select(train), source.select(validation)


def assert_same_batches(one, other, index: torch.Tensor) -> None:
    for train in (True, False):
        mine, yours = (next(each.batches([index], epoch=1, seed=3, train=train)) for each in (one, other))
        assert torch.equal(mine.inputs, yours.inputs)
        assert torch.equal(mine.targets, yours.targets)


def reorder(where: Crowd) -> None:
    """Images, rows of the file, and so the points of an image."""
    where.pixels = dict(reversed(where.pixels.items()))
    where.points = {name: points[::-1] for name, points in reversed(where.points.items())}


@pytest.mark.fault(13, "images and points in another order change nothing for a counter: equal batches bit for bit")
def test_another_order_has_no_effect(crowd: Crowd, seen) -> None:
    before, judged = parts(crowd.open())
    reorder(crowd)
    tables = [path.read_bytes() for path in sorted(crowd.run.rglob("*.parquet"))]
    known = crowd.again()
    assert known.said == ()
    assert [path.read_bytes() for path in sorted(crowd.run.rglob("*.parquet"))] == tables
    assert list(known.train.keys) == list(before.keys)
    assert_same_batches(before, known.train, torch.arange(8))
    assert_same_batches(judged, known.validation, torch.arange(4))
    seen("equal images and maps")


def add_point(where: Crowd) -> None:
    where.points["03.bmp"].append((1.5, 2.5))


def remove_point(where: Crowd) -> None:
    where.points["03.bmp"].pop()


def move_point(where: Crowd) -> None:
    x, y = where.points["03.bmp"][0]
    where.points["03.bmp"][0] = (x, y + 0.001 * (1 if y < 15 else -1))


def edit_pixels(where: Crowd) -> None:
    where.pixels["03.bmp"] = 77


def add_image(where: Crowd) -> None:
    where.put("77.bmp", 77, 3)


def remove_image(where: Crowd) -> None:
    del where.pixels["03.bmp"], where.points["03.bmp"]


@pytest.mark.fault(13, "a counter's changed images or points are refused with the difference; a flag accepts them")
@pytest.mark.parametrize(
    ("edit", "sign"),
    [
        (add_point, "~"),
        (remove_point, "~"),
        (move_point, "~"),
        (edit_pixels, "~"),
        (add_image, "+"),
        (remove_image, "-"),
    ],
)
def test_a_change_is_refused_or_accepted(crowd: Crowd, edit: Edit, sign: str, seen) -> None:
    before, judged = parts(crowd.open())
    edit(crowd)
    reorder(crowd)
    name = "77.bmp" if edit is add_image else "03.bmp"
    counts = " ".join(f"{kind}{int(kind == sign)}" for kind in "+-~")
    with pytest.raises(ValueError, match="got training ") as caught:
        crowd.again()
    assert f"got training {counts} ({sign} '{name}')" in str(caught.value)
    assert not (crowd.run / "changed.jsonl").exists()
    known = crowd.again(accept=True)
    assert list(known.train.keys) == [*before.keys, *(["77.bmp"] if edit is add_image else [])]
    assert known.gone.nonzero().flatten().tolist() == ([3] if edit is remove_image else [])
    fresh = {"+": [8], "-": [], "~": [3]}[sign]
    assert known.changes.since.nonzero().flatten().tolist() == fresh
    kept = torch.tensor([0, 1, 2, 4, 5, 6, 7])
    assert_same_batches(before, known.train, kept)
    assert_same_batches(judged, known.validation, torch.arange(4))
    line = json.loads((crowd.run / "changed.jsonl").read_text())
    assert sum(kind["count"] for kind in line["train"].values()) == 1
    again = crowd.again()
    assert again.said == ()
    assert (again.gone.equal(known.gone), again.changes.since.equal(known.changes.since)) == (True, True)
    seen("refused 6 of 6, accepted 6 of 6", count=1)


def test_a_removed_image_survives_all_that_is_done_to_a_source(crowd: Crowd) -> None:
    remove_image(crowd)
    train = crowd.again(accept=True).train
    assert isinstance(train, CountedImages)
    held = train.held(7 * 3 * 40 * 30)
    assert list(held.kept) == [row for row in train.rows.tolist() if row >= 0]
    for source in (train, held, train.with_views(CountViews()).with_workers(2)):
        assert source.groups(train=True) is None
        assert source.groups(train=False) is None
        assert source.points_of(3).shape == (0, 2)
        assert source.labels.tolist() == [0, 1, 2, 3, 4, 0, 1, 2]
        source = replace(source, quarantine=Quarantine())
        (batch,) = source.batches([torch.tensor([7, 0])], epoch=0, seed=0, train=True)
        assert batch.index.tolist() == [7, 0]
        with pytest.raises(ValueError, match=r"image must still be in the data, got a removed one"):
            list(source.batches([torch.tensor([3])], epoch=0, seed=0, train=False))


def test_labelled_images_are_no_images_with_points(crowd: Crowd) -> None:
    about = crowd.run / "ledger" / "samples.parquet"
    table = pq.read_table(about)
    meta = {key: value.replace(b'"points"', b'"files"') for key, value in table.schema.metadata.items()}
    pq.write_table(table.replace_schema_metadata(meta), about)
    with pytest.raises(ValueError, match=r"images must be those that .* was trained on, files, got points"):
        crowd.again()

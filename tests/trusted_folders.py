"""What a detector's run with data parameters tells of its training boxes, as a training would leave it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

WIDTH, HEIGHT = 320, 192  # pixels of the images
_CORNERS = ("x1", "y1", "x2", "y2")


@dataclass(frozen=True)
class Trusted:
    """What became of the boxes.

    Attributes:
        images: of the run; each has up to nine boxes. wrong: share of the boxes that were made wrong.
        leave: columns that are not there.
    """

    images: int = 60
    epochs: int = 8
    wrong: float = 0.3
    kind: str | None = "instance"
    class_names: Sequence[str] = ("car", "person", "bicycle")
    leave: Sequence[str] = ()
    keys: Sequence[str] = ()


def boxes_of(fake: Trusted, counts: np.ndarray) -> dict[str, np.ndarray]:
    """The columns of ledger/boxes.parquet, without the keys; occlusion makes a box hard, and so does noise."""
    random = np.random.default_rng(7)
    image = np.repeat(np.arange(fake.images), counts)
    n = len(image)
    height = np.exp(random.uniform(np.log(8), np.log(120), n))
    width = height * random.uniform(0.5, 1.8, n)
    x, y = random.uniform(0, WIDTH - width), random.uniform(0, HEIGHT - height)
    noise = np.where(random.random(n) < fake.wrong, random.integers(1, 4, n), 0)
    columns = {"box": np.arange(n), "image": image, "label": random.integers(0, len(fake.class_names), n)}
    corners = np.column_stack([x, y, x + width, y + height]).astype(np.float32)
    columns |= dict(zip(_CORNERS, corners.T, strict=True))
    columns["occlusion"] = random.choice([0, 1, 2, 3], n, p=[0.5, 0.25, 0.2, 0.05]).astype(np.float32)
    columns["occlusion"][noise == 3] = np.nan
    return columns | {"noise": noise.astype(np.float32)}


def sigma_after(epoch: int, columns: dict[str, np.ndarray]) -> np.ndarray:
    """Right and visible boxes are trusted soon, occluded ones later, wrong ones never."""
    random = np.random.default_rng(epoch)
    level = np.nan_to_num(columns["occlusion"], nan=0)
    ease = np.clip((epoch + 1) / 3 - level, 0, 2) - 0.6 * np.minimum(level, epoch / 3)
    ease = np.where(columns["noise"] > 0, -0.35 * (epoch + 1) * (1 + (columns["noise"] == 1)), ease)
    return np.exp(-0.7 * ease + random.normal(0, 0.15, len(ease))).astype(np.float32)


def write_trusted(folder: Path, fake: Trusted) -> dict[str, np.ndarray]:
    """Add the boxes to a run folder that has a ledger, and return the columns of ledger/boxes.parquet."""
    ledger = folder / "ledger"
    columns = boxes_of(fake, np.random.default_rng(1).integers(0, 10, fake.images))
    names = [*fake.keys, *(f"train/{number:05d}.jpg" for number in range(len(fake.keys), fake.images))]
    keys = [
        f"{names[image]}#{fake.class_names[label]}:{row}"
        for row, (image, label) in enumerate(zip(columns["image"].tolist(), columns["label"].tolist(), strict=True))
    ]
    table = {"key": keys} | {name: values for name, values in columns.items() if name not in fake.leave}
    pq.write_table(pa.table(table), ledger / "boxes.parquet")
    for epoch in range(fake.epochs):
        sigma = sigma_after(epoch, columns)
        noise = np.random.default_rng(epoch + 99).gamma(2, 0.6, len(sigma))
        loss = (0.2 * np.minimum(sigma, 4) + noise).astype(np.float32)
        loss[columns["image"] % 4 == epoch % 4] = np.nan  # not shown in this epoch
        told = {"sigma": sigma, "loss": loss}
        told = {name: values for name, values in told.items() if name not in fake.leave}
        pq.write_table(pa.table(told), ledger / f"boxes-{epoch:05d}.parquet")
    _tell(folder, fake)
    return columns


def _tell(folder: Path, fake: Trusted) -> None:
    about = json.loads((folder / "run.json").read_text())
    about["config"] |= {"data_parameters": fake.kind}
    about["data"] |= {"noise": {"kind": "mixed", "ratio": fake.wrong, "missing": 17} if fake.wrong else None}
    (folder / "run.json").write_text(json.dumps(about))
    result = json.loads((folder / "result.json").read_text())
    figures = {"r40": [0.921, 0.873, 0.78], "r11": [0.9, 0.85, None], "boxes": [1200, 2100, 2600]}
    result["detection"]["kitti"] = {"rules": {"name": "occlusion"}, "classes": {fake.class_names[0]: figures}}
    (folder / "result.json").write_text(json.dumps(result))

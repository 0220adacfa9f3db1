"""Run folders of detectors as a training would leave them, with and without a curriculum."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from counting_folders import CLIP

WIDTH, HEIGHT = 160, 96  # of what the model saw


@dataclass(frozen=True)
class Detected:
    """What a detector's run was like.

    Attributes:
        quality: share of the true boxes that it finds. shift: of what it finds, in pixels. alarms: per image.
        empty: validation images without a box. paced: whether a curriculum left images out.
    """

    n: int = 60
    epochs: int = 5
    validation: int = 24
    quality: float = 0.7
    shift: float = 1.0
    alarms: float = 0.5
    empty: int = 3
    paced: bool = False
    finished: bool = True
    predictions: bool = True
    coco: bool = True
    class_names: Sequence[str] = ("car", "person", "bicycle")
    keys: Sequence[str] = ()
    validation_keys: Sequence[str] = ()
    size: str | None = f"{WIDTH}x{HEIGHT}"
    nan_epochs: Sequence[int] = ()
    seed: int = 0


def write_detected(folder: Path, fake: Detected) -> Path:
    """Write every file of a detector's run folder (checkpoints left out) and return the folder."""
    ledger = folder / "ledger"
    ledger.mkdir(parents=True)
    random = np.random.default_rng(fake.seed)
    boxes, index = random.integers(0, 9, fake.n), np.arange(fake.n)
    keys = [*fake.keys, *(f"train/{number:05d}.jpg" for number in range(len(fake.keys), fake.n))]
    pq.write_table(
        pa.table({"index": index, "key": keys, "label": boxes, "clean_label": pa.nulls(fake.n, pa.int32())}),
        ledger / "samples.parquet",
    )
    score = (boxes * 0.2 + random.gamma(2, 1, fake.n)).astype(np.float32)
    order, rows = np.argsort(score), []
    for epoch in range(fake.epochs):
        count = max(1, int(fake.n * min(1, 0.3 + epoch / fake.epochs))) if fake.paced else fake.n
        shown = random.permutation(order[:count])
        columns = {"index": shown, "loss": score[shown] / (epoch + 1), "score": score[shown] / (epoch + 1)}
        columns |= {"boxes": boxes[shown].astype(np.float32), "weight": np.ones(count, np.float32)}
        pq.write_table(pa.table(columns), ledger / f"epoch-{epoch:05d}-000.parquet")
        if count < fake.n:
            _write_waiting(ledger, epoch, order, count)
        rows.append(_row(fake, epoch, count, rows))
    pq.write_table(pa.table({"index": index, "score": score, "seen": index}), ledger / "scores.parquet")
    if fake.paced:
        cost = json.dumps({"samples_seen": fake.n, "samples_scored": fake.n, "seconds": 1.5})
        table = pa.table({"index": index, "score": score}).replace_schema_metadata({"tamis": cost})
        pq.write_table(table, ledger / "initial.parquet")
    _write_texts(folder, fake, rows)
    if fake.predictions and fake.finished:
        write_found(folder / "predictions", fake)
    return folder


def _write_waiting(ledger: Path, epoch: int, order: np.ndarray, count: int) -> None:
    places = np.arange(count, len(order))
    columns = {
        "index": order[places],
        "epoch": pa.array([epoch] * len(places), pa.int32()),
        "weight": np.zeros(len(places), np.float32),
        "reason": pa.array([f"waits: {CLIP}"] * len(places)),
        "rank": pa.array(places + 1, pa.int32()),
        "of": pa.array([len(order)] * len(places), pa.int32()),
    }
    pq.write_table(pa.table(columns), ledger / f"decisions-{epoch:05d}.parquet")


def _row(fake: Detected, epoch: int, shown: int, rows: list[dict[str, Any]]) -> dict[str, Any]:
    map50 = float("nan") if epoch in fake.nan_epochs else fake.quality * (1 - 0.8 ** (epoch + 1))
    seen = (rows[-1]["samples_seen"] if rows else 0) + shown
    common = {"epoch": epoch, "shown": shown, "hidden": fake.n - shown, "samples_seen": seen, "steps": seen // 8}
    common |= {"seconds": seen * 0.01, "lr": 1e-4, "train_loss": 5 / (epoch + 1), "train_accuracy": None}
    figures = {"map50": map50, "loss": 3 / (epoch + 1)} if fake.validation else None
    return common | {"validation": figures, "sigma": None, "class_sigma": None}


def _write_texts(folder: Path, fake: Detected, rows: list[dict[str, Any]]) -> None:
    config = {"task": "detection", "epochs": fake.epochs, "model": "centernet-tiny", "seed": fake.seed}
    data = {"train": fake.n, "validation": fake.validation, "root": "street", "noise": None}
    about = {
        "tamis": "0.1.0",
        "command": "tamis train --task detection",
        "created": "2026-01-02T03:04:05+00:00",
        "config": config | {"size": fake.size},
        "method": CLIP if fake.paced else "Uniform()",
        "data": data | {"class_names": list(fake.class_names)},
        "environment": {"python": "3.11.2", "torch": "2.10.0", "device": "cpu"},
    }
    (folder / "run.json").write_text(json.dumps(about))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    best = max(rows, key=lambda row: np.nan_to_num((row["validation"] or {}).get("map50") or 0))
    marks = {
        name: {"epoch": row["epoch"], **(row["validation"] or {})} for name, row in (("last", rows[-1]), ("best", best))
    }
    costs = {name: rows[-1][name] for name in ("samples_seen", "steps")} | {"full_samples": fake.epochs * fake.n}
    costs |= {"samples_scored": 0, "seconds_training": 12.0, "seconds_scoring": 0.0, "seconds_evaluation": 3.0}
    if fake.paced:
        costs["scorer"] = {"samples_seen": fake.n, "samples_scored": fake.n, "seconds": 1.5}
    coco = {"map": 0.41, "map75": 0.39, "map_small": 0.2, "map_medium": 0.52, "map_large": None} if fake.coco else {}
    result = {**marks, "costs": costs, "detection": coco | {"map50": marks["last"].get("map50")}}
    if fake.finished:
        (folder / "result.json").write_text(json.dumps(result))


def write_found(folder: Path, fake: Detected) -> None:
    """`predictions/`: the true boxes are the same for every seed."""
    folder.mkdir()
    world, random, rows, images = np.random.default_rng(99), np.random.default_rng(fake.seed), [], []
    keys = [*fake.validation_keys, *(f"val/{n:05d}.jpg" for n in range(len(fake.validation_keys), fake.validation))]
    for image in range(fake.validation):
        count, hits = 0 if image < fake.empty else int(world.integers(1, 6)), 0
        for _ in range(count):
            x, y, label = *world.uniform(0, 110, 2), int(world.integers(len(fake.class_names)))
            box = np.array([x, y * 0.6, x + 40, y * 0.6 + 24])
            rows.append(_box(image, "true", box, 1.0, label))
            if random.random() < fake.quality:
                hits += 1
                rows.append(_box(image, "predicted", box + fake.shift, random.uniform(0.2, 1), label))
        for _ in range(random.poisson(fake.alarms)):
            x, y = random.uniform(0, 60, 2)
            rows.append(_box(image, "predicted", np.array([x, y, x + 9, y + 9]), random.uniform(0.05, 0.9), 0))
        told = {"index": image, "key": keys[image], "true": count, "predicted": hits, "loss": float(random.gamma(2))}
        images.append(told | {"precision": hits / count if count else 1.0})
    random.shuffle(rows)
    pq.write_table(pa.Table.from_pylist(images), folder / "validation.parquet")
    pq.write_table(pa.Table.from_pylist(rows), folder / "boxes.parquet")


def _box(index: int, who: str, box: np.ndarray, score: float, label: int) -> dict[str, Any]:
    corners = dict(zip(("x1", "y1", "x2", "y2"), box.tolist(), strict=True))
    return {"index": index, "who": who, **corners, "score": float(score), "label": label}

"""Run folders of counters as a training would leave them, with and without a curriculum."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors.numpy import save_file


@dataclass(frozen=True)
class Counted:
    """What a counter's run was like; `pace` is the share that is shown at first, 1 without a curriculum."""

    n: int = 120
    epochs: int = 6
    validation: int = 30
    error: float = 10.0
    pace: float = 1.0
    prune: float = 0.05
    finished: bool = True
    predictions: bool = True
    quality: bool = True
    maps: int = 200
    empty: bool = False
    nan_epochs: Sequence[int] = ()
    keys: Sequence[str] | None = None
    validation_keys: Sequence[str] | None = None
    seed: int = 0


CLIP = "Clip(Polynomial(start=0.3), easiest first; the 5 % with the lowest score out)"


def write_counted(folder: Path, fake: Counted) -> Path:
    """Write every file of a counter's run folder (checkpoints left out) and return the folder."""
    ledger = folder / "ledger"
    ledger.mkdir(parents=True)
    random = np.random.default_rng(fake.seed)
    points = np.zeros(fake.n, np.int64) if fake.empty else random.integers(1, 200, fake.n)
    keys = list(fake.keys or (f"train/{index:05d}.jpg" for index in range(fake.n)))
    index = np.arange(fake.n)
    pq.write_table(
        pa.table({"index": index, "key": keys, "label": points, "clean_label": pa.nulls(fake.n, pa.int32())}),
        ledger / "samples.parquet",
    )
    score = (points * 0.1 + random.gamma(2, 1, fake.n)).astype(np.float32)
    order, rows = np.argsort(score), []
    for epoch in range(fake.epochs):
        paced = max(1, int(fake.n * min(1, fake.pace + epoch / fake.epochs)))
        pruned = int(fake.prune * paced) if fake.pace < 1 else 0
        shown = random.permutation(order[pruned:paced])
        _write_counted_epoch(ledger, epoch, shown, score, points, random)
        if len(shown) < fake.n:
            _write_places(ledger, epoch, order, pruned, paced)
        rows.append(_counted_row(fake, epoch, len(shown), rows))
    pq.write_table(pa.table({"index": index, "score": score / 3, "seen": index}), ledger / "scores.parquet")
    if fake.pace < 1:
        cost = json.dumps({"samples_seen": fake.n, "samples_scored": fake.n, "seconds": 1.5})
        table = pa.table({"index": index, "score": score}).replace_schema_metadata({"tamis": cost})
        pq.write_table(table, ledger / "initial.parquet")
    _write_counted_texts(folder, fake, rows)
    if fake.predictions and fake.finished:
        _write_predictions(folder / "predictions", fake, random)
    return folder


def _write_counted_epoch(ledger: Path, epoch: int, shown, score, points, random) -> None:
    columns = {
        "index": shown,
        "loss": score[shown] * 2 / (epoch + 1),
        "score": score[shown] / (epoch + 1),
        "count": points[shown].astype(np.float32),
        "predicted_count": (points[shown] + random.normal(0, 9, len(shown))).astype(np.float32),
        "weight": np.ones(len(shown), np.float32),
    }
    pq.write_table(pa.table(columns), ledger / f"epoch-{epoch:05d}-000.parquet")


def _write_places(ledger: Path, epoch: int, order, pruned: int, paced: int) -> None:
    places = np.r_[0:pruned, paced : len(order)]
    columns = {
        "index": order[places],
        "epoch": pa.array([epoch] * len(places), pa.int32()),
        "weight": np.zeros(len(places), np.float32),
        "reason": pa.array([f"{'pruned' if place < pruned else 'waits'}: {CLIP}" for place in places]),
        "rank": pa.array(places + 1, pa.int32()),
        "of": pa.array([len(order)] * len(places), pa.int32()),
    }
    pq.write_table(pa.table(columns), ledger / f"decisions-{epoch:05d}.parquet")


def _counted_row(fake: Counted, epoch: int, shown: int, rows: list[dict]) -> dict:
    mae = float("nan") if epoch in fake.nan_epochs else fake.error * (1 + 2 / (epoch + 1))
    names = {"mae": 1, "rmse": 1.3, "game1": 1.1, "game2": 1.3, "game3": 1.5, "loss": 0.3}
    figures = {name: mae * by for name, by in names.items()} | {"count": 0.0 if fake.empty else 100.0}
    seen = (rows[-1]["samples_seen"] if rows else 0) + shown
    common = {"epoch": epoch, "shown": shown, "hidden": fake.n - shown, "samples_seen": seen, "steps": seen // 8}
    common |= {"seconds": seen * 0.01, "lr": 1e-4, "train_loss": 5 / (epoch + 1), "train_accuracy": None}
    return common | {"validation": figures if fake.validation else None, "sigma": None, "class_sigma": None}


def _write_counted_texts(folder: Path, fake: Counted, rows: list[dict]) -> None:
    config = {"task": "counting", "epochs": fake.epochs, "model": "mcnn", "seed": fake.seed, "density_sigma": 4.0}
    about = {
        "tamis": "0.1.0",
        "command": "tamis train --task counting",
        "created": "2026-01-02T03:04:05+00:00",
        "config": config | {"score_per": "image", "patch": 128},
        "method": CLIP if fake.pace < 1 else "Uniform()",
        "data": {"train": fake.n, "validation": fake.validation, "class_names": [], "root": "crowd", "noise": None},
        "environment": {"python": "3.11.2", "torch": "2.10.0", "device": "cpu"},
    }
    (folder / "run.json").write_text(json.dumps(about))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    best = min(rows, key=lambda row: (row["validation"] or {}).get("mae") or 0)
    marks = {
        name: {"epoch": row["epoch"], **(row["validation"] or {})} for name, row in (("last", rows[-1]), ("best", best))
    }
    costs = {name: rows[-1][name] for name in ("samples_seen", "steps")} | {"full_samples": fake.epochs * fake.n}
    costs |= {"samples_scored": 0, "seconds_training": 12.0, "seconds_scoring": 0.0, "seconds_evaluation": 3.0}
    if fake.pace < 1:
        costs["scorer"] = {"samples_seen": fake.n, "samples_scored": fake.n, "seconds": 1.5}
    result = {**marks, "costs": costs, "counting": {"ssim": 0.51, "psnr": 21.5} if fake.quality else {}}
    if fake.finished:
        (folder / "result.json").write_text(json.dumps(result))


def _write_predictions(folder: Path, fake: Counted, random) -> None:
    folder.mkdir()
    m = fake.validation
    count = np.zeros(m) if fake.empty else np.random.default_rng(99).integers(0, 150, m).astype(float)
    predicted = count + random.normal(0, fake.error * 1.25, m)
    none = [None] * m
    columns = {
        "index": np.arange(m),
        "key": list(fake.validation_keys or (f"test/{index:05d}.jpg" for index in range(m))),
        "count": count,
        "predicted": predicted,
        **{f"game{level}": np.abs(predicted - count) * (1 + level / 5) for level in (1, 2, 3)},
        **{name: pa.array([0.5] * m if fake.quality else none, pa.float64()) for name in ("ssim", "psnr")},
    }
    pq.write_table(pa.table(columns), folder / "validation.parquet")
    maps = {}
    for index in range(min(m, fake.maps)):
        true = np.zeros((12, 16), np.float32)
        true.flat[random.integers(0, true.size, 5)] = count[index] / 5
        guess = (true * 0.9 + random.random(true.shape) * 0.01).astype(np.float32)
        maps |= {f"true/{index}": true, f"predicted/{index}": guess}
    save_file(maps, folder / "maps.safetensors")

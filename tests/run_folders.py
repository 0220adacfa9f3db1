"""Run folders as a training would leave them, made of random figures that behave like the real ones."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq


@dataclass(frozen=True)
class Fake:
    """What the run was like; `kind` is "plain" (memorises), "sigma" (data parameters) or "oracle" (clean data)."""

    kind: str = "sigma"
    n: int = 2000
    classes: int = 10
    epochs: int = 20
    noise: float = 0.4
    validation: int = 500
    clean_known: bool = True
    finished: bool = True
    hidden: float = 0.0
    seed: int = 0
    parts: int = 1
    class_names: Sequence[str] | None = None
    keys: Sequence[str] | None = None
    nan_epochs: Sequence[int] = ()


def write_run(folder: Path, fake: Fake) -> Path:
    """Write every file of a run folder (checkpoints left out) and return the folder."""
    ledger = folder / "ledger"
    ledger.mkdir(parents=True)
    random = np.random.default_rng(fake.seed)
    clean = random.integers(fake.classes, size=fake.n)
    drawn = random.random(fake.n) < (0 if fake.kind == "oracle" else fake.noise)
    label = np.where(drawn, random.integers(fake.classes, size=fake.n), clean)
    names = list(fake.class_names or (str(number) for number in range(fake.classes)))
    keys = list(fake.keys or (f"train/{names[label[i]]}/img_{i:05d}.png" for i in range(fake.n)))
    known = pa.array(clean, pa.int32()) if fake.clean_known else pa.nulls(fake.n, pa.int32())
    columns = {
        "index": np.arange(fake.n),
        "key": keys,
        "label": pa.array(label, pa.int32()),
        "clean_label": known,
    }
    pq.write_table(pa.table(columns), ledger / "samples.parquet")
    decisions, rows = [], []
    for epoch in range(fake.epochs):
        shown = _write_epoch(ledger, fake, random, epoch, label, clean)
        hidden = np.setdiff1d(np.arange(fake.n), shown)
        decisions.append((hidden, np.full(len(hidden), epoch)))
        rows.append(_metrics(fake, epoch, len(shown), rows, random))
    _write_decisions(ledger, decisions)
    score = random.random(fake.n).astype(np.float32)
    pq.write_table(
        pa.table({"index": np.arange(fake.n), "score": score, "seen": np.full(fake.n, fake.epochs, np.int32)}),
        ledger / "scores.parquet",
    )
    (folder / "run.json").write_text(json.dumps(_about(fake, names, int((label != clean).sum()))))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    if fake.finished:
        (folder / "result.json").write_text(json.dumps(_result(fake, rows)))
    return folder


def _progress(fake: Fake, epoch: int) -> float:
    return (epoch + 1) / fake.epochs


def _write_epoch(ledger: Path, fake: Fake, random, epoch: int, label, clean) -> np.ndarray:
    t = _progress(fake, epoch)
    index = np.flatnonzero(random.random(fake.n) >= (fake.hidden if t < 0.9 else 0))
    index = random.permutation(index)
    wrong = (label != clean)[index]
    memory = {"plain": t**2.5, "sigma": 0.06 * t, "oracle": 0}[fake.kind]
    chance = np.where(wrong, memory, 0.35 + 0.58 * (1 - np.exp(-5 * t)))
    correct = random.random(len(index)) < chance
    other = np.where(
        wrong,
        clean[index],
        (label[index] + 1 + random.integers(max(1, fake.classes - 1), size=len(index))) % fake.classes,
    )
    logits = random.gamma(2, 0.25, len(index))
    loss = np.where(correct, 0.5 * logits * (1.3 - t), 1.6 + 1.2 * t + logits)
    sigma = np.where(wrong, 2.2 * t, -0.5 * t) + random.normal(0, 0.75, len(index)) * t**0.4
    sigma = sigma.clip(-np.log(20), np.log(20))
    has_sigma = fake.kind == "sigma"
    columns = {
        "index": index.astype(np.int64),
        "loss": loss.astype(np.float32),
        "margin": np.where(correct, logits * 4, -logits * 3).astype(np.float32),
        "correct": correct,
        "predicted": pa.array(np.where(correct, label[index], other), pa.int32()),
        "weight": np.ones(len(index), np.float32),
        "log_sigma": pa.array(sigma, pa.float32()) if has_sigma else pa.nulls(len(index), pa.float32()),
    }
    table = pa.table(columns)
    size = -(-len(table) // fake.parts) or 1
    for part in range(fake.parts):
        pq.write_table(table.slice(part * size, size), ledger / f"epoch-{epoch:05d}-{part:03d}.parquet")
    return index


def _write_decisions(ledger: Path, decisions) -> None:
    index, epoch = (np.concatenate(column) for column in zip(*decisions, strict=True))
    if len(index):
        columns = {
            "index": index.astype(np.int64),
            "epoch": pa.array(epoch, pa.int32()),
            "weight": np.zeros(len(index), np.float32),
            "reason": ["InfoBatch(r=0.5): loss under the mean"] * len(index),
        }
        pq.write_table(pa.table(columns), ledger / "decisions.parquet")


def _metrics(fake: Fake, epoch: int, shown: int, rows: list[dict], random) -> dict:
    t = _progress(fake, epoch)
    peak = {"plain": 0.9, "sigma": 0.93, "oracle": 0.955}[fake.kind]
    accuracy = peak * (1 - 0.75 * np.exp(-7 * t)) + random.normal(0, 0.006)
    accuracy -= 0.3 * max(0.0, t - 0.3) ** 1.2 / 0.65 if fake.kind == "plain" else 0
    nan = epoch in fake.nan_epochs
    before = rows[-1] if rows else {"samples_seen": 0, "steps": 0, "seconds": 0.0}
    sigma, classes = None, None
    if fake.kind == "sigma":
        sigma = {"p05": 1 - 0.6 * t, "p50": 1 - 0.35 * t, "p95": 1 + 10 * t, "max": 1 + 19 * t}
        classes = [
            1 + t * (0.15 * (number % 7) - 0.3) + 0.05 * float(np.sin(number + 5 * t)) for number in range(fake.classes)
        ]
    return {
        "epoch": epoch,
        "shown": shown,
        "hidden": fake.n - shown,
        "samples_seen": before["samples_seen"] + shown,
        "steps": before["steps"] + -(-shown // 128),
        "seconds": before["seconds"] + shown * {"plain": 2e-4, "sigma": 2.05e-4, "oracle": 1.3e-4}[fake.kind],
        "lr": 0.1 * (1 - t),
        "train_loss": float("nan") if nan else 0.25 + 1.9 * float(np.exp(-3 * t)),
        "train_accuracy": None if nan else 0.25 + {"plain": 0.68, "sigma": 0.37, "oracle": 0.72}[fake.kind] * t**0.6,
        "validation": {
            "accuracy": float("nan") if nan else float(accuracy),
            "loss": None if nan else float(2.4 * (1 - accuracy) + 0.1),
        }
        if fake.validation
        else None,
        "sigma": sigma,
        "class_sigma": classes,
    }


def _about(fake: Fake, names: list[str], changed: int) -> dict:
    noisy = fake.noise and fake.clean_known
    method = {
        "plain": "Uniform()",
        "sigma": "DataParameters(kind='joint', rate=2.0, clamp=(0.05, 20))",
        "oracle": "Uniform()",
    }
    return {
        "tamis": "0.1.0",
        "command": f"tamis train --data digits --noise symmetric:0.4 --data-parameters joint --epochs {fake.epochs}",
        "created": "2026-01-02T03:04:05+00:00",
        "config": {
            "data": "digits",
            "epochs": fake.epochs,
            "batch_size": 128,
            "lr": 0.1,
            "seed": fake.seed,
            "kind": fake.kind,
            "momentum": 0.9,
        },
        "method": method[fake.kind],
        "data": {
            "train": fake.n,
            "validation": fake.validation,
            "class_names": names,
            "root": "data/digits",
            "noise": {"kind": "symmetric", "ratio": fake.noise, "changed": changed} if noisy else None,
        },
        "environment": {
            "python": "3.11.2",
            "torch": "2.10.0",
            "torchvision": "0.25.0",
            "platform": "Linux x86_64",
            "processor": "2 cores",
            "threads": 1,
            "device": "cpu",
            "commit": "4f2c9d1",
        },
    }


def _result(fake: Fake, rows: list[dict]) -> dict:
    def mark(row: dict) -> dict:
        return {"epoch": row["epoch"], **(row["validation"] or {"accuracy": None, "loss": None})}

    best = max(rows, key=lambda row: (row["validation"] or {}).get("accuracy") or 0)
    seconds = rows[-1]["seconds"]
    costs = {
        "samples_seen": rows[-1]["samples_seen"],
        "steps": rows[-1]["steps"],
        "seconds_training": seconds,
        "seconds_evaluation": seconds * 0.1,
        "seconds_total": seconds * 1.12,
        "full_samples": fake.epochs * fake.n,
    }
    calibration = {"temperature": 1.37, "ece_before": 0.081, "ece_after": 0.021} if fake.validation else None
    return {"last": mark(rows[-1]), "best": mark(best), "calibration": calibration, "costs": costs}

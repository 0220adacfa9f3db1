"""Data parameters of boxes on generated cameras: wrong boxes, occlusion, and what a step costs.

The small detector that ships goes on training on frames of several cameras in the first days, and is judged by the true
boxes of frames of the same cameras on later days. All arms of a seed share the order of the images, the augmentation
and the wrong boxes. Rows that are in the results already are not run again.

- noise: mAP50 after the last and the best epoch, and who finds the wrong boxes: sigma, or the loss of the box. The
  oracle trains on the true boxes.
- occlusion: true boxes; average precision by how much of a box is hidden (Fig. 2), and sigma of each level (Fig. 3).
- overhead: what the rows of so many boxes add to a training step.

    python benchmarks/boxes.py noise --kinds flip shift missing invented --ratios 0.2 0.4
    python benchmarks/boxes.py occlusion --arms plain "data parameters" class joint
    python benchmarks/boxes.py overhead --boxes 1000 1000000 100000000
"""

import argparse
import math
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from record import append, done
from street_frames import written
from tamis.box_temperature import BoxParameters
from tamis.data import BoxedImages
from tamis.data.box_noise import CLEAN, COLUMN, FLIPPED, INVENTED, SHIFTED
from tamis.fit import Fitted, whole_plan
from tamis.methods import PRESETS
from tamis.models import build_detector, image_losses
from tamis.recipes.boxed import made_noisy, open_boxed
from tamis.recipes.config import TrainConfig
from tamis.recipes.data import Data
from tamis.recipes.start import start_of
from tamis.recipes.train import train_on
from tamis.scores import auroc
from tamis.scores.kitti import KittiRules, KittiTruth, kitti_precision
from tamis.tasks.detection import Detection

ARMS: dict[str, dict[str, Any]] = {
    "plain": {},
    "data parameters": {"data_parameters": "instance"},
    "class": {"data_parameters": "class"},
    "joint": {"data_parameters": "joint"},
    "regression": {"data_parameters": "instance", "sigma_regression": True},
    "oracle": {},
}
WRONG = {"flipped": FLIPPED, "shifted": SHIFTED, "invented": INVENTED}
DETECTORS = ("centernet-tiny", "ssdlite320_mobilenet_v3_large")
BATCH, SIZE, PER_IMAGE = 8, (320, 180), 5  # of the overhead: images, pixels, boxes of an image


def arm_of(config: TrainConfig, given: argparse.Namespace, arm: str) -> TrainConfig:
    """The configuration with what an arm adds."""
    return replace(config, **ARMS[arm], instance_rate=rate_of(given, arm))


def rate_of(given: argparse.Namespace, arm: str) -> float | None:
    """The rate of log sigma that was asked for, where an arm has any."""
    return given.rate if ARMS[arm].get("data_parameters") in ("instance", "joint") else None


def trained(train: BoxedImages, validation: BoxedImages, config: TrainConfig) -> tuple[Fitted, Data]:
    """Train one arm, on wrong boxes if the configuration says so."""
    noisy, noise = made_noisy(train, config)
    data = Data(noisy, validation, box_noise=noise)
    with tempfile.TemporaryDirectory() as folder:
        return train_on(data, replace(config, out=Path(folder) / "run")), data


@torch.inference_mode()
def box_losses(model: nn.Module, source: BoxedImages) -> Tensor:
    """The plain loss of each box, by row, as evaluation sees its image: float32 (m,)."""
    found = torch.full((int(source.box_starts[-1]),), math.nan)
    for batch in source.batches(whole_plan(source, 32), epoch=0, seed=0, train=False):
        terms = image_losses(model.eval(), batch.inputs, batch.targets).box
        for index, row in zip(batch.index.tolist(), terms, strict=True):
            first, last = source.box_starts[index : index + 2].tolist()
            found[first:last] = row[: last - first]
    return found


def column(source: BoxedImages, name: str) -> Tensor:
    """A column of the boxes, by row."""
    return torch.from_numpy(np.concatenate([source.columns[name][row] for row in source.rows.tolist()]))


def sigma_of(fitted: Fitted, source: BoxedImages) -> Tensor | None:
    """Sigma of each box, by row."""
    return fitted.temperature.all_sigma(source.box_labels) if isinstance(fitted.temperature, BoxParameters) else None


def figures(fitted: Fitted) -> dict[str, Any]:
    result = fitted.result
    return {
        "last": result["last"]["map50"],
        "best": result["best"]["map50"],
        "best_epoch": result["best"]["epoch"],
        "samples_seen": result["costs"]["samples_seen"],
        "seconds": round(result["costs"]["seconds_training"], 1),
    }


def who_finds(fitted: Fitted, source: BoxedImages) -> dict[str, float]:
    """AUROC of sigma and of the loss for the boxes that are wrong in each way, against those that are right."""
    codes, by = column(source, COLUMN), {"loss": box_losses(fitted.model, source), "sigma": sigma_of(fitted, source)}
    found = {}
    for kind, code in WRONG.items():
        chosen = (codes == CLEAN) | (codes == code)
        if (codes == code).any():
            found |= {
                f"auroc_{name}_{kind}": round(auroc(score[chosen], codes[chosen] == code), 5)
                for name, score in by.items()
                if score is not None
            }
    return found


def noise(given: argparse.Namespace, config: TrainConfig, about: dict[str, Any]) -> None:
    train, validation = _opened(config)
    asked = [(kind, ratio) for kind in given.kinds for ratio in given.ratios]
    for seed in given.seeds:
        for arm in given.arms:
            for kind, ratio in asked if arm != "oracle" else [("none", 0.0)]:
                identity = about | {"kind": kind, "ratio": ratio, "seed": seed, "arm": arm, "rate": rate_of(given, arm)}
                if done("boxes", **identity):
                    continue
                settings = replace(arm_of(config, given, arm), seed=seed, noise=kind, noise_ratio=ratio)
                fitted, data = trained(train, validation, settings)
                counts = {"train": len(data.train), "boxes": int(train.labels.sum())}
                row = identity | counts | figures(fitted)
                if data.box_noise is not None and isinstance(data.train, BoxedImages):
                    row |= {"wrong": data.box_noise.summary(), **who_finds(fitted, data.train)}
                told(row)


def occlusion(given: argparse.Namespace, config: TrainConfig, about: dict[str, Any]) -> None:
    train, validation = _opened(config)
    levels = column(train, "occlusion")
    for seed in given.seeds:
        for arm in given.arms:
            identity = about | {"seed": seed, "arm": arm, "rate": rate_of(given, arm)}
            if done("boxes", **identity):
                continue
            fitted, _ = trained(train, validation, replace(arm_of(config, given, arm), seed=seed))
            row = identity | {"train": len(train), "boxes": len(levels)} | figures(fitted)
            row["classes"] = by_occlusion(fitted.model, validation)
            for number, name in enumerate(("easy", "moderate", "hard")):
                row[name] = statistics.mean(each[number] for each in row["classes"].values())
            sigma = sigma_of(fitted, train)
            if sigma is not None:
                by_level = [sigma[levels == level] for level in range(4)]
                row["sigma"] = [round(float(each.mean()), 5) for each in by_level]
                row["sigma_median"] = [round(float(each.median()), 5) for each in by_level]
                row["boxes_of_level"] = [len(each) for each in by_level]
            told(row)


@torch.inference_mode()
def by_occlusion(model: nn.Module, validation: BoxedImages) -> dict[str, list[float]]:
    """KITTI's AP at 40 recalls of each class at IoU 0.5: easy, moderate, hard by the level of occlusion alone."""
    task = Detection(len(validation.class_names), validation_loss=False)
    batches = validation.batches(whole_plan(validation, 32), epoch=0, seed=0, train=False)
    rows = list(task.per_image(model.eval(), batches))
    hidden = [torch.from_numpy(validation.columns["occlusion"][int(validation.rows[row.index])]) for row in rows]
    truth = [
        KittiTruth(row.true.boxes, row.true.labels, occlusion=each) for row, each in zip(rows, hidden, strict=True)
    ]
    rules = KittiRules.by_occlusion(0.5)
    found = kitti_precision([row.predicted for row in rows], truth, validation.class_names, rules)
    return {name: [round(value, 5) for value in one["r40"]] for name, one in found.items()}


def overhead(given: argparse.Namespace) -> None:
    """What the rows of so many boxes add to a step, beside what the step takes without them."""
    for name in given.detectors:
        torch.manual_seed(0)
        model = build_detector(name, 2, seed=0).to(memory_format=torch.channels_last).train()
        targets = _targets()
        plain = _plain_step(model, targets, given.rounds)
        for boxes in given.boxes:
            identity = {"what": "overhead", "model": name, "boxes": boxes, "rounds": given.rounds}
            if not done("boxes", **identity):
                added = _rows_step(targets, boxes)
                told(identity | {"plain_ms": plain, "share": round(added["rows_ms"] / plain, 6)} | added)


def _targets() -> Tensor:
    corner = torch.rand(BATCH, PER_IMAGE, 2) * (torch.tensor(SIZE) - 60)
    sides = 15 + 45 * torch.rand(BATCH, PER_IMAGE, 2)
    return torch.cat([corner, corner + sides, torch.randint(2, (BATCH, PER_IMAGE, 1)).float()], 2)


def _plain_step(model: nn.Module, targets: Tensor, rounds: int) -> float:
    """Milliseconds of a step of the detector without sigma, the median."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5)
    inputs = torch.rand(BATCH, 3, *SIZE[::-1]).contiguous(memory_format=torch.channels_last)
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        model(inputs, targets).mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        times.append(time.perf_counter() - began)
    return round(1e3 * statistics.median(times), 3)


def _rows_step(targets: Tensor, boxes: int) -> dict[str, float]:
    """Milliseconds that sigma of a batch takes there and back, and its update; the median, and the mean of the first.

    The first steps at a large table find memory that was never touched, which the system then fills with zeros.
    """
    images = max(1, boxes // PER_IMAGE)
    starts = torch.arange(images + 1) * PER_IMAGE
    rows = BoxParameters(starts)
    lazy, times = PRESETS["default"].optimizer(rows, 0.1, BATCH * PER_IMAGE), []
    for _ in range(1000):
        index = torch.randint(images, (BATCH,))
        began = time.perf_counter()
        sigma, background = rows(targets, index)
        (sigma.sum() + background).backward()
        lazy.step()
        lazy.zero_grad()
        times.append(1e3 * (time.perf_counter() - began))
    held = [*rows.parameters(), *(state["momentum"] for state in lazy.state.values()), starts]
    return {
        "rows_ms": round(statistics.median(times), 4),
        "first_ms": round(statistics.mean(times[:50]), 4),
        "bytes_a_row": round(sum(each.nbytes for each in held) / boxes, 2),
    }


def _opened(config: TrainConfig) -> tuple[BoxedImages, BoxedImages]:
    train, validation = open_boxed(config)
    if validation is None:
        raise SystemExit(f"{config.data} must have frames to judge by")
    return train, validation


def told(row: dict[str, Any]) -> None:
    append("boxes", row)
    print(*(f"{key}={value}" for key, value in row.items()), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("noise", "occlusion", "overhead"))
    parser.add_argument("--cameras", type=int, default=8)
    parser.add_argument("--frames", type=int, default=80, help="of each camera, to train on")
    parser.add_argument("--judged", type=int, default=30, help="of each camera, on later days")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--zoom", type=float, default=0.0)
    parser.add_argument("--rate", type=float, help="of log sigma; by default the library's")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=["plain", "data parameters", "oracle"])
    parser.add_argument("--kinds", nargs="+", default=["flip", "shift", "missing", "invented"])
    parser.add_argument("--ratios", type=float, nargs="+", default=[0.2, 0.4])
    parser.add_argument("--boxes", type=int, nargs="+", default=[10**power for power in range(3, 9)])
    parser.add_argument("--detectors", nargs="+", default=DETECTORS)
    parser.add_argument("--rounds", type=int, default=60)
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.what == "overhead":
        overhead(given)
        return
    names = ("what", "cameras", "frames", "judged", "epochs", "lr", "zoom")
    start = start_of("street-student", Path())
    config = TrainConfig(
        data=written(given.cameras, given.frames, given.judged), task="detection", model=start.model,
        weights=start.weights, amp="bf16", evaluate_every=3,
        epochs=given.epochs, lr=given.lr, zoom=given.zoom, threads=1, workers=0,
        channels_last=True, history=False, report=False, checkpoint_seconds=3600.0,
    )  # fmt: skip
    about = {name: getattr(given, name) for name in names} | {"model": config.model}
    (noise if given.what == "noise" else occlusion)(given, config, about)


if __name__ == "__main__":
    main()

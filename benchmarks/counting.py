"""CLIP on counting: standard training, its baselines of equal cost, curriculum and pruning alone, and three readings.

All arms of a seed share the split, the start of the model, the order of the samples and the augmentation. A curriculum
shows fewer samples: "shorter" is standard training with as many sample visits in full passes, "random" shows as many in
every epoch, drawn at random, and "equal samples" means more epochs, until as many samples were seen as in standard
training. Scores come from a copy of the model that was trained as standard training with another seed, or ("own
scorer") from one that is trained for a tenth of the epochs; what that costs is in the rows. Rows that are in the
results already are not run again.

    python benchmarks/counting.py --data crowd --seeds 1 2 3 4 5
    python benchmarks/counting.py --data cells=/path/to/cells --epochs 40 --seeds 1 2 3 4 5
    python benchmarks/counting.py --data pets09=/path/to/pets09_s2l1 --epochs 40 --seeds 1 2 3 4 5
    python benchmarks/counting.py --data crowd --wrong mix --seeds 1 2 3 4 5
"""

import argparse
import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from record import append, done
from tamis.data import CountedImages
from tamis.data.points import open_points
from tamis.data.synthetic import write_crowd
from tamis.moment import seed_of
from tamis.recipes.config import TrainConfig
from tamis.recipes.convert import convert_command
from tamis.recipes.data import Data, load
from tamis.recipes.parts import method_of, settings_of, visits
from tamis.recipes.train import train_on

START = {"pace_start": 0.3}  # of the arms that do not say another
CLIP: dict[str, Any] = {"method": "clip"} | START
CURRICULUM: dict[str, Any] = {"method": "curriculum"} | START
RANDOM: dict[str, Any] = {"method": "random-order"} | START
ALGORITHM1 = CLIP | {"reading": "algorithm1"}
ALGORITHM1_20 = ALGORITHM1 | {"prune": 0.2}
ARMS: dict[str, dict[str, Any]] = {
    "standard": {},
    "shorter": {},
    "random": RANDOM,
    "curriculum": CURRICULUM,
    "prune": {"method": "prune"},
    "clip": CLIP,
    "clip, algorithm1": ALGORITHM1,
    "clip, compounding": CLIP | {"reading": "compounding"},
    "anti-curriculum": {"method": "anti-curriculum"} | START,
    "clip, own scorer": CLIP,
    "clip, balanced": CLIP | {"balance": 5},
    "clip, per head": CLIP | {"score_per": "head"},
    "clip, refreshed": CLIP | {"refresh": 5},
    "random, equal samples": RANDOM,
    "curriculum, equal samples": CURRICULUM,
    "clip, equal samples": CLIP,
    "clip, algorithm1, equal samples": ALGORITHM1,
    "clip, own scorer, equal samples": CLIP,
    "clip, balanced, equal samples": CLIP | {"balance": 5},
    "clip, per head, equal samples": CLIP | {"score_per": "head"},
    "clip, 30 %, equal samples": CLIP | {"prune": 0.3},
    **{f"clip, from {start:g}, equal samples": CLIP | {"pace_start": start} for start in (0.1, 0.6)},
    **{f"clip, all at {share:g}, equal samples": CLIP | {"pace_full": share} for share in (0.3, 0.9)},
    "clip, from 0.1": CLIP | {"pace_start": 0.1},
    "curriculum, from 0.1, equal samples": CURRICULUM | {"pace_start": 0.1},
    "random, from 0.1, equal samples": RANDOM | {"pace_start": 0.1},
    "clip, algorithm1, from 0.1, equal samples": ALGORITHM1 | {"pace_start": 0.1},
    "random, 20 %, equal samples": RANDOM | {"prune": 0.2},
    "clip, algorithm1, 20 %, equal samples": ALGORITHM1_20,
    "clip, algorithm1, 20 %, per head, equal samples": ALGORITHM1_20 | {"score_per": "head"},
}
MAIN = (
    "standard", "shorter", "random", "curriculum", "prune", "clip", "clip, algorithm1", "random, equal samples",
    "curriculum, equal samples", "clip, equal samples", "clip, algorithm1, equal samples", "clip, own scorer",
)  # fmt: skip
WRONG = ("none", "drop", "add", "shuffle", "mix")


def data_of(name: str, path: str, config: TrainConfig) -> Data:
    """The data of a seed: a crowd and a video have fixed parts to train on and to judge by, others are split by it."""
    folder = Path(tempfile.gettempdir()) / f"tamis-benchmark-{name}"
    if name == "crowd" and not path:
        if not folder.is_dir():
            write_crowd(folder, 300, 100)
        config = replace(config, data=folder)
    elif name == "pets09":
        if not folder.is_dir():
            write_video(Path(path), folder)
        config = replace(config, data=folder)
    return load(config)


def write_video(video: Path, folder: Path) -> None:
    """Every fourth frame at half the size with the heads on it: the first half to train on, the second to judge by."""
    with tempfile.TemporaryDirectory() as temporary:
        convert_command(video, Path(temporary) / "frames", at="head", every=4)
        found, _ = open_points(Path(temporary) / "frames")
        draft = Path(temporary) / "halves"
        for number, (name, points) in enumerate(zip(found.names, found.points, strict=True)):
            part = draft / ("train" if 2 * number < len(found.names) else "test")
            (part / "images").mkdir(parents=True, exist_ok=True)
            with Image.open(found.root / name) as image:
                image.reduce(2).save(part / "images" / f"{number:04d}.png")
            with (part / "points.csv").open("a") as table:
                table.write("image,x,y\n" * (table.tell() == 0))
                table.writelines(f"{number:04d}.png,{x / 2},{y / 2}\n" for x, y in points.tolist())
        shutil.move(draft, folder)


def corrupted(train: CountedImages, kind: str, ratio: float, seed: int) -> CountedImages:
    """The same images, some of them with wrong points: half of them dropped, as many added, or all moved.

    The points that are added or moved lie anywhere in the image.
    """
    random = np.random.default_rng(seed_of(seed, "wrong points"))
    points, labels = list(train.points), train.labels.clone()
    for place in random.permutation(len(train))[: round(ratio * len(train))].tolist():
        row = int(train.rows[place])
        own, (width, height) = points[row], train.sizes[row]
        fresh = random.random(own.shape) * (width, height)
        kept = own[random.random(len(own)) < 0.5]
        wrong = {"drop": kept, "add": np.concatenate([own, fresh]), "shuffle": fresh}
        points[row] = wrong[kind if kind != "mix" else ("drop", "add", "shuffle")[random.integers(3)]]
        labels[place] = len(points[row])
    return replace(train, points=tuple(points), labels=labels)


def measure(config: TrainConfig, data: Data) -> dict[str, Any]:
    """Train one arm; the figures of its row, and its course over the samples."""
    fitted = train_on(data, config)
    last, best, costs = fitted.result["last"], fitted.result["best"], fitted.result["costs"]
    scorer = costs.get("scorer") or {"samples_seen": 0, "samples_scored": 0, "seconds": 0.0}
    if config.scorer is not None:  # trained by this script
        spent = json.loads((config.scorer / "result.json").read_text())["costs"]
        scorer["samples_seen"] += spent["samples_seen"]
        scorer["seconds"] += spent["seconds_training"]
    names = ("mae", "rmse", "game1", "game2", "game3", "loss", "count")
    course = [
        [row["samples_seen"], round(row["validation"]["loss"], 6), round(row["validation"]["mae"], 4)]
        for row in fitted.rows
        if row["validation"] is not None
    ]
    return {
        "train": len(data.train),
        "test": len(data.validation),
        **{name: last[name] for name in names},
        **{f"best_{name}": best[name] for name in ("epoch", "mae", "loss")},
        **fitted.result.get("counting", {}),
        "samples_seen": costs["samples_seen"],
        "scorer_samples": scorer["samples_seen"],
        "scored": scorer["samples_scored"] + costs["samples_scored"],
        "seconds": round(costs["seconds_training"], 1),
        "scoring_seconds": round(scorer["seconds"] + costs["seconds_scoring"], 1),
        "course": course,
    }


def pretrained(base: TrainConfig, data: Data, folder: Path) -> Path:
    """A scorer: the same model, trained as long, from another start and in another order."""
    if not (folder / "result.json").is_file():
        train_on(data, replace(base, out=folder, seed=base.seed + 1000, evaluate_every=base.epochs))
    return folder


def run_seed(file: str, base: TrainConfig, data: Data, identity: dict[str, Any], arms: Sequence[str]) -> None:
    """All arms of one seed that are not in the results yet."""
    with tempfile.TemporaryDirectory() as folder:
        for arm in arms:
            if done(file, **identity, arm=arm):
                continue
            config = replace(base, out=Path(folder) / arm.replace(", ", "-").replace(" ", "-"), **ARMS[arm])
            if arm == "shorter":
                clip = replace(base, **CLIP)
                shown = visits(settings_of(clip), method_of(clip, data), len(data.train)) or 0
                config = replace(config, epochs=max(1, round(shown / len(data.train))))
            if arm.endswith("equal samples"):
                config = replace(config, stretch=True)
            if config.method in ("curriculum", "prune", "clip", "anti-curriculum") and "own scorer" not in arm:
                config = replace(config, scorer=pretrained(base, data, Path(folder) / "scorer"))
            row = identity | {"arm": arm} | measure(config, data)
            append(file, row)
            shown = ("data", "wrong", "seed", "arm", "mae", "best_mae", "samples_seen", "seconds", "scoring_seconds")
            print(*(f"{name}={row[name]}" for name in shown), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="crowd, or a name and a path: cells=/path")
    parser.add_argument("--model", default="small_counter:Stack")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--lr", type=float, default=1e-2)
    parser.add_argument("--schedule", default="triangle")
    parser.add_argument("--patch", type=int, default=128)
    parser.add_argument("--density-sigma", type=float, default=4.0)
    parser.add_argument("--evaluate-every", type=int, default=2)
    parser.add_argument("--hold-out", type=float, default=0.5)
    parser.add_argument("--arms", nargs="+", default=list(MAIN), choices=list(ARMS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--wrong", nargs="+", default=["none"], choices=WRONG)
    parser.add_argument("--ratio", type=float, default=0.2, help="share of the images with wrong points")
    parser.add_argument("--amp", default="none")
    parser.add_argument("--name", default="counting", help="file of results")
    given = parser.parse_args()
    torch.set_num_threads(1)
    name, _, path = given.data.partition("=")
    for seed in given.seeds:
        for wrong in given.wrong:
            base = TrainConfig(
                data=Path(path or name), task="counting", model=given.model, epochs=given.epochs, lr=given.lr,
                batch_size=given.batch_size, schedule=given.schedule, patch=given.patch, density_scale=100.0,
                density_sigma=given.density_sigma, hold_out=given.hold_out, threads=1, workers=0, seed=seed,
                history=False, report=False, evaluate_every=given.evaluate_every, channels_last=True, amp=given.amp,
            )  # fmt: skip
            data = data_of(name, path, base)
            if wrong != "none" and isinstance(data.train, CountedImages):
                data = replace(data, train=corrupted(data.train, wrong, given.ratio, seed))
            settings = ("model", "epochs", "batch_size", "lr", "schedule", "patch", "density_sigma")
            identity = {"data": name, "wrong": wrong, "seed": seed} | {each: getattr(base, each) for each in settings}
            run_seed(given.name, base, data, identity, given.arms)


if __name__ == "__main__":
    main()

"""The demo's second chapter: a counter on a generated crowd, standard training against CLIP in the same order."""

from dataclasses import replace
from pathlib import Path

from rich.console import Console

from tamis.data.synthetic import write_crowd
from tamis.recipes.config import TrainConfig
from tamis.recipes.data import load
from tamis.recipes.train import train_on
from tamis.report import write_report

TRAIN, TEST, SIZE, EPOCHS = 120, 50, 128, 15


def counting_chapter(out: Path, console: Console, *, threads: int, seed: int) -> None:
    """Draw a crowd, count it in two ways, and write a page that compares them."""
    crowd = out / f"crowd-seed{seed}"
    if not crowd.is_dir():
        write_crowd(crowd, TRAIN, TEST, seed, SIZE)
    base = TrainConfig(
        data=crowd, task="counting", model="mcnn-light", epochs=EPOCHS, lr=1e-2, schedule="triangle",
        density_scale=100.0, density_sigma=2.0, workers=0, threads=threads, seed=seed,
    )  # fmt: skip
    data = load(base)
    console.print(
        f"{len(data.train)} pictures of a generated crowd to train on, {len(data.validation)} to judge by, "
        f"{data.validation.labels.float().mean():.0f} heads on each"
    )
    arms = {
        "standard training": replace(base, out=out / "counting-standard"),
        "CLIP (easy first, 5 % out)": replace(base, out=out / "counting-clip", method="clip"),
    }
    for name, config in arms.items():
        result = train_on(data, config, console, name=name, lines=False).result
        costs = result["costs"]
        scorer = costs.get("scorer") or {"seconds": 0.0}
        console.print(
            f"{name:<27} MAE {result['last']['mae']:5.1f} after {costs['samples_seen']:,} sample visits; "
            f"{costs['seconds_training'] + scorer['seconds']:.0f} s, scores included"
        )
    folders = [config.folder for config in arms.values()]
    page = write_report(
        folders,
        out / "counting.html",
        names=list(arms),
        thumbnails=data.train.thumbnail,
        validation_thumbnails=data.validation.thumbnail,
    )
    console.print(f"report: {page}")

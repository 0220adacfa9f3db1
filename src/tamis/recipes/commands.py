"""The commands that print: train and report."""

import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from tamis.data import BoxedImages
from tamis.recipes.box_result import write_box_suspects
from tamis.recipes.config import TrainConfig
from tamis.recipes.data import Data, load
from tamis.recipes.others import follows, others
from tamis.recipes.parts import settings_of
from tamis.recipes.suspect_list import write_suspects
from tamis.recipes.train import load_for, train_on
from tamis.recipes.watching import judged, plain_console
from tamis.report import write_report
from tamis.report.cull_page import write_cull_page
from tamis.report.cull_reading import is_culled


def train_command(config: TrainConfig) -> None:
    """Train, then say what came of it and where it lies."""
    settings_of(config).resolved_device()  # a wrong optimiser or device is told before the data is opened
    with others(config.processes, sys.argv[1:]) as join:
        console = plain_console(quiet=follows())
        with console.status("opening the data"):
            data = load_for(config)
        join()
        fitted = train_on(data, config, console)
    if not follows():
        console.print(conclusion(fitted.result))
        if data.quarantined:
            listed = config.folder / "quarantine.jsonl"
            console.print(f"images that could not be read and were left out: {len(data.quarantined)}, see {listed}")
        finish(config, data, console)


def finish(config: TrainConfig, data: Data, console: Console) -> None:
    """Write the list of suspects and the report, as far as the configuration wants them."""
    if not config.history:
        console.print(f"run folder: {config.folder}")
        return
    count = max(100, len(data.train) // 10)
    classified = config.task == "classification"
    classes = list(data.train.class_names) if classified else []
    boxed = config.task == "detection"
    if isinstance(data.train, BoxedImages) and config.data_parameters in ("instance", "joint"):
        listed = write_box_suspects(config.folder, data.train, count)
    else:
        listed = write_suspects(config.folder, min(count, len(data.train)), classes, boxed=boxed)
    what = "labels" if classified else "annotations"
    console.print(f"{what} to look at: {listed}")
    if config.report:
        page = write_report(config.folder, **_pictures(data))
        console.print(f"report: {page}")


def conclusion(result: dict[str, Any]) -> str:
    """Last and best epoch, cost and calibration in a few lines."""
    lines = []
    for name in ("last", "best"):
        row = result[name]
        if row and "loss" in row:
            lines.append(f"{name} epoch ({row['epoch'] + 1}): {judged(row)}, loss {row['loss']:.4g}")
    if result.get("counting") == {}:
        lines.append("no SSIM and PSNR: install 'tamis[counting]', or the maps are too small or empty")
    lines += _difficulties((result.get("detection") or {}).get("kitti"))
    lines.append(_costs(result["costs"]))
    if result.get("calibration"):
        figures = result["calibration"]
        lines.append(
            f"calibration: error {100 * figures['ece_before']:.1f} % -> {100 * figures['ece_after']:.1f} % "
            f"with temperature {figures['temperature']:.2f}"
        )
    return "\n".join(lines)


def _difficulties(kitti: dict[str, Any] | None) -> list[str]:
    """KITTI's average precision of the classes that have boxes, a line each."""
    classes = {} if kitti is None else kitti["classes"]
    told = []
    for name, found in classes.items():
        figures = zip(("easy", "moderate", "hard"), found["r40"], strict=True)
        parts = [f"{level} {100 * value:.1f} %" for level, value in figures if not math.isnan(value)]
        told += [f"AP of {name} at 40 recalls: {', '.join(parts)}"] * bool(parts)
    return told


def _costs(costs: dict[str, Any]) -> str:
    """What a training cost, with the scores that it needed."""
    share = costs["samples_seen"] / costs["full_samples"]
    parts = [
        f"cost: {costs['samples_seen']:,} sample visits ({100 * share:.0f} % of full training)",
        f"{costs['seconds_training']:.0f} s training, {costs['seconds_evaluation']:.0f} s judging",
    ]
    scorer = costs.get("scorer") or {"samples_seen": 0, "samples_scored": 0, "seconds": 0.0}
    scored = scorer["samples_scored"] + costs.get("samples_scored", 0)
    if scorer["samples_seen"] or scored:
        seconds = scorer["seconds"] + costs.get("seconds_scoring", 0.0)
        parts.append(f"scores: {scorer['samples_seen']:,} visits, {scored:,} scored, {seconds:.0f} s")
    return ", ".join(parts)


def report_command(runs: Sequence[Path], out: Path | None) -> None:
    """Write a page from run folders; thumbnails are taken from the data if it is still there, as it was."""
    console = plain_console()
    if len(runs) == 1 and is_culled(runs[0]):
        console.print(f"report: {write_cull_page(runs[0], out=out)}")
        return
    # The page shows the suspects of the first run that has a sigma for each sample.
    configs = {run: TrainConfig.read(run) for run in runs}
    labelled = {run: config for run, config in configs.items() if config.task == "classification"}
    instance = [run for run, config in labelled.items() if config.data_parameters in ("instance", "joint")]
    with console.status("reading the runs"):
        page = write_report(list(runs), out, **pictures_of([*instance, *runs][0]))
    console.print(f"report: {page}")


def pictures_of(run: Path) -> dict[str, Any]:
    """Pictures for the report of a run, if its images are still there."""
    try:
        return _pictures(load(TrainConfig.read(run), run))
    except (ValueError, OSError) as error:
        print(f"no pictures in the report: {error}", flush=True)
        return {}


def _pictures(data: Data) -> dict[str, Any]:
    """What `write_report` shows of the training and of the validation images, and the boxes of the training images."""
    train = data.train
    boxes = (lambda index: train.boxes_of(index)[0]) if isinstance(train, BoxedImages) else None
    return {"thumbnails": train.thumbnail, "validation_thumbnails": data.validation.thumbnail, "boxes": boxes}

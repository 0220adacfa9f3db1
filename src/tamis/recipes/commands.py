"""The commands that print: train, report, explain."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from tamis.recipes.config import TrainConfig
from tamis.recipes.score import config_of
from tamis.recipes.suspect_list import write_suspects
from tamis.recipes.train import Data, load, train_on
from tamis.report import explain_sample, write_report


def train_command(config: TrainConfig) -> None:
    """Train, then say what came of it and where it lies."""
    console = Console()
    with console.status("opening the data"):
        data = load(config)
    fitted = train_on(data, config, console)
    console.print(conclusion(fitted.result), highlight=False)
    finish(config, data, console)


def finish(config: TrainConfig, data: Data, console: Console) -> None:
    """Write the list of suspects and the report, as far as the configuration wants them."""
    if not config.history:
        console.print(f"run folder: {config.folder}", highlight=False)
        return
    count = max(100, len(data.train) // 10)
    listed = write_suspects(config.folder, min(count, len(data.train)), list(data.train.class_names))
    console.print(f"labels to look at: {listed}", highlight=False)
    if config.report:
        page = write_report(config.folder, thumbnails=data.train.thumbnail)
        console.print(f"report: {page}", highlight=False)


def conclusion(result: dict[str, Any]) -> str:
    """Last and best epoch, cost and calibration in a few lines."""
    lines = []
    for name in ("last", "best"):
        row = result[name]
        if row and "accuracy" in row:
            lines.append(f"{name} epoch ({row['epoch'] + 1}): {100 * row['accuracy']:.2f} %, loss {row['loss']:.3f}")
    costs = result["costs"]
    share = costs["samples_seen"] / costs["full_samples"]
    lines.append(
        f"cost: {costs['samples_seen']:,} sample visits ({100 * share:.0f} % of full training), "
        f"{costs['seconds_training']:.0f} s training, {costs['seconds_evaluation']:.0f} s judging"
    )
    if result.get("calibration"):
        figures = result["calibration"]
        lines.append(
            f"calibration: error {100 * figures['ece_before']:.1f} % -> {100 * figures['ece_after']:.1f} % "
            f"with temperature {figures['temperature']:.2f}"
        )
    return "\n".join(lines)


def report_command(runs: Sequence[Path], out: Path | None) -> None:
    """Write a page from run folders; thumbnails are taken from the data if it is still there."""
    page = write_report(list(runs), out, thumbnails=_thumbnails(runs[0]))
    Console().print(f"report: {page}", highlight=False)


def _thumbnails(run: Path) -> Any:
    try:
        return load(config_of(run)).train.thumbnail
    except (ValueError, FileNotFoundError) as error:
        Console(stderr=True).print(f"no pictures in the report: {error}", highlight=False)
        return None


def explain_command(run: Path, sample: str) -> None:
    """Print the story of a sample."""
    Console().print(
        str(explain_sample(run, int(sample) if sample.isdigit() else sample)), highlight=False, markup=False
    )

"""`tamis explain`: the story of one sample, as a table for people. Loads no torch."""

import json
from collections.abc import Sequence
from pathlib import Path

from tamis.report import EpochStory, SampleStory, explain_sample


def explain_command(run: Path, sample: str) -> None:
    """Print the story of a sample."""
    story = explain_sample(run, sample)
    about = json.loads((run / "run.json").read_text(encoding="utf-8"))
    print("\n".join(told(story, about["data"]["class_names"])))


def told(story: SampleStory, class_names: Sequence[str]) -> list[str]:
    """The story in lines: what the sample is, how suspicious, and a line for each epoch."""
    label = f"label {class_names[story.label]}"
    if story.clean_label is not None and story.clean_label != story.label:
        label += f", which is wrong: it is {class_names[story.clean_label]}"
    lines = [f"{story.key} (sample {story.index})", label]
    if story.score is None:
        lines.append("never shown")
    else:
        place = f"place {story.rank:,} of {story.count:,}, the first looks most wrong"
        lines.append(f"{story.measure} {story.score:.3g}: {place}")
    lines.append(f"{'epoch':>5} {'loss':>8} {'margin':>8} {'weight':>7} {'sigma':>8}  predicted")
    return [*lines, *(_line(epoch, class_names) for epoch in story.epochs)]


def _line(epoch: EpochStory, class_names: Sequence[str]) -> str:
    if epoch.loss is None:
        return f"{epoch.epoch + 1:5d}  hidden: {epoch.hidden or 'not shown'}"
    figures = [_figure(epoch.loss, 8), _figure(epoch.margin, 8), _figure(epoch.weight, 7), _figure(epoch.sigma, 8)]
    predicted = "" if epoch.predicted is None else class_names[epoch.predicted]
    return f"{epoch.epoch + 1:5d} {' '.join(figures)}  {predicted}" + ("" if epoch.correct else " (not its label)")


def _figure(value: float | None, width: int) -> str:
    return f"{'-' if value is None else f'{value:.3g}':>{width}}"

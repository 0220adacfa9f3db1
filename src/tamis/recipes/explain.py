"""`tamis explain`: the story of one sample, as a table for people. Loads no torch."""

import json
from collections.abc import Sequence
from pathlib import Path

from tamis.report import EpochStory, SampleStory, explain_sample

_CLASSES = f"{'epoch':>5} {'loss':>8} {'margin':>8} {'weight':>7} {'sigma':>8}  predicted"
_COUNTS = f"{'epoch':>5} {'loss':>8} {'score':>8} {'weight':>8} {'count':>8} {'counted':>8}"
_BOXES = f"{'epoch':>5} {'loss':>8} {'score':>8} {'weight':>8} {'boxes':>8}"


def explain_command(run: Path, sample: str) -> None:
    """Print the story of a sample."""
    story = explain_sample(run, sample)
    about = json.loads((run / "run.json").read_text(encoding="utf-8"))
    boxed = about["config"].get("task") == "detection"
    print("\n".join(told(story, () if boxed else about["data"]["class_names"], boxed=boxed)))


def told(story: SampleStory, class_names: Sequence[str], *, boxed: bool = False) -> list[str]:
    """The story in lines: what the sample is, how suspicious, and a line for each epoch.

    Args:
        story: of the sample.
        class_names: by label; empty where labels are counts.
        boxed: they count boxes, not points.
    """
    label = f"label {class_names[story.label]}" if class_names else f"{story.label:,} {'boxes' if boxed else 'points'}"
    if story.clean_label is not None and story.clean_label != story.label:
        label += f", which is wrong: it is {class_names[story.clean_label]}"
    lines = [f"{story.key} (sample {story.index})", label]
    if story.score is None:
        lines.append("never shown")
    else:
        place = f"place {story.rank:,} of {story.count:,}, the first looks most wrong"
        lines.append(f"{story.measure} {story.score:.3g}: {place}")
    lines.append(_CLASSES if class_names else _BOXES if boxed else _COUNTS)
    since, before = 0, None
    for epoch in story.epochs:
        since = since if epoch.hidden == before else epoch.epoch + 1
        before = epoch.hidden
        text = _hidden(epoch, since) if epoch.loss is None else _figures(epoch, class_names, boxed)
        lines.append(f"{epoch.epoch + 1:5d} {text}")
    return lines


def _hidden(epoch: EpochStory, since: int) -> str:
    """Why a sample was not shown, from `since` on; what waits and what is pruned are the two parts of `rules.Clip`."""
    kind, _, rule = (epoch.hidden or "not shown").partition(": ")
    place = "" if epoch.rank is None else f"rank {epoch.rank:,} of {epoch.of:,}"
    if kind == "waits":
        return f" waits: {place}, the pace shows {epoch.paced:,} ({rule})" if place else f" waits: {rule}"
    place = f", {place} by score" if place else ""
    if kind == "pruned":
        return f" hidden: pruned at epoch {since}{place} ({rule})"
    return f" hidden: {epoch.hidden or 'not shown'}{place}"


def _figures(epoch: EpochStory, class_names: Sequence[str], boxed: bool) -> str:
    if not class_names:
        counted = (epoch.boxes,) if boxed else (epoch.count, epoch.predicted_count)
        return " ".join(_figure(value, 8) for value in (epoch.loss, epoch.score, epoch.weight, *counted))
    figures = [_figure(epoch.loss, 8), _figure(epoch.margin, 8), _figure(epoch.weight, 7), _figure(epoch.sigma, 8)]
    predicted = "" if epoch.predicted is None else class_names[epoch.predicted]
    return f"{' '.join(figures)}  {predicted}" + (" (not its label)" if epoch.correct is False else "")


def _figure(value: float | None, width: int) -> str:
    return f"{'-' if value is None else f'{value:.3g}':>{width}}"

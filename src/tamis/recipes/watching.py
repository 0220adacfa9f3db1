"""Progress for people: a bar with speed and time left, a line for each epoch, TensorBoard where it is installed."""

import importlib.util
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from tamis.fit import Progress as Now


def plain_console(*, quiet: bool = False) -> Console:
    """A console that prints texts as they are: names are no markup, and lines are not broken at any width."""
    return Console(highlight=False, markup=False, emoji=False, soft_wrap=True, quiet=quiet)


@contextmanager
def progress_bar(name: str, epochs: int, console: Console) -> Iterator[Callable[[Now], None]]:
    """Show a training on a terminal; yields what `fit` calls with its progress."""
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[pace]}"))
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        task = bars.add_task(f"{name} 1/{epochs}", total=epochs, pace="")

        def watch(now: Now) -> None:
            done = now.epoch + now.done / max(now.shown, 1)
            title = f"{name} {min(now.epoch + 1, epochs)}/{epochs}"
            bars.update(task, completed=done, description=title, pace=pace(now.samples_seen, now.seconds, done, epochs))

        yield watch


def pace(samples: int, seconds: float, done: float, epochs: int) -> str:
    """Images a second so far, and the time that is left at the same pace a (part of an) epoch."""
    left = timedelta(seconds=round(seconds * (epochs - done) / max(done, 1e-9)))
    return f"{samples / max(seconds, 1e-9):,.0f} images/s, {left} left"


def epoch_line(row: dict[str, Any], epochs: int) -> str:
    """An epoch in one line."""
    done = row["epoch"] + 1
    parts = [f"epoch {done:3d}/{epochs}", f"loss {row['train_loss']:.4f}"]
    if row["validation"] is not None:
        parts.append(f"validation {judged(row['validation'])}")
    if row["sigma"] is not None:
        parts.append("sigma " + " / ".join(f"{row['sigma'][name]:.3g}" for name in ("p05", "p50", "p95")))
    if row["hidden"]:
        parts.append(f"hidden {row['hidden']:,}")
    return " · ".join([*parts, f"{row['seconds']:.0f} s", pace(row["samples_seen"], row["seconds"], done, epochs)])


def judged(figures: dict[str, float]) -> str:
    """The figures of an evaluation that decide, in a few words."""
    if "mae" in figures:
        return f"MAE {figures['mae']:.2f} of {figures['count']:.1f}, RMSE {figures['rmse']:.2f}"
    if "map50" in figures:
        return f"mAP50 {100 * figures['map50']:.2f} %"
    return f"{100 * figures['accuracy']:.2f} %"


# By mid-training the sigma of wrong labels has passed this, unless the rate is too low for the length (docs/log.md).
_RISEN = 5.0
SLOW_SIGMA = (
    f"no sigma has reached {_RISEN:g} by half of the training: either hardly a label is wrong, or the instance rate is "
    "too low for so few epochs; try twice the --instance-rate"
)


def slow_sigma(row: dict[str, Any], epochs: int) -> bool:
    """Whether this is the middle of a training in which no sigma has risen yet."""
    return row["epoch"] + 1 == (epochs + 1) // 2 and row["sigma"] is not None and row["sigma"]["max"] < _RISEN


class TensorBoard:
    """Scalars of each epoch for TensorBoard; does nothing where it is not installed."""

    def __init__(self, folder: Path | None) -> None:
        """Write event files into `folder`, if there is one."""
        self._writer = None
        if folder is not None and importlib.util.find_spec("tensorboard") is not None:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(folder)

    def add(self, row: dict[str, Any]) -> None:
        """Write the figures of an epoch."""
        if self._writer is None:
            return
        figures = {
            "train/loss": row["train_loss"],
            "train/accuracy": row["train_accuracy"],
            "curriculum/shown": row["shown"],
            "curriculum/hidden": row["hidden"],
            **{f"validation/{name}": value for name, value in (row["validation"] or {}).items()},
            **{f"data_parameters/sigma_{name}": value for name, value in (row["sigma"] or {}).items()},
        }
        for name, value in figures.items():
            if value is None:
                continue
            self._writer.add_scalar(name, value, row["epoch"], walltime=time.time())

    def close(self) -> None:
        """Flush."""
        if self._writer is not None:
            self._writer.close()

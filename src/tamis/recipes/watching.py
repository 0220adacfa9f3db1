"""Progress for people: a bar with speed and time left, a line for each epoch, TensorBoard where it is installed."""

import importlib.util
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from tamis.fit import Progress as Now

_QUIET = 2.0  # seconds between two updates where the output is not a terminal


@contextmanager
def progress_bar(name: str, total: int, epochs: int, console: Console) -> Iterator[Callable[[Now], None]]:
    """Show a training of about `total` sample visits; yields what `fit` calls with its progress."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %  {task.fields[speed]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, refresh_per_second=4) as bars:
        task = bars.add_task(name, total=total, speed="")
        first: list[tuple[int, float]] = []
        ended: list[int] = [0, 0]

        def watch(now: Now) -> None:
            first.append((now.samples_seen, now.seconds)) if not first else None
            speed = now.samples_seen / max(now.seconds, 1e-9)
            # What an epoch showed less than everything is work that will not come: the bar is about all visits.
            if now.row is not None:
                ended[0] += now.row["hidden"]
                ended[1] += 1
            bars.update(
                task,
                completed=now.samples_seen + ended[0],
                description=f"{name} {now.epoch + 1}/{epochs}",
                speed=f"{speed:,.0f} images/s",
            )

        yield watch


def epoch_line(row: dict[str, Any], epochs: int) -> str:
    """An epoch in one line."""
    parts = [f"epoch {row['epoch'] + 1:3d}/{epochs}", f"loss {row['train_loss']:.4f}"]
    if row["validation"] is not None:
        parts.append(f"validation {100 * row['validation']['accuracy']:.2f} %")
    if row["sigma"] is not None:
        parts.append(f"sigma {row['sigma']['p05']:.2f} / {row['sigma']['p50']:.2f} / {row['sigma']['p95']:.2f}")
    if row["hidden"]:
        parts.append(f"hidden {row['hidden']:,}")
    return " · ".join([*parts, f"{row['seconds']:.0f} s"])


class TensorBoard:
    """Scalars of each epoch for TensorBoard; does nothing where it is not installed."""

    def __init__(self, folder: Path) -> None:
        """Write event files into `folder`."""
        self._writer = None
        if importlib.util.find_spec("tensorboard") is not None:
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
            self._writer.add_scalar(name, value, row["epoch"], walltime=time.time())

    def close(self) -> None:
        """Flush."""
        if self._writer is not None:
            self._writer.close()

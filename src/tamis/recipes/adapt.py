"""Adapt: cull new footage, find the size, train the student on it, judge, and say what it cost."""

from typing import Any

import torch
from rich.console import Console

from tamis.data.frames import open_frames
from tamis.lock import FolderLock
from tamis.recipes.adapt_config import AdaptConfig
from tamis.recipes.adapt_result import write_result
from tamis.recipes.adapt_sessions import session_of
from tamis.recipes.adapt_steps import Steps
from tamis.recipes.watching import plain_console


def adapt(config: AdaptConfig, console: Console | None = None) -> dict[str, Any]:
    """`tamis adapt`: everything from a configuration; the same one again goes on where it stopped.

    Returns:
        What result.json of the session says.

    Raises:
        ValueError: sources, detectors or settings that do not fit.
        Stopped: a signal came; everything is saved.
    """
    console = console or Console(quiet=True)
    if config.threads:
        torch.set_num_threads(config.threads)
    frames = open_frames(config.sources, fps=config.fps, every=config.every)
    config.folder.mkdir(parents=True, exist_ok=True)
    lock = FolderLock(config.folder)
    try:
        session = session_of(config.folder, frames.identity())
        if session.result:
            console.print(f"{session.folder} is already at its end")
            return session.result
        if session.earlier:
            console.print(f"{session.folder.name}: goes on with the student of {session.earlier[-1].folder.name}")
        return _run(Steps(config, console, frames, session))
    finally:
        lock.release()


def _run(work: Steps) -> dict[str, Any]:
    """All steps, each from wherever an earlier process has left off."""
    folder, strategy = work.session.folder, work.config.strategy
    culled = work.cull(folder, strategy)
    jury = work.jury()
    untrained = work.before(jury)
    resolution = work.resolution(culled)
    size = None if resolution is None else (resolution.size.width, resolution.size.height)
    trained = work.trained(folder, strategy, culled, jury, size)
    others = {name: work.compared(name, jury, size) for name in work.config.compare}
    return write_result(work, jury, untrained, resolution, trained, others)


def adapt_command(config: AdaptConfig) -> None:
    """Adapt, and print what came of it."""
    console = plain_console()
    result = adapt(config, console)
    judged, times = result["judged"], result["factor"]["seconds"]
    console.print(
        f"mAP50 {100 * judged['untrained']:.1f} % -> {100 * judged['trained']:.1f} % on {judged['where']}; labelling "
        f"and training on everything would take {times:.0f} times as long (reckoned)"
    )
    console.print(f"session: {config.folder}")

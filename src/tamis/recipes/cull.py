"""Cull: gate -> student on what is new -> teacher on what is hard -> a small data set, and what it cost."""

import json
import shlex
import sys
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import torch
from rich.console import Console

import tamis
from tamis.culling.journal import Journal
from tamis.culling.protocols import Frames
from tamis.data.frames import open_frames
from tamis.detections import Detector
from tamis.fit.settings import device_of
from tamis.recipes.cull_choice import kept_of, scores_of, survivors_of
from tamis.recipes.cull_config import CULL_FREE, CullConfig
from tamis.recipes.cull_detectors import Detectors, digest_of_weights, open_detectors
from tamis.recipes.cull_result import settings_of_output, write_page, write_result
from tamis.recipes.cull_stages import Stages
from tamis.recipes.environment import environment
from tamis.recipes.stopping import stopping
from tamis.recipes.watching import plain_console


def cull(
    config: CullConfig,
    console: Console | None = None,
    *,
    frames: Frames | None = None,
    student: Detector | None = None,
    teacher: Detector | None = None,
) -> dict[str, Any]:
    """`tamis cull`: everything from a configuration; the same one again goes on where it stopped.

    Args:
        config: all settings.
        console: where progress is shown; None shows nothing.
        frames: in the place of those that the configuration names.
        student: likewise.
        teacher: likewise.

    Returns:
        What result.json says.

    Raises:
        ValueError: sources, detectors or settings that do not fit.
        FileExistsError: the folder holds something else, or was begun from other sources.
        Stopped: a signal came; everything is journaled.
    """
    console = console or Console(quiet=True)
    if config.threads:
        torch.set_num_threads(config.threads)
    frames = open_frames(config.sources, fps=config.fps, every=config.every) if frames is None else frames
    detectors = open_detectors(config, student, teacher)
    about = describe(config, frames, detectors)
    with closing(Journal(config.folder, about, free=CULL_FREE)) as journal, stopping() as stop:
        work = Stages(config, console, frames, detectors, journal, stop)
        page = config.folder / "report.html"
        if (result := _result_before(config)) is not None:
            console.print(f"{config.folder} is already culled to its end")
        else:
            for note in journal.notes:
                console.print(note)
            page.unlink(missing_ok=True)
            result = _run(work)
        if config.report and not page.is_file():
            write_page(work)
        return result


def _run(work: Stages) -> dict[str, Any]:
    """All stages, each from wherever an earlier process has left off."""
    work.scan()
    work.probe()
    scores = scores_of(work.records, work.config, work.level)
    survivors = survivors_of(work.records, scores, work.config, len(work.probed))
    work.judge(survivors)
    return write_result(work, scores, kept_of(survivors, work.judged, work.records, work.config))


def _result_before(config: CullConfig) -> dict[str, Any] | None:
    """The result of a cull that came to its end with the same settings."""
    path = config.folder / "result.json"
    try:
        found = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    except ValueError:
        return None
    return found if found.get("written") == settings_of_output(config) else None


def describe(config: CullConfig, frames: Frames, detectors: Detectors) -> dict[str, Any]:
    """What run.json says of a cull."""
    return {
        "tamis": tamis.__version__,
        "command": shlex.join(["tamis", *sys.argv[1:]]),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "config": config.plain(),
        "class_names": list(detectors.class_names),
        "detectors": {"student": config.student, "teacher": config.teacher},
        "sources": _told(frames)
        | {
            f"weights of the {who}": digest_of_weights(getattr(config, who))
            for who in ("student", "teacher")
            if getattr(detectors, who) is not None
        },
        "environment": environment(device_of(config.device)),
    }


def _told(frames: Frames) -> dict[str, Any]:
    """What the frames come from: a name for each source, so that a message can say which one has changed."""
    identity = frames.identity()
    return (
        identity
        | {"sources": len(identity["sources"])}
        | {f"source {place} ({each.get('name')})": each for place, each in enumerate(identity["sources"])}
    )


def cull_command(config: CullConfig) -> None:
    """Cull, then say what came of it and where it lies."""
    console = plain_console()
    result = cull(config, console)
    counts = result["counts"]
    stages = [f"{counts['frames']:,} frames"]
    if config.gated:
        stages.append(f"{counts['passed']:,} with something new")
    stages += [f"{counts['judged']:,} shown to the teacher", f"{counts['kept']:,} kept with {counts['boxes']:,} boxes"]
    console.print(" -> ".join(stages))
    if counts["lost"]:
        console.print(f"about {counts['lost']:,} frames could not be decoded; result.json says where")
    for each in result["lost"]:
        if each["where"] == "the whole video":
            console.print(f"left out: {each['source']} ({each['reason']})")
    spent = ", ".join(f"{cost['stage']} {cost['seconds']:.1f} s" for cost in result["costs"])
    console.print(f"cost: {spent}")
    if result["factor"]["seconds"] is not None and config.train_epochs is not None:
        times = result["factor"]["seconds"]
        console.print(f"labelling and training on everything would take {times:.0f} times as long (reckoned)")
    if result["resolution"] is not None:
        found, place = result["resolution"], result["resolution"]["chosen"]
        console.print(f"size: {found['widths'][place]} x {found['heights'][place]} is enough")
    console.print(f"data set: {config.folder}")
    if config.report:
        console.print(f"report: {config.folder / 'report.html'}")

"""One page about the curricula of several runs of the same training: are they the same ones every time?"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tamis.files import replace_file
from tamis.report.class_curricula import Curricula, read_curricula
from tamis.report.class_curricula_charts import curricula_charts, track_colours
from tamis.report.class_curricula_order import by_chance
from tamis.report.tables import DASH, figure
from tamis.report.templates import rendered
from tamis.report.thumbnails import Thumbnails, thumbnail_uri

ENDS = 10  # classes at either end of the table, where there are more than it can show
CLASSES = 40


def write_curricula(
    runs: Sequence[Path], out: Path | None = None, *, keys: Sequence[str] = (), thumbnails: Thumbnails | None = None
) -> Path:
    """Write one HTML page about the curricula that runs of several seeds learned (Fig. 1 of Saxena et al. 2019).

    Args:
        runs: run folders; `read_curricula` says which fit together.
        out: where to write; default `curricula.html` in the first run folder.
        keys: samples to follow; by default two of one class, those whose sigmas end farthest apart.
        thumbnails: from an index in the first run's training data to a picture.

    Returns:
        The path written.

    Raises:
        ValueError: runs that do not fit together, or no such sample.
        FileNotFoundError: a folder is no run.
    """
    curricula = read_curricula([Path(run) for run in runs], keys)
    target = Path(out) if out is not None else Path(runs[0]) / "curricula.html"
    replace_file(target, render(curricula, thumbnails).encode("utf-8", "replace"))
    return target


def render(curricula: Curricula, thumbnails: Thumbnails | None) -> str:
    """The page's HTML."""
    classes = class_rows(curricula)
    return rendered(
        "class_curricula.html.j2",
        {"figure": figure},
        curricula=curricula,
        names=[run.name for run in curricula.runs],
        verdict=verdict(curricula),
        facts=_facts(curricula),
        charts=curricula_charts(curricula),
        classes=classes if len(classes) <= CLASSES else [*classes[:ENDS], *classes[-ENDS:]],
        class_count=len(classes),
        pairs=pair_rows(curricula),
        chance={"classes": by_chance(len(classes)), "samples": by_chance(curricula.common.shape[1])},
        samples=_samples(curricula, thumbnails),
        pictured=thumbnails is not None,
        commands=[(run.name, str(run.about.get("command") or DASH)) for run in curricula.runs],
    )


def verdict(curricula: Curricula) -> str:
    """Whether the order repeats, in one sentence: of the classes, or where they have no sigma of the samples."""
    classes = curricula.class_sigma.shape[2]
    what, count, pairs = "samples", curricula.common.shape[1], curricula.sample_order
    if classes:
        what, count, pairs = "classes", classes, curricula.class_order[-1]
    chance = 2 * by_chance(count)
    if not np.isfinite(pairs).all() or not chance < 1:
        return f"Whether the order of the {what} repeats cannot be told from {count:,}"
    # Among many, an order that is hardly alike is above chance, too.
    alike, somewhat = pairs.min() > max(chance, 0.5), pairs.mean() > max(chance, 0.2)
    repeats = "repeats" if alike else "repeats in part" if somewhat else "does not repeat"
    span = f" ({pairs.min():.2f} to {pairs.max():.2f})" if len(pairs) > 1 else ""
    return (
        f"The order of the {count:,} {what} {repeats} over {len(curricula.runs)} runs: rank correlation "
        f"{pairs.mean():.2f}{span}, where two random orders stay within ±{min(1.0, chance):.2f}"
    )


def class_rows(curricula: Curricula) -> list[dict[str, Any]]:
    """Each class: sigma at the end, mean and standard deviation over the runs, its rank in each; highest first."""
    ending = curricula.class_sigma[:, -1]
    ranks = (-ending).argsort(1, kind="stable").argsort(1, kind="stable") + 1
    count = np.bincount(curricula.runs[0].samples.label, minlength=ending.shape[1])
    mean, spread = ending.mean(0), ending.std(0, ddof=1)
    return [
        {
            "name": curricula.class_names[number],
            "samples": int(count[number]),
            "mean": float(mean[number]),
            "spread": float(spread[number]),
            "ranks": ranks[:, number].tolist(),
        }
        for number in np.argsort(-mean, kind="stable").tolist()
    ]


def pair_rows(curricula: Curricula) -> list[dict[str, Any]]:
    """Each two runs: rank correlation at the end of the classes and of the samples, NaN where there is none."""
    none = [math.nan] * len(curricula.pairs)
    classes = curricula.class_order[-1] if curricula.class_sigma.shape[2] else none
    samples = curricula.sample_order if len(curricula.sample_order) else none
    rows = zip(curricula.pairs, classes, samples, strict=True)
    return [{"runs": runs, "classes": float(a), "samples": float(b)} for runs, a, b in rows]


def _facts(curricula: Curricula) -> list[tuple[str, str]]:
    run = curricula.runs[0]
    config = run.about.get("config") or {}
    seeds = [str((each.about.get("config") or {}).get("seed", DASH)) for each in curricula.runs]
    return [
        ("Data", str((run.about.get("data") or {}).get("root") or DASH)),
        ("Classes", f"{len(run.class_names):,}"),
        ("Samples", f"{curricula.common.shape[1]:,} with the same label in all runs, of {len(run.samples):,}"),
        ("Model", str(config.get("model", DASH))),
        ("Data parameters", f"{run.kind}, preset {config.get('preset', DASH)}"),
        ("Epochs", f"{run.epochs}"),
        ("Seeds", ", ".join(seeds)),
    ]


def _samples(curricula: Curricula, thumbnails: Thumbnails | None) -> list[dict[str, Any]]:
    tracks = curricula.tracks
    if tracks is None:
        return []
    ending = np.exp(tracks.log_sigma[:, -1].mean(0))
    return [
        {
            "key": key,
            "colour": colour,
            "class_name": curricula.class_names[int(tracks.label[place])],
            "sigma": float(ending[place]),
            "picture": thumbnail_uri(int(tracks.index[place]), thumbnails) if thumbnails else None,
        }
        for place, (key, colour) in enumerate(zip(tracks.keys, track_colours(len(tracks.keys)), strict=True))
    ]

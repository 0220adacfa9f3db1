"""Fig. 6 of the CLIP paper: validation images with true and predicted maps, where one run gains most over another."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from tamis.report.overlay import overlay, peak_of
from tamis.report.predictions import Predictions, shared
from tamis.report.records import Record
from tamis.report.tables import number
from tamis.report.thumbnails import Thumbnails, opened, picture_uri

EACH = 4  # images of each kind
SIDE = 260


class Group(NamedTuple):
    """Some validation images under a title, a row of the page for each."""

    title: str
    note: str
    rows: list[dict[str, Any]]


class _Run(NamedTuple):
    """A run, and where in its predictions the images are that are compared."""

    name: str
    found: Predictions
    rows: np.ndarray


def gains(records: Sequence[Record], focus: Record, thumbnails: Thumbnails | None) -> list[Group]:
    """The largest gains and losses of the run in focus against the first, or the largest errors of one run alone.

    Args:
        records: of all runs; the first is what the others are compared with.
        focus: the run that is compared, or the only one.
        thumbnails: from an index in the first run's validation data to a picture.
    """
    first = records[0]
    if first.predictions is None or focus.predictions is None:
        return []
    if first is focus:
        return _alone(first.predictions, thumbnails)
    rows, others = shared(first.predictions, focus.predictions)
    gain = first.predictions.error[rows] - focus.predictions.error[others]
    order = np.argsort(-gain, kind="stable")
    runs = [_Run(first.name, first.predictions, rows), _Run(focus.name, focus.predictions, others)]
    tags = [f"{abs(each):.3g} {'nearer' if each > 0 else 'farther'}" for each in gain.tolist()]
    groups = []
    for title, how, places in (
        ("Largest gains", "nearer to", [at for at in order[:EACH].tolist() if gain[at] > 0]),
        ("Largest losses", "farther from", [at for at in order[::-1][:EACH].tolist() if gain[at] < 0]),
    ):
        note = f"where {focus.name} is {how} the true count than {first.name}"
        groups.append(Group(title, note, _rows(places, runs, tags, thumbnails)))
    return [group for group in groups if group.rows]


def _alone(found: Predictions, thumbnails: Thumbnails | None) -> list[Group]:
    known = np.flatnonzero(np.isfinite(found.error))
    order = known[np.argsort(-found.error[known], kind="stable")].tolist()
    middle = max(EACH, (len(order) - EACH) // 2)
    runs = [_Run("predicted", found, np.arange(len(found)))]
    tags = [f"{error:.3g} too {'high' if above else 'low'}" if error else "" for error, above in _errors(found)]
    groups = [
        Group("Largest errors", "the images that were counted worst", _rows(order[:EACH], runs, tags, thumbnails)),
        Group("Typical errors", "near the median", _rows(order[middle : middle + EACH], runs, tags, thumbnails)),
    ]
    return [group for group in groups if group.rows]


def _errors(found: Predictions) -> list[tuple[float, bool]]:
    return list(zip(found.error.tolist(), (found.predicted > found.count).tolist(), strict=True))


def _rows(
    places: list[int], runs: Sequence[_Run], tags: Sequence[str], thumbnails: Thumbnails | None
) -> list[dict[str, Any]]:
    """What the page shows of some of the images that are compared: the image, its true map and that of each run."""
    maps = [run.found.maps_of([int(run.rows[place]) for place in places]) for run in runs]
    told = []
    for place in places:
        found, row = runs[0].found, int(runs[0].rows[place])
        image = opened(int(found.index[row]), thumbnails) if thumbnails else None
        pairs = [of_run.get(int(run.rows[place])) for run, of_run in zip(runs, maps, strict=True)]
        true = next((pair[0] for pair in pairs if pair), None)
        guesses = [pair[1] if pair else None for pair in pairs]
        peak = next((peak for peak in map(_peak, [true, *guesses]) if peak), 0.0)  # the true one's, if it has any
        cells = [("image", "", None if image is None else picture_uri(image, SIDE))]
        cells.append(("true", number(float(found.count[row]), 4), _map(image, true, peak)))
        for run, guess in zip(runs, guesses, strict=True):
            count = number(float(run.found.predicted[run.rows[place]]), 4)
            cells.append((run.name, count, _map(image, guess, peak)))
        told.append({"key": found.keys[row], "cells": cells, "tag": tags[place]})
    return told


def _peak(density: np.ndarray | None) -> float:
    return 0.0 if density is None else peak_of(density)


def _map(image: Image.Image | None, density: np.ndarray | None, peak: float) -> str | None:
    """The map over the image; on black where the image is not at hand; None where there is no map."""
    if density is None:
        return None
    ground = Image.new("RGB", (density.shape[1] * 4, density.shape[0] * 4)) if image is None else image.convert("RGB")
    return picture_uri(overlay(ground, density, peak=peak), SIDE)

"""Frames with the student's and the teacher's boxes over them, within a budget of bytes."""

import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from PIL import Image

from tamis.report.boxed_pictures import CONFIDENCE, Encoder, path_of
from tamis.report.cull_reading import Culled, read_culled
from tamis.report.cull_time import time_of
from tamis.report.tables import DASH, number

Picture = Callable[[str], np.ndarray | None]

EACH = 24  # frames of a kind
LARGE = 420  # pixels
BYTES = 2_200_000  # of the page's 5 MB


class Pictures:
    """Gives the pictures of frames as data URIs, the kept ones from `images/`, until the budget is spent."""

    def __init__(self, culled: Culled, picture: Picture | None) -> None:
        self._folder = culled.folder
        self._picture = picture
        self._files = _files(culled.folder)
        self._loaded: dict[str, dict[str, Any] | None] = {}
        self._encoder = Encoder(BYTES)

    @property
    def spent(self) -> bool:
        """Whether a picture was left out."""
        return self._encoder.spent

    def load(self, key: str) -> dict[str, Any] | None:
        """{"uri", "width", "height"} of a frame, sizes in its own pixels; None where there is no picture of it."""
        if key not in self._loaded:
            name = self._files.get(key)
            self._loaded[key] = self._encoder.encode(self._opened(name) if name else self._asked(key))
        return self._loaded[key]

    def large(self, key: str, image: str | None) -> dict[str, Any] | None:
        """The same, larger, of a file inside the folder, or of a kept frame where no file is named."""
        return self._encoder.encode(self._opened(image or self._files.get(key)), LARGE)

    def _opened(self, name: str | None) -> Image.Image | None:
        if not name or not (path := (self._folder / name).resolve()).is_relative_to(self._folder.resolve()):
            return None
        try:
            with Image.open(path) as image:
                return image.convert("RGB")
        except (OSError, ValueError, Image.DecompressionBombError):
            return None  # the page says so in the picture's place; the figures do not need it

    def _asked(self, key: str) -> Image.Image | None:
        try:
            found = self._picture(key) if self._picture else None
        except (OSError, ValueError):
            return None
        return None if found is None else Image.fromarray(np.ascontiguousarray(found, dtype=np.uint8))


def _files(folder: Path) -> dict[str, str]:
    """Where the picture of each kept frame lies, by its key, as far as coco.json tells."""
    try:
        images = json.loads((folder / "coco.json").read_text(encoding="utf-8"))["images"]
        return {str(image["key"]): f"images/{image['file_name']}" for image in images if "key" in image}
    except (OSError, ValueError, KeyError, TypeError):
        return {}  # another format was asked for, or a person has edited it


class Group(NamedTuple):
    """Some frames under a title, a card of the page for each."""

    title: str
    note: str
    cards: list[dict[str, Any]]


def groups(culled: Culled, pictures: Pictures, label_confidence: float) -> list[Group]:
    """The hardest kept, those at the border, the easiest dropped, and the hardest that the teacher never saw."""
    wanted = _wanted(culled)
    for row in sorted({row for _, _, rows in wanted for row in rows}):
        pictures.load(culled.keys[row].as_py() or "")  # in the order of the video, which is read fastest so
    return [
        Group(title, note, [_card(culled, row, pictures, label_confidence) for row in rows])
        for title, note, rows in wanted
    ]


def _wanted(culled: Culled) -> list[tuple[str, str, list[int]]]:
    """Title, note and rows of each group that has any."""
    judged, kept = np.flatnonzero(culled.compared), culled.kept
    order = judged[np.lexsort((judged, -np.nan_to_num(culled.score[judged]), culled.precision[judged]))]
    chosen, dropped = order[kept[order]], order[~kept[order]]
    unseen = _by_score(culled, culled.scored & ~culled.taught)
    border = [*chosen[::-1][: EACH // 2], *dropped[: EACH // 2]] if len(dropped) else []
    first = [] if len(judged) else _by_score(culled, kept)
    groups = [
        ("Kept", "student and teacher were not compared", first[:EACH]),
        ("Hardest kept", "the lowest AP of the student by the teacher's boxes", chosen[:EACH]),
        ("At the border", "the highest AP that was kept, and the lowest that was not", border),
        ("Easiest dropped", "the teacher looked, and the student was right", dropped[::-1][:EACH]),
        ("Not shown to the teacher", "the highest scores that missed the cut", unseen[: EACH // 2]),
    ]
    return [(title, note, [int(row) for row in rows]) for title, note, rows in groups if len(rows)]


def _by_score(culled: Culled, mask: np.ndarray) -> np.ndarray:
    rows = np.flatnonzero(mask)
    return rows[np.lexsort((rows, -np.nan_to_num(culled.score[rows])))]


def pictured_keys(folder: Path) -> list[str]:
    """Keys of the frames that a page asks `picture` for, in that order, which is the order of the video.

    Raises:
        FileNotFoundError: not a finished culled folder.
    """
    culled = read_culled(folder)
    files = _files(folder)
    keys = [culled.keys[row].as_py() or "" for row in sorted({row for _, _, rows in _wanted(culled) for row in rows})]
    return [key for key in keys if key not in files]


class _Frame(Protocol):
    @property
    def key(self) -> str: ...

    def rgb(self) -> np.ndarray: ...


class _Frames(Protocol):
    def take(self, refs: Sequence[Any]) -> Iterator[_Frame]: ...


def frame_pictures(frames: _Frames, refs: Mapping[str, Any], keys: Sequence[str]) -> Picture:
    """A `picture` that reads its frames in one pass, as they are asked for in the order of `keys`; None for others.

    Args:
        frames: `take` gives the frames of refs in order, those that can be read.
        refs: by key.
        keys: what will be asked for, in the order of the video (`pictured_keys`).
    """
    place = {key: at for at, key in enumerate(key for key in keys if key in refs)}
    stream = frames.take([refs[key] for key in place])
    held: list[_Frame] = []

    def picture(key: str) -> np.ndarray | None:
        while key in place:
            if not held:
                held.extend(itertools.islice(stream, 1))
            if not held or place[held[0].key] > place[key]:
                return None  # it could not be read again
            frame = held.pop()
            if frame.key == key:
                return frame.rgb()
        return None

    return picture


def _card(culled: Culled, row: int, pictures: Pictures, label_confidence: float) -> dict[str, Any]:
    key = culled.keys[row].as_py() or ""
    student, _ = culled.student.on(row, CONFIDENCE)
    teacher, _ = culled.teacher.on(row, label_confidence)
    return {
        "key": key,
        "picture": pictures.load(key),
        "student": path_of(student),
        "teacher": path_of(teacher),
        "boxes": f"{len(student)} : {len(teacher)}" if culled.compared[row] else "",
        "score": number(culled.score[row]),
        "precision": f"{culled.precision[row]:.2f}" if culled.compared[row] else DASH,
        "time": time_of(culled.seconds[row]),
        "kept": bool(culled.kept[row]),
        "reason": culled.reason.at(row),
    }


def before_after(culled: Culled, pictures: Pictures) -> dict[str, Any] | None:
    """Fig. 3: the same frames with the boxes of each model, and what a model costs an image; None without any."""
    told = culled.result.get("before_after") or {}
    models, frames = told.get("models") or [], told.get("frames") or []
    if not models or not frames:
        return None
    columns = [
        {
            "name": str(model.get("name", "")),
            "map50": model.get("map50"),
            "giga": model["flops"] / 1e9 if isinstance(model.get("flops"), int | float) else None,
            "size": f"{model['width']} × {model['height']}" if model.get("width") and model.get("height") else "",
        }
        for model in models
    ]
    rows = []
    for frame in frames:
        key, boxes = str(frame.get("key", "")), list(frame.get("boxes") or [])
        rows.append(
            {
                "key": key,
                "time": time_of(_float(frame.get("seconds"))),
                "picture": pictures.large(key, frame.get("image")),
                "truth": path_of(frame.get("truth") or []),
                "cells": [path_of(_confident(each)) for each in (boxes + [[]] * len(models))[: len(models)]],
            }
        )
    return {"models": columns, "rows": rows}


def _confident(boxes: Sequence[Sequence[Any]]) -> list[Sequence[Any]]:
    return [box for box in boxes or [] if len(box) < 5 or _float(box[4]) >= CONFIDENCE]


def _float(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else float("nan")

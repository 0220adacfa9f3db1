"""Wrong boxes, made to try a method out, with what is wrong kept beside them for the report.

Everything is a pure function of the seed, an image's key and a box (its class and corners), of the images and boxes
together, and of nothing else: the order of the images has no influence, and a run that goes on makes the same again.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import floor
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np
import torch
from torch import Tensor

from tamis.data.boxed import BoxedImages
from tamis.data.boxes import BoxSet
from tamis.moment import uniforms

Kind = Literal["flip", "shift", "missing", "invented", "mixed"]
COLUMN = "noise"
CLEAN, FLIPPED, SHIFTED, INVENTED = range(4)  # the values of the column
_OF_MIXED = ("flip", "shift", "missing", "invented")
_LEAST, _MOST = 0.3, 0.7  # of a box's sides, that it is moved by: along both, so that IoU is at most 0.49
_OVERLAP = 0.1  # largest IoU of an invented box with a true one
_TRIES = 100  # places that are tried for an invented box


@dataclass(frozen=True, eq=False)
class BoxNoise:
    """What was done to the boxes of a training set.

    Attributes:
        kind: how they were made wrong.
        ratio: share of the boxes, in [0, 1].
        true: the images with their own boxes; training never sees these.
        flipped: boxes of a wrong class.
        shifted: boxes at a wrong place.
        missing: boxes that are gone.
        invented: boxes around nothing.
    """

    kind: Kind
    ratio: float
    true: BoxedImages
    flipped: int
    shifted: int
    missing: int
    invented: int

    @property
    def clean(self) -> Tensor:
        """How many boxes each image has in truth, int64 (n,)."""
        return self.true.labels

    def summary(self) -> dict[str, str | float | int]:
        """Kind, ratio and the numbers of wrong boxes, for the run's record."""
        names = ("kind", "ratio", "flipped", "shifted", "missing", "invented")
        return {name: getattr(self, name) for name in names}

    def told(self) -> str:
        """The same in a line."""
        names = ("flipped", "shifted", "missing", "invented")
        parts = [f"{getattr(self, name):,} {name}" for name in names if getattr(self, name)]
        return f"{self.kind} noise: of {int(self.clean.sum()):,} boxes {', '.join(parts) or 'none is wrong'}"


class _Boxes(NamedTuple):
    """The boxes of all images in one."""

    image: np.ndarray  # int64 (m,)
    boxes: np.ndarray  # float32 (m, 4)
    labels: np.ndarray  # int64 (m,)


def with_box_noise(source: BoxedImages, kind: Kind, ratio: float, seed: int) -> tuple[BoxedImages, BoxNoise]:
    """The same images with wrong boxes, and what was done; the arguments and errors are those of `noisy_boxes`."""
    rows = source.rows.tolist()
    found = BoxSet(
        Path(), tuple(source.keys),
        tuple(source.boxes[row] for row in rows), tuple(source.classes[row] for row in rows), source.sizes[rows],
        source.class_names,
        ignored=tuple(source.ignored[row] for row in rows) if source.ignored else (),
        columns={name: tuple(column[row] for row in rows) for name, column in source.columns.items()},
    )  # fmt: skip
    noisy = noisy_boxes(found, kind, ratio, seed)

    def laid_back(new: Sequence[np.ndarray], whole: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
        """The new arrays at the places of their images in the whole set."""
        place = dict(zip(rows, new, strict=True))
        return tuple(place.get(row, old) for row, old in enumerate(whole))

    unmarked = [np.zeros(len(each), np.float32) for each in source.boxes]
    columns = {name: laid_back(each, source.columns.get(name, unmarked)) for name, each in noisy.columns.items()}
    made = replace(
        source, boxes=laid_back(noisy.boxes, source.boxes), classes=laid_back(noisy.labels, source.classes),
        labels=torch.from_numpy(noisy.counts), columns=columns,
    )  # fmt: skip
    codes = np.concatenate(noisy.columns[COLUMN])
    flipped, shifted, invented = (int((codes == code).sum()) for code in (FLIPPED, SHIFTED, INVENTED))
    missing = int(source.labels.sum()) + invented - len(codes)
    return made, BoxNoise(kind, ratio, source, flipped, shifted, missing, invented)


def noisy_boxes(found: BoxSet, kind: Kind, ratio: float, seed: int) -> BoxSet:
    """The same images with wrong boxes: floor(ratio * m) of all m boxes, those with the lowest numbers drawn for them.

    - flip: another class, drawn uniformly.
    - shift: moved along both axes, either way, by 0.3 to 0.7 of the box's sides, and clipped to the image. Of the
      true box and this one IoU is below 0.5.
    - missing: removed.
    - invented: as many new boxes, each of the size of one of the boxes, of any class, anywhere on any image where IoU
      with each true box and each ignored region is at most 0.1. Fewer, where a hundred tries find no such place.
    - mixed: each of the four for floor(ratio / 4 * m) boxes.

    Args:
        found: images and their true boxes.
        kind: one of the five.
        ratio: in [0, 1].
        seed: of the noise. A higher ratio makes the boxes of a lower one wrong, too, in the same way (not with mixed).

    Returns:
        The images with the wrong boxes in the canonical order, and with the column "noise": 0 clean, 1 flipped,
        2 shifted, 3 invented. The other columns of an invented box are NaN.

    Raises:
        ValueError: an unknown kind, a ratio out of range, or a flip where there is one class.
    """
    if kind not in get_args(Kind):
        raise ValueError(f"noise must be none or one of {', '.join(get_args(Kind))} for boxes, got {kind!r}")
    if not 0 <= ratio <= 1:
        raise ValueError(f"ratio must be in [0, 1], got {ratio!r}")
    classes = len(found.class_names)
    if kind in ("flip", "mixed") and classes < 2:
        raise ValueError(f"noise must be shift, missing or invented where there is one class, got {kind!r}; take one")
    by_name = sorted(range(len(found)), key=found.names.__getitem__)
    made = _noisy(found.select(by_name), _OF_MIXED if kind == "mixed" else (kind,), ratio, seed)
    return made.select(np.argsort(by_name).tolist())


def _noisy(found: BoxSet, kinds: Sequence[str], ratio: float, seed: int) -> BoxSet:
    """As `noisy_boxes`, for images in the order of their names."""
    true = _flat(found)
    total, numbers = len(true.boxes), _numbers(found, true)
    draws = uniforms(seed, 0, torch.from_numpy(numbers), "box noise", 4).double().numpy()
    ranked, each = np.lexsort((numbers, draws[:, 0])), floor(round(ratio / len(kinds) * total, 6))
    chosen = {kind: ranked[place * each : (place + 1) * each] for place, kind in enumerate(kinds)}
    flip, shift, missing, invented = (chosen.get(kind, ranked[:0]) for kind in _OF_MIXED)

    boxes, labels, codes = true.boxes.copy(), true.labels.copy(), np.zeros(total, np.float32)
    others = len(found.class_names) - 1
    labels[flip] = (labels[flip] + 1 + (draws[flip, 1] * others).astype(np.int64)) % (others + 1)
    boxes[shift] = _shifted(boxes[shift], draws[shift, 2:], found.sizes[true.image[shift]])
    codes[flip], codes[shift] = FLIPPED, SHIFTED
    sides = (true.boxes[:, 2:] - true.boxes[:, :2])[np.argsort(numbers)]
    new = _invented(found, sides, numbers[invented], seed)

    left = np.setdiff1d(np.arange(total), missing)
    old = true.image[left], boxes[left], labels[left]
    here = _Boxes(*(np.concatenate(each) for each in zip(old, new, strict=True)))
    unknown, marks = np.full(len(new.boxes), np.nan, np.float32), np.full(len(new.boxes), INVENTED, np.float32)
    columns = {name: np.concatenate([np.concatenate(column)[left], unknown]) for name, column in found.columns.items()}
    return _parted(found, here, columns | {COLUMN: np.concatenate([codes[left], marks])})


def _parted(found: BoxSet, here: _Boxes, columns: Mapping[str, np.ndarray]) -> BoxSet:
    """The images with these boxes, in the canonical order."""
    order = np.lexsort((*here.boxes.T[::-1], here.labels, here.image))
    ends = np.searchsorted(here.image[order], np.arange(1, len(found)))

    def by_image(column: np.ndarray) -> tuple[np.ndarray, ...]:
        return tuple(np.split(column[order], ends))

    by_name = {name: by_image(column) for name, column in columns.items()}
    return replace(found, boxes=by_image(here.boxes), labels=by_image(here.labels), columns=by_name)


def _flat(found: BoxSet) -> _Boxes:
    image = np.repeat(np.arange(len(found)), found.counts)
    boxes = np.concatenate([np.zeros((0, 4), np.float32), *found.boxes])
    return _Boxes(image, boxes, np.concatenate([np.zeros(0, np.int64), *found.labels]))


def _numbers(found: BoxSet, true: _Boxes) -> np.ndarray:
    """A number for each box, int64 (m,), that its image's key, its class and its corners decide."""
    columns = true.image.tolist(), true.labels.tolist(), true.boxes.astype("<f4")
    digests = [
        hashlib.blake2b(
            f"{found.names[image]}\n{found.class_names[label]}\n".encode(errors="surrogatepass") + box.tobytes(),
            digest_size=8,
        ).digest()
        for image, label, box in zip(*columns, strict=True)
    ]
    return np.frombuffer(b"".join(digests), "<i8").astype(np.int64)


def _shifted(boxes: np.ndarray, draws: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Boxes (m, 4) moved as draws (m, 2) in [0, 1) say, clipped to images of these sizes (m, 2)."""
    way = 2 * draws - 1
    share = np.where(way < 0, -1, 1) * (_LEAST + (_MOST - _LEAST) * np.abs(way))
    moved = boxes + np.tile(share * (boxes[:, 2:] - boxes[:, :2]), 2)
    return np.clip(moved, 0, np.tile(sizes, 2)).astype(np.float32)


def _invented(found: BoxSet, sides: np.ndarray, numbers: np.ndarray, seed: int) -> _Boxes:
    """A box around nothing for each number (m,), with sides (k, 2) to draw from; fewer where no place is free."""
    parts = [_Boxes(np.zeros(0, np.int64), np.zeros((0, 4), np.float32), np.zeros(0, np.int64))]
    for attempt in range(_TRIES):
        if not len(numbers):
            break
        draws = uniforms(seed, attempt, torch.from_numpy(numbers), "invented box", 5).double().numpy()
        image = (draws[:, 0] * len(found)).astype(np.int64)
        room = found.sizes[image]
        side = np.minimum(sides[(draws[:, 1] * len(sides)).astype(np.int64)], room)
        corner = draws[:, 2:4] * (room - side)
        boxes = np.minimum(np.column_stack([corner, corner + side]), np.tile(room, 2)).astype(np.float32)
        labels = (draws[:, 4] * len(found.class_names)).astype(np.int64)
        fits = np.array([_is_free(found, place, box) for place, box in zip(image.tolist(), boxes, strict=True)])
        parts.append(_Boxes(image[fits], boxes[fits], labels[fits]))
        numbers = numbers[~fits]
    return _Boxes(*map(np.concatenate, zip(*parts, strict=True)))


def _is_free(found: BoxSet, image: int, box: np.ndarray) -> bool:
    """Whether a box has an area, and hardly any IoU with what is there."""
    there = np.concatenate([found.boxes[image], found.ignored[image]]) if found.ignored else found.boxes[image]
    overlap = np.clip(np.minimum(there[:, 2:], box[2:]) - np.maximum(there[:, :2], box[:2]), 0, None).prod(1)
    area = (there[:, 2:] - there[:, :2]).prod(1) + (box[2:] - box[:2]).prod()
    return bool((box[2:] > box[:2]).all() and (overlap <= _OVERLAP * (area - overlap)).all())

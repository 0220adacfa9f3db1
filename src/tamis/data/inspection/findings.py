"""What is wrong with a data set, each kind of fault with its rows, what it means, and how to mend it."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np

from tamis.data.inspection.alike import near_pairs, stars
from tamis.data.inspection.samples import Samples

Kind = Literal[
    "broken", "conflict", "duplicate", "near_conflict", "near_duplicate", "leak", "near_leak",
    "plain", "odd_size", "imbalance", "missing_class", "changed", "gone",
]  # fmt: skip

UNEVEN = 10.0  # largest by smallest class
TINY, LONG = 8, 5.0  # pixels of the shorter side; longer by shorter side
BLANK = 8  # grey levels between the darkest and the brightest pixel, which JPEG may add to one colour


@dataclass(frozen=True)
class Row:
    """One sample of a finding.

    Attributes:
        split: "train" or "validation".
        key: the sample's key; for a missing class, empty.
        label: the name of its class.
        group: number of the group it belongs to within the finding; None where there are no groups.
        detail: what is the matter with it.
    """

    split: str
    key: str
    label: str
    group: int | None
    detail: str


@dataclass(frozen=True)
class Finding:
    """One kind of fault.

    Attributes:
        kind: a word for programs; it stays the same.
        summary: what was found, with its counts.
        fix: how to mend it.
        rows: the samples, in order.
        exclude: keys of the training samples that are better left out.
    """

    kind: str
    summary: str
    fix: str
    rows: Sequence[Row]
    exclude: Sequence[str] = ()


def inspect(samples: Samples, *, near: bool = True, empty: Sequence[str] = ()) -> list[Finding]:
    """Everything that the signatures of the samples tell, worst first; an empty list where all is well.

    Args:
        samples: both splits.
        near: look for near duplicates too.
        empty: folders that should be classes but hold no image, see `empty_folders`.
    """
    contents = samples.contents()
    positions = np.unique(contents[contents >= 0], return_index=True)[1]
    first = np.flatnonzero(contents >= 0)[positions]  # the first sample of each picture
    look = samples.signatures[first]
    pairs = near_pairs(look["hash"], look["small"], look["contrast"] * near)
    found = [
        _broken(samples),
        *_exact(samples, contents),
        *_near(samples, contents, pairs),
        *_leaks(samples, contents, pairs),
        _plain(samples),
        _odd_sizes(samples),
        _imbalance(samples),
        _missing_classes(samples, empty),
    ]
    return [finding for finding in found if finding is not None]


def _broken(samples: Samples) -> Finding | None:
    if not samples.reasons:
        return None
    rows = [row_of(samples, place, None, reason) for place, reason in sorted(samples.reasons.items())]
    fix = "repair or delete these files, or leave them out of the training"
    return Finding("broken", f"{_images(len(rows))} cannot be read", fix, rows, _training_keys(rows))


def row_of(samples: Samples, place: int, group: int | None, detail: str) -> Row:
    """The row of a sample, by its position."""
    return Row(samples.split(place), samples.keys[place], samples.label(place), group, detail)


def _training_keys(rows: Iterable[Row]) -> list[str]:
    return [row.key for row in rows if row.split == "train"]


def _images(count: int) -> str:
    return f"{count:,} image" + "s" * (count != 1)


def _groups(count: int) -> str:
    return f"{count:,} group" + "s" * (count != 1)


def _runs(number: np.ndarray) -> Iterator[np.ndarray]:
    """Positions that carry the same number >= 0, for each number that comes more than once; by first position."""
    order = np.argsort(number, kind="stable")
    order = order[number[order] >= 0]
    edges = np.flatnonzero(np.diff(number[order], prepend=-1)).tolist()
    groups = [order[begin:end] for begin, end in pairwise([*edges, len(order)]) if end - begin > 1]
    yield from sorted(groups, key=lambda group: group[0])


def _exact(samples: Samples, contents: np.ndarray) -> Iterator[Finding]:
    """Samples of one split whose pixels are the same."""
    groups = [
        place
        for part in (slice(samples.train), slice(samples.train, None))
        for place in (run + (part.start or 0) for run in _runs(contents[part]))
    ]
    file = samples.signatures["file"]
    details = {
        place: "first" if place == group[0] else _same(file[place], file[group[0]])
        for group in groups
        for place in group.tolist()
    }
    yield from _apart(samples, groups, details, "conflict", "duplicate", "the same picture")


def _same(one: np.ndarray, two: np.ndarray) -> str:
    return "same file" if one.any() and (one == two).all() else "same pixels"


def _near(samples: Samples, contents: np.ndarray, pairs: tuple[np.ndarray, np.ndarray]) -> Iterator[Finding]:
    """Pictures of one split that are near duplicates; of the same pictures only the first one is told."""
    groups, details = [], {}
    for part in (slice(samples.train), slice(samples.train, None)):
        there, first = np.unique(contents[part], return_index=True)
        first = dict(zip(there.tolist(), (first + (part.start or 0)).tolist(), strict=True))
        inside = np.isin(pairs[0], there) & np.isin(pairs[1], there)
        leader = stars(pairs[0][inside], pairs[1][inside], 1 + contents.max(initial=-1))
        for run in _runs(leader):
            group = np.array(sorted(first[content] for content in run.tolist()))
            groups.append(group)
            details |= {place: "first" if place == group[0] else "near" for place in group.tolist()}
    yield from _apart(samples, groups, details, "near_conflict", "near_duplicate", "nearly the same picture")


def _apart(
    samples: Samples, groups: list[np.ndarray], details: dict[int, str], conflict: Kind, plain: Kind, what: str
) -> Iterator[Finding]:
    """Two findings: the groups in which labels differ, and the others."""
    differ = [group for group in groups if len(np.unique(samples.labels[group])) > 1]
    agree = [group for group in groups if len(np.unique(samples.labels[group])) == 1]
    if differ:
        rows = _rows(samples, differ, details)
        fix = "correct the labels (in each group at least one is wrong, or the picture shows both); else leave all out"
        yield Finding(conflict, _counted(rows, what + " with different labels"), fix, rows, _training_keys(rows))
    if agree:
        rows = _rows(samples, agree, details)
        fix = "keep the first of each group"
        later = _training_keys(row for row in rows if row.detail != "first")
        yield Finding(plain, _counted(rows, what), fix, rows, later)


def _rows(samples: Samples, groups: list[np.ndarray], details: dict[int, str]) -> list[Row]:
    return [
        row_of(samples, place, number, details[place])
        for number, group in enumerate(groups, 1)
        for place in group.tolist()
    ]


def _counted(rows: list[Row], what: str) -> str:
    parts = []
    for split in ("train", "validation"):
        mine = [row for row in rows if row.split == split]
        if mine:
            parts.append(f"{_groups(len({row.group for row in mine}))} of {what} in {split} ({_images(len(mine))})")
    return ", ".join(parts)


def _leaks(samples: Samples, contents: np.ndarray, pairs: tuple[np.ndarray, np.ndarray]) -> Iterator[Finding]:
    """Training samples that show what a validation sample shows: the same pixels, or nearly the same."""
    judged = np.unique(contents[samples.train :])
    judged = judged[judged >= 0].tolist()
    same = {content: [content] for content in judged}
    near: dict[int, list[int]] = {}
    for one, two in zip(*(side.tolist() for side in pairs), strict=True):
        for here, there in ((one, two), (two, one)):
            if here in same:
                near.setdefault(here, []).append(there)
    found: tuple[tuple[Kind, dict[int, list[int]], str], ...] = (
        ("leak", same, "the same"),
        ("near_leak", near, "nearly the same"),
    )
    for kind, links, word in found:
        rows = _leaked(samples, contents, links, word)
        if rows:
            count = sum(row.split == "validation" for row in rows)
            trained = _training_keys(rows)
            summary = (
                f"{_images(count)} of validation {'is' if count == 1 else 'are'} {word} as "
                f"{_images(len(set(trained)))} of train"
            )
            fix = "leave these training images out: what a model is judged by, it must not have seen"
            yield Finding(kind, summary, fix, rows, list(dict.fromkeys(trained)))


def _leaked(samples: Samples, contents: np.ndarray, links: dict[int, list[int]], word: str) -> list[Row]:
    wanted = np.array(sorted({each for content, others in links.items() for each in (content, *others)}), np.int64)
    places = np.flatnonzero(np.isin(contents, wanted))
    where: dict[int, list[int]] = {}
    for place in places.tolist():
        where.setdefault(int(contents[place]), []).append(place)
    rows: list[Row] = []
    group = 0
    for content, others in links.items():
        trained = sorted(place for other in others for place in where[other] if place < samples.train)
        if not trained:
            continue
        group += 1
        judged = [place for place in where[content] if place >= samples.train]
        rows += [row_of(samples, place, group, "in validation") for place in judged]
        known = {samples.labels[place] for place in judged}
        for place in trained:
            differs = "" if samples.labels[place] in known else ", with another label"
            rows.append(row_of(samples, place, group, f"{word} in train{differs}"))
    return rows


def _plain(samples: Samples) -> Finding | None:
    look = samples.signatures
    rows = []
    for place in np.flatnonzero(look["readable"] & (look["spread"] <= BLANK)).tolist():
        colour = look["small"][place].reshape(-1, 3).mean(axis=0).round().astype(int).tolist()
        rows.append(row_of(samples, place, None, "red, green, blue = " + ", ".join(map(str, colour))))
    fix = "look at them: there is nothing on them to learn from"
    return Finding("plain", f"{_images(len(rows))} of one colour", fix, rows) if rows else None


def _odd_sizes(samples: Samples) -> Finding | None:
    look = samples.signatures
    short = np.minimum(look["width"], look["height"])
    long = np.maximum(look["width"], look["height"])
    odd = look["readable"] & ((short < TINY) | (long >= LONG * short))
    rows = [
        row_of(samples, place, None, f"{look['width'][place]} x {look['height'][place]} pixels")
        for place in np.flatnonzero(odd).tolist()
    ]
    summary = f"{_images(len(rows))} of odd size (a side under {TINY} pixels, or {LONG:g} times the other)"
    return Finding("odd_size", summary, "look at them: are these pictures, or cuttings?", rows) if rows else None


def _imbalance(samples: Samples) -> Finding | None:
    counts = zip(samples.counts()[0].tolist(), samples.class_names, strict=True)
    there = [each for each in counts if each[0]]
    (most, large), (least, small) = (pick(there, key=lambda each: each[0]) for pick in (max, min))
    if most < UNEVEN * least:
        return None
    rows = [Row("train", "", name, None, _images(count)) for count, name in there]
    times = f"{most / least:,.0f} times"
    summary = f"the largest class has {times} the images of the smallest: {most:,} of {large!r}, {least:,} of {small!r}"
    fix = "add images of the small classes, and judge each class by itself: accuracy hides the small ones"
    return Finding("imbalance", summary, fix, rows)


def _missing_classes(samples: Samples, empty: Sequence[str]) -> Finding | None:
    counts = samples.counts()
    rows = [Row("train", "", name, None, "a folder without images, so no class") for name in empty]
    for name, (train, validation) in zip(samples.class_names, counts.T.tolist(), strict=True):
        if not train:
            rows.append(Row("train", "", name, None, f"none in train, {validation:,} in validation"))
        elif not validation and len(samples) > samples.train:
            rows.append(Row("validation", "", name, None, f"{train:,} in train, none in validation"))
    summary = f"{len(rows):,} class" + "es" * (len(rows) != 1) + " without images in one split or in both"
    fix = "add images, remove the class, or correct its name"
    return Finding("missing_class", summary, fix, rows) if rows else None

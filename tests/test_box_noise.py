"""Wrong boxes against their definition, and in a run that stops and goes on."""

import csv
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from math import floor
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tamis.data import BoxedImages, BoxSet, noisy_boxes, with_box_noise
from tamis.data.box_noise import CLEAN, FLIPPED, INVENTED, SHIFTED, Kind
from tamis.fit import Stopped
from tamis.recipes.config import TrainConfig
from tamis.recipes.data import load
from tamis.recipes.train import train
from test_counting_recipes import stopping_after
from test_detection_recipes import SETTINGS, write_boxes, write_table

KINDS: tuple[Kind, ...] = ("flip", "shift", "missing", "invented", "mixed")
NAMES = ("bus", "car", "person", "dog")
Row = tuple[str, str, float, float, float, float]  # image, class, corners


def box_set(sizes: list[tuple[int, int]], boxes: Sequence[Sequence[tuple[float, ...]]], classes: int = 3) -> BoxSet:
    """Images of these sizes, boxes (x1, y1, x2, y2, label) of each, and a column that tells the boxes apart."""
    arrays = [np.array(sorted(each, key=lambda row: (row[4], *row[:4])), np.float32).reshape(-1, 5) for each in boxes]
    starts = np.cumsum([0, *map(len, arrays)])
    return BoxSet(
        Path(),
        tuple(f"{place}.png" for place in range(len(sizes))),
        tuple(each[:, :4] for each in arrays),
        tuple(each[:, 4].astype(np.int64) for each in arrays),
        np.array(sizes, np.int64),
        NAMES[:classes],
        columns={"occlusion": tuple(np.arange(*ends, dtype=np.float32) for ends in pairwise(starts))},
    )


@st.composite
def box_sets(draw: st.DrawFn, most: int = 6, classes: int = 3) -> BoxSet:
    """Up to five images with up to `most` boxes, some of which fill their image."""
    sizes = draw(st.lists(st.tuples(st.integers(8, 90), st.integers(8, 90)), min_size=1, max_size=5))
    share = st.floats(0, 1, width=32)
    boxes = []
    for width, height in sizes:
        own = set()
        for x, y, w, h in draw(st.lists(st.tuples(share, share, share, share), max_size=most)):
            x1, y1 = x * (width - 1), y * (height - 1)
            corners = [x1, y1, x1 + 1 + w * (width - 1 - x1), y1 + 1 + h * (height - 1 - y1)]
            own.add((*np.array(corners, np.float32).tolist(), draw(st.integers(0, classes - 1))))
        own |= {(0.0, 0.0, float(width), float(height), 0)} if draw(st.integers(0, 3)) == 0 else set()
        boxes.append(list(own)[:most])
    return box_set(sizes, boxes, classes)


def many(images: int = 200, seed: int = 0) -> BoxSet:
    """Images of 200 x 100 pixels with 0 to 5 small boxes."""
    random = np.random.default_rng(seed)
    boxes = [
        [
            (float(x), float(y), float(x + random.integers(5, 30)), float(y + random.integers(5, 20)), place % 3)
            for place, (x, y) in enumerate(random.integers(0, (170, 80), (random.integers(0, 6), 2)))
        ]
        for _ in range(images)
    ]
    return box_set([(200, 100)] * images, boxes)


def rows(found: BoxSet, code: int | None = None) -> list[Row]:
    """All boxes, or those of a code."""
    return [
        (name, found.class_names[label], *box.tolist())
        for place, name in enumerate(found.names)
        for row, (box, label) in enumerate(zip(found.boxes[place], found.labels[place].tolist(), strict=True))
        if code is None or found.columns["noise"][place][row] == code
    ]


def iou(one: Row, other: Row) -> float:
    """In plain numbers."""
    (x1, y1, x2, y2), (u1, v1, u2, v2) = one[2:], other[2:]
    overlap = max(0.0, min(x2, u2) - max(x1, u1)) * max(0.0, min(y2, v2) - max(y1, v1))
    return overlap / ((x2 - x1) * (y2 - y1) + (u2 - u1) * (v2 - v1) - overlap)


def same(one: BoxSet, other: BoxSet) -> bool:
    """Whether all boxes and columns of the images are the same, by the images' names."""

    def told(found: BoxSet) -> dict[str, list[bytes]]:
        columns = [found.boxes, found.labels, *(found.columns[name] for name in sorted(found.columns))]
        return {name: [column[place].tobytes() for column in columns] for place, name in enumerate(found.names)}

    return told(one) == told(other)


@settings(max_examples=150, deadline=None)
@given(box_sets(), st.sampled_from(KINDS), st.floats(0, 1), st.integers(0, 2**63 - 1))
def test_the_laws_of_every_kind(true: BoxSet, kind: Kind, ratio: float, seed: int) -> None:
    noisy = noisy_boxes(true, kind, ratio, seed)
    total, counts = len(rows(true)), Counter(np.concatenate(noisy.columns["noise"]).tolist())
    each = floor(round(ratio / (4 if kind == "mixed" else 1) * total, 6))
    asked = {name: each if kind in (name, "mixed") else 0 for name in ("flip", "shift", "missing", "invented")}
    assert counts[FLIPPED] == asked["flip"]
    assert counts[SHIFTED] == asked["shift"]
    assert counts[INVENTED] <= asked["invented"]
    assert counts[CLEAN] == total - asked["flip"] - asked["shift"] - asked["missing"]
    # What is right was there, and kept its column; what is wrong was not.
    whole = {(row, value) for row, value in zip(rows(true), np.concatenate(true.columns["occlusion"]), strict=True)}
    values = np.concatenate(noisy.columns["occlusion"])
    codes = np.concatenate(noisy.columns["noise"])
    for row, value, code in zip(rows(noisy), values.tolist(), codes.tolist(), strict=True):
        assert ((row, value) in whole) == (code == CLEAN)
        assert np.isnan(value) == (code == INVENTED)
    for boxes, labels, size in zip(noisy.boxes, noisy.labels, noisy.sizes.tolist(), strict=True):
        assert boxes.dtype == np.float32
        assert labels.dtype == np.int64
        assert (boxes >= 0).all()
        assert (boxes[:, 2:] > boxes[:, :2]).all()
        assert (boxes <= size * 2).all()
        order = [(label, *box) for box, label in zip(boxes.tolist(), labels.tolist(), strict=True)]
        assert order == sorted(order)
    for row in rows(noisy, INVENTED):
        assert max((iou(row, other) for other in rows(true) if other[0] == row[0]), default=0) <= 0.1 + 1e-5
    for name, x1, y1, x2, y2 in [(row[0], *row[2:]) for row in rows(noisy, FLIPPED)]:
        assert (x1, y1, x2, y2) in {row[2:] for row in rows(true) if row[0] == name}


@settings(max_examples=100, deadline=None)
@given(box_sets(most=1), st.integers(0, 2**63 - 1))
def test_a_shifted_box_is_too_far_away_to_count_as_found(true: BoxSet, seed: int) -> None:
    noisy = noisy_boxes(true, "shift", 1.0, seed)
    for row, other, (width, height) in zip(rows(true), rows(noisy), true.sizes[true.counts > 0].tolist(), strict=True):
        assert other[:2] == row[:2]
        assert iou(row, other) < 0.5
        for low, high, side in ((0, 2, width), (1, 3, height)):
            corners = [each[2:][low] for each in (row, other)], [each[2:][high] for each in (row, other)]
            moved = [new - old for old, new in corners]
            length = row[2:][high] - row[2:][low]
            inner = [step for step, (_, new) in zip(moved, corners, strict=True) if 0 < new < side]
            for step in inner:  # a corner at the border may have been clipped
                assert 0.3 * length - 1e-4 <= abs(step) <= 0.7 * length + 1e-4


@settings(max_examples=50, deadline=None)
@given(box_sets(), st.sampled_from(KINDS), st.integers(0, 9), st.randoms(use_true_random=False))
def test_the_order_of_images_and_boxes_has_no_influence(true: BoxSet, kind: Kind, seed: int, random) -> None:
    places = list(range(len(true)))
    random.shuffle(places)
    mixed = true.select(places)
    turns = [random.sample(range(len(each)), len(each)) for each in mixed.boxes]
    mixed = replace(
        mixed,
        boxes=tuple(each[turn] for each, turn in zip(mixed.boxes, turns, strict=True)),
        labels=tuple(each[turn] for each, turn in zip(mixed.labels, turns, strict=True)),
        columns={
            name: tuple(each[turn] for each, turn in zip(column, turns, strict=True))
            for name, column in mixed.columns.items()
        },
    )
    assert same(noisy_boxes(true, kind, 0.6, seed), noisy_boxes(mixed, kind, 0.6, seed))


@pytest.mark.parametrize("kind", KINDS)
def test_the_seed_and_the_key_decide(kind: Kind) -> None:
    true = many()
    noisy = noisy_boxes(true, kind, 0.4, 3)
    assert same(noisy, noisy_boxes(true, kind, 0.4, 3))
    assert not same(noisy, noisy_boxes(true, kind, 0.4, 4))
    renamed = replace(true, names=tuple(f"b{name}" for name in true.names))
    assert not same(noisy, replace(noisy_boxes(renamed, kind, 0.4, 3), names=true.names))


@pytest.mark.parametrize(("kind", "code"), [("flip", FLIPPED), ("shift", SHIFTED), ("invented", INVENTED)])
def test_a_higher_ratio_goes_on_where_a_lower_one_ends(kind: Kind, code: int) -> None:
    few, more = (set(rows(noisy_boxes(many(), kind, ratio, 1), code)) for ratio in (0.2, 0.4))
    assert few < more


def test_flips_go_to_every_other_class_alike() -> None:
    true = many(1500)
    before = Counter(row[1] for row in rows(true))
    noisy = noisy_boxes(true, "flip", 1.0, 0)
    pairs = Counter(
        (true.class_names[int(old)], true.class_names[int(new)])
        for old_boxes, old_labels, boxes, labels in zip(true.boxes, true.labels, noisy.boxes, noisy.labels, strict=True)
        for box, new in zip(boxes.tolist(), labels, strict=True)
        for old in old_labels[(old_boxes == np.float32(box)).all(1)]
    )
    assert sum(pairs.values()) == len(rows(true))
    for (old, new), count in pairs.items():
        assert old != new
        assert count / before[old] == pytest.approx(0.5, abs=0.06)
    assert len(pairs) == 6


def test_invented_boxes_are_of_the_sizes_there_are_and_anywhere() -> None:
    true = many(400)
    invented = rows(noisy_boxes(true, "invented", 1.0, 0), INVENTED)
    assert len(invented) == len(rows(true))
    sides = {(round(x2 - x1), round(y2 - y1)) for _, _, x1, y1, x2, y2 in rows(true)}
    assert {(round(x2 - x1), round(y2 - y1)) for _, _, x1, y1, x2, y2 in invented} <= sides
    empty = {name for name, count in zip(true.names, true.counts.tolist(), strict=True) if not count}
    share = sum(row[0] in empty for row in invented) / len(invented)
    assert share == pytest.approx(len(empty) / len(true), abs=0.06)  # background as much as any other
    assert all(
        count / len(invented) == pytest.approx(1 / 3, abs=0.06)
        for count in Counter(row[1] for row in invented).values()
    )
    centres = np.array([(row[2] + row[4], row[3] + row[5]) for row in invented]) / (400, 200)
    assert centres.mean(0) == pytest.approx([0.5, 0.5], abs=0.06)


def test_nothing_is_invented_where_no_place_is_free() -> None:
    full = box_set([(40, 30)] * 3, [[(0, 0, 40, 30, 0)]] * 3)
    assert rows(noisy_boxes(full, "invented", 1.0, 0), INVENTED) == []
    # On the image without a box there is room, and all go there.
    room = box_set([(40, 30)] * 3, [[(0, 0, 40, 30, 0)]] * 2 + [[]])
    assert {row[0] for row in rows(noisy_boxes(room, "invented", 1.0, 0), INVENTED)} == {"2.png"}
    ignored = replace(room, ignored=tuple(np.array([[0, 0, 40, 30]], np.float32) for _ in range(3)))
    assert rows(noisy_boxes(ignored, "invented", 1.0, 0), INVENTED) == []


@pytest.mark.parametrize("kind", KINDS)
def test_edges(kind: Kind) -> None:
    empty = box_set([(40, 30)] * 2, [[], []])
    assert [len(each) for each in noisy_boxes(empty, kind, 1.0, 0).boxes] == [0, 0]
    unchanged = noisy_boxes(many(20), kind, 0.0, 0)
    assert rows(unchanged) == rows(many(20))
    assert not np.concatenate(unchanged.columns["noise"]).any()
    one = replace(box_set([(40, 30)], [[(4, 4, 9, 9, 0)]]), class_names=("car",))
    if kind in ("flip", "mixed"):
        with pytest.raises(ValueError, match=f"noise must be shift, missing or invented .* one class, got '{kind}'"):
            noisy_boxes(one, kind, 0.4, 0)
    else:
        assert noisy_boxes(one, kind, 1.0, 0).counts.tolist() == {"shift": [1], "missing": [0], "invented": [2]}[kind]
    with pytest.raises(ValueError, match=r"ratio must be in \[0, 1\], got nan"):
        noisy_boxes(one, "shift", float("nan"), 0)


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match=r"noise must be none or one of flip, .* for boxes, got 'symmetric'"):
        noisy_boxes(many(2), "symmetric", 0.4, 0)  # pyright: ignore[reportArgumentType]


def test_a_part_of_a_source_gets_its_own_noise() -> None:
    whole = BoxedImages.from_boxes(many(60))
    part = whole.select(torch.arange(59, 9, -1))
    noisy, noise = with_box_noise(part, "mixed", 0.4, 5)
    boxes = int(part.labels.sum())
    each = floor(0.1 * boxes)
    assert noise.summary() == {
        "kind": "mixed", "ratio": 0.4, "flipped": each, "shifted": each, "missing": each, "invented": each,
    }  # fmt: skip
    assert noise.told() == (
        f"mixed noise: of {boxes} boxes {each} flipped, {each} shifted, {each} missing, {each} invented"
    )
    assert noise.true is part
    assert noise.clean.equal(part.labels)
    assert noisy.keys == part.keys
    want = noisy_boxes(many(60).select(list(range(59, 9, -1))), "mixed", 0.4, 5)
    for place in range(len(part)):
        found, classes = noisy.boxes_of(place)
        assert found.tobytes() == want.boxes[place].tobytes()
        assert classes.tobytes() == want.labels[place].tobytes()
        row = int(noisy.rows[place])
        for name, column in want.columns.items():
            assert noisy.columns[name][row].tobytes() == column[place].tobytes()
    for row in range(10):
        assert noisy.boxes[row] is whole.boxes[row]


def boxes_in(source: BoxedImages) -> dict[str, tuple[bytes, ...]]:
    """Boxes, classes and marks by key."""
    marks = source.columns["noise"]
    return {
        key: (*(each.tobytes() for each in source.boxes_of(place)), marks[int(source.rows[place])].tobytes())
        for place, key in enumerate(source.keys)
    }


def test_a_run_with_wrong_boxes_stops_and_goes_on(tmp_path: Path) -> None:
    """Also where the file has another order, and the part to judge by is held out; other boxes are refused."""
    written = [(*row[:6], "train") for row in write_boxes(tmp_path / "street")]
    write_table(tmp_path / "street", written)
    config = TrainConfig(
        tmp_path / "street", out=tmp_path / "run", noise="mixed", noise_ratio=0.8, hold_out=0.25, **SETTINGS
    )
    first = load(config)
    assert isinstance(first.train, BoxedImages)
    assert isinstance(first.validation, BoxedImages)
    clean = load(replace(config, noise="none"))
    assert clean.validation.keys == first.validation.keys  # wrong boxes do not decide what is held out
    assert all(
        np.array_equal(one, other)
        for place in range(len(clean.validation))
        for one, other in zip(clean.validation.boxes_of(place), first.validation.boxes_of(place), strict=True)  # pyright: ignore[reportAttributeAccessIssue]
    )
    with stopping_after(3), pytest.raises(Stopped):
        train(config)
    write_table(tmp_path / "street", sorted(written[::-1], key=lambda row: row[1] != "car"))
    again = load(config, config.folder)
    assert again.train.keys == first.train.keys
    assert boxes_in(again.train) == boxes_in(first.train)  # pyright: ignore[reportArgumentType]
    assert again.box_noise is not None
    assert first.box_noise is not None
    assert again.box_noise.summary() == first.box_noise.summary()
    assert "noise" not in again.validation.columns  # pyright: ignore[reportAttributeAccessIssue]
    train(config)
    about = json.loads((tmp_path / "run" / "run.json").read_text())
    assert about["data"]["noise"] == first.box_noise.summary()
    assert (tmp_path / "run" / "result.json").is_file()

    changed = [list(row) for row in csv.reader((tmp_path / "street" / "boxes.csv").open())][1:]
    key = first.train.keys[0].removeprefix("images/")
    place = next(place for place, row in enumerate(changed) if row[0] == key)
    write_table(tmp_path / "street", [*changed[:place], [key, "car", 3, 3, 20, 20, "train"], *changed[place + 1 :]])
    with pytest.raises(ValueError, match="wrong labels are drawn for all samples together"):
        load(replace(config, accept_dataset_change=True), config.folder, accept=True)


def test_settings_that_do_not_fit(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="noise must come with classification or detection, got 'counting'"):
        TrainConfig(tmp_path, task="counting", noise="flip")
    write_boxes(tmp_path / "street")
    with pytest.raises(ValueError, match=r"noise must be none or one of flip, shift, .* got 'symmetric'"):
        load(TrainConfig(tmp_path / "street", noise="symmetric", **SETTINGS))

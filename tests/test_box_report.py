"""What the page of a detector says of how far each training box is trusted, and what is read for it."""

import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from detected_folders import Detected, write_detected
from tamis.report import write_report
from tamis.report.box_history import moments, read_box_history
from tamis.report.box_reading import box_epochs, highest, read_rows, read_sigma, read_trained
from tamis.report.box_section import box_section, noise_kinds
from tamis.report.box_strip import Scale, best_window, candidates, scale_of, strip
from tamis.report.box_suspects import around
from tamis.report.boxed_pictures import path_of
from tamis.report.detection_tables import kitti_precision
from tamis.report.records import Record, read_record
from tamis.report.thumbnails import Thumbnails
from test_report_detection import plain
from test_report_safety import CHROMIUM, HOSTILE, Elements, assert_harmless, browse
from trusted_folders import HEIGHT, WIDTH, Trusted, sigma_after, write_trusted

Made = tuple[Path, dict[str, np.ndarray]]


def picture(index: int) -> Image.Image:
    noise = np.random.default_rng(index).integers(255, size=(HEIGHT // 8, WIDTH // 8, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((WIDTH, HEIGHT))


def made(folder: Path, fake: Trusted) -> Made:
    names = fake.class_names
    run = write_detected(folder, Detected(n=fake.images, epochs=2, validation=4, class_names=names, keys=fake.keys))
    return run, write_trusted(run, fake)


@pytest.fixture(scope="module")
def trusted(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return made(tmp_path_factory.mktemp("trusted") / "run", Trusted())


@pytest.fixture(scope="module")
def page(trusted: Made) -> str:
    return write_report(trusted[0], thumbnails=picture).read_text(encoding="utf-8")


def trust_of(run: Path, thumbnails: Thumbnails | None = None) -> dict[str, Any]:
    record = read_record(run, "run")
    return box_section([record], record, thumbnails)["trust"]


# ----- the page ---------------------------------------------------------------------------------------------------


def test_the_section_has_all_its_parts(page: str) -> None:
    assert "<h2>How far each box is trusted</h2>" in page
    titles = re.findall(r"<figcaption><b>(.*?)</b>", page)
    for title in ("Sigma by occlusion, at the end", "Sigma by height, at the end", "Sigma by occlusion, over training",
                  "Sigma by class, over training", "Sigma of the boxes", "Mean sigma, right and wrong boxes",
                  "Wrong boxes found"):  # fmt: skip
        assert title in titles
    assert "1,200, 2,100, 2,600 true boxes 92.1 87.3 78.0 90.0 85.0 –" in re.sub(r"\s+", " ", plain(page))
    assert "Difficulty goes by occlusion alone" in page
    assert len(page) < 2_000_000


def test_the_strip_is_thick_where_sigma_is_low(trusted: Made, page: str) -> None:
    _, columns = trusted
    drawings = re.findall(r'<svg viewBox="0 0 320 192" role="img"[^>]*>(.*?)</svg>\n', page, re.S)
    assert len(drawings) == 4 * 5
    assert page.count("<image ") == 4  # a picture is there once, and used again
    assert page.count('<use href="#strip-') == 16
    for drawing in drawings:
        lines = re.findall(r'stroke-width="([\d.]+)"><title>(.*?), sigma ([\d.]+)</title>', drawing)
        assert len(lines) >= 2
        order = sorted(lines, key=lambda line: float(line[2]))
        widths = [float(line[0]) for line in order]
        assert widths == sorted(widths, reverse=True)
    epochs = re.findall(r"<p>after epoch (\d+)</p>", page)
    assert epochs == ["1", "3", "5", "6", "8"]
    assert sum(drawing.count('class="bad"') for drawing in drawings) > 0
    image, first = re.findall(r"M(\d+) (\d+)H(\d+)V(\d+)", drawings[0]), drawings[0].count("<path")
    assert len(image) == first
    corners = {tuple(round(float(columns[name][row])) for name in ("x1", "y1", "x2", "y2")) for row in columns["box"]}
    assert {tuple(map(int, box)) for box in image} <= corners  # the whole picture is shown


def test_the_boxes_to_look_at_are_the_highest(trusted: Made, page: str) -> None:
    _, columns = trusted
    sigma = sigma_after(7, columns)
    cards = re.findall(
        r"<p><bdi>(\w+)</bdi>(.*?)</p>\s*<p class=\"score\">sigma ([\d.]+), loss (\S+)</p>\s*"
        r'<p class="key"><bdi title="(.*?)">(.*?)</bdi>',
        page, re.S,
    )  # fmt: skip
    assert len(cards) == 24
    highest_first = np.argsort(-sigma)[:24].tolist()
    for card, row in zip(cards, highest_first, strict=True):
        name, tag, told, _, key, image = card
        assert name == Trusted().class_names[int(columns["label"][row])]
        assert float(told) == pytest.approx(float(sigma[row]), rel=5e-3)
        assert key.endswith(f":{row}")
        assert image == f"train/{columns['image'][row]:05d}.jpg"
        kind = ["", "class flipped", "box shifted", "box invented"][int(columns["noise"][row])]
        assert (f'title="made wrong on purpose">{kind}</em>' in tag) is bool(kind)
    assert page.count('class="boxed"') >= 24


def test_the_noise_table_is_as_counted_by_hand(trusted: Made, page: str) -> None:
    run, columns = trusted
    sigma = sigma_after(7, columns).tolist()
    noise = columns["noise"].tolist()
    loss = [math.nan] * len(noise)
    for epoch in range(8):
        told = pq.read_table(run / "ledger" / f"boxes-{epoch:05d}.parquet")["loss"].to_pylist()
        loss = [before if math.isnan(now) else now for before, now in zip(loss, told, strict=True)]
    text = re.sub(r"\s+", " ", plain(page))
    for kind, name in enumerate(("Class flipped", "Box shifted", "Box invented"), start=1):
        count = sum(each == kind for each in noise)
        figures = [by_hand(score, [each == kind for each in noise], noise) for score in (sigma, loss)]
        assert f"{name} {count} {figures[0]:.3f} {figures[1]:.3f}" in text
    assert f"All of these {sum(each > 0 for each in noise)} " in text
    assert "Box left out 17 – –" in text
    assert "Made wrong on purpose 17 missing" in text


def by_hand(score: list[float], wrong: list[bool], noise: list[float]) -> float:
    """The share of pairs of a wrong and a right box in which the wrong one is higher."""
    high = [value for value, bad in zip(score, wrong, strict=True) if bad]
    low = [value for value, kind in zip(score, noise, strict=True) if kind == 0]
    wins = sum((a > b) + (a == b) / 2 for a in high for b in low)
    return wins / len(high) / len(low)


def test_without_noise_occlusion_or_pictures_there_is_less(tmp_path: Path) -> None:
    run, _ = made(tmp_path / "run", Trusted(wrong=0, leave=["occlusion", "noise"], epochs=1))
    text = write_report(run).read_text()
    for absent in ("Sigma by occlusion", "made wrong", "after epoch", "<img ", "Some of these pictures"):
        assert absent not in text
    assert text.count('<p class="score">sigma ') == 24
    assert "Sigma by height, at the end" in text


def test_sigma_of_classes_points_at_no_box(tmp_path: Path) -> None:
    run, _ = made(tmp_path / "run", Trusted(kind="class", epochs=1))
    text = plain(write_report(run, thumbnails=picture).read_text())
    assert "Look at these labels" not in text
    assert "Each training box has the temperature of its class, sigma" in text
    assert "data_parameters: instance tells the boxes apart" in text


@pytest.mark.parametrize("kind", [None, "none"])
def test_a_run_without_data_parameters_has_no_such_section(tmp_path: Path, kind: str | None) -> None:
    run, _ = made(tmp_path / "run", Trusted(kind=kind, epochs=1))
    assert "How far each box is trusted" not in write_report(run).read_text()


def test_the_run_with_data_parameters_is_shown_beside_another(trusted: Made, tmp_path: Path) -> None:
    plain_run = write_detected(tmp_path / "plain", Detected(n=60, epochs=2, validation=4))
    text = write_report([trusted[0], plain_run], tmp_path / "page.html", thumbnails=picture).read_text()
    assert "How far each box is trusted <span>by <bdi>run</bdi></span>" in text
    assert text.count("<image ") == 4
    other = write_detected(tmp_path / "other", Detected(n=60, epochs=2, validation=4, keys=["another.jpg"]))
    records = [read_record(folder, folder.name) for folder in (other, trusted[0])]
    trust = box_section(records, records[0], picture)["trust"]
    assert (trust["record"].name, trust["strip"], trust["pictured"]) == ("run", None, False)  # not of its images


# ----- damage -----------------------------------------------------------------------------------------------------


def _column(name: str, value: object) -> Callable[[Path], None]:
    def spoil(ledger: Path) -> None:
        table = pq.read_table(ledger / "boxes.parquet")
        values = pa.array([value, *table[name].to_pylist()[1:]])
        pq.write_table(table.set_column(table.column_names.index(name), name, values), ledger / "boxes.parquet")

    return spoil


def _leave(ledger: Path, pattern: str) -> None:
    for path in ledger.glob(pattern):
        path.unlink()


def _truncate(ledger: Path) -> None:
    path = ledger / "boxes.parquet"
    path.write_bytes(path.read_bytes()[:-100])


def _scramble(ledger: Path) -> None:
    path = ledger / "boxes.parquet"
    text = bytearray(path.read_bytes())
    text[4:2000] = bytes(reversed(text[4:2000]))
    path.write_bytes(bytes(text))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda ledger: _leave(ledger, "boxes.parquet"), "there are no ledger/boxes*.parquet in the run folder"),
        (lambda ledger: _leave(ledger, "boxes-*.parquet"), "they come with history: true"),
        (lambda ledger: (ledger / "boxes.parquet").write_bytes(b""), "size is 0 bytes"),
        (lambda ledger: (ledger / "boxes.parquet").write_bytes(b"PAR1 nothing PAR1"), "arquet"),
        (_truncate, "arquet"),
        (_scramble, ""),
        (lambda ledger: pq.write_table(pa.table({"image": [0]}), ledger / "boxes.parquet"), "has no column label"),
        (lambda ledger: pq.write_table(pq.read_table(ledger / "boxes.parquet")[:0], ledger / "boxes.parquet"), "none"),
        (_column("image", 60), "image must be in [0, 60), got 0 to 60"),
        (_column("image", None), "image must be in [0, 60), got -1"),
        (_column("label", -1), "label must be in"),
        (_column("label", 1 << 40), "label must be in"),
    ],
)  # fmt: skip
def test_damage_is_told_in_one_line(tmp_path: Path, spoil: Callable[[Path], None], said: str) -> None:
    run, _ = made(tmp_path / "run", Trusted(epochs=1))
    spoil(run / "ledger")
    trust = trust_of(run, thumbnails=picture)
    assert {*trust} == {"record", "problem"}
    assert said in trust["problem"]
    assert "\n" not in trust["problem"]


def test_the_page_says_what_is_damaged(tmp_path: Path) -> None:
    run, _ = made(tmp_path / "run", Trusted(epochs=1))
    (run / "ledger" / "boxes.parquet").write_bytes(b"PAR1")
    text = write_report(run, thumbnails=picture).read_text()
    assert re.search(r"<p class=\"small\">What sigma says of the boxes cannot be shown: .+\.</p>\n</section>", text)
    assert "Look at these labels" not in text


def test_epochs_that_cannot_be_read_are_left_out(tmp_path: Path) -> None:
    run, columns = made(tmp_path / "run", Trusted())
    ledger = run / "ledger"
    (ledger / "boxes-00002.parquet").write_bytes(b"PAR1")
    pq.write_table(pa.table({"sigma": [1.0], "loss": [1.0]}), ledger / "boxes-00007.parquet")  # of other boxes
    (ledger / "boxes-x.parquet").write_bytes(b"")
    text = write_report(run, thumbnails=picture).read_text()
    assert "are of before the data changed: boxes-00002.parquet, boxes-00007.parquet." in text
    assert re.findall(r"<p>after epoch (\d+)</p>", text) == ["1", "2", "4", "6", "7"]
    assert f"sigma {sigma_after(6, columns).max():.3g}," in text
    _leave(ledger, "boxes-0000[1-9].parquet")
    pq.write_table(pa.table({"loss": np.zeros(len(columns["box"]))}), ledger / "boxes-00000.parquet")
    assert "no epoch of ledger/boxes-*.parquet has a sigma for each of the" in trust_of(run)["problem"]


def test_strange_boxes_and_unreadable_pictures_do_no_harm(tmp_path: Path) -> None:
    run, _ = made(tmp_path / "run", Trusted(epochs=2))
    path, random = run / "ledger" / "boxes.parquet", np.random.default_rng(0)
    table = pq.read_table(path)
    for name in ("x1", "y1", "x2", "y2", "occlusion", "noise"):
        strange = random.choice([np.nan, np.inf, -np.inf, 1e30, -5, 0, 7, 400], len(table)).astype(np.float32)
        table = table.set_column(table.column_names.index(name), name, pa.array(strange))
    pq.write_table(table, path)
    sigma = random.choice([np.nan, np.inf, -1, 0, 1e-30, 1e30, 1], len(table)).astype(np.float32)
    pq.write_table(pa.table({"sigma": sigma, "loss": sigma}), run / "ledger" / "boxes-00001.parquet")

    def torn(index: int) -> Image.Image:
        if index % 2:
            raise OSError("no such file")
        return picture(index)

    text = write_report(run, thumbnails=torn).read_text()
    assert "cannot be shown" not in text
    assert "no picture" in text
    assert not re.search(r'd="[^"]*(nan|inf)', text)


# ----- what is read -----------------------------------------------------------------------------------------------


def test_of_many_boxes_those_of_some_images_are_read(trusted: Made) -> None:
    run, columns = trusted
    boxes = read_trained(run, 60, most=len(columns["box"]) // 3)
    assert boxes.every == 4
    chosen = np.flatnonzero(columns["image"] % 4 == 0)
    assert boxes.rows.tolist() == chosen.tolist()
    assert boxes.height == pytest.approx((columns["y2"] - columns["y1"])[chosen])
    last = box_epochs(run)[7]
    assert read_sigma(last, boxes).tolist() == sigma_after(7, columns)[chosen].tolist()
    assert read_box_history(box_epochs(run), boxes).epochs == list(range(8))
    all_boxes = read_trained(run, 60)
    assert (all_boxes.every, len(all_boxes)) == (1, len(columns["box"]))
    assert read_rows(run / "ledger" / "boxes.parquet", np.array([0, 5]), ["box"])["box"].to_pylist() == [0, 5]


def test_means_are_of_right_boxes_by_occlusion(trusted: Made) -> None:
    run, columns = trusted
    boxes = read_trained(run, 60)
    history = read_box_history(box_epochs(run), boxes)
    for epoch in (0, 7):
        sigma = sigma_after(epoch, columns).tolist()
        right = np.where(columns["noise"] > 0, -1, columns["occlusion"])
        for level in range(3):
            rows = [row for row in range(len(sigma)) if right[row] == level]
            mean = math.exp(sum(math.log(sigma[row]) for row in rows) / len(rows))
            assert history.by_level[epoch][level] == pytest.approx(mean)
    wrong = [row for row in range(len(boxes)) if columns["noise"][row]]
    top = sorted(range(len(boxes)), key=lambda row: -sigma[row])[: round(0.4 * len(boxes))]
    assert history.noise[7].top_share == pytest.approx(len({*wrong} & {*top}) / len(top))
    assert history.noise[7].wrong[0] == pytest.approx(np.mean([sigma[row] for row in wrong]))


def test_the_highest_of_equals_have_the_higher_loss(tmp_path: Path) -> None:
    path = tmp_path / "boxes.parquet"
    told = {"sigma": [20.0, 1.0, 20.0, None, 20.0, -3.0], "loss": [1.0, 9.0, 2.0, 9.0, math.nan, 9.0]}
    pq.write_table(pa.table(told), path)
    rows, sigma, loss = highest(path, 4)
    assert rows.tolist() == [2, 0, 4, 1]
    assert sigma.tolist() == [20, 20, 20, 1]
    assert loss[:2].tolist() == [2, 1]
    assert highest(path, 1)[0].tolist() == [2]


@given(st.integers(1, 400))
def test_moments_are_the_start_the_quarters_and_the_end(count: int) -> None:
    epochs = list(range(3, 3 + count))
    found = moments(epochs)
    assert found == sorted({*found})
    assert (found[0], found[-1]) == (epochs[0], epochs[-1])
    assert len(found) == min(5, count)
    assert all(abs(each - 3 - place * (count - 1) / 4) <= 0.5 for place, each in enumerate(found)) or count < 5


# ----- the strip --------------------------------------------------------------------------------------------------


@given(st.lists(st.floats(1e-3, 1e3) | st.just(math.nan), max_size=30))
def test_thickness_falls_as_sigma_rises(sigma: list[float]) -> None:
    scale = scale_of(np.array(sigma))
    known = sorted(value for value in sigma if not math.isnan(value))
    widths = [scale.thickness(value) for value in known]
    assert widths == sorted(widths, reverse=True)
    assert all(1 <= width <= 4 for width in widths)
    assert scale.low < 1 < scale.high
    assert scale.thickness(math.nan) == scale.thickness(scale.high) == 1
    assert [step["width"] for step in scale.legend] == sorted((step["width"] for step in scale.legend), reverse=True)


def test_even_steps_of_log_sigma_are_even_steps_of_thickness() -> None:
    scale = Scale(0.25, 4)
    assert [scale.thickness(sigma) for sigma in (0.1, 0.25, 1, 4, 9)] == [4, 4, 2.5, 1, 1]


@given(
    st.tuples(st.integers(1, 700), st.integers(1, 700)),
    st.lists(st.tuples(*[st.floats(0, 1, exclude_max=True)] * 2), max_size=9),
)
def test_the_window_is_in_the_image_and_holds_the_most_boxes(
    size: tuple[int, int], places: list[tuple[float, float]]
) -> None:
    centres = [(x * size[0], y * size[1]) for x, y in places]
    corners = np.array([[x - 4, y - 4, x + 4, y + 4] for x, y in centres]).reshape(-1, 4)
    left, top, right, bottom = best_window(size, corners)
    width, height = right - left, bottom - top
    assert 0 <= left < right <= size[0]
    assert 0 <= top < bottom <= size[1]
    assert width == size[0] or height == size[1]
    assert 0.79 * height - 1 <= width <= 1.71 * height + 1
    middles = [((x1 + x2) / 2, (y1 + y2) / 2) for x1, y1, x2, y2 in corners.tolist()]

    def inside(x: int, y: int) -> int:
        return sum(x <= cx < x + width and y <= cy < y + height for cx, cy in middles)

    ends = [(x, y) for x in (0, size[0] - width) for y in (0, size[1] - height)]
    assert inside(left, top) >= max(inside(x, y) for x, y in ends)


def test_of_a_wide_image_a_part_is_shown_with_its_boxes_in_place(trusted: Made) -> None:
    run, columns = trusted
    boxes, wide = read_trained(run, 60), Image.new("RGB", (WIDTH, HEIGHT // 3))
    image = candidates(boxes, sigma_after(7, columns))[0][0]
    (row,) = strip(run, box_epochs(run), boxes, {image: wide}, Trusted().class_names)["rows"]
    assert (row["width"], row["height"]) == row["picture"].size == (round(1.7 * 64), 64)
    own = np.flatnonzero(columns["image"] == image)
    corners = np.column_stack([columns[name][own] for name in ("x1", "y1", "x2", "y2")])
    left, top, _, _ = best_window(wide.size, corners)
    assert left > 0
    drawn = {line["d"] for line in row["moments"][0]}
    assert drawn == {path_of([box]) for box in corners - [left, top, left, top]}


def test_examples_come_from_each_quarter_and_differ(trusted: Made) -> None:
    run, columns = trusted
    boxes = read_trained(run, 60)
    sigma = sigma_after(7, columns)
    quarters = candidates(boxes, sigma)
    assert len(quarters) == 4
    assert all(max(one) < min(other) for one, other in pairwise(quarters))
    own = {image: sigma[columns["image"] == image] for quarter in quarters for image in quarter}
    assert all(len(each) >= 2 for each in own.values())
    for quarter in quarters:
        worth = [float(np.log(own[image]).std()) * min(len(own[image]), 12) ** 0.5 for image in quarter]
        assert worth == pytest.approx(sorted(worth, reverse=True), abs=1e-5)


# ----- pictures of single boxes -----------------------------------------------------------------------------------


@given(st.lists(st.floats(-50, 400), min_size=4, max_size=4))
def test_a_cut_is_in_the_picture_and_has_the_box(box: list[float]) -> None:
    left, top, right, bottom = around(np.array(box, np.float32), (WIDTH, HEIGHT))
    assert 0 <= left < right <= WIDTH
    assert 0 <= top < bottom <= HEIGHT
    if box[0] < box[2] and box[1] < box[3] and 0 <= box[0] < WIDTH - 1 and 0 <= box[1] < HEIGHT - 1:
        assert left <= box[0]
        assert top <= box[1]
        assert right >= min(WIDTH, box[2])
        assert bottom >= min(HEIGHT, box[3])


def test_a_cut_has_room_around_the_box() -> None:
    assert around(np.array([100, 60, 140, 80], np.float32), (WIDTH, HEIGHT)) == (68, 18, 172, 122)
    assert around(np.array([300, 60, 320, 80], np.float32), (WIDTH, HEIGHT)) == (268, 44, 320, 96)  # as square inside
    assert around(np.array([np.nan] * 4, np.float32), (WIDTH, HEIGHT)) == (0, 0, WIDTH, HEIGHT)
    assert around(np.array([900, 900, 950, 950], np.float32), (WIDTH, HEIGHT)) == (0, 0, WIDTH, HEIGHT)


# ----- Fig. 2 -----------------------------------------------------------------------------------------------------


def _record(run: Path, kitti: object) -> Record:
    record = read_record(run, "run")
    return replace(record, result={"detection": {"kitti": kitti}})


@pytest.mark.parametrize("kitti", [None, 3, [], {}, {"classes": None}, {"classes": [1]}, {"classes": {"car": 7}}])
def test_no_figures_no_table(trusted: Made, kitti: object) -> None:
    assert kitti_precision([_record(trusted[0], kitti)]) == []


def test_classes_and_runs_stand_below_each_other(trusted: Made) -> None:
    figures = {"r40": [0.921, 0.873, math.nan], "r11": [1]}
    records = [
        _record(trusted[0], {"classes": {"car": figures}}),
        _record(trusted[0], {"classes": {"person": figures, "car": figures | {"r40": "x"}}}),
    ]
    rows = kitti_precision(records)
    assert [(row["name"], row["run"], row["first"]) for row in rows] == [
        ("car", 0, True), ("car", 1, False), ("person", 1, True),
    ]  # fmt: skip
    assert rows[0]["figures"] == ["92.1", "87.3", "–", "100.0", "–", "–"]
    assert rows[1]["figures"][:3] == ["–"] * 3


def test_a_number_of_missing_boxes_that_is_no_number_is_not_told(trusted: Made, tmp_path: Path) -> None:
    run, _ = made(tmp_path / "run", Trusted(epochs=1))
    about = json.loads((run / "run.json").read_text())
    about["data"]["noise"] = {"missing": "<b>many</b>"}
    (run / "run.json").write_text(json.dumps(about))
    record, boxes = read_record(run, "run"), read_trained(run, 60)
    rows = noise_kinds(record, boxes, read_box_history(box_epochs(run), boxes))
    assert [row["what"] for row in rows] == ["Class flipped", "Box shifted", "Box invented", "All of these"]


# ----- other people's names, and many boxes -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    fake = Trusted(class_names=HOSTILE, keys=HOSTILE)
    run, _ = made(tmp_path_factory.mktemp("hostile") / "run", fake)
    return write_report(run, run / "none.html"), write_report(run, thumbnails=picture)


def test_hostile_names_are_only_shown(hostile: tuple[Path, Path]) -> None:
    bare, pictured = (path.read_text(encoding="utf-8") for path in hostile)
    assert_harmless(Elements(bare))
    assert "{{7*7}}" in bare
    elements = Elements(pictured)
    for tag, attributes in elements.found:
        assert not [name for name in attributes if name.startswith("on")], tag
        assert (attributes.get("src") or attributes.get("href") or "#").startswith(("data:", "#"))
    assert [tag for tag, _ in elements.found].count("script") == 2


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium, chromium-browser or google-chrome is installed")
@pytest.mark.slow
def test_a_browser_draws_the_strip_and_runs_nothing(hostile: tuple[Path, Path], tmp_path: Path) -> None:
    dom, console = browse(hostile[1], tmp_path)
    assert "Content Security Policy" not in console
    assert "<title>owned" not in dom
    assert len(re.findall(r"<use href=\"#strip-", dom)) == 16


@pytest.mark.slow
def test_a_million_boxes_make_a_small_page(tmp_path: Path) -> None:
    images, n = 100_000, 1_000_000
    run = write_detected(tmp_path / "run", Detected(n=images, epochs=1, validation=4))
    about = json.loads((run / "run.json").read_text())
    about["config"]["data_parameters"] = "instance"
    (run / "run.json").write_text(json.dumps(about))
    random = np.random.default_rng(0)
    corners = np.sort(random.uniform(0, 150, (4, n)).astype(np.float32), axis=0)
    columns = {"image": np.repeat(np.arange(images), 10), "label": random.integers(0, 3, n)}
    columns |= {"key": [f"image/{row:07d}.jpg#car:0,0,1,1" for row in range(n)]}
    columns |= dict(zip(("x1", "y1", "x2", "y2"), corners, strict=True))
    columns |= {"occlusion": random.integers(0, 3, n).astype(np.float32)}
    columns |= {"noise": (random.random(n) < 0.2).astype(np.float32)}
    pq.write_table(pa.table(columns), run / "ledger" / "boxes.parquet")
    for epoch in range(3):
        sigma = random.lognormal(0, 1, n).astype(np.float32)
        pq.write_table(pa.table({"sigma": sigma, "loss": sigma}), run / "ledger" / f"boxes-{epoch:05d}.parquet")
    trust = trust_of(run, thumbnails=picture)
    assert not trust["problem"]
    assert (len(trust["boxes"]), trust["boxes"].every) == (n // 4, 4)
    assert sum(len(chart.svg) for chart in [*trust["charts"], *trust["noise"]]) < 300_000
    assert len(write_report(run, thumbnails=picture).read_text()) < 5_000_000

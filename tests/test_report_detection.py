"""The page of detectors, and what is read from their run folders."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from counting_folders import Counted, write_counted
from detected_folders import HEIGHT, WIDTH, Detected, write_detected
from tamis.detections import Detections
from tamis.report import write_report
from tamis.report.boxed_pictures import Encoder, path_of
from tamis.report.detection_overlay import draw_boxes
from tamis.report.detection_reading import read_boxes
from tamis.report.detection_tables import detection_classes
from tamis.report.detection_verdict import detection_verdict
from tamis.report.records import read_record
from tamis.scores import image_hits
from test_report_page import content, words
from test_report_safety import CHROMIUM, HOSTILE, Elements, assert_harmless, browse

PLAIN = Detected()
PACED = Detected(paced=True, quality=0.75, seed=1)


def picture(index: int) -> Image.Image:
    """Twice as large as what the model saw."""
    noise = np.random.default_rng(index).integers(255, size=(2 * HEIGHT, 2 * WIDTH, 3), dtype=np.uint8)
    return Image.fromarray(noise)


def given_boxes(index: int) -> np.ndarray:
    return np.array([[10.0, 20.0, 30.0 + index, 50.0]])


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("detected")
    return [write_detected(folder / "standard", PLAIN), write_detected(folder / "clip", PACED)]


def page_of(folders: Path | list[Path], out: Path) -> str:
    pictures = {"thumbnails": picture, "validation_thumbnails": picture, "boxes": given_boxes}
    return write_report(folders, out, **pictures).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def pair(runs: list[Path], tmp_path_factory: pytest.TempPathFactory) -> str:
    return page_of(runs, tmp_path_factory.mktemp("page") / "page.html")


@pytest.fixture(scope="module")
def alone(runs: list[Path], tmp_path_factory: pytest.TempPathFactory) -> str:
    return page_of(runs[0], tmp_path_factory.mktemp("page") / "page.html")


def plain(page: str) -> str:
    return words(page).replace("\u00a0", " ").replace("&nbsp;", " ")


# ----- the page ---------------------------------------------------------------------------------------------------


def test_two_detectors_stand_side_by_side(pair: str) -> None:
    for title in ("mAP50 against epoch", "mAP50 against samples fed", "mAP50 against seconds"):
        assert f"<b>{title}</b>" in pair
    for title in ("Loss against epoch", "Loss against samples fed", "The pace, with and without pruning"):
        assert f"<b>{title}</b>" in pair
    assert [title.strip() for title in re.findall(r"<h2>(\w[\w ]*)", pair)] == [
        "Result", "Training", "Curriculum", "Validation images", "Annotations to look at", "Samples", "Reproduce",
    ]  # fmt: skip
    for title in ("Lowest AP", "Highest AP", "Most false alarms", "Average precision at IoU 0.5", "Left out in"):
        assert title in pair
    # 8 images at most in each of three groups, those that waited, and 24 to look at
    assert 24 + 24 < pair.count("<img ") <= 3 * 8 + 24 + 24
    assert len(pair) < 5_000_000


def test_the_table_holds_the_figures_of_the_last_epoch(runs: list[Path], pair: str) -> None:
    text = plain(pair)
    for run in runs:
        last = json.loads((run / "result.json").read_text())["last"]
        assert f"{last['map50']:.3f}" in text
    assert "0.410 0.390 0.200 0.520 –" in re.sub(r"\s+", " ", text)  # mAP, mAP75, small, medium; no large box
    assert "of the extra detection" not in text


def test_a_run_without_coco_says_why(tmp_path: Path) -> None:
    text = plain(page_of(write_detected(tmp_path / "run", Detected(coco=False)), tmp_path / "page.html"))
    assert "these need faster-coco-eval, of the extra detection" in text


def test_boxes_are_in_the_pixels_that_the_model_saw(runs: list[Path], alone: str) -> None:
    boxes = pq.read_table(runs[0] / "predictions" / "boxes.parquet").to_pylist()
    images = pq.read_table(runs[0] / "predictions" / "validation.parquet").to_pylist()
    card = r'loading="lazy"><svg viewBox="0 0 (\d+) (\d+)"[^>]*>(.*?)</svg></div>.*?<bdi title="([^"]+)">'
    cards = re.findall(card, alone, re.S)
    judged = [card for card in cards if card[3].startswith("val/")]
    assert len(judged) > 16
    for width, height, paths, key in judged:
        assert (int(width), int(height)) == (WIDTH, HEIGHT)
        (image,) = [row["index"] for row in images if row["key"] == key]
        for who, kind, least in (("true", "solid", 0.0), ("predicted", "dashed", 0.3)):
            own = [row for row in boxes if (row["index"], row["who"]) == (image, who) and row["score"] >= least]
            drawn = re.findall(rf'class="{kind}" d="([^"]*)"', paths)
            assert "".join(drawn).count("M") == len(own)
            for row in own:
                assert f"M{row['x1']:.0f} {row['y1']:.0f}H{row['x2']:.0f}" in drawn[0]
    learned = [card for card in cards if card[3].startswith("train/")]
    assert len(learned) == 24
    for width, height, paths, key in learned:  # in the picture's own pixels
        assert (int(width), int(height)) == (2 * WIDTH, 2 * HEIGHT)
        assert f'd="{path_of(given_boxes(int(key[6:11])))}"' in paths


def test_the_groups_are_the_worst_the_best_and_the_alarmed(runs: list[Path], alone: str) -> None:
    found = read_boxes(runs[0])
    assert found is not None
    titles = re.split(r"<h3>(Lowest AP|Highest AP|Most false alarms)", alone)
    shown = {
        title: re.findall(r'<bdi title="(val/[^"]+)">', part)
        for title, part in zip(titles[1::2], titles[2::2], strict=True)
    }
    precision = dict(zip(found.keys, found.precision.tolist(), strict=True))
    boxed = {key: precision[key] for key, count in zip(found.keys, found.true_count.tolist(), strict=True) if count}
    assert [boxed[key] for key in shown["Lowest AP"]] == sorted(boxed.values())[:8]
    assert [boxed[key] for key in shown["Highest AP"]] == sorted(boxed.values())[::-1][:8]
    alarms = dict(zip(found.keys, (found.found - found.hits).tolist(), strict=True))
    assert [alarms[key] for key in shown["Most false alarms"]] == sorted(filter(None, alarms.values()))[::-1][:8]
    assert not set(shown["Lowest AP"]) & set(shown["Highest AP"])


def test_the_samples_have_boxes_and_no_class(alone: str, runs: list[Path]) -> None:
    told = content(alone)
    assert (told["classes"], told["titles"]) == ([], {"points": "Boxes"})
    labels = pq.read_table(runs[0] / "ledger" / "samples.parquet")["label"].to_pylist()
    assert dict(zip(told["columns"]["index"], told["columns"]["points"], strict=True)) == dict(enumerate(labels))
    assert not {"label", "predicted", "count"} & told["columns"].keys()
    assert 'placeholder="Search key"' in alone


def test_pictures_of_other_data_are_not_shown(tmp_path: Path) -> None:
    first = write_detected(tmp_path / "first", PLAIN)
    keys = [f"other/{number}.jpg" for number in range(60)]
    fake = replace(PLAIN, keys=keys, validation_keys=[f"there/{number}.jpg" for number in range(24)])
    page = page_of([first, write_detected(tmp_path / "second", fake)], tmp_path / "page.html")
    assert page.count("<img ") == 0
    assert "They were judged by different images, so they cannot be compared." in plain(page)


def test_a_page_of_many_large_pictures_stays_small(tmp_path: Path) -> None:
    keys = [f"{number:05}-{'k' * 80}.jpg" for number in range(25_000)]
    run = write_detected(tmp_path / "run", Detected(n=25_000, epochs=1, keys=keys))

    def noise(index: int) -> Image.Image:
        random = np.random.default_rng(index)
        return Image.fromarray(random.integers(255, size=(240, 240, 3), dtype=np.uint8))

    page = write_report(run, thumbnails=noise, validation_thumbnails=noise).read_text()
    assert len(page) < 5_000_000
    assert "Some pictures are left out, to keep the page small." in page


def test_a_detector_and_a_counter_do_not_share_a_page(runs: list[Path], tmp_path: Path) -> None:
    counter = write_counted(tmp_path / "run", Counted(n=12, epochs=1, validation=4))
    with pytest.raises(ValueError, match="runs must have one task, got counting and detection"):
        write_report([runs[0], counter], tmp_path / "page.html")


@pytest.mark.parametrize("task", ["../counting", "segmentation", 7, None, ["detection"]])
def test_a_task_that_nobody_knows_is_shown_as_classes(tmp_path: Path, task: object) -> None:
    run = write_detected(tmp_path / "run", Detected(n=10, epochs=1, predictions=False))
    about = json.loads((run / "run.json").read_text())
    about["config"]["task"] = task
    (run / "run.json").write_text(json.dumps(about))
    assert read_record(run, "run").task == "classification"


# ----- the verdict ------------------------------------------------------------------------------------------------


def verdict(*folders: Path) -> str:
    records = [read_record(folder, folder.name) for folder in folders]
    return detection_verdict(records, records[min(1, len(records) - 1)]).replace("\u00a0", " ")


def test_the_verdict_of_one_run(runs: list[Path], tmp_path: Path) -> None:
    assert verdict(runs[0]) == (
        "After 5 epochs the mAP50 is 0.471 on 24 validation images; no epoch was better. It was fed 300 samples."
    )
    worse = write_detected(tmp_path / "worse", PLAIN)
    result = json.loads((worse / "result.json").read_text())
    result["best"] |= {"epoch": 1, "map50": 0.6}
    (worse / "result.json").write_text(json.dumps(result))
    assert "; the best epoch was 2 with 0.600. It was" in verdict(worse)
    going = write_detected(tmp_path / "going", replace(PLAIN, finished=False))
    assert verdict(going).startswith("Not finished: after 5 of 5 epochs the mAP50 is 0.471 on")
    nothing = write_detected(tmp_path / "nothing", replace(PLAIN, nan_epochs=range(5)))
    assert "the mAP50 is not known: no validation image has a box." in verdict(nothing)
    unjudged = write_detected(tmp_path / "unjudged", replace(PLAIN, validation=0, predictions=False))
    assert "the mAP50 is not known: there is no validation data." in verdict(unjudged)


def test_the_verdict_of_two_runs(runs: list[Path], tmp_path: Path) -> None:
    text = verdict(*runs)
    assert text.startswith("clip ends with an mAP50 of 0.504, 0.033 above that of standard, 0.471. It was fed ")
    assert "(60 of them to train a scorer, 60 more scored), standard 300 samples." in text
    found = [read_boxes(run) for run in runs]
    boxed = [each.precision[each.true_count > 0].mean() for each in found if each is not None]
    assert f"By the AP of single images with boxes, {boxed[1]:.3f} and {boxed[0]:.3f} on average, this may be" in text
    assert "signs of 21 paired APs flipped" in text
    far = write_detected(tmp_path / "far", replace(PLAIN, quality=0.05))
    assert "0.437 below that of standard, 0.471" in verdict(runs[0], far)
    assert "this is hardly chance (p < 0.001, signs" in verdict(runs[0], far)
    same = write_detected(tmp_path / "same", PLAIN)
    assert "0.471, as standard does. It was" in verdict(runs[0], same)
    bare = write_detected(tmp_path / "bare", replace(PLAIN, predictions=False))
    assert "Without the boxes of single images in both, nobody can say" in verdict(runs[0], bare)
    blind = write_detected(tmp_path / "blind", replace(PLAIN, nan_epochs=[4]))
    assert "2 runs side by side; not all end with an mAP50, so they cannot be ranked." in verdict(runs[0], blind)


# ----- what is read -----------------------------------------------------------------------------------------------


def test_classes_have_their_own_precision(runs: list[Path], tmp_path: Path) -> None:
    records = [read_record(run, run.name) for run in runs]
    rows, count = detection_classes(records, records[1])
    boxes = pq.read_table(runs[1] / "predictions" / "boxes.parquet").to_pylist()
    true = [sum(row["who"] == "true" and row["label"] == label for row in boxes) for label in range(3)]
    assert count == 3
    assert [row["true"] for row in rows] == [str(value) for value in sorted(true, reverse=True)]
    assert all(0 < float(value) <= 1 for row in rows for value in row["precision"])
    perfect = write_detected(tmp_path / "run", replace(PLAIN, quality=1, shift=0, alarms=0, class_names=("a", "b")))
    record = read_record(perfect, "run")
    assert [row["precision"] for row in detection_classes([record], record)[0]] == [["1.000"], ["1.000"]]
    # classes are compared by their names
    assert [row["precision"] for row in detection_classes([record, records[0]], record)[0]] == [["1.000", "–"]] * 2


@pytest.mark.parametrize(
    "spoil",
    [
        lambda folder: (folder / "boxes.parquet").unlink(),
        lambda folder: (folder / "boxes.parquet").write_bytes(b"PAR1 nothing"),
        lambda folder: (folder / "validation.parquet").write_bytes(b""),
        lambda folder: pq.write_table(pa.table({"index": [0]}), folder / "boxes.parquet"),
        lambda folder: _edit(folder, "index", 9999),
        lambda folder: _edit(folder, "label", -1),
        lambda folder: _edit(folder, "label", 1 << 40),
    ],
)
def test_damaged_predictions_are_left_out_with_a_note(tmp_path: Path, spoil) -> None:
    run = write_detected(tmp_path / "run", PLAIN)
    spoil(run / "predictions")
    text = plain(write_report(run).read_text())
    assert "what it predicts of each image is left out: predictions must be tables of images and boxes, got" in text
    assert "The boxes of single validation images are not in the run folder, so none is shown." in text


def _edit(folder: Path, name: str, value: int) -> None:
    rows = pq.read_table(folder / "boxes.parquet").to_pylist()
    rows[0][name] = value
    pq.write_table(pa.Table.from_pylist(rows), folder / "boxes.parquet")


def test_boxes_belong_to_their_images_in_any_order(runs: list[Path], tmp_path: Path) -> None:
    run = write_detected(tmp_path / "run", PLAIN)
    before = read_boxes(run)
    for name in ("validation", "boxes"):
        path = run / "predictions" / f"{name}.parquet"
        table = pq.read_table(path)
        pq.write_table(table.take(np.random.default_rng(1).permutation(len(table))), path)
    after = read_boxes(run)
    assert before is not None
    assert after is not None
    assert after.keys != before.keys
    place = [after.keys.index(key) for key in before.keys]
    assert after.hits[place].tolist() == before.hits.tolist()
    assert after.found[place].tolist() == before.found.tolist()
    assert after.by_class == pytest.approx(before.by_class, nan_ok=True)
    for row, other in enumerate(place):
        assert sorted(after.true.on(other).tolist()) == sorted(before.true.on(row).tolist())


boxes = st.lists(st.tuples(*[st.integers(0, 4)] * 2, st.integers(0, 1), st.integers(1, 9)), max_size=6)


@given(st.lists(st.tuples(boxes, boxes), min_size=1, max_size=4))
def test_hits_are_counted_as_by_hand(images: list[tuple[list[tuple[int, ...]], list[tuple[int, ...]]]]) -> None:
    def detections(rows: list[tuple[int, ...]]) -> Detections:
        corners = [[5 * x, 5 * y, 5 * x + 10, 5 * y + 10] for x, y, _, _ in rows]
        scores = [score / 10 + place / 1000 for place, (*_, score) in enumerate(rows)]  # no ties
        labels = torch.tensor([row[2] for row in rows], dtype=torch.int64)
        return Detections(torch.tensor(corners).reshape(-1, 4).float(), torch.tensor(scores).float(), labels)

    found, true = ([detections(image[which]) for image in images] for which in (0, 1))
    assert image_hits(found, true, 2).tolist() == [by_hand(*pair) for pair in zip(found, true, strict=True)]


def by_hand(found: Detections, true: Detections) -> int:
    """The most confident first takes what it overlaps most of what is left of its class."""
    left, hits = list(range(len(true))), 0
    for place in sorted(range(len(found)), key=lambda place: -float(found.scores[place])):
        near = [(overlap(found.boxes[place].tolist(), true.boxes[each].tolist()), each) for each in left]
        near = [pair for pair in near if found.labels[place] == true.labels[pair[1]] and pair[0] >= 0.5]
        if near:
            left.remove(max(near)[1])
            hits += 1
    return hits


def overlap(one: list[float], other: list[float]) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    both = max(width, 0) * max(height, 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return both / (sum(areas) - both)


# ----- pictures ---------------------------------------------------------------------------------------------------


def test_an_encoder_stops_at_its_budget() -> None:
    encoder = Encoder(60_000)
    made = [encoder.encode(picture(number)) for number in range(10)]
    there = [each for each in made if each]
    assert 0 < len(there) < 10
    assert sum(len(each["uri"]) for each in there) <= 60_000
    assert encoder.spent
    assert Encoder(10).encode(None) is None
    small = Encoder(10_000_000).encode(picture(0), size=(WIDTH, HEIGHT))
    assert small
    assert (small["width"], small["height"]) == (WIDTH, HEIGHT)


def test_boxes_are_drawn_where_they_are() -> None:
    image = Image.new("RGB", (100, 80))
    texts = ["car 0.90", "\u202e\n\t\x00" + "w" * 300, "人 0.1"]
    found = np.array([[10, 30, 40, 60], [50.4, 2.6, 99, 20], [70, 70, 60, 75]])
    drawn = np.asarray(draw_boxes(image, found, texts, [0, 1, 12])).astype(int).sum(2)
    assert drawn[45, 10] > 0  # an edge
    assert drawn[60, 25] > 0
    assert drawn[45, 25] == 0  # inside
    assert drawn[70:, :40].sum() == 0
    assert not np.asarray(image).any()  # a copy
    assert np.array_equal(np.asarray(draw_boxes(image, np.zeros((0, 4)), [], [])), np.asarray(image))


# ----- other people's names ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile")
    fake = Detected(keys=HOSTILE, validation_keys=HOSTILE, class_names=HOSTILE, empty=0, size=HOSTILE[1])
    return write_report(write_detected(folder / "run", fake), names=[HOSTILE[0]])


def test_hostile_names_are_only_shown(hostile: Path) -> None:
    text = hostile.read_text(encoding="utf-8")
    elements = Elements(text)
    assert_harmless(elements)
    assert "{{7*7}}" in text


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium, chromium-browser or google-chrome is installed")
def test_a_browser_shows_them_and_runs_nothing(hostile: Path, tmp_path: Path) -> None:
    dom, console = browse(hostile, tmp_path)
    assert_harmless(Elements(dom))
    assert "Content Security Policy" not in console
    assert dom.count("<tr>") > 40

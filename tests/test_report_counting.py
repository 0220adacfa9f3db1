"""The page of counters, of curricula, and what is read from their run folders."""

import csv
import json
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import reference_paired
from counting_folders import CLIP, Counted, write_counted
from run_folders import Fake, write_run
from tamis.recipes.explain import told
from tamis.recipes.suspect_list import write_suspects
from tamis.report import explain_sample, suspects, write_report
from tamis.report.costs import costs_of
from tamis.report.counting_verdict import counting_verdict
from tamis.report.curriculum import most_left_out, read_curriculum, read_scores, spans
from tamis.report.gains import gains
from tamis.report.overlay import overlay, peak_of
from tamis.report.predictions import read_predictions, shared, sign_flips
from tamis.report.records import read_record
from test_report_page import content, words
from test_report_safety import CHROMIUM, HOSTILE, Elements, assert_harmless, browse

PLAIN = Counted()
PACED = Counted(pace=0.3, error=7.0, seed=1)


def picture(index: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(index).integers(255, size=(48, 64, 3), dtype=np.uint8))


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("counted")
    return [write_counted(folder / "standard", PLAIN), write_counted(folder / "clip", PACED)]


def page_of(folders, **given) -> str:
    return write_report(folders, **given).read_text(encoding="utf-8")


def plain(page: str) -> str:
    return words(page).replace("\u00a0", " ").replace("\u2060", "").replace("&nbsp;", " ")


@pytest.fixture(scope="module")
def pair(runs, tmp_path_factory):
    out = tmp_path_factory.mktemp("page") / "page.html"
    return page_of(runs, out=out, thumbnails=picture, validation_thumbnails=picture)


def test_two_counters_stand_side_by_side(pair):
    page = pair
    for title in ("Errors of the counts", "Likeness of the maps", "Predicted against true counts"):
        assert f"<b>{title}</b>" in page
    for title in ("Error against samples fed", "Error against seconds", "Validation loss, each run on its own axis"):
        assert f"<b>{title}</b>" in page
    for title in ("The pace, with and without pruning", "Scores of the samples, sorted", "Who is shown when"):
        assert f"<b>{title}</b>" in page
    for title in ("Largest gains", "Largest losses", "Left out in", "Annotations to look at"):
        assert title in page
    assert "misleading, since a curriculum shows easy samples first" in page
    assert not {"Classes", "Most suspicious labels", "Accuracy"} & set(re.findall(r"<h2>(\w[\w ]*)", page))
    # 8 images at most in each group, with an image, a true map and two predicted ones; 24 left out, 24 to look at
    assert page.count("<img ") == 8 * 4 + 24 + 24
    assert len(page) < 5_000_000


def test_figures_are_small_and_without_ids_of_their_own(pair, runs, tmp_path):
    page = pair
    figures = re.findall(r'<svg viewBox="[^"]*" aria-hidden="true">.*?</svg>', page, re.S)
    assert len(figures) == 11
    assert max(map(len, figures)) < 60_000
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    again = page_of(runs, out=tmp_path / "again.html", thumbnails=picture, validation_thumbnails=picture)
    assert again == page


def test_one_counter_shows_its_largest_errors(runs, tmp_path):
    page = page_of(runs[0], out=tmp_path / "page.html", validation_thumbnails=picture)
    found = read_predictions(runs[0])
    assert found is not None
    worst = found.keys[int(np.argmax(found.error))]
    assert page.index("Largest errors") < page.index(worst) < page.index("Typical errors")
    assert "Samples per epoch" in page
    assert "Curriculum" not in page
    table = content(page)
    assert table["classes"] == []
    assert sorted(table["columns"]) == sorted(
        ["key", "index", "points", "count", "predicted_count", "score", "loss", "shown"]
    )


def test_a_classifier_with_a_curriculum_shows_it(tmp_path):
    run = write_run(tmp_path / "run", Fake(n=100, epochs=4, kind="plain", clean_known=False, hidden=0.3))
    assert "Curriculum" not in page_of(run)  # hidden by another rule, at no place
    table = pa.table({"index": np.arange(100), "score": np.linspace(1, 2, 100).astype(np.float32)})
    pq.write_table(table, run / "ledger" / "initial.parquet")
    page = page_of(run)
    assert "Who is shown when" in page
    assert "Loss against samples seen" in page
    assert "InfoBatch(r=0.5): loss under the mean" in page
    result = json.loads((run / "result.json").read_text())
    result["costs"]["scorer"] = {"samples_seen": 1234, "samples_scored": 100, "seconds": 2.0}
    (run / "result.json").write_text(json.dumps(result))
    assert "1,234 for a scorer, 100 more scored" in page_of(run)


ODD = {
    "one epoch": {"epochs": 1},
    "no predictions": {"predictions": False},
    "no maps": {"maps": 0},
    "no torchmetrics": {"quality": False},
    "unfinished": {"finished": False},
    "zero counts": {"empty": True},
    "nan": {"nan_epochs": (1, 5)},
    "all nan": {"nan_epochs": tuple(range(6))},
    "no validation": {"validation": 0, "predictions": False},
    "one image to judge by": {"validation": 1},
}


@pytest.mark.parametrize("change", ODD.values(), ids=ODD.keys())
@pytest.mark.filterwarnings("error")
def test_odd_runs_have_a_page_too(tmp_path, change):
    one = write_counted(tmp_path / "one", replace(PLAIN, n=20, **change))
    two = write_counted(tmp_path / "two", replace(PACED, n=20, **change))
    assert_readable(page_of([one, two], out=tmp_path / "page.html"))


@pytest.mark.parametrize("change", [{"n": 1, "validation": 0, "finished": False}, {"epochs": 1, "nan_epochs": (0,)}])
@pytest.mark.filterwarnings("error")
def test_odd_runs_have_a_page_of_their_own(tmp_path, change):
    assert_readable(page_of(write_counted(tmp_path / "run", replace(PACED, **change))))


def assert_readable(page: str) -> None:
    page = re.sub(r"base64,[^\"']*", "", page)  # there a NaN is chance
    assert "NaN" not in page
    assert not re.search(r">\s*nan\b|\bnan %|inf\b", plain(page))
    content(page)


def test_missing_pieces_are_said(tmp_path):
    run = write_counted(tmp_path / "run", replace(PLAIN, predictions=False, quality=False))
    text = plain(page_of(run))
    assert "The counts of single validation images are not in the run folder" in text
    assert "they need torchmetrics" in text
    unfinished = write_counted(tmp_path / "unfinished", replace(PLAIN, finished=False))
    assert "Not finished: after 6 of 6 epochs" in plain(page_of(unfinished))


def test_damaged_predictions_are_named_and_the_rest_is_shown(tmp_path):
    run = write_counted(tmp_path / "run", PLAIN)
    (run / "predictions" / "maps.safetensors").write_bytes(b"nonsense")
    assert "no map" in page_of(run)
    (run / "predictions" / "validation.parquet").write_bytes(b"nonsense")
    text = plain(page_of(run))
    assert "what it predicts of each image is left out: predictions must be a table of counts" in text
    assert "Errors of the counts" in text


def test_a_picture_that_cannot_be_read_is_said(runs, tmp_path):
    def broken(index: int) -> Image.Image:
        raise OSError(f"sample {index} is gone")

    page = page_of(runs, out=tmp_path / "page.html", thumbnails=broken, validation_thumbnails=broken)
    assert page.count("file not readable") == 48
    assert page.count("no picture") == 8


def test_runs_of_other_data_have_no_pictures_of_the_first(tmp_path):
    one = write_counted(tmp_path / "one", PLAIN)
    other = write_counted(tmp_path / "two", replace(PACED, keys=[f"other/{index}" for index in range(120)]))
    page = page_of([one, other], thumbnails=picture)
    assert "<img " not in page.split("Curriculum")[1]


def test_counters_and_classifiers_do_not_share_a_page(runs, tmp_path):
    run = write_run(tmp_path / "run", Fake(n=20, epochs=1))
    with pytest.raises(ValueError, match="runs must have one task, got classification and counting"):
        write_report([runs[0], run], tmp_path / "page.html")


def test_hostile_texts_do_nothing(tmp_path):
    keys = HOSTILE + [f"plain/{number}.jpg" for number in range(15)]
    fake = replace(PACED, n=len(keys), keys=keys, validation=len(keys), validation_keys=keys)
    folders = [write_counted(tmp_path / f"{number}", replace(fake, seed=number)) for number in range(2)]
    for folder in folders:
        about = json.loads((folder / "run.json").read_text())
        about["config"] |= {
            "model": HOSTILE[1],
            "score_per": HOSTILE[0],
            "density_sigma": HOSTILE[2],
            "patch": HOSTILE[1],
        }
        about["method"], about["data"]["root"] = HOSTILE[:2]
        (folder / "run.json").write_text(json.dumps(about))
        for path in (folder / "ledger").glob("decisions-*"):
            table = pq.read_table(path)
            reasons = pa.array([HOSTILE[at % len(HOSTILE)] for at in range(len(table))])
            pq.write_table(table.set_column(table.column_names.index("reason"), "reason", reasons), path)
    page = page_of(folders, names=HOSTILE[:2])
    assert_harmless(Elements(re.sub(r'<img src="data:image/[^>]*>', "", page)))
    assert page.count("</script>") == 2
    assert "{{7*7}}" in page
    titles = {value for _, attributes in Elements(page).found for value in [attributes.get("title")] if value}
    assert HOSTILE[3] in titles


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium, chromium-browser or google-chrome is installed")
def test_a_browser_lays_out_the_table_of_counts(pair, tmp_path):
    path = tmp_path / "page.html"
    path.write_text(pair, encoding="utf-8")
    dom, console = browse(path, tmp_path, "--window-size=400,800")
    cells = Elements(dom).cells[-50 * 9 :]
    rows = [cells[at : at + 9] for at in range(0, len(cells), 9)]
    scores = [float(row[5]) for row in rows]
    assert scores == sorted(scores, reverse=True)
    assert all(row[0].startswith("train/") and float(row[2]) >= 0 for row in rows)
    assert "Counted too high" in dom
    assert "Content Security Policy" not in console
    assert "Uncaught" not in console


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, "After 6 epochs the counts are off by 13.3 on average, on 30 validation images, which hold 100"),
        ({"nan_epochs": (5,)}, "After 6 epochs the validation error is not a number."),
        ({"validation": 0, "predictions": False}, "without validation data, the error on new images is not known."),
        ({"nan_epochs": (0,), "epochs": 1}, "After 1 epoch the validation error is not a number."),
        ({"finished": False}, "Not finished: after 6 of 6 epochs the counts are off by 13.3"),
    ],
)
def test_the_verdict_of_one_run(tmp_path, change, said):
    record = read_record(write_counted(tmp_path / "run", replace(PLAIN, **change)), "run")
    text = counting_verdict([record], record)
    assert said in text
    assert "nan" not in text


def test_the_verdict_compares_errors_and_costs(runs):
    one, two = (read_record(folder, folder.name) for folder in runs)
    text = counting_verdict([one, two], two).replace("\u00a0", " ")
    mae, before = two.figure("last", "mae"), one.figure("last", "mae")
    lower = f"{100 * (1 - mae / before):.1f} % lower than that of standard, {before:.1f}"
    assert text.startswith(f"The mean absolute error of clip is {mae:.2f}, {lower}. ")
    own = costs_of(two)
    assert own.fed == two.metrics[-1]["samples_seen"] + 120
    scores = "120 of them to train a scorer, 120 more scored"
    assert f"It was fed {own.fed} samples ({scores}), standard 720 samples" in text
    assert (own.scoring_seconds, own.all_seconds) == (1.5, 13.5)
    assert costs_of(one).all_seconds == 12


def test_the_verdict_says_what_may_be_chance(tmp_path):
    same = [write_counted(tmp_path / name, replace(PLAIN, seed=seed)) for seed, name in enumerate("ab")]
    worse = write_counted(tmp_path / "worse", replace(PLAIN, error=60.0, seed=2))
    none = write_counted(tmp_path / "none", replace(PLAIN, predictions=False))
    other = write_counted(tmp_path / "other", replace(PLAIN, validation_keys=[f"o/{at}" for at in range(30)]))
    a, b, c, d, e = (read_record(folder, folder.name) for folder in [*same, worse, none, other])
    assert "the difference may be chance (p" in counting_verdict([a, b], b)
    text = counting_verdict([a, c, b], c)
    assert "that is hardly chance (p" in text
    assert "(b 13.3)" in text
    assert "nobody can say whether the difference is chance" in counting_verdict([a, d], d)
    assert "They were judged by different images" in counting_verdict([a, e], e)


def test_an_unfinished_run_knows_the_cost_of_its_scorer(tmp_path):
    record = read_record(write_counted(tmp_path / "run", replace(PACED, finished=False)), "run")
    assert costs_of(record)[1:3] == (120, 120)


@given(st.lists(st.integers(-6, 6), max_size=8))
def test_sign_flips_counts_every_combination(differences):
    expected = reference_paired.sign_flips([float(each) for each in differences])
    assert sign_flips(np.array(differences, dtype=float)) == pytest.approx(expected)


def test_sign_flips_by_draws_is_near_the_exact_one():
    differences = np.random.default_rng(3).normal(0.4, 1, 16)
    assert sign_flips(differences) == pytest.approx(reference_paired.sign_flips(differences.tolist()), abs=0.02)
    assert sign_flips(np.ones(400)) == pytest.approx(1 / 10_001)
    assert sign_flips(np.zeros(400)) == 1
    assert sign_flips(differences) == sign_flips(-differences)


def test_errors_are_paired_by_key(tmp_path):
    one = read_predictions(write_counted(tmp_path / "one", PLAIN))
    keys = [f"test/{index:05d}.jpg" for index in reversed(range(25))]
    two = read_predictions(write_counted(tmp_path / "two", replace(PLAIN, validation=25, validation_keys=keys)))
    assert one is not None
    assert two is not None
    rows, others = shared(one, two)
    assert len(rows) == 25
    assert [one.keys[row] for row in rows] == [two.keys[row] for row in others]


def test_gains_are_ordered(runs):
    records = [read_record(folder, folder.name) for folder in runs]
    better, worse = gains(records, records[1], None)
    for group, word in ((better, "nearer"), (worse, "farther")):
        by = [float(row["tag"].split()[0]) for row in group.rows]
        assert by == sorted(by, reverse=True)
        assert all(row["tag"].endswith(word) for row in group.rows)
        titles = [[title for title, _, _ in row["cells"]] for row in group.rows]
        assert titles == [["image", "true", "standard", "clip"]] * len(titles)
        assert all(row["cells"][0][2] is None and row["cells"][1][2] for row in group.rows)
    assert len(gains([records[0], records[0]], records[0], None)) == 2


def test_the_curriculum_is_what_the_decisions_say(runs):
    curriculum = read_curriculum(runs[1], 120, 6)
    assert curriculum is not None
    rows = [row for path in sorted((runs[1] / "ledger").glob("decisions-*")) for row in pq.read_table(path).to_pylist()]
    for epoch in range(6):
        mine = [row["reason"] for row in rows if row["epoch"] == epoch]
        assert curriculum.pruned[epoch] == mine.count(f"pruned: {CLIP}")
        assert curriculum.waits[epoch] == mine.count(f"waits: {CLIP}")
    for index in range(120):
        mine = [row["reason"] for row in rows if row["index"] == index]
        assert (curriculum.out[index], curriculum.waited[index]) == (
            mine.count(f"pruned: {CLIP}"),
            mine.count(f"waits: {CLIP}"),
        )
    assert curriculum.waits_by_bin.sum() == curriculum.waits.sum()  # 120 bins: a sample each
    assert (curriculum.pruned_by_bin[0] == 1).all()  # the lowest score is pruned in every epoch
    assert curriculum.initial
    first = most_left_out(runs[1], curriculum, 3)
    assert [each.rank for each in first] == [1, 2, 3]
    assert first[0].epochs == tuple(range(6))
    assert first[0].index == int(np.argmin(curriculum.scores))
    last = most_left_out(runs[1], curriculum, 120)
    assert last[(curriculum.out > 0).sum()].index == int(np.argmax(curriculum.scores))


def test_decisions_of_an_epoch_that_is_not_done_do_not_count(runs):
    three = read_curriculum(runs[1], 120, 3)
    assert three is not None
    assert len(three.pruned) == 3
    assert three.waits_by_bin.shape == (120, 3)


def test_without_scores_of_the_start_those_of_the_end_are_taken(runs, tmp_path):
    scores, initial, _ = read_scores(runs[0], 120)
    assert not initial
    assert np.isfinite(scores).all()
    assert read_curriculum(runs[0], 120, 6) is None
    longer, initial, cost = read_scores(runs[1], 130)  # samples came later
    assert initial
    assert np.isnan(longer[120:]).all()
    assert cost["samples_seen"] == 120


@given(st.sets(st.integers(1, 30)))
def test_spans_name_every_number(numbers):
    text = spans(sorted(numbers)).replace("\u2060", "")
    found = set()
    for part in text.split(", ") if text else []:
        low, _, high = part.partition("\u2013")
        found |= set(range(int(low), int(high or low) + 1))
    assert found == numbers
    assert text.count(",") <= len(numbers)


def test_spans_are_short():
    assert spans([1, 2, 3, 7, 9, 10]).replace("\u2060", "") == "1\u20133, 7, 9\u201310"


def test_suspects_of_a_counter_are_ranked_by_their_mean_score(runs):
    rows = [row for path in sorted((runs[0] / "ledger").glob("epoch-*")) for row in pq.read_table(path).to_pylist()]
    found = suspects(runs[0], 120)
    for suspect in (found[0], found[-1]):
        own = [row for row in rows if row["index"] == suspect.index]
        assert suspect.score == pytest.approx(np.mean([row["score"] for row in own]))
        assert (suspect.count, suspect.predicted_count) == (own[-1]["count"], own[-1]["predicted_count"])
    assert [each.score for each in found] == sorted((each.score for each in found), reverse=True)
    assert found[0].predicted is None


def test_the_list_of_suspects_has_counts(tmp_path):
    run = write_counted(tmp_path / "run", replace(PACED, keys=["=1+1", *(f"{index}.jpg" for index in range(119))]))
    with write_suspects(run, 200, []).open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["rank", "key", "count", "predicted", "score"]
    assert [row["rank"] for row in rows] == [str(rank) for rank in range(1, len(rows) + 1)]
    assert all(math.isfinite(float(row[name])) for row in rows for name in ("count", "predicted", "score"))
    assert "'=1+1" in {row["key"] for row in rows} | {"'=1+1"}
    assert not any(row["key"].startswith("=") for row in rows)


def test_a_story_of_a_counter_has_counts(runs):
    index = int(np.argmax(read_scores(runs[1], 120)[0]))
    story = explain_sample(runs[1], index)
    lines = told(story, [])
    assert lines[1] == f"{story.label} points"
    assert lines[3].split() == ["epoch", "loss", "score", "weight", "count", "counted"]
    assert "waits" in lines[4]
    shown = story.epochs[-1]
    assert None not in (shown.loss, shown.score, shown.count, shown.predicted_count, shown.weight)
    assert shown.margin is None
    assert float(lines[-1].split()[4]) == pytest.approx(shown.count, rel=0.01)


def test_a_map_lies_where_its_density_is():
    density = np.zeros((12, 16), np.float32)
    density[2, 12] = 0.2
    image = Image.new("RGB", (60, 45), (120, 120, 120))  # 64 x 48 after padding: cells of 4 pixels
    found = np.asarray(overlay(image, density)).astype(int).sum(2)
    assert found.shape == (45, 60)
    y, x = np.unravel_index(found.argmax(), found.shape)
    assert (y // 4, x // 4) == (2, 12)
    assert found[40, 5] == pytest.approx(3 * 120 * 0.35, abs=3)


def test_one_peak_serves_two_maps():
    density = np.full((4, 4), 0.1, np.float32)
    dim, bright = (np.asarray(overlay(Image.new("RGB", (16, 16)), density, peak=peak)).max() for peak in (1.0, 0.1))
    assert dim < bright


@pytest.mark.filterwarnings("error")
def test_maps_without_heads_and_with_nan_are_drawn():
    image = Image.new("RGB", (16, 16), (100, 100, 100))
    for density in (np.zeros((4, 4)), np.full((4, 4), np.nan), np.full((4, 4), -1.0)):
        assert np.asarray(overlay(image, density.astype(np.float32))).max() <= 40
    assert peak_of(np.zeros((2, 2))) == 0
    sparse = np.zeros((100, 100))
    sparse[3, 3] = 0.5
    assert peak_of(sparse) == 0.5


def test_the_text_of_an_overlay_is_written():
    image = Image.new("RGB", (80, 40))
    bare, named = (np.asarray(overlay(image, np.zeros((10, 20)), text=text)) for text in ("", "12"))
    assert not bare.any()
    assert named[:20, :40].any()


def test_the_page_stays_small(tmp_path):
    def large(index: int) -> Image.Image:
        return Image.fromarray(np.random.default_rng(index).integers(255, size=(480, 640, 3), dtype=np.uint8))

    keys = [f"{'folder' * 30}/{number:06d}.jpg" for number in range(3000)]
    fake = replace(PACED, n=3000, keys=keys, validation=300)
    folders = [write_counted(tmp_path / f"{seed}", replace(fake, seed=seed)) for seed in range(2)]
    path = write_report(folders, thumbnails=large, validation_thumbnails=large)
    assert Path(path).stat().st_size < 5_000_000

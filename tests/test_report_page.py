"""The page: what is on it, how big it is, and that odd runs have one too."""

import base64
import io
import json
import re
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from run_folders import Fake, write_run
from tamis.report import write_report
from tamis.report.sample_table import ROWS, ROWS_BYTES, script_json
from tamis.report.thumbnails import thumbnail_uri

FAKE = Fake(n=400, epochs=5, hidden=0.2)


def picture(index: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(index).integers(255, size=(224, 320, 3), dtype=np.uint8))


def content(page: str) -> dict:
    found = re.search(r'<script type="application/json" id="content">(.*?)</script>', page, re.S)
    assert found
    return json.loads(found[1])


def test_the_page_of_one_run_has_it_all(tmp_path):
    path = write_report(write_run(tmp_path / "run", FAKE), thumbnails=picture)
    assert path == tmp_path / "run" / "report.html"
    page = path.read_text(encoding="utf-8")
    for title in ("Accuracy against samples seen", "Accuracy against seconds", "Loss against samples seen"):
        assert title in page
    for title in ("Wrong labels memorised", "Sigma of the classes", "Wrong labels found", "Samples per epoch"):
        assert title in page
    for title in ("Result", "Classes", "Most suspicious labels", "Reproduce", "AUROC of sigma"):
        assert title in page
    assert "tamis train --data digits" in page
    assert "InfoBatch(r=0.5): loss under the mean" in page
    assert page.count('src="data:image/jpeg;base64,') == 24
    assert len(content(page)["columns"]["key"]) == 400


def test_runs_stand_side_by_side(tmp_path):
    folders = [write_run(tmp_path / kind, replace(FAKE, kind=kind)) for kind in ("plain", "sigma", "oracle")]
    path = write_report(folders, tmp_path / "page.html", names=["plain", "data parameters", "oracle"])
    page = path.read_text(encoding="utf-8")
    assert "Data parameters ended at" in page
    assert "Settings that differ from data parameters" in page
    assert page.count("Samples shown per epoch") == 2  # caption and the figure's label
    assert content(page)["columns"]["sigma"]


def test_the_same_run_gives_the_same_page(tmp_path):
    run = write_run(tmp_path / "run", FAKE)
    one = write_report(run, tmp_path / "one.html").read_bytes()
    assert write_report(run, tmp_path / "two.html").read_bytes() == one


def test_nothing_is_left_beside_the_page(tmp_path):
    run = write_run(tmp_path / "run", FAKE)
    before = {path.name for path in run.iterdir()}
    write_report(run)
    assert {path.name for path in run.iterdir()} == before | {"report.html"}


def write_incidents(run: Path) -> None:
    splits = ["train"] * 20 + ["validation"] * 5
    bad = [{"key": f"bad/{place:02d}.png", "split": split, "reason": "cut off"} for place, split in enumerate(splits)]
    (run / "quarantine.jsonl").write_text("".join(f"{json.dumps(entry)}\n" for entry in bad))
    none = {"count": 0, "first": []}
    train = {"added": {"count": 1200, "first": ["new/a.png", "new/b.png"]}, "removed": none, "edited": none}
    validation = {"added": none, "removed": {"count": 1, "first": ["old/a.png"]}, "edited": none}
    change = {"change": 1, "time": "2026-01-02T03:04:05+00:00", "train": train, "validation": validation}
    (run / "changed.jsonl").write_text(f"{json.dumps(change)}\n")
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    rows = [row | {"not_finite": 2 if row["epoch"] in (1, 3) else 0} for row in rows]
    (run / "metrics.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    result = json.loads((run / "result.json").read_text())
    result["costs"]["seconds_checkpoints"] = 33.3
    (run / "result.json").write_text(json.dumps(result))


def words(page: str) -> str:
    """What a person reads."""
    return " ".join(re.sub(r"<[^>]*>", " ", page).split())


def test_incidents_are_told(tmp_path):
    runs = [write_run(tmp_path / name, FAKE) for name in ("quiet", "loud")]
    write_incidents(runs[1])
    text = words(write_report(runs).read_text(encoding="utf-8"))
    assert "4 losses were not finite, in epochs 2, 4:" in text
    assert "could not be read and were left out: 25 ( 20 of train, 5 of validation )" in text
    for place in range(25):
        assert (f"bad/{place:02d}.png train cut off" in text) == (place < 20)
    assert "The first 20; quarantine.jsonl in the run folder has all of them." in text
    assert "1 2026-01-02 03:04 UTC train 1,200 new/a.png, new/b.png, ... 0 0" in text
    assert "1 2026-01-02 03:04 UTC validation 0 1 old/a.png 0" in text
    assert "Incidents loud 4 losses" in text
    told = "losses that were not finite: 4; images that could not be read: 25; accepted changes of the data: 1"
    assert f"loud: {told} ( more )" in text
    assert "Evaluation Checkpoints Total" in text
    assert re.search(r"\d s \u2013 \d", text)
    assert " 33.3 s " in text


def test_a_run_without_incidents_says_nothing_of_them(tmp_path):
    run = write_run(tmp_path / "run", FAKE)
    before = words(write_report(run).read_text(encoding="utf-8"))
    assert "Incidents" not in before
    assert "Checkpoints" not in before
    (run / "quarantine.jsonl").touch()
    assert words(write_report(run).read_text(encoding="utf-8")) == before


@pytest.mark.parametrize(
    "line",
    [
        *("{", "[]", "7", "{}", '{"key": "a"}', "\udcff", "[" * 100_000),
        '{"change": Infinity, "time": "", "train": {}, "validation": {}}',
        '{"change": 1, "time": 1, "train": {"added": {"count": 1e999, "first": []}, "removed": 1, "edited": 1}}',
        '{"change": 1, "train": 7}',
    ],
)
def test_damaged_lines_of_incidents_are_named(tmp_path, line):
    run = write_run(tmp_path / "run", FAKE)
    write_incidents(run)
    for name in ("quarantine.jsonl", "changed.jsonl"):
        with (run / name).open("a", errors="surrogateescape") as file:
            file.write(f"\n{line}\n")
    text = words(write_report(run).read_text(encoding="utf-8"))
    assert "line 27 of quarantine.jsonl is damaged and was left out" in text
    assert "line 3 of changed.jsonl is damaged and was left out" in text
    assert "left out: 25 (" in text


ODD = {
    "one epoch": {"epochs": 1},
    "one sample": {"n": 1, "epochs": 1, "noise": 0.0, "hidden": 0.0},
    "no validation": {"validation": 0},
    "no sigma": {"kind": "plain"},
    "no clean labels": {"clean_known": False},
    "no noise": {"noise": 0.0},
    "not finished": {"finished": False},
    "nan metrics": {"nan_epochs": (1, 4)},
    "all nan": {"nan_epochs": tuple(range(5))},
    "many classes": {"classes": 300},
    "bare": {"kind": "plain", "n": 1, "epochs": 1, "validation": 0, "clean_known": False, "finished": False},
}


@pytest.mark.parametrize("change", ODD.values(), ids=ODD.keys())
@pytest.mark.filterwarnings("error")
def test_odd_runs_have_a_page_too(tmp_path, change):
    run = write_run(tmp_path / "run", replace(FAKE, **change))
    page = write_report(run).read_text(encoding="utf-8")
    assert "NaN" not in page
    assert not re.search(r">\s*nan\b", page)
    content(page)


def test_names_must_fit_the_runs(tmp_path):
    run = write_run(tmp_path / "run", FAKE)
    with pytest.raises(ValueError, match="names must be 1 different names"):
        write_report(run, names=["a", "b"])
    with pytest.raises(ValueError, match="run must name at least one run folder"):
        write_report([])
    with pytest.raises(FileNotFoundError, match=r"run must have run\.json"):
        write_report(tmp_path)


def test_a_large_run_is_read_in_time_and_cut_to_size(tmp_path):
    keys = [f"{'folder' * 30}/{number:06d}.jpg" for number in range(25_000)]
    run = write_run(tmp_path / "run", Fake(n=25_000, epochs=6, keys=keys))
    started = time.process_time()
    path = write_report(run, thumbnails=picture)
    assert time.process_time() - started < 10
    assert path.stat().st_size < 5_000_000
    page = path.read_text(encoding="utf-8")
    rows = len(content(page)["columns"]["key"])
    assert 5_000 < rows < ROWS
    assert f"The {rows:,} most suspicious of 25,000" in page
    assert len(script_json(content(page))) <= ROWS_BYTES


def test_thumbnails_are_encoded_anew(tmp_path):
    path = tmp_path / "secret.jpg"
    exif = Image.Exif()
    exif[0x010E] = "taken at home"
    picture(0).save(path, exif=exif)
    uri = thumbnail_uri(0, lambda _: Image.open(path))
    assert uri is not None
    data = base64.b64decode(uri.split(",")[1])
    assert b"taken at home" in path.read_bytes()
    assert b"taken at home" not in data
    small = Image.open(io.BytesIO(data))
    assert max(small.size) == 144
    assert not small.getexif()


def test_small_pictures_stay_exact():
    source = picture(1).crop((0, 0, 28, 28))
    uri = thumbnail_uri(0, lambda _: source)
    assert uri is not None
    assert uri.startswith("data:image/png")
    assert Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))).tobytes() == source.tobytes()


def test_a_picture_that_cannot_be_read_is_said(tmp_path):
    def broken(index: int) -> Image.Image:
        raise OSError(f"sample {index} is gone")

    page = write_report(write_run(tmp_path / "run", FAKE), thumbnails=broken).read_text(encoding="utf-8")
    assert page.count("file not readable") == 24


def test_figures_are_small_and_without_ids_of_their_own(tmp_path):
    page = write_report(write_run(tmp_path / "run", FAKE)).read_text(encoding="utf-8")
    figures = re.findall(r'<svg viewBox="[^"]*" aria-hidden="true">.*?</svg>', page, re.S)
    assert len(figures) == 11
    assert max(map(len, figures)) < 50_000
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids))

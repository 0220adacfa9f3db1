"""The commands of a detector: train, predict, score, explain, and going on after a stop or a change of the data."""

import csv
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image, ImageDraw
from safetensors.torch import load_file

from tamis.detections import Detections
from tamis.fit import Stopped
from tamis.recipes.command_config import ScoreConfig
from tamis.recipes.config import TrainConfig
from tamis.recipes.score import score
from tamis.recipes.train import train
from tamis.report import write_report
from tamis.run import checkpoint_of
from tamis.scores import ConfidenceLoss, mean_average_precision
from test_counting_recipes import QUIET, ask, read_csv, stopping_after, tree
from test_report_page import words

__all__ = ["ask"]  # a fixture

NAMES = ("car", "person")
EMPTY = (2, 7, 13)  # images without a box, the last one to judge by
SETTINGS: dict[str, Any] = {
    "task": "detection", "size": "64x48", "epochs": 2, "batch_size": 4, "lr": 4e-3, "report": False, "workers": 0,
}  # fmt: skip
Row = tuple[str, str, float, float, float, float, str]


def write_boxes(root: Path, train: int = 12, held_out: int = 4) -> list[Row | tuple[str, ...]]:
    """Grey noise of 128 x 96 pixels with bright cars and dark people, and where they are."""
    random, rows = np.random.default_rng(5), []
    (root / "images").mkdir(parents=True)
    for number in range(train + held_out):
        image = Image.fromarray(random.integers(90, 130, (96, 128, 3), dtype=np.uint8))
        split, name = "train" if number < train else "val", f"{number:02}.png"
        for label in random.integers(0, 2, 0 if number in EMPTY else random.integers(1, 4)).tolist():
            width, height = ((40, 20), (14, 30))[label]
            x, y = random.integers(0, 128 - width), random.integers(0, 96 - height)
            ImageDraw.Draw(image).rectangle((x, y, x + width, y + height), fill=((240, 230, 60), (20, 20, 60))[label])
            rows.append((name, NAMES[label], x, y, x + width, y + height, split))
        if number in EMPTY:
            rows.append((name, "", "", "", "", "", split))
        image.save(root / "images" / name)
    write_table(root, rows)
    return rows


def write_table(root: Path, rows: Sequence[Sequence[Any]]) -> None:
    with (root / "boxes.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("image", "class", "x1", "y1", "x2", "y2", "split"), *rows])


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of 12 and 4 images, and a run that has looked at it for a while."""
    folder = tmp_path_factory.mktemp("detection")
    write_boxes(folder / "street")
    train(TrainConfig(folder / "street", out=folder / "run", **{**SETTINGS, "epochs": 12}))
    return folder


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(checkpoint_of(run, "last") / "model.safetensors")


def history(run: Path) -> dict[str, dict[str, Any]]:
    """Every table of a run's ledger and predictions, by its name."""
    return {
        path.name: pq.read_table(path).to_pydict()
        for folder in ("ledger", "predictions")
        for path in sorted((run / folder).glob("*.parquet"))
        if path.name not in ("samples.parquet", "validation.parquet") or folder == "predictions"
    }


def detected(run: Path, who: str, least: float = 0.0) -> list[Detections]:
    """What boxes.parquet says, image by image."""
    images = pq.read_table(run / "predictions" / "validation.parquet")["index"].to_pylist()
    rows = [row for row in pq.read_table(run / "predictions" / "boxes.parquet").to_pylist() if row["who"] == who]
    found = []
    for image in images:
        own = [row for row in rows if row["index"] == image and row["score"] >= least]
        boxes = torch.tensor([[row[side] for side in ("x1", "y1", "x2", "y2")] for row in own]).reshape(-1, 4)
        scores, labels = (torch.tensor([row[name] for row in own]) for name in ("score", "label"))
        found.append(Detections(boxes, scores.float(), labels.long()))
    return found


# ----- train ------------------------------------------------------------------------------------------------------


def test_a_run_tells_what_it_found(place: Path) -> None:
    run = place / "run"
    result = json.loads((run / "result.json").read_text())
    rows = pq.read_table(run / "predictions" / "validation.parquet").to_pylist()
    assert [row["key"] for row in rows] == [f"images/{number}.png" for number in range(12, 16)]
    assert [row["true"] for row in rows][EMPTY[-1] - 12] == 0
    assert result["last"]["loss"] == pytest.approx(sum(row["loss"] for row in rows) / 4)
    table = [row for row in read_csv(place / "street" / "boxes.csv") if row["split"] == "val" and row["class"]]
    true = detected(run, "true")
    assert sorted(round(value * 2) for one in true for value in one.boxes.flatten().tolist()) == sorted(
        int(float(row[side])) for row in table for side in ("x1", "y1", "x2", "y2")
    )
    found = mean_average_precision(detected(run, "predicted"), true, 2)["map50"]
    assert found == pytest.approx(result["last"]["map50"], abs=0.02)  # the faintest are not written down
    assert result["last"]["map50"] > 0.1
    assert result["best"]["map50"] == max(
        json.loads(line)["validation"]["map50"] for line in (run / "metrics.jsonl").read_text().splitlines()
    )
    samples = pq.read_table(run / "ledger" / "samples.parquet")["label"].to_pylist()
    assert [number for number, count in enumerate(samples) if count == 0] == [2, 7]
    scores = pq.read_table(run / "ledger" / "scores.parquet")["score"].to_pylist()
    assert all(map(math.isfinite, scores))


def test_the_command_ends_with_suspects_and_a_page(place: Path, ask: Callable[..., str], tmp_path: Path) -> None:
    given = {**SETTINGS, "epochs": 1}
    flags = [
        word
        for name in ("task", "size", "epochs", "batch_size", "workers")
        for word in (f"--{name.replace('_', '-')}", given[name])
    ]
    said = ask("train", place / "street", "--out", tmp_path / "run", *flags)
    assert said.endswith(
        f"annotations to look at: {tmp_path}/run/suspects.csv\nreport: {tmp_path}/run/report.html\ncode 0"
    )
    rows = read_csv(tmp_path / "run" / "suspects.csv")
    assert list(rows[0]) == ["rank", "key", "boxes", "score"]
    counts = {f"images/{number:02}.png": 0 for number in range(12)}
    for row in read_csv(place / "street" / "boxes.csv"):
        if row["split"] == "train" and row["class"]:
            counts[f"images/{row['image']}"] += 1
    assert {row["key"]: int(row["boxes"]) for row in rows} == counts
    assert [float(row["score"]) for row in rows] == sorted((float(row["score"]) for row in rows), reverse=True)
    page = (tmp_path / "run" / "report.html").read_text()
    assert "After 1 epoch the mAP50 is " in words(page)
    assert page.count('class="solid"') >= 10  # the boxes given to the training images


@pytest.mark.parametrize(
    "method",
    [{"method": "clip"}, {"method": "infobatch"}, {"method": "self-paced"}, {"method": "clip", "zoom": 0.3}],
    ids=["clip", "infobatch", "self-paced", "zoom"],
)
def test_methods_choose_images_of_boxes(place: Path, tmp_path: Path, method: dict[str, Any]) -> None:
    run = tmp_path / "run"
    train(TrainConfig(place / "street", out=run, **{**SETTINGS, "epochs": 3, **method}))
    shown = [pq.read_table(path) for path in sorted((run / "ledger").glob("epoch-*.parquet"))]
    labels = pq.read_table(run / "ledger" / "samples.parquet")["label"].to_pylist()
    for part in shown:
        counts = dict(zip(part["index"].to_pylist(), part["boxes"].to_pylist(), strict=True))
        if "zoom" in method:
            assert all(count <= labels[sample] for sample, count in counts.items())
        else:
            assert counts == {sample: labels[sample] for sample in counts}
    if method["method"] == "clip":
        scores = pq.read_table(run / "ledger" / "initial.parquet")["score"].to_pylist()
        first = shown[0]["index"].to_pylist()
        # 30 % of 12, the easiest, by the loss of the run's own scorer
        assert sorted(first) == sorted(sorted(range(12), key=scores.__getitem__)[: len(first)])
        assert len(first) == 3
        assert TrainConfig.read(run / "scorer").task == "detection"
        assert json.loads((run / "result.json").read_text())["costs"]["scorer"]["samples_scored"] == 12
    if method["method"] == "infobatch":
        assert 6 <= len(shown[1]) < 12
        assert set(shown[1]["weight"].to_pylist()) <= {1.0, 2.0}
    if method["method"] == "self-paced":
        assert all(len(part) <= 12 for part in shown)
        assert min(map(len, shown)) < 12


def test_a_scorer_of_other_classes_is_refused(place: Path, tmp_path: Path) -> None:
    write_boxes(tmp_path / "other")
    rows = read_csv(tmp_path / "other" / "boxes.csv")
    write_table(tmp_path / "other", [[row[name].replace("car", "bus") for name in row] for row in rows])
    with pytest.raises(ValueError, match="scorer must know the classes of the data, got 2 others"):
        train(TrainConfig(tmp_path / "other", out=tmp_path / "run", method="clip", scorer=place / "run", **SETTINGS))


def test_no_validation_image_has_a_box(tmp_path: Path) -> None:
    write_boxes(tmp_path / "street", 6, 2)
    rows = [list(row.values()) for row in read_csv(tmp_path / "street" / "boxes.csv") if row["split"] == "train"]
    write_table(tmp_path / "street", rows + [[f"0{number}.png", "", "", "", "", "", "val"] for number in (6, 7)])
    train(TrainConfig(tmp_path / "street", out=tmp_path / "run", **{**SETTINGS, "epochs": 1}))
    page = words(write_report(tmp_path / "run").read_text())
    assert "After 1 epoch the mAP50 is not known: no validation image has a box. It was fed 6 samples." in page


# ----- stopping, and going on -------------------------------------------------------------------------------------


@pytest.mark.fault(1, "a detector that is stopped within an epoch goes on bit-identically, with clip and its scorer")
@pytest.mark.parametrize("method", ["uniform", "clip"])
def test_a_stopped_detector_goes_on_as_if_nothing_had_happened(
    place: Path, tmp_path: Path, method: str, seen: Callable[..., None]
) -> None:
    config = TrainConfig(place / "street", out=tmp_path / "whole", **{**SETTINGS, "epochs": 3, "method": method})
    train(config)
    config = replace(config, out=tmp_path / "stopped")
    stops = 0
    for steps in (2, 1, 3):
        with stopping_after(steps):
            try:
                train(config)
            except Stopped:
                stops += 1
    train(config)
    mine, whole = weights(tmp_path / "stopped"), weights(tmp_path / "whole")
    assert all(torch.equal(mine[name], whole[name]) for name in whole)
    assert str(history(tmp_path / "stopped")) == str(history(tmp_path / "whole"))
    assert stops >= 2
    seen(f"weights, ledger and boxes bitwise equal after {stops} stops", count=stops)


@pytest.mark.slow
@pytest.mark.fault(1, "a detector whose process is killed goes on bit-identically with the same command")
def test_a_killed_detector_goes_on(place: Path, tmp_path: Path, seen: Callable[..., None]) -> None:
    flags = ["--task", "detection", "--size", "64x48", "--epochs", "6", "--batch-size", "4", "--workers", "0"]
    flags += ["--no-report", "--checkpoint-seconds", "0", "--method", "infobatch"]

    def started(out: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "tamis", "train", str(place / "street"), "--out", str(tmp_path / out), *flags]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL)

    assert started("whole").wait() == 0
    for kill in (signal.SIGKILL, signal.SIGTERM):
        process, begun = started("killed"), time.monotonic()
        before = len(list((tmp_path / "killed").glob("checkpoints/epoch-*")))
        while time.monotonic() - begun < 60 and process.poll() is None:
            if len(list((tmp_path / "killed").glob("checkpoints/epoch-*"))) != before:
                break
            time.sleep(0.01)
        os.kill(process.pid, kill)
        assert process.wait() == (-9 if kill == signal.SIGKILL else 128 + 15)
    assert started("killed").wait() == 0
    mine, whole = weights(tmp_path / "killed"), weights(tmp_path / "whole")
    assert all(torch.equal(mine[name], whole[name]) for name in whole)
    assert str(history(tmp_path / "killed")) == str(history(tmp_path / "whole"))
    seen("weights, ledger and boxes bitwise equal after a SIGKILL and a SIGTERM", count=2)


@pytest.mark.fault(13, "a detection run whose boxes have changed: refused, or accepted; the edited one is unscored")
@pytest.mark.parametrize("case", ["added", "removed", "edited"])
def test_a_changed_data_set_is_refused_or_accepted(
    place: Path, tmp_path: Path, case: str, seen: Callable[..., None]
) -> None:
    shutil.copytree(place / "street", tmp_path / "street")
    config = TrainConfig(tmp_path / "street", out=tmp_path / "run", **{**SETTINGS, "epochs": 3})
    with stopping_after(3), pytest.raises(Stopped):
        train(config)
    rows = [list(row.values()) for row in read_csv(tmp_path / "street" / "boxes.csv")]
    images = tmp_path / "street" / "images"
    if case == "added":
        shutil.copy(images / "12.png", images / "99.png")
        Image.open(images / "12.png").rotate(180).save(images / "99.png")
        rows.append(["99.png", "car", "3", "4", "30", "20", "train"])
    elif case == "removed":
        (images / "05.png").unlink()
        rows = [row for row in rows if row[0] != "05.png"]
    else:
        first = next(row for row in rows if row[0] == "05.png")
        first[2] = str(float(first[2]) + 0.5)
    write_table(tmp_path / "street", rows)
    counts = {"added": r"\+1 -0 ~0", "removed": r"\+0 -1 ~0", "edited": r"\+0 -0 ~1"}[case]
    before = tree(tmp_path / "run" / "ledger")
    with pytest.raises(ValueError, match=rf"training {counts} .* --accept-dataset-change"):
        train(config)
    assert tree(tmp_path / "run" / "ledger") == before
    train(replace(config, accept_dataset_change=True))
    last = pq.read_table(sorted((tmp_path / "run" / "ledger").glob("epoch-*.parquet"))[-1])["index"].to_pylist()
    assert sorted(last) == [place for place in range(13 if case == "added" else 12) if (case, place) != ("removed", 5)]
    page = words(write_report(tmp_path / "run").read_text())
    assert "accepted changes of the data: 1" in page.lower()
    seen("refused in one line with nothing written; accepted: shown in every epoch left, or in none", count=1)


# ----- predict ----------------------------------------------------------------------------------------------------


def test_predict_finds_what_the_run_was_judged_by(place: Path, ask: Callable[..., str], tmp_path: Path) -> None:
    before = tree(place / "street")
    images = [place / "street" / "images" / f"{number}.png" for number in range(12, 16)]
    said = ask(
        "predict", place / "run", *images, "--out", tmp_path / "p", "--which", "last", "--min-confidence", 0.05
    )  # fmt: skip
    assert said.endswith(f"pictures: {tmp_path / 'p'}\npredictions: {tmp_path / 'p' / 'predictions.csv'}\ncode 0")
    assert tree(place / "street") == before
    rows = read_csv(tmp_path / "p" / "predictions.csv")
    assert list(rows[0]) == ["image", "label", "score", "x1", "y1", "x2", "y2"]
    known = detected(place / "run", "predicted")
    assert sum(map(len, known)) == len(rows) > 4
    for image, one in zip(images, known, strict=True):
        own = [row for row in rows if row["image"] == str(image)]
        assert [row["label"] for row in own] == [NAMES[label] for label in one.labels.tolist()]
        assert [float(row["score"]) for row in own] == pytest.approx(one.scores.tolist(), rel=1e-4)
        for row, box in zip(own, one.boxes.tolist(), strict=True):
            # in pixels of the image, twice those that the model saw, and inside of it
            inside = [min(max(2 * value, 0), side) for value, side in zip(box, (128, 96, 128, 96), strict=True)]
            assert [float(row[side]) for side in ("x1", "y1", "x2", "y2")] == pytest.approx(inside, abs=1e-2)
        assert f"{image}  {len(own)} box{'es' * (len(own) != 1)}" in said
    for image in images:
        (picture,) = [path for path in (tmp_path / "p").glob("*.png") if path.name.endswith(f"{image.name}.png")]
        drawn = np.asarray(Image.open(picture))
        assert drawn.shape == (96, 128, 3)
        assert (drawn != np.asarray(Image.open(image))).any() == any(row["image"] == str(image) for row in rows)


def test_predict_takes_any_image_and_finds_perhaps_nothing(
    place: Path, ask: Callable[..., str], tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    Image.effect_noise((5, 300), 20).save(tmp_path / "in" / "a b.png")
    Image.new("RGB", (3, 2)).save(tmp_path / "in" / "ü.jpg")
    (tmp_path / "in" / "broken.png").write_bytes(b"\x89PNG nothing")
    said = ask("predict", place / "run", tmp_path / "in", "--out", tmp_path / "p", "--min-confidence", 1.0)
    assert said.endswith("code 0"), said
    assert "a b.png  0 boxes" in said
    assert f"left out: '{tmp_path / 'in' / 'broken.png'}': " in said
    assert (tmp_path / "p" / "predictions.csv").read_text() == "image,label,score,x1,y1,x2,y2\n"
    assert len(list((tmp_path / "p").glob("*.png"))) == 2
    said = ask("predict", place / "run", tmp_path / "in" / "broken.png", "--out", tmp_path / "none")
    assert "tamis: images must be readable, got none of 1 that is; repair the files\ncode 2" in said
    assert not (tmp_path / "none").exists()
    said = ask("predict", place / "run", tmp_path / "in", "--min-confidence", 1.5)
    assert "tamis: min_confidence must be in [0, 1], got 1.5\ncode 2" in said


# ----- score and explain ------------------------------------------------------------------------------------------


def scored(run: Path, out: Path, **settings: Any) -> list[dict[str, str]]:
    return read_csv(score(ScoreConfig([run], out=out, **settings), QUIET)[0])


def test_scores_of_boxes(place: Path, tmp_path: Path) -> None:
    run = place / "run"
    rows = scored(run, tmp_path / "a.csv")
    assert list(rows[0]) == ["key", "boxes", "predicted", "loss", "confidence"]
    labels = pq.read_table(run / "ledger" / "samples.parquet")["label"].to_pylist()
    assert [int(row["boxes"]) for row in rows] == labels
    judged = scored(run, tmp_path / "b.csv", data=place / "street")  # its validation split
    known = pq.read_table(run / "predictions" / "validation.parquet").to_pylist()
    expected = ConfidenceLoss()(detected(run, "predicted"))  # what is fainter than its 0.05 does not count
    for row, other, confidence in zip(judged, known, expected.tolist(), strict=True):
        assert (row["key"], int(row["boxes"]), int(row["predicted"])) == (
            other["key"],
            other["true"],
            other["predicted"],
        )
        assert float(row["loss"]) == pytest.approx(other["loss"], rel=1e-4)
        assert float(row["confidence"]) == pytest.approx(confidence, rel=1e-4)
    assert len({row["confidence"] for row in rows}) > 6
    out, _ = score(
        ScoreConfig(
            data=place / "street", task="detection", model="centernet-tiny", size="64x48", out=tmp_path / "c.csv",
            weights=checkpoint_of(run, "last") / "model.safetensors",
        ),
        QUIET,
    )  # fmt: skip
    assert out.read_text() == (tmp_path / "a.csv").read_text()


def test_scores_of_a_run_make_a_curriculum(place: Path, tmp_path: Path) -> None:
    rows = scored(place / "run", tmp_path / "scores.csv")
    given: dict[str, Any] = {"method": "clip", "scorer": tmp_path / "scores.csv", "scorer_column": "confidence"}
    train(TrainConfig(place / "street", out=tmp_path / "run", **SETTINGS, **given))
    initial = pq.read_table(tmp_path / "run" / "ledger" / "initial.parquet")["score"].to_pylist()
    assert initial == pytest.approx([float(row["confidence"]) for row in rows])


def test_wrong_scores_of_boxes_are_refused(place: Path, ask: Callable[..., str]) -> None:
    said = ask("score", place / "run", "--scores", "pixel")
    assert "tamis: scores must be among loss, confidence here, got 'pixel'; leave it out\ncode 2" in said
    said = ask("score", place / "run", "--scores", "aum")
    assert "tamis: scores must be among loss, confidence here, got 'aum'; leave it out\ncode 2" in said


def test_the_story_of_an_image_with_boxes(place: Path, ask: Callable[..., str]) -> None:
    lines = ask("explain", place / "run", "images/02.png").splitlines()
    assert lines[:2] == ["images/02.png (sample 2)", "0 boxes"]
    assert lines[2].startswith("mean score ")
    assert lines[3].split() == ["epoch", "loss", "score", "weight", "boxes"]
    assert len(lines) == 4 + 12 + 1
    assert all(line.split()[3:] == ["1", "0"] for line in lines[4:16])

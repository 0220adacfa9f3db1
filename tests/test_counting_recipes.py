"""The commands of a counter: train, predict, score, explain, check, and going on after its data has changed."""

import csv
import hashlib
import json
import math
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import chdir, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from rich.console import Console
from safetensors.torch import load_file, save_file

from attacks.victims import ask_all
from tamis import cli
from tamis.checkpoint import load_checkpoint
from tamis.data.synthetic import write_crowd
from tamis.fit import Fitted, Stopped
from tamis.recipes.command_config import PredictConfig, ScoreConfig
from tamis.recipes.commands import conclusion
from tamis.recipes.config import TrainConfig
from tamis.recipes.explain import told
from tamis.recipes.score import score
from tamis.recipes.train import load_for, train
from tamis.report import explain_sample
from tamis.run import checkpoint_of
from trainings import write_images

QUIET = Console(quiet=True)
SETTINGS: dict[str, Any] = {
    "task": "counting", "model": "mcnn-light", "epochs": 4, "batch_size": 4, "lr": 1e-3, "method": "clip",
    "density_scale": 10.0, "report": False, "workers": 0,
}  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A crowd of 12 and 6 images, and a run that has learned to count it."""
    folder = tmp_path_factory.mktemp("counting")
    write_crowd(folder / "crowd", 12, 6, size=64)
    train(TrainConfig(folder / "crowd", out=folder / "run", **SETTINGS))
    return folder


def tree(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def tamis(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: object) -> str:
    """What a command line says, errors last."""
    monkeypatch.setattr(sys, "argv", ["tamis", *map(str, words)])
    monkeypatch.setattr(cli.app, "config", ())
    with pytest.raises(SystemExit) as end:
        cli.main()
    said = capsys.readouterr()
    return f"{said.out}{said.err}code {end.value.code or 0}"


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    return lambda *words: tamis(capsys, monkeypatch, *words)


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


# ----- train ------------------------------------------------------------------------------------------------------


def test_a_run_tells_every_count(place: Path) -> None:
    run = place / "run"
    rows = pq.read_table(run / "predictions" / "validation.parquet").to_pylist()
    result = json.loads((run / "result.json").read_text())
    errors = [row["predicted"] - row["count"] for row in rows]
    assert result["last"]["mae"] == pytest.approx(sum(map(abs, errors)) / 6)
    assert result["last"]["rmse"] == pytest.approx(math.sqrt(sum(each**2 for each in errors) / 6))
    for level in (1, 2, 3):
        assert result["last"][f"game{level}"] == pytest.approx(sum(row[f"game{level}"] for row in rows) / 6)
    points = read_csv(place / "crowd" / "test" / "points.csv")
    for number, row in enumerate(rows):
        assert (row["index"], row["key"]) == (number, f"test/images/{number:04}.jpg")
        assert row["count"] == pytest.approx(sum(each["image"] == f"{number:04}.jpg" for each in points), abs=1e-3)
    maps = load_file(run / "predictions" / "maps.safetensors")
    for row in rows:
        assert float(maps[f"true/{row['index']}"].double().sum()) == pytest.approx(row["count"])
        assert float(maps[f"predicted/{row['index']}"].double().sum()) == pytest.approx(row["predicted"])
    assert result["counting"]["psnr"] == pytest.approx(sum(row["psnr"] for row in rows) / 6)
    assert (result["last"]["epoch"], "accuracy" in result["last"]) == (3, False)
    assert result["best"]["mae"] == min(
        json.loads(line)["validation"]["mae"] for line in (run / "metrics.jsonl").read_text().splitlines()
    )


def test_the_story_of_a_counted_image(place: Path) -> None:
    scores = pq.read_table(place / "run" / "ledger" / "initial.parquet")["score"].to_pylist()
    hardest = max(range(12), key=scores.__getitem__)
    story = told(explain_sample(place / "run", str(hardest)), ())
    points = read_csv(place / "crowd" / "train" / "points.csv")
    name = story[0].split(" (sample")[0].rsplit("/", 1)[1]
    assert story[1] == f"{sum(each['image'] == name for each in points)} points"
    assert story[3].split() == ["epoch", "loss", "score", "weight", "count", "counted"]
    assert story[4].startswith("    1  waits: rank 12 of 12, the pace shows 3 (Clip(")
    last = story[-1].split()
    assert (last[0], float(last[4])) == ("4", pytest.approx(float(story[1].split()[0]), rel=1e-2))
    assert "(not its label)" not in " ".join(story)


def test_balance_by_counts_shows_sparse_and_dense_images_at_once(place: Path) -> None:
    run = place / "balanced"
    train(TrainConfig(place / "crowd", out=run, scorer=place / "run" / "scorer", balance=3, **SETTINGS))
    counts = pq.read_table(run / "ledger" / "samples.parquet")["label"].to_pylist()
    first = pq.read_table(run / "ledger" / "epoch-00000-000.parquet")["index"].to_pylist()
    ranks = sorted(sorted(range(12), key=counts.__getitem__).index(sample) // 4 for sample in first)
    assert ranks == [0, 1, 2]


# ----- predict ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", ["last", "best"])
def test_predict_counts_as_the_run_was_judged(place: Path, ask: Callable[..., str], tmp_path: Path, which: str) -> None:
    before = tree(place / "crowd")
    said = ask("predict", place / "run", place / "crowd" / "test" / "images", "--out", tmp_path / "p", "--which", which)
    assert said.endswith(f"predictions: {tmp_path / 'p' / 'predictions.csv'}\ncode 0")
    assert tree(place / "crowd") == before
    rows = read_csv(tmp_path / "p" / "predictions.csv")
    if which == "last":
        expected = pq.read_table(place / "run" / "predictions" / "validation.parquet").to_pylist()
        for row, other in zip(rows, expected, strict=True):
            assert row["image"].endswith(other["key"].removeprefix("test/"))
            assert float(row["count"]) == pytest.approx(other["predicted"], rel=1e-4)
    best = json.loads((place / "run" / "result.json").read_text())[which]
    points = read_csv(place / "crowd" / "test" / "points.csv")
    errors = [
        abs(float(row["count"]) - sum(each["image"] == Path(row["image"]).name for each in points)) for row in rows
    ]
    assert sum(errors) / 6 == pytest.approx(best["mae"], rel=1e-3)
    pictures = sorted(path for path in (tmp_path / "p").iterdir() if path.suffix == ".png")
    assert len(pictures) == 6
    assert all(Image.open(path).width >= 64 for path in pictures)


def test_predict_takes_images_of_any_size(place: Path, ask: Callable[..., str], tmp_path: Path) -> None:
    for name, size in (("a b.png", (70, 33)), ("ü.jpg", (5, 90)), ("sub/c.png", (64, 64))):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.effect_noise(size, 60).save(path)
    said = ask("predict", place / "run", tmp_path / "in", "--out", tmp_path / "p", "--no-overlay")
    assert said.endswith("code 0"), said
    names = [row["image"] for row in read_csv(tmp_path / "p" / "predictions.csv")]
    assert sorted(names) == sorted(str(tmp_path / "in" / name) for name in ("a b.png", "ü.jpg", "sub/c.png"))
    assert [path.name for path in (tmp_path / "p").iterdir()] == ["predictions.csv"]


@pytest.mark.fault(15, "tamis predict leaves broken images out by name, counts the others, and changes no file")
def test_predict_leaves_broken_images_out(place: Path, ask: Callable[..., str], tmp_path: Path, seen) -> None:
    folder = tmp_path / "in"
    shutil.copytree(place / "crowd" / "test" / "images", folder)
    (folder / "0001.jpg").write_bytes((folder / "0001.jpg").read_bytes()[:300])
    (folder / "0002.jpg").write_bytes(b"")
    (folder / "0003.jpg").write_text("text")
    before = tree(folder)
    said = ask("predict", place / "run", folder, "--out", tmp_path / "p")
    assert said.endswith("code 0")
    for number in (1, 2, 3):
        assert f"left out: '{folder / f'000{number}.jpg'}': " in said
    assert len(read_csv(tmp_path / "p" / "predictions.csv")) == 3
    assert len(list((tmp_path / "p").glob("*.png"))) == 3
    assert tree(folder) == before
    said = ask("predict", place / "run", folder / "0001.jpg", folder / "0002.jpg", "--out", tmp_path / "none")
    assert "tamis: images must be readable, got none of 2 that is; repair the files\ncode 2" in said
    assert not (tmp_path / "none").exists()
    seen("3 of 3 broken ones named, 3 of 3 others counted; none but broken ones: refused", count=3)


def test_predict_refuses_in_one_line(place: Path, ask: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    image = place / "crowd" / "test" / "images" / "0000.jpg"
    for words, message in (
        ((place / "run", tmp_path / "missing"), "images must be files or folders, got"),
        ((place / "run", tmp_path / "empty"), "images must hold at least one image, got none in"),
        ((place / "crowd", image), "run must be a run folder with run.json, got"),
        ((tmp_path, image), "run must be a run folder with run.json, got"),
    ):
        said = ask("predict", *words, "--out", tmp_path / "p")
        assert message in said
        assert said.endswith("code 2")
        assert not (tmp_path / "p").exists()
    with pytest.raises(ValueError, match="images must name at least one image, got none"):
        PredictConfig(place / "run", [])


def test_predict_and_explain_need_no_data(place: Path, ask: Callable[..., str], tmp_path: Path) -> None:
    shutil.copytree(place / "run", tmp_path / "run")
    about = json.loads((tmp_path / "run" / "run.json").read_text())
    about["config"] |= {"data": str(tmp_path / "gone"), "front_end": str(tmp_path / "gone.pt"), "model": "mcnn-light"}
    (tmp_path / "run" / "run.json").write_text(json.dumps(about))
    image = place / "crowd" / "test" / "images" / "0000.jpg"
    said = ask("predict", tmp_path / "run", image, "--out", tmp_path / "p", "--no-overlay")
    assert said.endswith("code 0"), said
    assert len(ask("explain", tmp_path / "run", "0").splitlines()) == 4 + 4 + 1


def test_two_images_of_one_name_have_two_pictures(place: Path, ask: Callable[..., str], tmp_path: Path) -> None:
    images = place / "crowd"
    said = ask(
        "predict", place / "run", images / "test" / "images" / "0000.jpg", images / "train" / "images" / "0000.jpg",
        "--out", tmp_path / "p",
    )  # fmt: skip
    assert said.endswith("code 0")
    assert len(list((tmp_path / "p").glob("*0000.jpg.png"))) == 2


def test_predict_says_the_classes_of_a_classifier(tmp_path: Path, ask: Callable[..., str]) -> None:
    (tmp_path / "grey").mkdir()
    write_images(tmp_path / "grey")
    for path in (tmp_path / "grey").rglob("*.png"):
        Image.open(path).convert("L").save(path)
        coloured = tmp_path / "images" / path.relative_to(tmp_path / "grey")
        coloured.parent.mkdir(parents=True, exist_ok=True)
        grey = Image.open(path)
        Image.merge("RGB", [grey.point([value // part for value in range(256)]) for part in (1, 2, 3)]).save(coloured)
    quick: dict[str, Any] = {
        "epochs": 3,
        "batch_size": 16,
        "lr": 0.01,
        "report": False,
        "calibrate": False,
        "workers": 0,
    }
    train(TrainConfig(tmp_path / "images", out=tmp_path / "run", **quick))
    table = {row["key"]: row["predicted"] for row in scored(tmp_path / "run", tmp_path / "scores.csv")}
    said = ask("predict", tmp_path / "run", tmp_path / "images", "--out", tmp_path / "p", "--which", "last")
    assert said.endswith("code 0"), said
    rows = read_csv(tmp_path / "p" / "predictions.csv")
    assert len(rows) == 72
    found = {str(Path(row["image"]).relative_to(tmp_path / "images")): row["predicted"] for row in rows}
    assert {key: found[key] for key in table} == table
    assert len(set(table.values())) > 1
    assert all(1 / 3 <= float(row["probability"]) <= 1 for row in rows)
    assert [path.name for path in (tmp_path / "p").iterdir()] == ["predictions.csv"]


# ----- score ------------------------------------------------------------------------------------------------------


def scored(run: Path, out: Path, **settings: Any) -> list[dict[str, str]]:
    return read_csv(score(ScoreConfig([run], out=out, **settings), QUIET)[0])


def test_scores_of_counts(place: Path, tmp_path: Path) -> None:
    rows = scored(place / "run", tmp_path / "a.csv")
    assert list(rows[0]) == ["key", "count", "predicted", "loss", "pixel", "head", "error"]
    points = read_csv(place / "crowd" / "train" / "points.csv")
    assert [row["key"] for row in rows] == [f"train/images/{number:04}.jpg" for number in range(12)]
    for row in rows:
        value = {name: float(text) for name, text in row.items() if name != "key"}
        count = sum(each["image"] == Path(row["key"]).name for each in points)
        assert value["count"] == count
        assert value["error"] == pytest.approx(abs(value["predicted"] - count), rel=1e-3, abs=1e-2)
        assert value["pixel"] == pytest.approx(value["loss"] / 256, rel=1e-4)
        assert value["head"] == pytest.approx(value["loss"] / count, rel=1e-4)
    judged = scored(place / "run", tmp_path / "b.csv", data=place / "crowd" / "test", scores=["error"], which="last")
    known = pq.read_table(place / "run" / "predictions" / "validation.parquet").to_pylist()
    for row, other in zip(judged, known, strict=True):
        assert float(row["predicted"]) == pytest.approx(other["predicted"], rel=1e-4)


def test_scores_by_any_model_and_its_weights(place: Path, tmp_path: Path) -> None:
    weights = load_file(checkpoint_of(place / "run", "last") / "model.safetensors")
    save_file(weights, tmp_path / "model.safetensors")
    out, _ = score(
        ScoreConfig(
            data=place / "crowd", task="counting", model="mcnn-light", weights=tmp_path / "model.safetensors",
            density_scale=10.0, out=tmp_path / "a.csv",
        ),
        QUIET,
    )  # fmt: skip
    assert out.read_text() == score(ScoreConfig([place / "run"], out=tmp_path / "b.csv"), QUIET)[0].read_text()


def test_wrong_scores_of_counts_are_refused(place: Path, ask: Callable[..., str], tmp_path: Path) -> None:
    said = ask("score", place / "run", "--scores", "el2n")
    assert "tamis: scores must be among loss, pixel, head, error here, got 'el2n'; leave it out\ncode 2" in said
    write: dict[str, Any] = {"task": "counting", "model": "mcnn-light"}
    with pytest.raises(ValueError, match="model must come with weights and data and without runs, got others"):
        ScoreConfig(**write, data=place)
    said = ask(
        "score", "--model", "mcnn", "--weights", tmp_path / "gone.pt", "--data", place / "crowd", "--task", "counting"
    )
    assert said.endswith("code 2")
    assert "gone.pt" in said


# ----- the data changes while a curriculum runs -------------------------------------------------------------------


@dataclass
class Crowd:
    """A crowd on disk and its points by image, with a run by a table of scores that was stopped in the second epoch."""

    root: Path
    points: dict[str, list[tuple[str, str]]]

    @property
    def config(self) -> TrainConfig:
        return TrainConfig(Path("crowd"), out=Path("run"), scorer=Path("scores.csv"), **{**SETTINGS, "epochs": 5})

    def train(self, **changes: Any) -> Fitted:
        with chdir(self.root):  # a run goes on with the paths that it began with
            return train(replace(self.config, **changes))

    def write(self) -> None:
        with (self.root / "crowd" / "points.csv").open("w", newline="") as file:
            csv.writer(file).writerows(
                [("image", "x", "y"), *((name, *each) for name, all_ in self.points.items() for each in all_)]
            )

    def copy(self, root: Path) -> "Crowd":
        shutil.copytree(self.root, root)
        return replace(self, root=root, points={name: list(each) for name, each in self.points.items()})

    def shown(self) -> list[list[int]]:
        paths = sorted((self.root / "run" / "ledger").glob("epoch-*.parquet"))
        return [pq.read_table(path)["index"].to_pylist() for path in paths]

    def scores(self) -> list[float]:
        return pq.read_table(self.root / "run" / "ledger" / "scores.parquet")["score"].to_pylist()

    def keys(self) -> list[str]:
        return pq.read_table(self.root / "run" / "ledger" / "samples.parquet")["key"].to_pylist()


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Crowd:
    root = tmp_path_factory.mktemp("changing") / "first"
    write_crowd(root / "parts", 16, 1, size=64)
    shutil.copytree(root / "parts" / "train" / "images", root / "crowd" / "images")
    points: dict[str, list[tuple[str, str]]] = {}
    for row in read_csv(root / "parts" / "train" / "points.csv"):
        points.setdefault(row["image"], []).append((row["x"], row["y"]))
    crowd = Crowd(root, points)
    crowd.write()
    with (root / "scores.csv").open("w", newline="") as file:
        csv.writer(file).writerows(
            [("key", "score"), *((key, f"{len(all_):.1f}") for key, all_ in known(crowd).items())]
        )
    with stopping_after(3), pytest.raises(Stopped):
        crowd.train()
    return crowd


def known(crowd: Crowd) -> dict[str, list[tuple[str, str]]]:
    """The points by the keys of the samples."""
    with chdir(crowd.root):
        keys = load_for(crowd.config).train.keys
    return {key: crowd.points[Path(key).name] for key in keys}


@contextmanager
def stopping_after(steps: int) -> Iterator[None]:
    """Let a training be asked to stop at its `steps`-th occasion."""
    asked = iter(range(10_000))

    @contextmanager
    def stopping() -> Iterator[Callable[[], int]]:
        yield lambda: 15 * (next(asked) >= steps)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tamis.recipes.train.stopping", stopping)
        yield


@pytest.fixture(scope="module")
def straight(stopped: Crowd, tmp_path_factory: pytest.TempPathFactory) -> Crowd:
    """The same, gone on with as it was."""
    crowd = stopped.copy(tmp_path_factory.mktemp("straight") / "crowd")
    crowd.train()
    return crowd


def weights(crowd: Crowd) -> dict[str, torch.Tensor]:
    return load_file(checkpoint_of(crowd.root / "run", "last") / "model.safetensors")


@pytest.mark.fault(13, "CLIP on a counter whose images and points are in another order, with other dates: no effect")
def test_another_order_has_no_effect_on_clip(stopped: Crowd, straight: Crowd, tmp_path: Path, seen) -> None:
    crowd = stopped.copy(tmp_path / "crowd")
    crowd.points = {name: all_[::-1] for name, all_ in reversed(crowd.points.items())}
    crowd.write()
    for path in (crowd.root / "crowd" / "images").iterdir():
        os.utime(path)
    lines = (crowd.root / "scores.csv").read_text().splitlines()
    (crowd.root / "scores.csv").write_text("\n".join([lines[0], *lines[:0:-1]]))
    crowd.train()
    mine, yours = weights(crowd), weights(straight)
    assert all(torch.equal(mine[name], yours[name]) for name in mine)
    assert crowd.shown() == straight.shown()
    assert crowd.scores() == straight.scores()
    seen("weights, plans and scores bitwise equal")


@pytest.mark.fault(13, "CLIP on a counter whose data has changed: refused, or accepted; what is new is unscored, shown")
@pytest.mark.parametrize("case", ["added", "removed", "edited"])
def test_clip_goes_on_with_accepted_changes(stopped: Crowd, straight: Crowd, tmp_path: Path, case: str, seen) -> None:
    crowd = stopped.copy(tmp_path / "crowd")
    keys, images = crowd.keys(), crowd.root / "crowd" / "images"
    victim = max(keys, key=lambda key: len(crowd.points[Path(key).name]))  # the hardest: it waits
    if case == "added":
        shutil.copy(crowd.root / "parts" / "test" / "images" / "0000.jpg", images / "new.jpg")
        crowd.points["new.jpg"] = [("3.5", "4.5"), ("10.0", "40.0")]
    elif case == "removed":
        (images / Path(victim).name).unlink()
        del crowd.points[Path(victim).name]
    else:
        x, y = crowd.points[Path(victim).name][0]
        crowd.points[Path(victim).name][0] = (x, f"{float(y) - 0.25:.2f}")
    crowd.write()
    before = tree(crowd.root / "run" / "ledger")
    counts = {"added": r"\+1 -0 ~0", "removed": r"\+0 -1 ~0", "edited": r"\+0 -0 ~1"}[case]
    with pytest.raises(ValueError, match=rf"training {counts} .*; .* --accept-dataset-change") as caught:
        crowd.train()
    assert "\n" not in str(caught.value)
    assert tree(crowd.root / "run" / "ledger") == before
    state = load_checkpoint(checkpoint_of(crowd.root / "run", "last"))[1]
    assert state["place"] > 0  # in the middle of an epoch, which begins again
    crowd.train(accept_dataset_change=True)
    later = crowd.shown()[state["epoch"] :]
    assert len(later) >= 2
    place = len(keys) if case == "added" else keys.index(victim)
    assert len(crowd.keys()) == len(keys) + (case == "added")
    if case == "removed":
        assert not any(place in shown for shown in later)
        assert crowd.scores()[place] == straight.scores()[place]
    else:
        assert math.isnan(crowd.scores()[place])
        assert all(place in shown for shown in later)
    others = [each for each in range(len(keys)) if each != place]
    assert [crowd.scores()[each] for each in others] == [straight.scores()[each] for each in others]
    seen("refused 3 of 3 in one line with nothing written; accepted: shown in every epoch left, or in none", count=1)


@pytest.mark.fault(14, "tamis check names the images that a counting set holds twice, and those to judge by among them")
def test_duplicates_in_a_counting_set_are_named(tmp_path: Path, seen) -> None:
    write_crowd(tmp_path / "crowd", 6, 3, size=64)
    train_, test = tmp_path / "crowd" / "train", tmp_path / "crowd" / "test"
    shutil.copy(train_ / "images" / "0002.jpg", train_ / "images" / "twin.jpg")
    shutil.copy(train_ / "images" / "0004.jpg", test / "images" / "leak.jpg")
    for folder, names in ((train_, {"0002.jpg": "twin.jpg"}), (test, {})):
        rows = read_csv(folder / "points.csv")
        with (folder / "points.csv").open("a", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerows((names[row["image"]], row["x"], row["y"]) for row in rows if row["image"] in names)
            writer.writerows([("leak.jpg", 5, 5)] * (folder == test))
    (answer,) = ask_all([["check", "crowd", "--json"]], tmp_path)
    assert answer.code == 1, answer
    found = json.loads(answer.out)
    text = json.dumps(found)
    for name in ("train/images/0002.jpg", "train/images/twin.jpg", "train/images/0004.jpg", "test/images/leak.jpg"):
        assert name in text, found
    assert "train/images/0001.jpg" not in text
    seen("1 of 1 copies in the training split and 1 of 1 leaks named with their originals", count=2)


def test_points_that_are_left_out_are_counted_and_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    crowd = tmp_path / "crowd"
    write_crowd(crowd, 12, 4, size=64)
    with (crowd / "train" / "points.csv").open("a") as table:
        table.write("0000.jpg,900,3\n0001.jpg,nan,3\n")
    config = TrainConfig(crowd, task="counting", model="mcnn-light", epochs=1, out=tmp_path / "run", workers=0)
    train(replace(config, report=False), Console(markup=False, highlight=False, soft_wrap=True))
    listed = [json.loads(line) for line in (tmp_path / "run" / "problems.jsonl").read_text().splitlines()]
    assert [each["rule"] for each in listed] == ["not_finite", "outside"]
    assert all(each["where"].startswith("train/points.csv:") for each in listed)
    assert "problems with the points: 1 x coordinate that is NaN or infinite, 1 x box or point outside" in (
        capsys.readouterr().out
    )


@pytest.mark.parametrize("quality", [{}, {"ssim": 0.5, "psnr": 20.0}])
def test_what_is_not_told_of_the_maps_is_said(quality: dict[str, float]) -> None:
    row = {"epoch": 0, "mae": 1.0, "rmse": 2.0, "count": 3.0, "loss": 0.1}
    costs = {"samples_seen": 4, "full_samples": 4, "seconds_training": 1.0, "seconds_evaluation": 1.0}
    said = conclusion({"last": row, "best": row, "counting": quality, "costs": costs})
    assert ("no SSIM and PSNR: install 'tamis[counting]'" in said) == (not quality)

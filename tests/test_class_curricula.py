"""The curricula of several runs: what is read, what is compared, what is refused, and the page."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from reference_curricula import spearman
from tamis import cli
from tamis.recipes.config import TrainConfig
from tamis.report.class_curricula import read_curricula
from tamis.report.class_curricula_charts import at_random, curricula_charts
from tamis.report.class_curricula_order import farthest_apart, rank_correlation
from tamis.report.class_curricula_page import class_rows, pair_rows, render, verdict, write_curricula

NAMES = ("<b>ant</b>", "bee", "cat")
KEYS = ("a0", "a1", "b0", "b1", "c0")
LABELS = (0, 0, 1, 1, 2)


def write_run(
    folder: Path,
    seed: int,
    *,
    classes: Any = ((1.0, 1.0, 1.0), (1.5, 0.5, 1.0)),
    samples: Any = ((1.0, 1.0, 1.0, 1.0, 1.0), (4.0, 0.5, 1.5, 1.0, None)),
    keys: Any = KEYS,
    labels: Any = LABELS,
    names: Any = NAMES,
    **settings: Any,
) -> Path:
    """A run folder with sigma (epochs, k) of classes and (epochs, n) of samples; None = not shown."""
    (folder / "ledger").mkdir(parents=True)
    plain = TrainConfig(Path("nowhere"), seed=seed, data_parameters="joint", **settings).plain()
    about = {"config": plain, "command": f"tamis train --seed {seed}", "data": {"class_names": names, "root": "x"}}
    (folder / "run.json").write_text(json.dumps(about))
    rows = [{"epoch": epoch, "class_sigma": row} for epoch, row in enumerate(classes)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    table = {"index": range(len(keys)), "key": list(keys), "label": pa.array(labels, pa.int32())}
    pq.write_table(pa.table(table), folder / "ledger" / "samples.parquet")
    for epoch, row in enumerate(samples):
        shown = [place for place, value in enumerate(row) if value is not None]
        part: dict[str, Any] = {"index": pa.array(shown, pa.int64())}
        if any(value is not None and value > 0 for value in row):
            part["log_sigma"] = pa.array([math.log(row[place]) for place in shown], pa.float32())
        pq.write_table(pa.table(part), folder / "ledger" / f"epoch-{epoch:05d}-000.parquet")
    return folder


@pytest.fixture
def three(tmp_path: Path) -> list[Path]:
    ends = ((1.5, 0.5, 1.0), (1.3, 0.7, 1.1), (1.4, 0.9, 0.6))
    return [write_run(tmp_path / f"r{seed}", seed, classes=((1.0, 1.0, 1.0), end)) for seed, end in enumerate(ends)]


@given(st.lists(st.tuples(st.integers(-3, 3), st.integers(-3, 3)), min_size=1, max_size=12))
def test_rank_correlation_is_spearmans(pairs: list[tuple[int, int]]) -> None:
    first, second = (np.array(column, float) for column in zip(*pairs, strict=True))
    assert rank_correlation(first, second) == pytest.approx(spearman(*map(list, (first, second))), nan_ok=True)
    assert rank_correlation(first, second) == pytest.approx(rank_correlation(np.exp(first), second), nan_ok=True)


def test_two_samples_of_one_class_that_end_farthest_apart() -> None:
    values = np.array([9.0, 0.0, 3.0, 1.0, 1.5, np.nan, 4.0])
    label = np.array([0, 1, 2, 2, 2, 2, 1])
    assert farthest_apart(values, label) == [6, 1]
    assert farthest_apart(values[:4], label[:4]) == [2, 3]
    assert farthest_apart(np.array([1.0, 2.0]), np.array([0, 1])) == []
    assert farthest_apart(np.array([1.0, 1.0]), np.array([0, 0])) == []
    assert farthest_apart(np.array([np.nan]), np.array([0])) == []


def test_random_classes_are_the_same_every_time_and_leave_out_the_ends() -> None:
    names = [f"class {number}" for number in range(30)]
    drawn = at_random(names, [3, 5])
    assert drawn == at_random(names, [3, 5])
    assert len(set(drawn)) == 4
    assert not {3, 5} & set(drawn)
    assert at_random(names[:3], [0, 2]) == [1]


def test_means_and_orders_are_those_of_the_runs(three: list[Path]) -> None:
    curricula = read_curricula(three)
    assert curricula.class_sigma.shape == (3, 2, 3)
    assert np.isnan(curricula.class_order[0]).all()  # all equal after the first epoch
    ends = curricula.class_sigma[:, -1].tolist()
    pairs = [spearman(ends[a], ends[b]) for a, b in ((0, 1), (0, 2), (1, 2))]
    assert curricula.class_order[-1] == pytest.approx(pairs)
    rows = class_rows(curricula)
    assert [row["name"] for row in rows] == ["<b>ant</b>", "cat", "bee"]
    assert rows[0]["mean"] == pytest.approx((1.5 + 1.3 + 1.4) / 3)
    assert rows[0]["spread"] == pytest.approx(0.1)
    assert [row["ranks"] for row in rows] == [[1, 1, 1], [2, 2, 3], [3, 3, 2]]
    assert [row["samples"] for row in rows] == [2, 1, 2]
    assert [row["classes"] for row in pair_rows(curricula)] == pytest.approx(pairs)
    assert pair_rows(curricula)[0]["samples"] == pytest.approx(1)
    assert verdict(curricula) == "Whether the order of the classes repeats cannot be told from 3"


def test_samples_are_followed_over_hidden_epochs(tmp_path: Path) -> None:
    late = ((1.0, 1.0, 1.0, 1.0, None), (3.0, None, 1.0, 1.0, None))
    runs = [write_run(tmp_path / "a", 0), write_run(tmp_path / "b", 1, samples=late)]
    tracks = read_curricula(runs).tracks
    assert tracks is not None
    assert tracks.keys == ["a0", "a1"]
    assert np.exp(tracks.log_sigma[0]) == pytest.approx(np.array([[1, 1], [4, 0.5]]))
    assert np.exp(tracks.log_sigma[1]) == pytest.approx(np.array([[1, 1], [3, 1]]))
    chosen = read_curricula(runs, ["c0", "b1"]).tracks
    assert chosen is not None
    assert chosen.keys == ["c0", "b1"]
    assert chosen.label.tolist() == [2, 1]
    assert np.isnan(chosen.log_sigma[1, :, 0]).all()


def test_samples_are_matched_by_key_and_label(tmp_path: Path) -> None:
    """Each seed may hold other samples out, and draw other wrong labels."""
    other = {"keys": ("b1", "new", "a1", "b0", "a0"), "labels": (1, 2, 0, 2, 0)}
    runs = [write_run(tmp_path / "a", 0), write_run(tmp_path / "b", 1, **other)]
    curricula = read_curricula(runs)
    assert curricula.common.tolist() == [[0, 1, 3], [4, 2, 0]]  # b0 has another label, c0 is not there
    for key in ("b0", "c0", "new", "none"):
        with pytest.raises(ValueError, match=f"with the same label, got '{key}'; take a key"):
            read_curricula(runs, [key])


def test_runs_of_classes_only_and_of_samples_only(tmp_path: Path) -> None:
    nothing = ((None,) * 5, (None,) * 5)
    classes = read_curricula([write_run(tmp_path / f"c{seed}", seed, samples=nothing) for seed in (0, 1)])
    assert (classes.tracks, len(classes.sample_order)) == (None, 0)
    assert "Rank in <bdi>c0</bdi>" in render(classes, None)
    none = (None, None)
    samples = read_curricula([write_run(tmp_path / f"s{seed}", seed, classes=none) for seed in (0, 1)])
    assert samples.class_sigma.shape == (2, 2, 0)
    assert verdict(samples) == "Whether the order of the samples repeats cannot be told from 5"
    assert pair_rows(samples)[0]["samples"] == pytest.approx(1)
    assert [chart.title for chart in curricula_charts(samples)] == ["Samples of one class"]
    with pytest.raises(ValueError, match="runs must have data parameters of one kind, got class in 'c0' and instance"):
        read_curricula([tmp_path / "s0", tmp_path / "c0"])


def test_the_page_shows_pictures_and_runs_nothing(three: list[Path], tmp_path: Path) -> None:
    asked = []

    def picture(index: int) -> Image.Image:
        asked.append(index)
        return Image.new("L", (8, 8), index)

    page = write_curricula(three, tmp_path / "page.html", thumbnails=picture).read_text()
    assert asked == [0, 1]
    assert page.count("data:image/png;base64,") == 2
    assert "&lt;b&gt;ant&lt;/b&gt; (highest)" in page
    assert "<b>ant" not in page
    assert "bee (lowest)" in page or "cat (lowest)" in page
    assert "http:" not in page
    assert "https:" not in page
    assert "<script" not in page
    assert write_curricula(three) == three[0] / "curricula.html"


def test_many_classes_are_a_band_and_the_ends_of_a_table(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    names = [f"class {number}" for number in range(60)]
    runs = [
        write_run(tmp_path / f"r{seed}", seed, names=names, classes=draw.uniform(0.5, 2, (2, 60)).tolist())
        for seed in (0, 1)
    ]
    page = render(read_curricula(runs), None)
    assert "The 10 highest and the 10 lowest of 60" in page
    assert page.count('<th scope="row"><bdi>class') == 20


def asked(*words: object) -> str:
    with pytest.raises((ValueError, OSError)) as error:
        cli.app.meta(["curricula", *map(str, words)])
    return str(error.value)


def test_runs_that_do_not_fit_are_refused_in_one_line(three: list[Path], tmp_path: Path) -> None:
    def other(name: str, **settings: Any) -> Path:
        return write_run(tmp_path / name, 7, **settings)

    refused = {
        "at least two different ones, got": [three[0]],
        "run must be a run folder with run.json, got": [three[0], tmp_path / "nowhere"],
        "must have different seeds, got seed 0 in": [three[0], three[0]],
        "but for the seed, got lr 0.2 in": [three[0], other("lr", lr=0.2)],
        "but for the seed, got model 'resnet18' in": [three[0], other("model", model="resnet18")],
        "equally many finished epochs, got 1 in 'short' and 2 in 'r0'": [
            three[0], other("short", classes=((1.0, 2.0, 3.0),), samples=((1.0,) * 5,))
        ],
        "equally many classes, got 4 in 'four' and 3 in 'r0'": [three[0], other("four", names=(*NAMES, "dog"))],
        "same classes, got other names in 'names'": [three[0], other("names", names=("x", "y", "z"))],
        "must have a sigma of classes or samples, got none in 'plain'": [
            three[0], other("plain", classes=(None, None), samples=((None,) * 5,) * 2)
        ],
    }  # fmt: skip
    for message, runs in refused.items():
        said = asked(*runs)
        assert message in said
        assert "\n" not in said


def test_the_command_writes_the_page(three: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.app.meta(["curricula", *map(str, three), "--out", str(tmp_path / "p.html"), "--samples", "b0", "c0"])
    assert not end.value.code
    said = capsys.readouterr().out
    assert "no pictures in the report" in said
    assert str(tmp_path / "p.html") in said.replace("\n", "")
    assert "Chosen samples" in (tmp_path / "p.html").read_text()

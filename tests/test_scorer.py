"""Where a curriculum's scores come from: a scorer that is trained first, a run, or a table; and what goes together."""

import csv
import json
import math
from collections.abc import Callable
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

from tamis.data.synthetic import write_crowd
from tamis.fit import Settings
from tamis.methods import METHODS
from tamis.moment import Moment
from tamis.recipes import together
from tamis.recipes.command_config import ScoreConfig
from tamis.recipes.config import TrainConfig
from tamis.recipes.explain import told
from tamis.recipes.parts import method_of, stretched
from tamis.recipes.score import score
from tamis.recipes.scorer import initial_scores
from tamis.recipes.train import load, train
from tamis.report import explain_sample
from tamis.run import checkpoint_of
from trainings import write_images

QUIET = Console(quiet=True)
CLASSES = {"epochs": 5, "batch_size": 16, "lr": 0.01, "crop": 1, "method": "clip", "report": False, "calibrate": False}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with images of classes, and a run that trained its own scorer."""
    folder = tmp_path_factory.mktemp("scorer")
    (folder / "images").mkdir()
    write_images(folder / "images")
    train(config(folder, "own"))
    return folder


def config(folder: Path, name: str, **changes: Any) -> TrainConfig:
    return TrainConfig(folder / "images", out=folder / name, **(CLASSES | changes))


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(checkpoint_of(run, "last") / "model.safetensors")


def initial(run: Path) -> torch.Tensor:
    table = pq.read_table(run / "ledger" / "initial.parquet")
    assert table["index"].to_pylist() == list(range(len(table)))
    return torch.tensor(table["score"].to_pylist())


def order(run: Path) -> list[list[int]]:
    """What each epoch showed, in its order."""
    return [pq.read_table(path)["index"].to_pylist() for path in sorted((run / "ledger").glob("epoch-*.parquet"))]


def hold_same(one: Path, other: Path) -> None:
    assert order(one) == order(other)
    mine, yours = weights(one), weights(other)
    assert all(torch.equal(mine[name], yours[name]) for name in mine)


def rows(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def keys(run: Path) -> list[str]:
    return pq.read_table(run / "ledger" / "samples.parquet")["key"].to_pylist()


# ----- a scorer of one's own --------------------------------------------------------------------------------------


def test_a_curriculum_is_what_its_rule_says(place: Path) -> None:
    run = place / "own"
    scores = initial(run)
    n = len(scores)
    by_score = scores.argsort(stable=True).tolist()
    for epoch, shown in enumerate(order(run)):
        paced = math.floor(n * (0.3 + 0.7 * min(1, epoch / 5 / 0.6) ** 2) + 1e-9)
        out = math.floor(0.05 * paced + 1e-9)
        assert sorted(shown) == sorted(by_score[out:paced])
        path = run / "ledger" / f"decisions-{epoch:05d}.parquet"
        decisions = pq.read_table(path).to_pylist() if path.is_file() else []
        found = {row["index"]: row for row in decisions}
        assert len(found) == len(decisions) == n - len(shown)
        for rank, sample in enumerate(by_score, start=1):
            if out < rank <= paced:
                assert sample not in found
                continue
            kind = "pruned" if rank <= out else "waits"
            assert found[sample]["reason"].startswith(f"{kind}: Clip(")
            assert (found[sample]["rank"], found[sample]["of"]) == (rank, paced if rank <= out else n)
    assert [(row["shown"], row["hidden"]) for row in rows(run)] == [(len(each), n - len(each)) for each in order(run)]


def test_the_scorer_is_a_plain_training_whose_model_scores(place: Path) -> None:
    run, cost = place / "own", json.loads((place / "own" / "result.json").read_text())["costs"]["scorer"]
    proxy = TrainConfig.read(run / "scorer")
    assert (proxy.method, proxy.epochs, proxy.history, proxy.report) == ("uniform", 1, False, False)
    n = len(initial(run))
    assert (cost["samples_seen"], cost["samples_scored"]) == (n, n)
    assert cost["seconds"] > 0
    score(ScoreConfig([run / "scorer"], out=place / "own.parquet"), QUIET)
    assert torch.tensor(pq.read_table(place / "own.parquet")["loss"].to_pylist()).equal(initial(run))


def test_every_sample_has_a_story(place: Path) -> None:
    run = place / "own"
    by_score = initial(run).argsort(stable=True).tolist()
    names = ("a", "b", "c")
    first = told(explain_sample(run, str(by_score[0])), names)
    rule = "Clip(Polynomial(start=0.3, full_at=0.6, power=2.0), easiest first; the 5 % with the lowest score out)"
    n = len(by_score)
    for epoch, line in enumerate(first[4:]):
        paced = math.floor(n * (0.3 + 0.7 * min(1, epoch / 5 / 0.6) ** 2) + 1e-9)
        if 0.05 * paced < 1:
            assert not line.endswith(f"({rule})")  # nothing is pruned of so few
        else:
            since = 1 + next(place for place, shown in enumerate(order(run)) if by_score[0] not in shown)
            assert line.endswith(f" hidden: pruned at epoch {since}, rank 1 of {paced} by score ({rule})")
    last = told(explain_sample(run, str(by_score[-1])), names)
    paced = math.floor(0.3 * n + 1e-9)
    assert last[4].endswith(f"1  waits: rank {n} of {n}, the pace shows {paced} ({rule})")
    assert "waits" not in last[-1]


def test_scores_are_found_once(place: Path, tmp_path: Path) -> None:
    trained: list[TrainConfig] = []

    def fails(data: Any, proxy: TrainConfig, *rest: Any, **named: Any) -> Any:
        trained.append(proxy)
        raise AssertionError("a scorer was trained again")

    settings = config(place, "own")
    found, cost = initial_scores(settings, load(settings, place / "own"), place / "own" / "ledger", QUIET, fails)
    assert found.equal(initial(place / "own"))
    assert set(cost) == {"samples_seen", "samples_scored", "seconds"}
    with pytest.raises(AssertionError, match="trained again"):
        initial_scores(settings, load(settings, place / "own"), tmp_path, QUIET, fails)
    assert trained[0].folder == place / "own" / "scorer"


@pytest.mark.parametrize(("epochs", "given", "expected"), [(5, None, 1), (10, None, 1), (11, None, 2), (5, 3, 3)])
def test_the_length_of_a_scorer(place: Path, tmp_path: Path, epochs: int, given: int | None, expected: int) -> None:
    class Asked(Exception):
        pass

    def asked(data: Any, proxy: TrainConfig, *rest: Any, **named: Any) -> Any:
        raise Asked(proxy.epochs)

    settings = config(place, "long", epochs=epochs, scorer_epochs=given)
    with pytest.raises(Asked, match=f"^{expected}$"):
        initial_scores(settings, load(settings), tmp_path, QUIET, asked)


# ----- a run, or a table ------------------------------------------------------------------------------------------


def test_a_run_or_its_table_as_the_scorer_gives_the_same_training(place: Path) -> None:
    scorer = place / "own" / "scorer"
    for suffix in ("csv", "parquet"):
        score(ScoreConfig([scorer], out=place / f"scores.{suffix}"), QUIET)
    for given in (scorer, place / "scores.parquet", place / "scores.csv"):
        run = place / f"by-{given.name}"
        fitted = train(config(place, run.name, scorer=given))
        hold_same(place / "own", run)
        assert initial(run).equal(initial(place / "own"))
        assert not (run / "scorer").exists()
        cost = fitted.result["costs"]["scorer"]
        assert (cost["samples_seen"], cost["samples_scored"]) == (0, len(initial(run)) * given.is_dir())


def table(path: Path, columns: dict[str, list[Any]]) -> Path:
    if path.suffix == ".parquet":
        pq.write_table(pa.table(columns), path)
    else:
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([list(columns), *zip(*columns.values(), strict=True)])
    return path


def read(place: Path, given: Path, tmp_path: Path, **changes: Any) -> torch.Tensor:
    settings = config(place, "none", scorer=given, **changes)
    (tmp_path / "ledger").mkdir(exist_ok=True)
    found, _ = initial_scores(settings, load(settings), tmp_path / "ledger", QUIET, no_training)
    return found


def no_training(*arguments: Any, **named: Any) -> Any:
    raise AssertionError("a scorer was trained")


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_rows_in_any_order_missing_and_unknown_ones(place: Path, tmp_path: Path, suffix: str) -> None:
    known = keys(place / "own")
    some = known[::-1][:40]
    columns = {"key": [*some, "unknown.png"], "loss": [float(place) for place in range(41)]}
    columns |= {"other": [-value for value in columns["loss"]]}
    given = table(tmp_path / f"a.{suffix}", columns)
    found = read(place, given, tmp_path)
    assert found.isnan().sum() == len(known) - 40
    for value, key in enumerate(some):
        assert float(found[known.index(key)]) == value
    (tmp_path / "second").mkdir()
    assert read(place, given, tmp_path / "second", scorer_column="other").nan_to_num(9).equal(-found.nan_to_num(-9))
    preferred = table(tmp_path / f"b.{suffix}", columns | {"score": [7.0] * 41})
    (tmp_path / "third").mkdir()
    assert set(read(place, preferred, tmp_path / "third")[~found.isnan()].tolist()) == {7.0}


def test_samples_without_a_row_are_always_shown(place: Path, tmp_path: Path) -> None:
    known = keys(place / "own")
    columns = {"key": [*known[5:], "unknown.png"], "score": [float(each) for each in range(len(known) - 4)]}
    run = place / "partly"
    train(config(place, run.name, scorer=table(tmp_path / "a.csv", columns)))
    for shown in order(run):
        assert set(range(5)) <= set(shown)
    reasons = pq.read_table(run / "ledger" / "decisions-00000.parquet").to_pylist()
    assert {row["of"] for row in reasons} == {len(known) - 5}


REFUSED: dict[str, tuple[Callable[[list[str]], dict[str, list[Any]]], str, str | None]] = {
    "none known": (lambda keys: {"key": ["x", "y"], "score": [1, 2]}, "scorer must score the samples by their", None),
    "infinite": (lambda keys: {"key": keys[:1], "score": ["inf"]}, "score must be finite, got 'inf' for", None),
    "not a number": (lambda keys: {"key": keys[:1], "score": ["nan"]}, "score must be finite, got 'nan' for", None),
    "too large": (lambda keys: {"key": keys[:1], "score": ["1e60"]}, "score must be finite, got '1e60' for", None),
    "text": (lambda keys: {"key": keys[:1], "loss": ["low"]}, "loss must be a number, got 'low' for", None),
    "empty cell": (lambda keys: {"key": keys[:1], "loss": [""]}, "loss must be a number, got '' for", None),
    "no scores": (
        lambda keys: {"key": keys, "a": keys},
        "the columns key and score or loss, got key, a in",
        None,
    ),
    "no keys": (lambda keys: {"score": [1]}, "must have the columns key and score or loss, got score in", None),
    "no such column": (lambda keys: {"key": keys, "loss": keys}, "must have the columns key and el2n, got", "el2n"),
    "empty": (lambda keys: {}, "must have the columns key and score or loss, got none in", None),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_wrong_table_is_refused_in_one_line(place: Path, tmp_path: Path, kind: str) -> None:
    columns, message, column = REFUSED[kind]
    given = table(tmp_path / "a.csv", columns(keys(place / "own")))
    with pytest.raises(ValueError, match=message) as caught:
        read(place, given, tmp_path, scorer_column=column)
    assert "\n" not in str(caught.value)
    assert "a.csv" in str(caught.value)


@pytest.mark.parametrize("name", ["a.csv", "a.parquet", "a.txt"])
def test_a_file_that_is_no_table_is_refused(place: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\xff\xfe\x00PAR" * 9)
    with pytest.raises(ValueError, match="scorer must") as caught:
        read(place, tmp_path / name, tmp_path)
    assert "\n" not in str(caught.value)


def test_missing_values_of_a_parquet_table_are_refused_or_no_score(place: Path, tmp_path: Path) -> None:
    known = keys(place / "own")
    given = table(tmp_path / "a.parquet", {"key": known[:2], "score": [1.0, None]})
    with pytest.raises(ValueError, match="score must be a number, got None for"):
        read(place, given, tmp_path)


def test_a_scorer_that_is_not_there(place: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"run must be a run folder with run.json, got .*nowhere"):
        read(place, tmp_path / "nowhere", tmp_path)
    with pytest.raises(FileNotFoundError, match="run must be a run folder"):
        read(place, place / "images", tmp_path)


def test_a_scorer_of_another_task_or_other_classes_is_refused(place: Path, tmp_path: Path) -> None:
    write_crowd(tmp_path / "crowd", 6, 2, size=64)
    counted = TrainConfig(
        tmp_path / "crowd", out=tmp_path / "counted", task="counting", model="mcnn-light", method="clip",
        scorer=place / "own", epochs=1, report=False,
    )  # fmt: skip
    with pytest.raises(ValueError, match=r"scorer must be of the task counting, got 'classification' in .*own"):
        train(counted)
    train(replace(counted, method="uniform", scorer=None, out=tmp_path / "counter"))
    with pytest.raises(ValueError, match=r"scorer must be of the task classification, got 'counting' in .*counter"):
        read(place, tmp_path / "counter", tmp_path)
    for path in (place / "images" / "a").iterdir():
        other = tmp_path / "others" / "d" / path.name
        other.parent.mkdir(parents=True, exist_ok=True)
        other.write_bytes(path.read_bytes())
        (tmp_path / "others" / "e").mkdir(exist_ok=True)
        (tmp_path / "others" / "e" / path.name).write_bytes(path.read_bytes())
    with pytest.raises(ValueError, match=r"scorer must know the classes of the data, got 3 others in .*own"):
        train(replace(config(place, "x"), data=tmp_path / "others", out=tmp_path / "run", scorer=place / "own"))


def test_a_counter_s_table_of_other_scores(tmp_path: Path) -> None:
    """--score-per is of the scores that a scorer finds; `tamis score` writes all of them, by column."""
    write_crowd(tmp_path / "crowd", 8, 3, size=64)
    settings: dict[str, Any] = {
        "task": "counting", "model": "mcnn-light", "epochs": 1, "batch_size": 4, "method": "clip", "report": False,
    }  # fmt: skip
    train(TrainConfig(tmp_path / "crowd", out=tmp_path / "image", **settings))
    scorer = tmp_path / "image" / "scorer"
    score(ScoreConfig([scorer], out=tmp_path / "scores.parquet"), QUIET)
    written = pq.read_table(tmp_path / "scores.parquet")
    kinds: tuple[tuple[Any, str], ...] = (("image", "loss"), ("pixel", "pixel"), ("head", "head"))
    for kind, column in kinds:
        run = tmp_path / f"by-{kind}"
        train(TrainConfig(tmp_path / "crowd", out=run, scorer=scorer, score_per=kind, **settings))
        torch.testing.assert_close(initial(run), torch.tensor(written[column].to_pylist()))


# ----- methods ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["random-order", "curriculum", "prune", "anti-curriculum"])
def test_the_parts_and_controls_of_a_curriculum(place: Path, method: str) -> None:
    run = place / method
    given = {} if method == "random-order" else {"scorer": place / "own" / "scorer"}
    fitted = train(config(place, method, method=method, **given))
    n, scores = len(keys(run)), initial(place / "own")
    by_score = scores.argsort(stable=True).tolist()
    shown = [set(each) for each in order(run)]
    paced = [math.floor(n * (0.3 + 0.7 * min(1, epoch / 5 / 0.6) ** 2) + 1e-9) for epoch in range(5)]
    out = [math.floor(0.05 * each + 1e-9) for each in paced]
    if method == "random-order":
        assert not (run / "scorer").exists()
        assert not (run / "ledger" / "initial.parquet").exists()
        assert "scorer" not in fitted.result["costs"]
        assert [len(each) for each in shown] == [all_ - less for all_, less in zip(paced, out, strict=True)]
        assert shown[0] != set(by_score[out[0] : paced[0]])
    elif method == "curriculum":
        assert shown == [set(by_score[:each]) for each in paced]
    elif method == "prune":
        assert shown == [set(by_score[math.floor(0.05 * n + 1e-9) :])] * 5
    else:
        by_score.reverse()
        assert shown == [set(by_score[: each - less]) for each, less in zip(paced, out, strict=True)]


def test_balance_keeps_every_class_in_the_plan(place: Path) -> None:
    run = place / "balanced"
    train(config(place, run.name, scorer=place / "own" / "scorer", balance=1))
    labels = pq.read_table(run / "ledger" / "samples.parquet")["label"].to_pylist()
    for shown in order(run):
        counts = [sum(labels[sample] == each for sample in shown) for each in range(3)]
        sizes = [labels.count(each) for each in range(3)]
        shares = [count / size for count, size in zip(counts, sizes, strict=True)]
        assert max(shares) - min(shares) < 1.5 / min(sizes) + 0.02
    reasons = pq.read_table(run / "ledger" / "decisions-00000.parquet")["reason"].to_pylist()
    assert all(reason.endswith(" within each of 3 groups") for reason in reasons)


def test_refresh_by_the_command_counts_what_it_scores(place: Path) -> None:
    fitted = train(config(place, "refreshed", scorer=place / "own" / "scorer", refresh=2))
    n = len(keys(place / "refreshed"))
    assert fitted.result["costs"]["samples_scored"] == 2 * n
    assert fitted.result["costs"]["scorer"]["samples_scored"] == n
    assert order(place / "refreshed")[:2] == order(place / "own")[:2]
    assert initial(place / "refreshed").equal(initial(place / "own"))


# ----- what goes together -----------------------------------------------------------------------------------------


def test_the_lists_of_settings_name_settings() -> None:
    known = {each.name for each in fields(TrainConfig)}
    for names in (together._OF_COUNTING, together._OF_CLASSIFICATION, together._OF_CURRICULA):
        assert set(names) <= known
        assert len(set(names)) == len(names)
    for defaults in together.BY_TASK.values():
        assert set(defaults) <= known
    settings = TrainConfig(
        Path("x"), method="clip", pace="linear", pace_start=0.5, pace_full=1.0, prune=0.2, prune_to=0.1, balance=1,
        refresh=2, scorer_epochs=3, report=True, seed=5, reading="algorithm1", pace_unit="batch",
    )  # fmt: skip
    plain = together.without_curriculum(settings, epochs=2)
    expected = TrainConfig(Path("x"), seed=5, epochs=2, history=False, report=False, calibrate=False)
    assert plain == expected


@pytest.mark.parametrize(
    ("settings", "start"),
    [
        ({}, 0.3),
        ({"stretch": True}, 0.3),
        ({"task": "counting"}, 0.3),
        ({"task": "counting", "stretch": True}, 0.1),
        ({"task": "counting", "stretch": True, "pace_start": 0.5}, 0.5),
        ({"task": "detection", "stretch": True}, 0.3),
    ],
)
def test_a_pace_starts_lower_where_a_counter_sees_as_many_samples(settings: dict[str, Any], start: float) -> None:
    data: Any = SimpleNamespace(known=None, noise=None)
    method = method_of(TrainConfig(Path("x"), method="curriculum", scorer=Path("table.csv"), **settings), data)
    assert method.rule.pace.start == start  # type: ignore[union-attr]


def test_stretched_training_shows_as_many_samples_as_full_training(tmp_path: Path) -> None:
    """`--stretch`: more epochs, the same number of samples (to an epoch's), and the pace over the longer training."""
    settings = Settings(epochs=10, batch_size=8, optimizer=partial(torch.optim.SGD, lr=0.1))
    method = METHODS["clip"]()
    longer = stretched(settings, method, 200)
    shown = [method.rule.count(200, Moment(epoch, longer.epochs, 0)) or 0 for epoch in range(longer.epochs)]
    assert longer.epochs > 10
    assert abs(sum(shown) - 10 * 200) < 200
    assert stretched(settings, METHODS["uniform"](), 200).epochs == 10
    with pytest.raises(ValueError, match="stretch must come with a method that shows a number known before"):
        stretched(settings, METHODS["infobatch"](), 200)

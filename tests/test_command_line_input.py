"""Names of files and folders that mean something to a shell, to Python or to the command line: they are only names."""

import csv
import os
from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from attacks.victims import Answer, ask_all
from tamis.recipes.suspect_list import plain_cell
from test_attacks import pictures

NAMES = (
    "a b",
    "a;touch x;b",
    "$(touch x)",
    "`touch x`",
    "-rf",
    "--epochs",
    "=cmd()",
    "ünï 雪 🌨",
    "new\nline",
    "100%s %(x)s {0} {x}",
    "'quote\" \\",
    "*?[red]x",
    "~",
)
ALL = "-a b;$(touch x)`touch y`%s %(z)s'\"\n雪[red]{*}~\\"
QUICK = ("--epochs", "1", "--workers", "0", "--no-report", "--no-calibrate")


def course(name: str) -> list[list[str]]:
    """Train, score, report and explain, with the name in every place where a name can stand."""
    run = f"{name} run"
    key = f"{name}/0 {name}.png"
    return [
        ["train", f"--data={name}", f"--out={run}", *QUICK],
        ["score", "--", run],
        ["score", f"--runs={run}", f"--data={name}", f"--out={name}.csv"],
        ["report", f"--out={name}.html", "--", run],
        ["explain", f"--run={run}", f"--sample={key}"],
    ]


def data(here: Path, name: str) -> None:
    """Images whose folder, class and file names all have the name in them."""
    root = pictures(here / name, "b")
    (root / name).mkdir()
    for place in range(10):
        (root / "b" / f"{place}.png").rename(root / name / f"{place} {name}.png")
    for path in pictures(here / "more", "b").glob("b/*"):
        path.rename(root / "b" / path.name)
    (here / "more" / "b").rmdir()
    (here / "more").rmdir()


def check(here: Path, name: str, answers: Sequence[Answer]) -> None:
    assert [answer.code for answer in answers] == [0] * 5, answers
    assert not any(answer.err for answer in answers), answers
    run = here / f"{name} run"
    keys = pq.read_table(run / "ledger" / "samples.parquet")["key"].to_pylist()
    assert sum(key.startswith(f"{name}/") for key in keys) == len(keys) // 2 == 9
    with (here / f"{name}.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["label"] for row in rows} == {"b", plain_cell(name)}
    files = [f"b/{place}.png" for place in range(10)] + [f"{name}/{place} {name}.png" for place in range(10)]
    assert {row["key"] for row in rows} == set(map(plain_cell, files))
    assert answers[4].out.startswith(f"{name}/0 {name}.png (sample ")
    assert (here / f"{name}.html").stat().st_size > 1000
    expected = {name, f"{name} run", f"{name}.csv", f"{name}.html"}
    assert {path.name for path in here.iterdir()} == expected  # nothing was run: no x, no y


def follow(here: Path, names: Sequence[str]) -> int:
    words = []
    for place, name in enumerate(names):
        (here / str(place)).mkdir()
        data(here / str(place), name)
        words.append(course(name))
    for place, name in enumerate(names):
        check(here / str(place), name, ask_all(words[place], here / str(place)))
    return 5 * len(names)


@pytest.mark.fault(28, "odd names are only names: the right result, and nothing in them is executed")
def test_one_name_with_everything(tmp_path: Path, seen) -> None:
    count = follow(tmp_path, [ALL])
    seen(f"{count} commands with the right result, nothing executed", count=count)


@pytest.mark.slow
@pytest.mark.fault(28, "odd names are only names: the right result, and nothing in them is executed")
def test_odd_names_one_by_one(tmp_path: Path, seen) -> None:
    count = follow(tmp_path, NAMES)
    seen(f"{count} commands with the right result, nothing executed", count=count)


@pytest.mark.fault(
    28, "a name that looks like a flag, or is not UTF-8, is taken, or refused in one line with a way out"
)
def test_names_like_flags(tmp_path: Path, seen) -> None:
    pictures(tmp_path / "-rf")
    strange = os.fsdecode(b"caf\xe9")
    pictures(tmp_path / strange)
    words = [
        ["train", "--data", "-rf", *QUICK],
        ["report", "-rf"],
        ["train", "--data", "./-rf", "--show-config"],
        ["train", "--data=-rf", "--show-config"],
        ["train", "--data", strange, "--out", "run", *QUICK],
    ]
    *refused, taken, taken_too, not_utf8 = ask_all(words, tmp_path)
    for answer in refused:
        assert (answer.code, answer.err.count("\n")) == (2, 1)
        assert "To name '-rf' write './-rf'." in answer.err
    assert taken.out.startswith('data: "-rf"')
    assert taken_too.out.startswith('data: "-rf"')
    assert not_utf8.code == 0 or (not_utf8.code, not_utf8.err.count("\n")) == (2, 1), not_utf8
    seen("5 of 5 taken, or refused in one line", count=5)

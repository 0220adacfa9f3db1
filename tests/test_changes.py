"""The data changed between two runs: added, removed, edited or re-ordered, in every kind of source."""

import csv
import hashlib
import json
import os
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from torch import Tensor

from tamis.data import FileImages, Images, MemoryImages, PadCrop, UnreadableImage, open_splits
from tamis.data.fingerprint import How, fingerprint
from tamis.fit import Fitted, Settings, fit
from tamis.fit.growth import Changes, grown
from tamis.fit.protocols import Stopped
from tamis.history import read_samples, write_samples
from tamis.ledger import Ledger
from tamis.methods import METHODS, Temperature
from tamis.models import build_model
from tamis.recipes.changes import Change, between
from tamis.recipes.config import TrainConfig
from tamis.recipes.data import Data, load
from tamis.recipes.reconcile import Known, reconcile, remember
from tamis.rules import Chain, Exclude, Rule
from tamis.run import Run
from tamis.tasks.classification import Classification

Layout = Literal["memory", "files", "csv", "csv in memory", "archive"]
LAYOUTS: tuple[Layout, ...] = ("memory", "files", "csv", "csv in memory", "archive")
Seen = Callable[..., None]
LONG_AGO = 1_600_000_000_000_000_000


@dataclass
class Store:
    """A data set on disk: `content` maps names, in the order in which they are stored, to the seeds of the pixels."""

    root: Path
    layout: Layout
    content: dict[str, int]
    date: int = LONG_AGO

    @property
    def path(self) -> Path:
        return {"memory": self.root, "files": self.root, "archive": self.root / "all.zip"}.get(
            self.layout, self.root / "all.csv"
        )

    def write(self) -> "Store":
        """Everything anew, with a later date than before."""
        shutil.rmtree(self.root, ignore_errors=True)
        self.date += 10**9
        for name, seed in self.content.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            side = 8 if "memory" in self.layout else 72
            pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(path)  # BMP: all files have the same size
            os.utime(path, ns=(self.date, self.date))
        if self.layout == "archive":
            with zipfile.ZipFile(self.root / "all.zip", "w") as archive:
                for name in self.content:
                    archive.write(self.root / name, name)
        elif "csv" in self.layout:
            with (self.root / "all.csv").open("w", newline="") as file:
                csv.writer(file).writerows([("path", "label"), *((name, name[0]) for name in self.content)])
        return self

    def open(self) -> Images:
        source, validation = open_splits(self.path)
        assert validation is None
        assert isinstance(source, MemoryImages) == ("memory" in self.layout)
        return source


def store(tmp_path: Path, layout: Layout, count: int = 12) -> Store:
    content = {f"{'abc'[place % 3]}/{place:02d}.bmp": place for place in range(count)}
    return Store(tmp_path / "data", layout, content).write()


def shuffle(where: Store) -> None:
    names = list(where.content)
    where.content = {names[place]: where.content[names[place]] for place in torch.randperm(len(names)).tolist()}
    where.write()


def change_of(where: Store, run: Path) -> Change:
    old, _ = read_samples(run)
    now = where.open()
    return between(old, now, fingerprint(now))


def recorded(where: Store, run: Path) -> Images:
    source = where.open()
    write_samples(run, source.keys, source.labels, None, fingerprint(source))
    return source


def keys(change: Change) -> tuple[tuple[str, ...], ...]:
    return change.added, change.removed, change.edited


def batches(source: Images, plan: list[Tensor] | None = None, *, train: bool = True) -> list[tuple[Tensor, ...]]:
    found = source.batches(plan or [*torch.arange(len(source)).split(5)], epoch=3, seed=7, train=train)
    return [(batch.index, batch.inputs, batch.targets) for batch in found]


def augmented_as(one: Images, other: Images) -> Images:
    """The other one, augmented as the first."""
    if isinstance(one, MemoryImages) and isinstance(other, MemoryImages):
        return other.with_augmentation(one.augmentation)
    assert isinstance(one, FileImages)
    assert isinstance(other, FileImages)
    return other.with_augmentation(one.augmentation)


def assert_same_batches(one: Images, other: Images, *, train: bool = True) -> None:
    for mine, yours in zip(batches(one, train=train), batches(other, train=train), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(mine, yours, strict=True))


# ----- what has changed -----------------------------------------------------------------------------------------


@pytest.mark.fault(13, "files in another order, or copied with other dates, change nothing: equal batches bit for bit")
@pytest.mark.parametrize("layout", LAYOUTS)
def test_another_order_has_no_effect(layout: Layout, tmp_path: Path, seen: Seen) -> None:
    where = store(tmp_path, layout)
    before = recorded(where, tmp_path / "run")
    shuffle(where)
    now, change = where.open(), change_of(where, tmp_path / "run")
    assert (keys(change), bool(change), change.fresh.any()) == (((), (), ()), False, False)
    assert change.reordered == ("csv" in layout)  # class folders and archives are read in the order of the names
    assert (list(now.keys) != list(before.keys)) == change.reordered
    after = change.laid_out(now).with_scale(before.mean, before.std)
    assert after.keys == before.keys
    assert_same_batches(before, after)
    if isinstance(before, FileImages) and isinstance(after, FileImages) and layout == "files":
        assert_same_batches(before.with_augmentation(PadCrop(pad=4)), after.with_augmentation(PadCrop(pad=4)))
    seen("5 of 5 kinds of sources: equal batches")


@pytest.mark.fault(13, "added, removed and edited samples are told apart by their names, also edits of the same size")
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_difference_is_named(layout: Layout, tmp_path: Path, seen: Seen) -> None:
    where = store(tmp_path, layout)
    before = recorded(where, tmp_path / "run")
    del where.content["a/03.bmp"]
    where.content |= {"b/04.bmp": 99, "c/50.bmp": 50, "a/51.bmp": 51}
    size = (where.root / "b/04.bmp").stat().st_size
    shuffle(where)
    assert (where.root / "b/04.bmp").stat().st_size == size
    change, now = change_of(where, tmp_path / "run"), where.open()
    assert [set(each) for each in keys(change)] == [{"c/50.bmp", "a/51.bmp"}, {"a/03.bmp"}, {"b/04.bmp"}]
    n, gone = len(before), list(before.keys).index("a/03.bmp")
    after = change.laid_out(now)
    assert list(after.keys[:n]) == list(before.keys)
    assert set(after.keys[n:]) == {"c/50.bmp", "a/51.bmp"}
    assert after.labels[:n].equal(before.labels)
    assert (change.rows < 0).nonzero().flatten().tolist() == [gone]
    assert {after.keys[place] for place in change.fresh.nonzero().flatten().tolist()} == {
        "c/50.bmp",
        "a/51.bmp",
        "b/04.bmp",
    }
    same = torch.tensor([place for place in range(n) if before.keys[place] not in ("a/03.bmp", "b/04.bmp")])
    kept = [batches(each.with_scale(before.mean, before.std), [same])[0] for each in (before, after)]
    assert all(torch.equal(one, other) for one, other in zip(*kept, strict=True))
    if isinstance(after, FileImages):
        with pytest.raises(UnreadableImage, match="image must still be in the data, got a removed one"):
            after.thumbnail(gone)
    else:
        assert not np.asarray(after.thumbnail(gone)).any()
    text = str(change)
    assert text.startswith("+2 -1 ~1 (+ '")
    assert text.endswith(" - 'a/03.bmp' ~ 'b/04.bmp')")
    seen("+2 -1 ~1, each named, in 5 of 5 kinds of sources", count=4)


def test_a_label_is_content(tmp_path: Path) -> None:
    where = store(tmp_path, "csv")
    recorded(where, tmp_path / "run")
    text = where.path.read_text().replace("a/03.bmp,a", "a/03.bmp,c")
    where.path.write_text(text)
    change = change_of(where, tmp_path / "run")
    assert keys(change) == ((), (), ("a/03.bmp",))
    assert change.laid_out(where.open()).labels[3] == 2


def test_a_message_names_only_the_first(tmp_path: Path) -> None:
    where = store(tmp_path, "files", 3)
    recorded(where, tmp_path / "run")
    where.content |= {f"a/new {place}.bmp": place for place in range(5)}
    change = change_of(where.write(), tmp_path / "run")
    assert str(change) == "+5 -0 ~0 (+ 'a/new 0.bmp', 'a/new 1.bmp', 'a/new 2.bmp', ...)"
    assert change.plain()["added"] == {"count": 5, "first": ["a/new 0.bmp", "a/new 1.bmp", "a/new 2.bmp"]}


def test_without_digests_a_new_date_counts_as_an_edit_and_that_is_said(tmp_path: Path) -> None:
    where = store(tmp_path, "files", 3)
    source = where.open()
    write_samples(tmp_path / "run", source.keys, source.labels, None, fingerprint(source, "stat"))
    assert not change_of(where, tmp_path / "run")
    change = change_of(where.write(), tmp_path / "run")
    assert (len(change.edited), change.undecided) == (3, 3)
    assert str(change).endswith("), 3 by the date alone")


# ----- a run that goes on ---------------------------------------------------------------------------------------


@dataclass
class Begun:
    """A run that has written down what it began with."""

    where: Store
    config: TrainConfig
    data: Data

    @property
    def run(self) -> Path:
        return self.config.folder

    def again(self, *, accept: bool = False) -> Known:
        known = reconcile(self.run, self.where.open(), None, accept=accept)
        known.write()
        return known

    def tables(self) -> list[bytes]:
        return [path.read_bytes() for path in sorted(self.run.rglob("*.parquet"))]


def begun(tmp_path: Path, layout: Layout = "csv in memory", count: int = 30, **settings) -> Begun:
    where = store(tmp_path, layout, count)
    config = TrainConfig(where.path, out=tmp_path / "run", workers=0, hold_out=0.3, **settings)
    data = load(config)
    remember(config.folder, data.train, data.validation, data.noise and data.noise.clean)
    return Begun(where, config, data)


@pytest.mark.fault(13, "a run with wrong labels and a held-out part finds both as they were in re-ordered data")
@pytest.mark.parametrize("noise", ["none", "symmetric"])
@pytest.mark.parametrize("layout", ["csv", "csv in memory"])
def test_a_run_goes_on_with_reordered_data(layout: Layout, noise: str, tmp_path: Path, seen: Seen) -> None:
    it = begun(tmp_path, layout, noise=noise, noise_ratio=0.5)
    shuffle(it.where)
    assert load(it.config).train.keys != it.data.train.keys  # nothing is tested otherwise
    tables, known = it.tables(), it.again()
    assert known.said == ()
    assert it.tables() == tables
    assert_same_batches(it.data.train, augmented_as(it.data.train, known.train))
    assert_same_batches(it.data.validation, known.validation, train=False)
    assert not known.gone.any()
    assert not known.changes.since.any()
    if it.data.noise is None:
        assert known.clean is None
    else:
        assert it.data.noise.changed.any()
        assert known.clean is not None
        assert known.clean.equal(it.data.noise.clean)
    seen("4 of 4: equal batches and labels, mean and std", count=1)


@pytest.mark.parametrize("how", ["auto", "content"])
def test_files_are_read_again_only_if_their_date_is_another(
    how: How, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    it = begun(tmp_path, "files")
    read, plain = [], hashlib.file_digest
    monkeypatch.setattr(hashlib, "file_digest", lambda file, kind: read.append(file.name) or plain(file, kind))
    reconcile(it.run, it.where.open(), None, how=how)
    assert len(read) == (30 if how == "content" else 0)
    it.where.write()
    read.clear()
    reconcile(it.run, it.where.open(), None, how=how)
    assert len(read) == 30


@pytest.mark.fault(13, "a changed data set is refused with the difference, nothing is written; a flag accepts it")
@pytest.mark.parametrize("case", ["added", "removed", "edited"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_change_is_refused_or_accepted(layout: Layout, case: str, tmp_path: Path, seen: Seen) -> None:
    it = begun(tmp_path, layout)
    n, victim = len(it.data.train), it.data.train.keys[4]
    if case == "removed":
        del it.where.content[victim]
    else:
        it.where.content["b/77.bmp" if case == "added" else victim] = 77
    it.where.write()
    tables = it.tables()
    counts = {"added": "[+]1 -0 ~0", "removed": "[+]0 -1 ~0", "edited": "[+]0 -0 ~1"}[case]
    message = f"data must be what .*run' was trained on, got training {counts} .*; .* --accept-dataset-change, or"
    with pytest.raises(ValueError, match=message):
        it.again()
    assert it.tables() == tables
    assert not (it.run / "changed.jsonl").exists()
    known = it.again(accept=True)
    assert list(known.train.keys[:n]) == list(it.data.train.keys)
    assert list(known.train.keys[n:]) == (["b/77.bmp"] if case == "added" else [])
    assert known.gone.nonzero().flatten().tolist() == ([4] if case == "removed" else [])
    fresh = {"added": [n], "removed": [], "edited": [4]}[case]
    assert known.changes.since.nonzero().flatten().tolist() == fresh
    assert (known.train.mean, known.train.std) == (it.data.train.mean, it.data.train.std)
    assert_same_batches(it.data.validation, known.validation, train=False)
    line = json.loads((it.run / "changed.jsonl").read_text())
    assert line["train"][case] == {"count": 1, "first": ["b/77.bmp" if case == "added" else victim]}
    assert set(line) == {"change", "time", "train", "validation"}
    # Accepted once is accepted for good.
    again = it.again()
    assert again.said == ()
    assert (again.gone.equal(known.gone), again.changes.since.equal(known.changes.since)) == (True, True)
    seen("refused 15 of 15, accepted 15 of 15", count=1)


def test_a_removed_sample_that_comes_back_takes_its_old_position(tmp_path: Path) -> None:
    it = begun(tmp_path)
    victim = it.data.train.keys[4]
    seed = it.where.content.pop(victim)
    it.where.write()
    it.again(accept=True)
    it.where.content[victim] = seed
    it.where.write()
    with pytest.raises(ValueError, match=r"training \+1 -0 ~0"):
        it.again()
    known = it.again(accept=True)
    assert list(known.train.keys) == list(it.data.train.keys)
    assert not known.gone.any()
    assert known.changes.since.tolist() == [2 * (place == 4) for place in range(len(known.changes.since))]
    lines = [json.loads(line) for line in (it.run / "changed.jsonl").read_text().splitlines()]
    assert [line["change"] for line in lines] == [1, 2]


@pytest.mark.fault(13, "no sample gets from what a run is judged by into what it trains on, whatever comes or goes")
def test_who_was_held_out_stays_held_out(tmp_path: Path, seen: Seen) -> None:
    it = begun(tmp_path, count=60)
    held, trained = set(it.data.validation.keys), set(it.data.train.keys)
    # 20 new samples in front of all others: by position, others would be held out.
    it.where.content = {f"a/new {place}.bmp": 100 + place for place in range(20)} | it.where.content
    victim, renamed = sorted(held)[:2]
    del it.where.content[victim]
    it.where.content["c/renamed.bmp"] = it.where.content.pop(renamed)
    it.where.write()
    assert held & set(load(it.config).train.keys)  # nothing is tested otherwise
    known = it.again(accept=True)
    assert trained < set(known.train.keys)
    assert not set(known.train.keys) & held
    assert set(known.validation.keys) == held - {victim, renamed} | {"c/renamed.bmp"}
    it.where.content[victim] = 0  # back again, edited
    it.where.write()
    assert set(it.again(accept=True).validation.keys) == held - {renamed} | {"c/renamed.bmp"}
    seen("0 of 18 held-out samples trained on, one of them renamed, one gone and back", count=3)


def test_a_validation_set_of_its_own(tmp_path: Path) -> None:
    train, judged = store(tmp_path / "a", "csv"), store(tmp_path / "b", "csv")
    run = tmp_path / "run"
    remember(run, train.open(), judged.open(), None)
    shuffle(judged)
    known = reconcile(run, train.open(), judged.open())
    assert list(known.validation.keys) == sorted(judged.content, key=lambda key: key[2:])
    judged.content["a/99.bmp"] = 99
    del judged.content["a/00.bmp"]
    judged.write()
    with pytest.raises(ValueError, match=r"got validation \+1 -1 ~0 \(\+ 'a/99.bmp' - 'a/00.bmp'\); "):
        reconcile(run, train.open(), judged.open())
    known = reconcile(run, train.open(), judged.open(), accept=True)
    assert len(known.validation) == 12
    with pytest.raises(ValueError, match=r"got validation \+1 -1 ~0"):  # nothing is written yet
        reconcile(run, train.open(), judged.open())
    known.write()
    with pytest.raises(ValueError, match=r"run must be as when its data was opened, got change 1 in .*run'; start"):
        known.write()
    assert reconcile(run, train.open(), judged.open()).said == ()


def test_what_cannot_be_accepted(tmp_path: Path) -> None:
    it = begun(tmp_path, noise="symmetric")
    it.where.content["a/99.bmp"] = 99
    it.where.write()
    with pytest.raises(ValueError, match="wrong labels are drawn for all samples together; put it back, or"):
        it.again(accept=True)
    it = begun(tmp_path / "classes")
    it.where.content["d/99.bmp"] = 99
    it.where.write()
    with pytest.raises(ValueError, match=r"classes must be those .*, 'a', 'b', 'c', got 'a', 'b', 'c', ...; put"):
        it.again(accept=True)
    big = replace(it.where, layout="csv", content={"a/00.bmp": 0, "b/01.bmp": 1, "c/02.bmp": 2}).write()
    with pytest.raises(ValueError, match=r"images must be those .* was trained on, 3x8x8, got files; put"):
        reconcile(it.run, big.open(), None, accept=True)
    others = replace(it.where, content={f"{each}/other.bmp": 50 for each in "abc"}).write()
    with pytest.raises(ValueError, match=r"data must have samples to train on and .* held out, got 3 samples, 0 held"):
        reconcile(it.run, others.open(), None, accept=True)


def test_a_crash_between_the_tables_is_made_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    it = begun(tmp_path)
    it.where.content |= {"a/98.bmp": 98, it.data.validation.keys[0]: 99}
    it.where.write()
    plain = write_samples

    def dies(*arguments, **named) -> None:
        if named["name"] == "samples.parquet":
            raise KeyboardInterrupt
        plain(*arguments, **named)

    monkeypatch.setattr("tamis.recipes.reconcile.write_samples", dies)
    with pytest.raises(KeyboardInterrupt):
        it.again(accept=True)
    monkeypatch.undo()
    with pytest.raises(ValueError, match=r"got training \+1 -0 ~0"):
        it.again()
    known = it.again(accept=True)
    assert known.train.keys[-1] == "a/98.bmp"
    assert len((it.run / "changed.jsonl").read_text().splitlines()) == 1


def test_the_table_of_an_earlier_version(tmp_path: Path) -> None:
    write_samples(tmp_path, ["a", "b"], torch.tensor([0, 1]), None)
    assert pq.read_schema(tmp_path / "samples.parquet").names == ["index", "key", "label", "clean_label"]
    table, about = read_samples(tmp_path)
    assert (
        table.select(["digest", "size", "mtime_ns", "annotation", "gone", "since"]).to_pylist()
        == [{"digest": None, "size": None, "mtime_ns": None, "annotation": None, "gone": False, "since": 0}] * 2
    )
    assert about == {}
    # One that is written again has its columns in another order: both are read alike.
    extra = table.select(["since", "gone", "digest"])
    write_samples(tmp_path, ["a", "b"], torch.tensor([0, 1]), None, extra, name="other.parquet")
    assert read_samples(tmp_path, "other.parquet")[0].equals(table)
    with pytest.raises(FileNotFoundError, match=r"ledger must have validation.parquet, got none in"):
        read_samples(tmp_path, "validation.parquet")


# ----- the state grows ------------------------------------------------------------------------------------------


def changes(count: int, *since: int) -> Changes:
    return Changes(count, torch.tensor(since, dtype=torch.int32))


def test_a_state_grows() -> None:
    ledger = Ledger(3)
    ledger.record(torch.arange(3), torch.tensor([1.0, 2.0, 3.0]))
    rows = {"log_sigma_class": torch.ones(2), "log_sigma_instance": torch.tensor([0.1, 0.2, 0.3])}
    optimizer = {
        "state": {0: {"momentum": torch.ones(2)}, 1: {"momentum": torch.tensor([4.0, 5.0, 6.0])}},
        "param_groups": [{"params": [0]}, {"params": [1]}],
    }
    state = {"ledger": ledger.state_dict(), "stepper": {"temperature": rows, "rows_optimizer": optimizer}, "epoch": 7}
    state |= {"place": 5, "sampler": {"position": 40}, "observer": {}, "changes": 1}
    assert grown(state, changes(1, 0, 1, 0)) is state
    after = grown(state, changes(3, 1, 2, 0, 3), -2.0)
    assert str(after["ledger"]["score"].tolist()) == "[1.0, nan, 3.0, nan]"
    assert after["ledger"]["seen"].tolist() == [1, 0, 1, 0]
    assert after["ledger"]["seen"].dtype == torch.int32
    stepper = after["stepper"]
    assert torch.equal(stepper["temperature"]["log_sigma_instance"], torch.tensor([0.1, -2.0, 0.3, -2.0]))
    assert stepper["rows_optimizer"]["state"][1]["momentum"].tolist() == [4, 0, 6, 0]
    for kept in (stepper["temperature"]["log_sigma_class"], stepper["rows_optimizer"]["state"][0]["momentum"]):
        assert kept.equal(torch.ones(2))
    assert {name: after[name] for name in ("epoch", "place", "sampler", "observer", "changes")} == {
        "epoch": 7,
        "place": 0,
        "sampler": None,
        "observer": None,
        "changes": 3,
    }
    assert ledger.score.tolist() == [1, 2, 3]
    assert rows["log_sigma_instance"].tolist() == pytest.approx([0.1, 0.2, 0.3])
    Ledger(4).load_state_dict(after["ledger"])
    # Samples that are only gone are as they were, but the plan of the begun epoch has them.
    only_gone = grown(state, changes(2, 1, 1, 0))
    assert only_gone["ledger"]["score"].tolist() == [1, 2, 3]
    assert only_gone["sampler"] is None
    # Without instance rows, and before the first step of the rows' optimiser.
    assert grown(state | {"stepper": {"steps": 1}}, changes(2, 2, 0, 0))["stepper"] == {"steps": 1}
    early = state | {"stepper": state["stepper"] | {"rows_optimizer": optimizer | {"state": {}}}}
    assert grown(early, changes(2, 2, 0, 0))["stepper"]["rows_optimizer"]["state"] == {}


@pytest.mark.parametrize("now", [changes(1, 0, 0), changes(2, 0, 0, 2, 1), changes(0, 0, 0, 0)])
def test_a_state_of_another_run_is_refused(now: Changes) -> None:
    state = {"ledger": Ledger(3).state_dict(), "stepper": {}, "changes": 1}
    message = rf"checkpoint must be of these {len(now.since)} samples after at most {now.count} changes, got one of 3 "
    with pytest.raises(ValueError, match=message + r"after 1; ledger/samples.parquet is of another run"):
        grown(state, now)


@pytest.mark.fault(13, "training goes on with accepted changes: gone samples are never shown, new ones are, unscored")
def test_training_goes_on_with_accepted_changes(tmp_path: Path, seen: Seen, monkeypatch: pytest.MonkeyPatch) -> None:
    it = begun(tmp_path, data_parameters="joint")
    n = len(it.data.train)
    settings = Settings(4, 8, partial(torch.optim.SGD, lr=0.05), device="cpu")
    method = METHODS["sigma-drop"](start=0.9)

    def go_on(
        train: Images, validation: Images, rule: Rule, steps: int = 100, changes: Changes | None = None
    ) -> Fitted:
        run, asked = Run(it.run, {"config": {}}), iter(range(1000))
        try:
            return fit(
                build_model("small", classes=3, channels=3, size=8, seed=0),
                Classification(),
                train,
                settings=settings,
                method=replace(method, rule=rule),
                temperature=Temperature(kind="joint"),
                validation=validation,
                run=run,
                stop=lambda: int(next(asked) >= steps),
                changes=changes,
            )
        finally:
            run.close()

    shutil.rmtree(it.run)
    with pytest.raises(Stopped):
        go_on(it.data.train, it.data.validation, method.rule, steps=10)
    remember(it.run, it.data.train, it.data.validation, None)
    gone, edited = it.data.train.keys[4], it.data.train.keys[5]
    del it.where.content[gone]
    it.where.content |= {edited: 98, "b/99.bmp": 99}
    shuffle(it.where)
    known = it.again(accept=True)
    plain, before = Run.load, {}

    def load_and_note(self: Run):
        model, state = plain(self) or ({}, {})
        before.update(state)
        return model, state

    monkeypatch.setattr(Run, "load", load_and_note)
    rule = Chain((Exclude(known.gone, "no longer in the data"), method.rule))
    train = augmented_as(it.data.train, known.train)
    fitted = go_on(train, known.validation, rule, changes=known.changes)
    assert (before["epoch"], before["place"] > 0) == (2, True)  # in the middle of an epoch, which begins again
    shown = {place: 0 for place in range(n + 1)}
    for path in sorted((it.run / "ledger").glob("epoch-0000[23]-*.parquet")):
        for place in pq.read_table(path)["index"].to_pylist():
            shown[place] += 1
    assert shown == {place: 0 if place == 4 else 2 for place in range(n + 1)}
    visits = before["ledger"]["seen"].tolist()
    assert max(visits) == 3
    assert fitted.ledger.seen.tolist() == [
        {4: visits[4], 5: 2, n: 2}.get(place) or visits[place] + 2 for place in range(n + 1)
    ]
    assert fitted.ledger.score[4] == before["ledger"]["score"][4]
    assert fitted.ledger.score.isfinite().all()
    assert fitted.result["last"] is not None
    seen("+1 -1 ~1: shown 2, 0 and 2 times in the 2 epochs left; score of the removed one kept", count=3)

"""Scores of all samples by a model, and what a training does with scores that are given, and with new ones."""

import copy
import io
import itertools
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor, nn

from tamis.batch import Batch
from tamis.data import CountedImages, CountViews, Quarantine
from tamis.data.decode import Blobs
from tamis.fit import Fitted, Progress, Settings, Stopped, fit, sample_scores, whole_plan
from tamis.methods import METHODS, clip
from tamis.moment import Moment
from tamis.paces import Polynomial
from tamis.rules import Clip
from tamis.run import Run
from tamis.tasks.classification import Classification
from tamis.tasks.counting import Counting
from test_fit import Gaps, after, hold_equal_files, images, same
from trainings import counter, crowds, some_scores

SETTINGS = Settings(epochs=6, batch_size=8, optimizer=partial(torch.optim.SGD, lr=0.01, momentum=0.9))


def linear() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 3))


def as_it_is(batch: Batch) -> Batch:
    return batch


# ----- a pass over everything -------------------------------------------------------------------------------------


def test_scores_of_classes_are_those_of_a_plain_loop() -> None:
    source, model = Gaps({3, 40, 69}), linear().eval()
    scores = sample_scores(model, Classification(), source, 16, as_it_is)
    assert (scores.shape, scores.dtype) == ((70,), torch.float32)
    for place in range(70):
        if place in (3, 40, 69):
            assert scores[place].isnan()
            continue
        batch = next(source.batches([torch.tensor([place])], epoch=0, seed=0, train=False))
        logits = model(batch.inputs)[0].tolist()
        loss = math.log(sum(math.exp(each) for each in logits)) - logits[int(batch.targets)]
        assert float(scores[place]) == pytest.approx(loss, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("kind", ["image", "pixel", "head"])
def test_scores_of_counts_are_those_of_a_plain_loop(kind: Any) -> None:
    source, model, scale = broken(crowds(20), 4, 11), counter().eval(), 10.0
    told: list[int] = []
    scores = sample_scores(model, Counting(score=kind, scale=scale), source, 4, as_it_is, told.append)
    assert sum(told) == 18
    assert scores.isnan().nonzero().flatten().tolist() == [4, 11]
    for place in set(range(20)) - {4, 11}:
        batch = next(source.batches([torch.tensor([place])], epoch=0, seed=0, train=False))
        counted, true = model(batch.inputs).flatten().tolist(), batch.targets.flatten().tolist()
        loss = sum((one / scale - other) ** 2 for one, other in zip(counted, true, strict=True))
        over = {"image": 1, "pixel": len(true), "head": max(1.0, sum(true))}[kind]
        assert float(scores[place]) == pytest.approx(loss / over, rel=1e-4)


def broken(source: CountedImages, *places: int) -> CountedImages:
    assert isinstance(source.read, Blobs)
    blobs = [blob[:60] if place in places else blob for place, blob in enumerate(source.read.blobs)]
    return replace(source, read=Blobs(blobs), quarantine=Quarantine(len(blobs)))


def test_nothing_that_can_be_read_has_no_score() -> None:
    source = broken(crowds(3), 0, 1, 2)
    assert sample_scores(counter().eval(), Counting(), source, 2, as_it_is).isnan().all()


@dataclass
class Sizes:
    """A source of nothing but groups."""

    groups_: Tensor | None
    size: int
    labels: Tensor = field(default_factory=lambda: torch.zeros(0))
    keys: tuple[str, ...] = ()
    class_names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return self.size

    def batches(self, *arguments: Any, **named: Any) -> Any:
        raise NotImplementedError

    def groups(self, train: bool) -> Tensor | None:
        return self.groups_


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=40), st.integers(1, 12))
def test_a_plan_of_everything_has_each_sample_once_and_mixes_no_groups(groups: list[int], batch_size: int) -> None:
    parts = [part.tolist() for part in whole_plan(Sizes(torch.tensor(groups), len(groups)), batch_size)]
    assert sorted(itertools.chain(*parts)) == list(range(len(groups)))
    for part in parts:
        assert len({groups[place] for place in part}) == 1
        assert part == sorted(part)
        assert 1 <= len(part) <= batch_size


def test_images_of_one_size_come_as_few_at_once_as_told() -> None:
    assert [len(part) for part in whole_plan(Sizes(None, 20), 8)] == [8, 8, 4]
    assert [len(part) for part in whole_plan(images(300), 8)] == [256, 44]
    assert [len(part) for part in whole_plan(images(300), 290)] == [290, 10]


# ----- scores that a training is given ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Noting:
    """A rule that notes what scores it was asked with in each epoch."""

    rule: Any
    asked: dict[int, Tensor]

    def __call__(self, weight: Tensor, score: Tensor, moment: Moment) -> Tensor:
        self.asked.setdefault(moment.epoch, score.clone())
        return self.rule(weight, score, moment)

    def count(self, visible: int, moment: Moment) -> int | None:
        return self.rule.count(visible, moment)


def parts(task: str) -> tuple[nn.Module, Any, Any]:
    if task == "counting":
        return counter(), Counting(score="pixel"), crowds(30)
    return linear(), Classification(), images(50)


@pytest.mark.parametrize("task", ["classification", "counting"])
def test_given_scores_stay_and_what_has_none_is_always_shown(task: str) -> None:
    model, what, source = parts(task)
    asked: dict[int, Tensor] = {}
    scores = some_scores(len(source))
    scores[5] = torch.inf  # is no score
    method = replace(clip(Polynomial(0.2, 0.8), 0.1), rule=Noting(Clip(Polynomial(0.2, 0.8), 0.1), asked))
    fitted = fit(model, what, source, settings=SETTINGS, method=method, scores=scores)
    expected = scores.masked_fill(scores.isinf(), torch.nan)
    for seen in (*asked.values(), fitted.ledger.score):
        assert seen.nan_to_num(-1).equal(expected.nan_to_num(-1))
    assert sorted(asked) == list(range(6))
    n, known = len(source), int((~expected.isnan()).sum())
    shown = []
    for epoch in range(6):
        paced = math.floor(known * (0.2 + 0.8 * min(1, epoch / 6 / 0.8) ** 2) + 1e-9)
        shown.append(paced - math.floor(0.1 * paced + 1e-9) + n - known)
    assert [row["shown"] for row in fitted.rows] == shown
    assert (fitted.result["costs"]["samples_scored"], fitted.result["costs"]["seconds_scoring"]) == (0, 0)


@pytest.mark.parametrize("task", ["classification", "counting"])
def test_new_scores_come_every_so_many_epochs_and_only_then(task: str) -> None:
    model, what, source = parts(task)
    asked: dict[int, Tensor] = {}
    expected: dict[int, Tensor] = {}

    def watch(now: Progress) -> None:
        if now.row is not None:
            still = copy.deepcopy(model).eval()
            expected[now.epoch + 1] = sample_scores(still, what, source, SETTINGS.batch_size, as_it_is)

    method = replace(clip(refresh=2), rule=Noting(Clip(), asked))
    given_ = some_scores(len(source))
    fitted = fit(model, what, source, settings=SETTINGS, method=method, scores=given_, watch=watch)
    for epoch in (0, 1):
        assert asked[epoch].nan_to_num(-1).equal(given_.nan_to_num(-1))
    for epoch in (2, 4):
        assert asked[epoch].equal(expected[epoch])
        assert asked[epoch + 1].equal(expected[epoch])
    assert not asked[4].equal(asked[2])
    assert fitted.ledger.score.equal(asked[4])
    assert fitted.result["costs"]["samples_scored"] == 2 * len(source)
    assert 0 < fitted.result["costs"]["seconds_scoring"] < fitted.result["costs"]["seconds_total"]


def test_scoring_anew_changes_nothing_but_the_plan() -> None:
    """It draws no numbers and leaves the model as it is, dropout and running statistics too."""
    results = [
        fit(linear(), Classification(), images(50), settings=SETTINGS, method=replace(METHODS["uniform"](), refresh=k))
        for k in (0, 1)
    ]
    assert same(results[0].model.state_dict(), results[1].model.state_dict())
    assert results[1].result["costs"]["samples_scored"] == 5 * 50


def test_samples_that_cannot_be_read_keep_no_score_at_a_refresh() -> None:
    source = broken(crowds(24), 7)
    fitted = fit(
        counter(), Counting(), source, settings=SETTINGS, method=clip(refresh=3), scores=torch.full((24,), torch.nan)
    )
    assert fitted.ledger.score.isnan().nonzero().flatten().tolist() == [7]
    assert fitted.result["costs"]["samples_scored"] == 23


def test_scores_that_are_not_one_a_sample_are_refused() -> None:
    with pytest.raises(ValueError, match=r"scores must be one for each of the 50 samples, got shape \(49,\)"):
        fit(linear(), Classification(), images(50), settings=SETTINGS, method=clip(), scores=torch.zeros(49))


@pytest.mark.parametrize("task", ["classification", "counting"])
def test_stopped_anywhere_also_while_scoring_it_goes_on_bit_for_bit(tmp_path: Path, task: str) -> None:
    settings = replace(SETTINGS, epochs=2, batch_size=12)

    def train(folder: Path, stop: Callable[[], int] | None = None) -> Fitted:
        model, what, source = parts(task)
        run = Run(folder, {"config": {}})
        options: dict[str, Any] = {"settings": settings, "method": clip(refresh=1), "stop": stop}
        try:
            judged = crowds(5) if task == "counting" else images(10)
            return fit(model, what, source, validation=judged, run=run, scores=some_scores(len(source)), **options)
        finally:
            run.close()

    straight, stops = train(tmp_path / "straight"), 0
    while True:
        try:
            train(tmp_path / str(stops), after(stops))
            break
        except Stopped:
            pass
        resumed = train(tmp_path / str(stops))
        assert same(resumed.model.state_dict(), straight.model.state_dict())
        assert same(resumed.best, straight.best)
        assert resumed.ledger.score.equal(straight.ledger.score)
        assert resumed.ledger.seen.equal(straight.ledger.seen)
        costs = [each.result["costs"] for each in (resumed, straight)]
        assert costs[0]["samples_scored"] == costs[1]["samples_scored"] == len(straight.ledger)
        hold_equal_files(tmp_path / str(stops), tmp_path / "straight")
        stops += 1
    assert stops >= 2 * 3 + 1


# ----- which epoch is best ----------------------------------------------------------------------------------------


class Told:
    """Classification whose evaluations say what is told."""

    def __init__(self, values: Iterable[float], *, lower_is_better: bool) -> None:
        self.values, self.lower_is_better, self.metric = iter(values), lower_is_better, "figure"
        self.losses = Classification().losses

    def evaluate(self, model: Any, batches: Iterable[Batch]) -> dict[str, float]:
        return {"figure": next(self.values)}


@pytest.mark.parametrize(
    ("values", "lower", "best"),
    [
        ([5.0, 2.0, 3.0, 2.0], True, 1),
        ([5.0, 2.0, 3.0, 7.0], False, 3),
        ([math.nan, 9.0, 4.0, 6.0], True, 2),
        ([math.nan, 0.1, 0.4, 0.2], False, 2),
        ([3.0, math.nan, 4.0, math.nan], True, 0),
        ([math.nan, math.nan, math.nan, 1.0], True, 3),
        ([math.nan, math.nan, math.nan, math.nan], True, 0),
        ([math.inf, 7.0, math.nan, 8.0], True, 1),
    ],
)
def test_the_best_epoch(values: list[float], lower: bool, best: int) -> None:
    model, weights = linear(), []

    def watch(now: Progress) -> None:
        if now.row is not None:
            weights.append(copy.deepcopy(model.state_dict()))

    task = Told(values, lower_is_better=lower)
    settings = replace(SETTINGS, epochs=4)
    fitted = fit(model, task, images(20), settings=settings, validation=images(10), watch=watch)
    assert fitted.result["best"]["epoch"] == best
    assert same(fitted.best, weights[best])


def test_the_best_counter_has_the_lowest_error() -> None:
    fitted = fit(counter(), Counting(), crowds(24), settings=SETTINGS, validation=crowds(9))
    errors = [row["validation"]["mae"] for row in fitted.rows]
    assert fitted.result["best"]["mae"] == min(errors)
    assert fitted.result["best"]["epoch"] == errors.index(min(errors))
    assert fitted.rows[0]["train_accuracy"] is None


def test_images_of_several_sizes_are_trained_on_in_batches_of_one_size() -> None:
    source = crowds(30)
    shapes = []

    class Looking(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = counter()

        def forward(self, inputs: Tensor) -> Tensor:
            if self.training:
                shapes.append(tuple(inputs.shape))
            return self.inner(inputs)

    fit(Looking(), Counting(), source, settings=replace(SETTINGS, epochs=1))
    assert sum(shape[0] for shape in shapes) == 30
    assert {shape[2:] for shape in shapes} == {(16, 16), (16, 24), (24, 16)}
    patched = replace(source, views=CountViews(patch=8))
    shapes.clear()
    fit(Looking(), Counting(), patched, settings=replace(SETTINGS, epochs=1))
    assert {shape[2:] for shape in shapes} == {(8, 8)}
    assert len(shapes) == math.ceil(30 / 8)


def test_the_pictures_are_as_they_are_described() -> None:
    source = crowds(6)
    assert isinstance(source.read, Blobs)
    for blob, size in zip(source.read.blobs, source.sizes.tolist(), strict=True):
        assert list(Image.open(io.BytesIO(blob)).size) == size

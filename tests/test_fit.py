"""The training loop: what it promises about resuming, weights, accumulation, bad losses and methods."""

import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from torch import Tensor, nn

from tamis.batch import Batch
from tamis.data import MemoryImages, PadCrop
from tamis.fit import Cosine, Fitted, Flat, NotFinite, Settings, Steps, Stopped, Triangle, fit
from tamis.methods import METHODS, Method, Temperature
from tamis.moment import Moment
from tamis.rules import Easiest, Exclude
from tamis.run import Run
from tamis.tasks.classification import Classification
from tamis.temperature import LazySGD

SETTINGS = Settings(epochs=4, batch_size=16, optimizer=partial(torch.optim.SGD, lr=0.1, momentum=0.9))


def images(count: int = 70, classes: int = 3) -> MemoryImages:
    generator = torch.Generator().manual_seed(1)
    labels = torch.arange(count) % classes
    pixels = torch.randint(0, 100, (count, 1, 8, 8), generator=generator, dtype=torch.uint8)
    for place, label in enumerate(labels.tolist()):
        pixels[place, 0, 2 * label : 2 * label + 2] += 150
    keys = [f"image-{place}" for place in range(count)]
    return MemoryImages(pixels, labels, tuple("abc"[:classes]), keys, PadCrop(flip=True, pad=1))


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Dropout(0.3), nn.Linear(32, 3))


def train(settings: Settings = SETTINGS, **options: Any) -> Fitted:
    return fit(model(), Classification(), images(), settings=settings, validation=images(30), **options)


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


def run_at(folder: Path) -> Run:
    return Run(folder, {"config": {"a": 1}})


def test_learns() -> None:
    fitted = train()
    assert fitted.rows[-1]["validation"]["accuracy"] > 0.9
    assert fitted.rows[-1]["train_loss"] < fitted.rows[0]["train_loss"]


def test_same_seed_same_bits_other_seed_other_bits() -> None:
    one, again, other = train(), train(), train(replace(SETTINGS, seed=1))
    assert same(one.model.state_dict(), again.model.state_dict())
    assert not same(one.model.state_dict(), other.model.state_dict())


class Crash(Exception):
    pass


def hold_equal(resumed: Fitted, straight: Fitted) -> None:
    """Equal to the bit: weights, data parameters, scores, figures, and the files of the history."""
    assert same(resumed.model.state_dict(), straight.model.state_dict())
    assert same(resumed.best, straight.best)
    assert resumed.temperature is not None
    assert straight.temperature is not None
    assert same(resumed.temperature.state_dict(), straight.temperature.state_dict())
    assert torch.equal(resumed.ledger.score, straight.ledger.score)
    assert torch.equal(resumed.ledger.seen, straight.ledger.seen)
    timeless = [{k: v for k, v in row.items() if k != "seconds"} for row in resumed.rows]
    assert timeless == [{k: v for k, v in row.items() if k != "seconds"} for row in straight.rows]


def hold_equal_files(resumed: Path, straight: Path) -> None:
    for path in sorted((straight / "ledger").glob("*.parquet")):
        assert path.read_bytes() == (resumed / "ledger" / path.name).read_bytes(), path.name


def after(occasions: int) -> Callable[[], int]:
    """Signal 15 from the given occasion on."""
    count = itertools.count()
    return lambda: 15 * (next(count) >= occasions)


@pytest.mark.parametrize("name", ["uniform", "infobatch", "sigma-drop"])
def test_stopped_anywhere_goes_on_bit_for_bit(tmp_path: Path, name: str) -> None:
    """Asked to stop at the k-th occasion, for every k: after each step, at the ends of epochs, while judging."""
    options: dict[str, Any] = {"method": METHODS[name](), "temperature": Temperature(kind="joint")}
    settings = replace(SETTINGS, epochs=3, batch_size=20)
    straight = train(settings, run=run_at(tmp_path / "straight"), **options)
    stops = 0
    while True:
        folder = tmp_path / str(stops)
        try:
            train(settings, run=run_at(folder), stop=after(stops), **options)
            break
        except Stopped as stopped:
            signal = stopped.args
        assert signal == (15,)
        second = run_at(folder)
        assert second.resumed
        hold_equal(train(settings, run=second, **options), straight)
        hold_equal_files(folder, tmp_path / "straight")
        stops += 1
    assert stops >= 3 * 4


@pytest.mark.fault(33, "a model that raises in the middle of an epoch costs the work since the last checkpoint only")
@pytest.mark.parametrize("step", [1, 5, 6, 9, 14])
def test_after_a_crash_it_goes_on_from_the_newest_checkpoint(tmp_path: Path, step: int, seen: Any) -> None:
    """A crash inside a step, with a checkpoint after every step, after some of them, or after none."""
    straight = train(run=run_at(tmp_path / "straight"), temperature=Temperature())
    for every in (0.0, 1e-9, None):
        settings = replace(SETTINGS, checkpoint_seconds=every)
        folder = tmp_path / str(every)
        with pytest.raises(Crash):
            fit(
                Crashing(model(), step), Classification(), images(), settings=settings, validation=images(30),
                run=run_at(folder), temperature=Temperature(),
            )  # fmt: skip
        again = fit(
            Crashing(model(), 1000), Classification(), images(), settings=settings, validation=images(30),
            run=run_at(folder), temperature=Temperature(),
        )  # fmt: skip
        assert same(dict(again.model.inner.state_dict()), straight.model.state_dict())  # type: ignore[union-attr]
        hold_equal_files(folder, tmp_path / "straight")
    seen("gone on to the same bits with a checkpoint after every step, after some, and after none", count=3)


class Crashing(nn.Module):
    def __init__(self, inner: nn.Module, steps: int) -> None:
        super().__init__()
        self.inner, self.left = inner, steps

    def forward(self, inputs: Tensor) -> Tensor:
        self.left -= self.training
        if self.left < 0:
            raise Crash
        return self.inner(inputs)


class FailingLoader:
    """Images whose reading fails at some batch, as when a worker is killed."""

    def __init__(self, at: int) -> None:
        self.inner, self.at = images(), at
        self.labels, self.keys, self.class_names = self.inner.labels, self.inner.keys, self.inner.class_names

    def __len__(self) -> int:
        return len(self.inner)

    def batches(self, plan: Any, *, epoch: int, seed: int, train: bool) -> Any:
        for batch in self.inner.batches(plan, epoch=epoch, seed=seed, train=train):
            if self.at == 0:
                raise OSError("worker 17 was killed")
            self.at -= 1
            yield batch


@pytest.mark.fault(33, "where a worker dies, everything up to the step before is saved")
def test_where_reading_fails_what_was_done_is_saved(tmp_path: Path, seen: Any) -> None:
    straight = fit(model(), Classification(), images(), settings=SETTINGS, run=run_at(tmp_path / "straight"))
    with pytest.raises(OSError, match="worker 17"):
        fit(model(), Classification(), FailingLoader(8), settings=SETTINGS, run=run_at(tmp_path / "failed"))
    found = run_at(tmp_path / "failed").load()
    assert found is not None
    assert found[1]["stepper"]["steps"] == 8
    again = fit(model(), Classification(), images(), settings=SETTINGS, run=run_at(tmp_path / "failed"))
    assert same(again.model.state_dict(), straight.model.state_dict())
    seen("8 of 8 steps saved; gone on to the same bits")


class Gaps(FailingLoader):
    """Images of which some cannot be read: they are left out of their batches."""

    def __init__(self, bad: set[int]) -> None:
        super().__init__(10**6)
        self.bad = bad

    def batches(self, plan: Any, *, epoch: int, seed: int, train: bool) -> Any:
        for batch in super().batches(plan, epoch=epoch, seed=seed, train=train):
            good = torch.tensor([int(index) not in self.bad for index in batch.index])
            yield Batch(batch.index[good], batch.inputs[good], batch.targets[good])


def test_samples_that_cannot_be_read_are_neither_shown_nor_scored() -> None:
    fitted = fit(model(), Classification(), Gaps({3, 4, 5}), settings=replace(SETTINGS, batch_size=2))
    assert fitted.ledger.seen.tolist() == [0 if place in (3, 4, 5) else 4 for place in range(70)]
    assert fitted.result["costs"]["samples_seen"] == 4 * 67


def test_a_run_with_gaps_goes_on_bit_for_bit(tmp_path: Path) -> None:
    """Also where a whole batch is missing."""
    settings = replace(SETTINGS, batch_size=2)
    straight = fit(model(), Classification(), Gaps(set(range(9, 60))), settings=settings)
    for stops in range(0, 30, 3):
        run, bad = run_at(tmp_path / str(stops)), set(range(9, 60))
        with pytest.raises(Stopped):
            fit(model(), Classification(), Gaps(bad), settings=settings, run=run, stop=after(stops))
        again = fit(model(), Classification(), Gaps(bad), settings=settings, run=run_at(run.folder))
        assert same(again.model.state_dict(), straight.model.state_dict())
        assert torch.equal(again.ledger.seen, straight.ledger.seen)


def test_finished_run_trains_no_more(tmp_path: Path) -> None:
    first = train(run=run_at(tmp_path))
    again = train(run=run_at(tmp_path))
    assert again.rows == first.rows
    assert same(again.model.state_dict(), first.model.state_dict())


def test_accumulation_equals_the_whole_batch() -> None:
    head = nn.Linear(64, 3)
    plain = nn.Sequential(nn.Flatten(), head)

    def weights(accumulate: int) -> Tensor:
        torch.manual_seed(0)
        head.reset_parameters()
        settings = replace(SETTINGS, accumulate=accumulate)
        temperature = Temperature(kind="joint")
        fitted = fit(plain, Classification(), images(), settings=settings, temperature=temperature)
        assert fitted.temperature is not None
        rows = fitted.temperature.log_sigma_instance
        assert rows is not None
        return torch.cat([head.weight.detach().flatten().clone(), rows.detach()])

    torch.testing.assert_close(weights(1), weights(5), rtol=1e-3, atol=1e-3)


class Bad(Classification):
    """The loss of some samples is NaN from the second epoch on."""

    def losses(self, model: Any, batch: Batch, temperature: Any = None) -> tuple[Tensor, dict[str, Tensor]]:
        losses, columns = super().losses(model, batch, temperature)
        columns["loss"] = torch.where(batch.index == 13, torch.nan, columns["loss"])
        return losses, columns


@pytest.mark.fault(21, "a loss that is not finite changes neither the model nor any score, and is counted")
def test_a_step_whose_loss_is_not_finite_changes_nothing(seen: Any) -> None:
    """The scores of the others are taken; the sample's own are not, and it is counted."""
    one = replace(SETTINGS, epochs=1, batch_size=70)
    fitted = fit(model(), Bad(), images(), settings=one, temperature=Temperature())
    assert same(fitted.model.state_dict(), model().state_dict())
    assert fitted.temperature is not None
    assert fitted.temperature.log_sigma_instance is not None
    assert not fitted.temperature.log_sigma_instance.detach().any()
    assert fitted.rows[0]["not_finite"] == 1
    assert fitted.ledger.rejected == 1
    assert fitted.ledger.score.isnan().nonzero().flatten().tolist() == [13]
    assert 0 < fitted.rows[0]["train_loss"] < 2
    seen("model and sigma untouched, 69 of 70 scores taken, 1 counted")


@pytest.mark.fault(21, "ten steps in a row with losses that are not finite end the training and name the samples")
def test_too_many_such_steps_end_the_training_and_name_the_sample(seen: Any) -> None:
    with pytest.raises(
        NotFinite, match=r"NaN or infinity for 1 samples \(image-13\) in step 10, 10 such steps in a row"
    ):
        fit(model(), Bad(), images(), settings=replace(SETTINGS, epochs=12, batch_size=70))
    seen("ended at step 10, image-13 named")


def test_good_steps_between_bad_ones_do_no_harm() -> None:
    assert fit(model(), Bad(), images(), settings=replace(SETTINGS, epochs=12)).rows[-1]["train_accuracy"] > 0.8


def test_a_model_that_is_beyond_repair_ends_the_training_at_once() -> None:
    norm, head = nn.BatchNorm1d(64), nn.Linear(64, 3)
    broken = nn.Sequential(nn.Flatten(), norm, head)
    nn.init.constant_(head.weight, float("nan"))
    with pytest.raises(NotFinite, match="10 such steps"):
        fit(broken, Classification(), images(), settings=SETTINGS)
    norm.running_mean = torch.full((64,), float("nan"))
    with pytest.raises(NotFinite, match="1 such steps in a row"):
        fit(broken, Classification(), images(), settings=SETTINGS)


class Mean(Classification):
    def losses(self, model: Any, batch: Batch, temperature: Any = None) -> tuple[Tensor, dict[str, Tensor]]:
        losses, columns = super().losses(model, batch, temperature)
        return losses.mean(), columns


@pytest.mark.fault(21, "a loss that is already averaged is refused, and the message says what to pass")
def test_a_mean_loss_is_refused(seen: Any) -> None:
    with pytest.raises(TypeError, match=r'per-sample losses expected, got shape .* pass reduction="none"'):
        fit(model(), Mean(), images(), settings=SETTINGS)
    seen('refused: pass reduction="none"')


def test_hidden_samples_are_neither_shown_nor_scored(tmp_path: Path) -> None:
    hidden = torch.zeros(70, dtype=torch.bool)
    hidden[::3] = True
    fitted = train(method=Method(Exclude(hidden, "wrong")), run=run_at(tmp_path))
    assert fitted.ledger.score.isnan().equal(hidden)
    assert [row["shown"] for row in fitted.rows] == [46] * 4
    decisions = pq.read_table(tmp_path / "ledger" / "decisions-00000.parquet").to_pydict()
    assert decisions["index"] == list(range(0, 70, 3))
    assert set(decisions["reason"]) == {repr(Exclude(hidden, "wrong"))}


def test_weights_multiply_the_losses() -> None:
    """A rule that doubles every weight is a doubled learning rate (without momentum and decay)."""

    class Double:
        def __call__(self, weight: Tensor, score: Tensor, moment: Moment) -> Tensor:
            return weight * 2

        def count(self, visible: int, moment: Moment) -> int | None:
            return visible

    slow = replace(SETTINGS, optimizer=partial(torch.optim.SGD, lr=0.01))
    fast = replace(SETTINGS, optimizer=partial(torch.optim.SGD, lr=0.02))
    doubled, rate = train(slow, method=Method(Double())), train(fast)
    for name, value in doubled.model.state_dict().items():
        torch.testing.assert_close(value, rate.model.state_dict()[name])


@dataclass(frozen=True)
class Watched(Classification):
    """Keeps which samples of each step were right."""

    right: list[list[bool]] = field(default_factory=list)

    def losses(self, model: Any, batch: Batch, temperature: Any = None) -> tuple[Tensor, dict[str, Tensor]]:
        losses, columns = super().losses(model, batch, temperature)
        self.right.append(columns["correct"].tolist())
        return losses, columns


class Silent(Classification):
    """Does not tell which samples are right."""

    def losses(self, model: Any, batch: Batch, temperature: Any = None) -> tuple[Tensor, dict[str, Tensor]]:
        losses, columns = super().losses(model, batch, temperature)
        return losses, {"loss": columns["loss"]}


@pytest.mark.parametrize("batch_size", [1, 2, 4, 16])
def test_the_rate_of_sigma_follows_the_skill_of_the_model(batch_size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rates: list[float] = []

    def noted(self: LazySGD, closure: Any = None) -> None:
        rates.append(self.param_groups[0]["lr"])

    monkeypatch.setattr(LazySGD, "step", noted)
    task, settings = Watched(), replace(SETTINGS, batch_size=batch_size, epochs=2)
    fit(model(), task, images(), settings=settings, temperature=Temperature(instance_rate=0.5))
    steps, accuracy = task.right, 0.0
    assert len(rates) == len(steps) > 1
    for place, (rate, right) in enumerate(zip(rates, steps, strict=True)):
        for _ in right:  # one after the other, each with the mean of its batch
            accuracy += (sum(right) / len(right) - accuracy) / 256
        assert rate == pytest.approx(0.5 * batch_size * (1 - place / len(steps)) * accuracy**4)
        assert rate > 0 or not any(any(each) for each in steps[: place + 1])


def test_a_task_that_does_not_tell_what_is_right_needs_another_schedule() -> None:
    with pytest.raises(ValueError, match='must be "linear" or "constant" for a task that does not tell'):
        fit(model(), Silent(), images(), settings=SETTINGS, temperature=Temperature())


def test_sigma_drop_decides_once() -> None:
    noisy = images()
    labels = noisy.labels.clone()
    labels[:20] = (labels[:20] + 1) % 3
    settings = replace(SETTINGS, epochs=12, optimizer=partial(torch.optim.SGD, lr=0.05, momentum=0.9))
    temperature = Temperature(instance_rate=0.3)
    fitted = fit(
        model(),
        Classification(),
        noisy.with_labels(labels),
        settings=settings,
        method=METHODS["sigma-drop"](start=0.5),
        temperature=temperature,
    )
    hidden = [row["hidden"] for row in fitted.rows]
    assert hidden[:6] == [0] * 6
    assert len(set(hidden[6:])) == 1
    assert 0 < hidden[6] < 40


def test_sigma_drop_needs_instance_parameters() -> None:
    with pytest.raises(ValueError, match="needs instance data parameters"):
        train(method=METHODS["sigma-drop"](), temperature=Temperature(kind="class"))


def test_best_epoch_is_kept_beside_the_last(tmp_path: Path) -> None:
    fitted = train(run=run_at(tmp_path))
    accuracies = [row["validation"]["accuracy"] for row in fitted.rows]
    assert fitted.result["best"]["accuracy"] == max(accuracies)
    assert fitted.result["best"]["epoch"] == accuracies.index(max(accuracies))
    assert fitted.result["last"] == {"epoch": 3, **fitted.rows[-1]["validation"]}
    assert json.loads((tmp_path / "result.json").read_text()) == fitted.result


def test_curriculum_grows() -> None:
    class Half:
        def __call__(self, progress: float) -> float:
            return 0.5 if progress < 0.5 else 1.0

    fitted = train(method=Method(Easiest(Half())))
    # The first epoch has no scores yet, so it shows everything.
    assert [row["shown"] for row in fitted.rows] == [70, 35, 70, 70]


def test_torch_schedulers_attach() -> None:
    def one_cycle(optimizer: torch.optim.Optimizer) -> Any:
        return torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=4 * 5 + 1)

    rates: list[float] = []
    settings = replace(SETTINGS, scheduler=one_cycle)
    train(settings, watch=lambda now: rates.append(now.row["lr"]) if now.row else None)
    assert rates[0] > 0.04
    assert rates[-1] < 1e-3


@pytest.mark.parametrize("schedule", [Cosine(), Triangle(), Flat(), Steps()])
def test_schedules_stay_in_range(schedule: Any) -> None:
    values = [schedule(place / 100) for place in range(101)]
    assert all(0 <= value <= 1 for value in values)
    assert max(values) == pytest.approx(1)


def test_schedules_at_known_places() -> None:
    assert Steps()(0.29) == 1
    assert Steps()(0.3) == pytest.approx(0.1)
    assert Steps()(0.95) == pytest.approx(1e-3)
    assert Cosine()(0.5) == pytest.approx(0.5)
    assert Triangle(peak=0.2, low=0.2)(0.1) == pytest.approx(0.6)
    assert Triangle(peak=0.2, end=0.0)(0.6) == pytest.approx(0.5)


def test_bf16_and_channels_last_train() -> None:
    torch.manual_seed(0)
    convolution = nn.Sequential(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(288, 3))
    settings = replace(SETTINGS, amp="bf16", channels_last=True)
    fitted = fit(convolution, Classification(), images(), settings=settings, validation=images(30))
    assert fitted.result["last"]["accuracy"] > 0.9


@pytest.mark.slow
def test_compiled_model_trains_alike() -> None:
    compiled, plain = train(replace(SETTINGS, compile=True)), train()
    assert compiled.rows[0]["train_loss"] == pytest.approx(plain.rows[0]["train_loss"], rel=0.2)
    assert compiled.result["last"]["accuracy"] > 0.9


@pytest.mark.parametrize("name", ["epochs", "batch_size", "accumulate", "evaluate_every"])
def test_settings_refuse_what_cannot_be(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
        replace(SETTINGS, **{name: 0})


def test_history_is_complete(tmp_path: Path) -> None:
    train(run=run_at(tmp_path), temperature=Temperature())
    for epoch in range(4):
        rows = pq.read_table(tmp_path / "ledger" / f"epoch-{epoch:05d}-000.parquet")
        assert sorted(rows["index"].to_pylist()) == list(range(70))
        assert {"loss", "margin", "correct", "predicted", "weight", "log_sigma"} < set(rows.column_names)

"""Sigma beyond softmax: decisions by sigmoids, and a noise scale for residuals."""

import csv
import json
import math
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import reference_other_losses as reference
from tamis import cli
from tamis.batch import Batch
from tamis.data.synthetic import write_crowd
from tamis.fit import NotFinite, Settings, fit
from tamis.methods import Temperature
from tamis.scores import auroc
from tamis.tasks import Counting, MultiLabel, average_precision, noise_scaled, sigma_level
from tamis.temperature import DataParameters, LazySGD

CLASSES, SAMPLES = 4, 10
KINDS = pytest.mark.parametrize("kind", ["class", "instance", "joint"])


def decisions(size: int = 6, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Logits (b, c), targets and indices, one of them twice."""
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(size, CLASSES, generator=generator)
    index = torch.randint(SAMPLES, (size,), generator=generator)
    index[-1] = index[0]
    return logits, torch.randint(2, (size, CLASSES), generator=generator).float(), index


def parameters(kind: str, *, spread: float = 1.0) -> DataParameters:
    """Data parameters whose rows all differ, or as they start without a spread."""
    rows = DataParameters(classes=None if kind == "instance" else CLASSES, samples=None if kind == "class" else SAMPLES)
    with torch.no_grad():
        for place, table in enumerate(rows.parameters()):
            table += spread * torch.linspace(-1, 1, len(table)).roll(3 * place + 1)
    return rows


def sigmas(rows: DataParameters, sample: int, label: int) -> tuple[float, float]:
    """Of the class and of the sample, 0 where there is none."""
    tables = (rows.log_sigma_class, label), (rows.log_sigma_instance, sample)
    return tuple(0.0 if table is None else table[row].exp().item() for table, row in tables)  # pyright: ignore[reportReturnType]


def says(outputs: Tensor) -> Any:
    """A model that knows what it says."""
    return lambda inputs: outputs


# ----- decisions: the formulas ----------------------------------------------------------------------------------


@KINDS
def test_each_decision_is_equations_1_3_and_4_with_the_logits_z_and_0(kind: str) -> None:
    rows, (logits, targets, index) = parameters(kind), decisions()
    logits.requires_grad_()
    batch = Batch(index, torch.zeros(len(index)), targets)
    losses, columns = MultiLabel().losses(says(logits), batch, rows)
    losses.sum().backward()
    of_class, of_sample = [0.0] * CLASSES, [0.0] * SAMPLES
    assert logits.grad is not None
    for place, sample in enumerate(index.tolist()):
        found = [sigmas(rows, sample, label) for label in range(CLASSES)]
        z, there = logits[place].tolist(), [int(each) for each in targets[place]]
        expected = reference.multi_label_loss(z, there, [sum(pair) for pair in found])
        assert losses[place].item() == pytest.approx(expected, rel=1e-5)
        assert columns["loss"][place].item() == pytest.approx(
            reference.multi_label_loss(z, there, [1.0] * CLASSES), rel=1e-5
        )
        for label, (class_sigma, own_sigma) in enumerate(found):
            each = z[label], there[label], class_sigma + own_sigma
            gradient = reference.decision_logit_gradient(*each) / CLASSES
            assert logits.grad[place, label].item() == pytest.approx(gradient, rel=1e-4, abs=1e-7)
            by_sigma = reference.decision_sigma_gradient(*each) / CLASSES
            of_class[label] += class_sigma * by_sigma
            of_sample[sample] += own_sigma * by_sigma
    for table, gradients in ((rows.log_sigma_class, of_class), (rows.log_sigma_instance, of_sample)):
        if table is not None:
            assert table.grad is not None
            assert table.grad.to_dense().tolist() == pytest.approx(gradients, rel=1e-4, abs=1e-6)


def test_the_reference_is_the_derivative_of_the_loss() -> None:
    for z in (-3.0, -0.2, 0.0, 1.5):
        for there in (0, 1):
            for sigma in (0.3, 1.0, 2.5):
                up, down = (reference.decision_loss(z, there, sigma + step) for step in (1e-5, -1e-5))
                by_sigma = reference.decision_sigma_gradient(z, there, sigma)
                assert by_sigma == pytest.approx((up - down) / 2e-5, rel=1e-4, abs=1e-8)
                up, down = (reference.decision_loss(z + step, there, sigma) for step in (1e-5, -1e-5))
                by_logit = reference.decision_logit_gradient(z, there, sigma)
                assert by_logit == pytest.approx((up - down) / 2e-5, rel=1e-4, abs=1e-8)


@KINDS
def test_a_fresh_start_is_plain_binary_cross_entropy(kind: str) -> None:
    logits, targets, index = decisions()
    batch = Batch(index, torch.zeros(len(index)), targets)
    losses, columns = MultiLabel().losses(says(logits), batch, parameters(kind, spread=0))
    plain = F.binary_cross_entropy_with_logits(logits, targets, reduction="none").mean(1)
    assert torch.allclose(losses, plain, rtol=2e-3 if kind == "joint" else 1e-6)  # 1 + 0.001, as printed
    assert torch.equal(columns["loss"], plain)
    assert torch.equal(MultiLabel().losses(says(logits), batch)[0], plain)


def test_sigma_rises_where_decisions_are_wrong_and_falls_where_they_are_right() -> None:
    rows = DataParameters(classes=2, samples=2)
    logits = torch.tensor([[2.0, -3.0], [2.0, 3.0]])  # the first sample is right in both classes, the second wrong
    targets, index = torch.tensor([[1.0, 0.0], [0.0, 0.0]]), torch.tensor([0, 1])
    MultiLabel().losses(says(logits), Batch(index, index, targets), rows)[0].sum().backward()
    assert rows.log_sigma_instance is not None
    assert rows.log_sigma_instance.grad is not None
    right, wrong = rows.log_sigma_instance.grad.to_dense().tolist()
    assert right > 0 > wrong


@KINDS
def test_a_step_touches_the_rows_of_the_batch_alone(kind: str) -> None:
    rows, (logits, targets, _) = parameters(kind), decisions(3)
    before = {name: table.detach().clone() for name, table in rows.named_parameters()}
    index = torch.tensor([7, 2, 7])
    F.binary_cross_entropy_with_logits(rows.multi_label(logits, index), targets).backward()
    entries = {}
    for name, table in rows.named_parameters():
        assert table.grad is not None
        assert table.grad.is_sparse
        entries[name] = table.grad._indices()[0].tolist()
    every, own = list(range(CLASSES)), index.tolist()
    assert entries == {name: every if name.endswith("class") else own for name in before}
    LazySGD(rows.parameters(), lr=0.1).step()
    for name, table in rows.named_parameters():
        touched = sorted(set(entries[name]))
        assert (table != before[name]).nonzero().flatten().tolist() == touched


@KINDS
def test_half_precision_is_divided_in_single_and_an_empty_batch_is_one(kind: str) -> None:
    rows, (logits, _, index) = parameters(kind), decisions()
    half = logits.to(torch.bfloat16)
    assert torch.equal(rows.multi_label(half, index), rows.multi_label(half.float(), index))
    nothing = Batch(index[:0], torch.zeros(0), torch.zeros(0, CLASSES))
    losses, columns = MultiLabel().losses(says(logits[:0]), nothing, rows)
    assert (losses.shape, columns["loss"].shape) == ((0,), (0,))
    losses.sum().backward()
    LazySGD(rows.parameters(), lr=1.0).step()
    fresh = parameters(kind).log_sigma_instance
    if rows.log_sigma_instance is not None and fresh is not None:
        assert torch.equal(rows.log_sigma_instance, fresh)


@pytest.mark.parametrize(
    ("logits", "index", "message"),
    [
        ((2, 3), (2,), r"logits must be \(b, 4\), one for each class, got \(2, 3\)"),
        ((2,), (2,), r"logits must be \(b, 4\), one for each class, got \(2,\)"),
        ((2, 4), (3,), r"index must name a row for each of 2 samples, got \(3,\)"),
        ((2, 4), (1,), r"index must name a row for each of 2 samples, got \(1,\)"),
    ],
)
def test_logits_that_do_not_fit_are_refused(logits: tuple[int, ...], index: tuple[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parameters("joint").multi_label(torch.zeros(logits), torch.zeros(index, dtype=torch.int64))


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (torch.zeros(2), r"targets must be \(b, c\) as the logits \(2, 4\), got \(2,\); give a column for each class"),
        (torch.zeros(2, 3), r"targets must be \(b, c\) as the logits \(2, 4\), got \(2, 3\)"),
        (torch.full((2, 4), 0.5), r"targets must be 0 or 1, got other numbers; give 1 where a class is there"),
        (torch.full((2, 4), math.nan), r"targets must be 0 or 1, got other numbers"),
    ],
)
def test_targets_that_do_not_fit_are_refused(targets: Tensor, message: str) -> None:
    batch = Batch(torch.arange(2), torch.zeros(2), targets)
    with pytest.raises(ValueError, match=message):
        MultiLabel().losses(says(torch.zeros(2, 4)), batch)
    with pytest.raises(ValueError, match=message):
        MultiLabel().evaluate(says(torch.zeros(2, 4)), [batch])


# ----- decisions: judged ----------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(-2, 2), st.integers(0, 1)), min_size=1, max_size=12))
def test_average_precision_is_the_definition_with_ties(pairs: list[tuple[int, int]]) -> None:
    scores, there = zip(*pairs, strict=True)
    found = average_precision(torch.tensor(scores).float()[:, None], torch.tensor(there)[:, None]).item()
    assert found == pytest.approx(reference.average_precision(scores, there), nan_ok=True)


def test_average_precision_is_scikit_learns() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    scores = torch.randn(200, 3, generator=torch.Generator().manual_seed(0)).round(decimals=1)
    there = torch.rand(200, 3, generator=torch.Generator().manual_seed(1)) < torch.tensor([0.5, 0.1, 0.02])
    expected = [metrics.average_precision_score(there[:, each], scores[:, each]) for each in range(3)]
    assert average_precision(scores, there).tolist() == pytest.approx(expected)


@pytest.mark.parametrize("sizes", [[6], [2, 4], [0, 5, 1]])
def test_figures_do_not_depend_on_the_batches(sizes: list[int]) -> None:
    logits, targets, index = decisions()
    targets[:, 2] = 0  # this class is nowhere
    logits[1] = logits[0]
    ends = [sum(sizes[: place + 1]) for place in range(len(sizes))]
    parts = [slice(end - size, end) for end, size in zip(ends, sizes, strict=True)]
    batches = [Batch(index[part], logits[part], targets[part]) for part in parts]
    figures = MultiLabel().evaluate(lambda inputs: inputs, batches)
    columns = [(logits[:, each].tolist(), targets[:, each].tolist()) for each in (0, 1, 3)]
    assert figures["map"] == pytest.approx(sum(reference.average_precision(*each) for each in columns) / 3)
    pairs = zip(logits.tolist(), targets.int().tolist(), strict=True)
    loss = [reference.multi_label_loss(z, there, [1.0] * CLASSES) for z, there in pairs]
    assert figures["loss"] == pytest.approx(sum(loss) / 6)


def test_what_cannot_be_judged_is_not_a_number() -> None:
    logits, targets, index = decisions()
    assert all(map(math.isnan, MultiLabel().evaluate(says(logits), []).values()))
    figures = MultiLabel().evaluate(says(logits), [Batch(index, logits, torch.zeros_like(targets))])
    assert math.isnan(figures["map"])
    assert figures["loss"] == pytest.approx(F.softplus(logits).mean().item(), rel=1e-6)
    logits[3, 1], targets[3, 1] = math.nan, 1
    assert math.isnan(MultiLabel().evaluate(says(logits), [Batch(index, logits, targets)])["map"])


# ----- decisions: trained ---------------------------------------------------------------------------------------


@dataclass
class Points:
    """Vectors whose signs are their labels, in memory."""

    inputs: Tensor
    targets: Tensor
    class_names: tuple[str, ...] = ("a", "b", "c", "d")

    @property
    def labels(self) -> Tensor:
        return self.targets.sum(1).long()

    @property
    def keys(self) -> list[str]:
        return [str(place) for place in range(len(self))]

    def __len__(self) -> int:
        return len(self.inputs)

    def batches(self, plan: Iterable[Tensor], *, epoch: int, seed: int, train: bool) -> Iterator[Batch]:
        for index in plan:
            yield Batch(index, self.inputs[index], self.targets[index])


def points(count: int, seed: int) -> Points:
    inputs = torch.randn(count, CLASSES, generator=torch.Generator().manual_seed(seed))
    return Points(inputs, (inputs > 0).float())


def fitted(train: Points, **settings: Any) -> Any:
    torch.manual_seed(0)
    chosen = Settings(epochs=8, batch_size=16, optimizer=lambda rows: torch.optim.SGD(rows, lr=0.5), device="cpu")
    temperature = Temperature(schedule="linear", clamp="touched", **settings)
    return fit(
        nn.Linear(CLASSES, CLASSES), MultiLabel(), train, settings=chosen, temperature=temperature,
        validation=points(100, 1),
    )  # fmt: skip


def test_samples_with_wrong_labels_end_with_a_high_sigma() -> None:
    train = points(200, 0)
    wrong = torch.arange(200) % 5 == 0
    train.targets[wrong] = 1 - train.targets[wrong]
    done = fitted(train, kind="instance")
    assert done.temperature.log_sigma_instance is not None
    assert auroc(done.temperature.log_sigma_instance.detach(), wrong) > 0.95
    assert done.rows[-1]["validation"]["map"] > 0.95


def test_a_class_with_random_labels_ends_with_a_high_sigma() -> None:
    train = points(200, 0)
    train.targets[:, 2] = (torch.rand(200, generator=torch.Generator().manual_seed(2)) < 0.5).float()
    sigma = fitted(train, kind="joint", class_lr=1.0).rows[-1]["class_sigma"]
    assert sigma[2] > 3 * max(sigma[each] for each in (0, 1, 3))


def test_logits_that_are_not_finite_end_a_training_as_they_do_elsewhere() -> None:
    train = points(200, 0)
    train.inputs[:] = math.nan
    with pytest.raises(NotFinite, match="losses must be finite, got NaN or infinity"):
        fitted(train)


# ----- noise scales: the formulas -------------------------------------------------------------------------------


def scaled(residuals: Tensor, log_sigma: Tensor, unit: Tensor) -> Tensor:
    return noise_scaled(residuals.square().sum(1), log_sigma.exp(), unit)


def test_the_loss_is_the_likelihood_of_gaussian_noise() -> None:
    residuals = torch.randn(3, 5, generator=torch.Generator().manual_seed(0))
    log_sigma, unit = torch.tensor([-0.7, 0.0, 1.2]), torch.tensor([0.5, 4.0, 20.0])
    expected = [
        reference.gaussian(row, math.exp(own), of)
        for row, own, of in zip(residuals.tolist(), log_sigma.tolist(), unit.tolist(), strict=True)
    ]
    assert scaled(residuals, log_sigma, unit).tolist() == pytest.approx(expected, rel=1e-5)


def test_gradients_are_those_of_the_likelihood_and_of_sigma_over_the_curvature() -> None:
    residuals = torch.randn(4, 5, generator=torch.Generator().manual_seed(0)).double().requires_grad_()
    log_sigma = torch.tensor([-0.7, 0.0, 0.3, 1.2], dtype=torch.float64, requires_grad=True)
    unit = torch.tensor([0.5, 40.0, 4.0, 20.0], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda residuals: scaled(residuals, log_sigma.detach(), unit), residuals)
    scaled(residuals, log_sigma, unit).sum().backward()
    assert log_sigma.grad is not None
    for place, own in enumerate(log_sigma.tolist()):
        row, of = residuals[place].tolist(), unit[place].item()
        at = [reference.gaussian(row, math.exp(own + step), of) for step in (-1e-4, 0.0, 1e-4)]
        slope, curvature = (at[2] - at[0]) / 2e-4, (at[2] - 2 * at[1] + at[0]) / 1e-8  # 4 squared / sigma²
        expected = slope / max(4 * of, curvature)
        assert log_sigma.grad[place].item() == pytest.approx(expected, rel=1e-3, abs=1e-6)


def test_sigma_1_is_the_plain_loss() -> None:
    squared = torch.tensor([0.0, 0.3, 7.0], requires_grad=True)
    losses = noise_scaled(squared, torch.ones(3), torch.tensor([2.0, 5.0, 0.1]))
    losses.sum().backward()
    assert squared.grad is not None
    assert losses.tolist() == squared.tolist()
    assert squared.grad.tolist() == [1, 1, 1]


@given(st.floats(1e-3, 1e3), st.floats(1e-3, 1e3), st.floats(0.05, 20), st.floats(1e-3, 1e3))
def test_the_gradient_of_a_row_has_no_unit_and_is_below_a_half(share: float, unit: float, sigma: float, by: float):
    rows = torch.full((2,), math.log(sigma), dtype=torch.float64, requires_grad=True)
    of = torch.tensor([unit, unit * by], dtype=torch.float64)
    noise_scaled(share * of, rows.exp(), of).sum().backward()
    assert rows.grad is not None
    first, second = rows.grad.tolist()
    assert first == pytest.approx(second, rel=1e-6, abs=1e-9)
    assert abs(first) < 0.5
    assert first * (sigma**2 - share) >= 0


def descended(loss: Any, steps: int, rate: float = 1.0) -> float:
    """Log sigma after so many steps on a loss of it."""
    log_sigma = torch.zeros(1, requires_grad=True)
    for _ in range(steps):
        (gradient,) = torch.autograd.grad(loss(log_sigma).sum(), log_sigma)
        log_sigma = (log_sigma - rate * gradient).detach().requires_grad_()
    return log_sigma.item()


@pytest.mark.parametrize("share", [0.01, 0.3, 1.0, 8.0])
def test_sigma_squared_goes_to_the_share_that_is_missed(share: float) -> None:
    squared, unit = torch.tensor([5 * share]), torch.tensor([5.0])
    found = descended(lambda own: noise_scaled(squared, own.exp(), unit), 20)
    assert found == pytest.approx(math.log(share) / 2, abs=1e-3)


def test_without_the_logarithm_sigma_goes_to_infinity() -> None:
    alone = [descended(lambda own: (-2 * own).exp(), steps, rate=0.2) for steps in (10, 100, 1000)]
    assert all(after > before + 1 for before, after in pairwise(alone))  # log(steps) / 2


def test_a_bad_first_step_does_no_lasting_harm() -> None:
    rows = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([rows], lr=0.25, momentum=0.9)
    for visit in range(40):
        optimizer.zero_grad()
        share = torch.tensor([1e6 if visit == 0 else 0.25])
        noise_scaled(share, rows.exp(), torch.ones(1)).backward()
        optimizer.step()
        assert abs(rows.item()) < 2
    assert rows.item() == pytest.approx(math.log(0.5), abs=0.2)


# ----- noise scales: counting -----------------------------------------------------------------------------------


def counts(seed: int = 0) -> tuple[Tensor, Batch]:
    """What a model says, and what is true: maps of some heads, of half a head, and of none."""
    generator = torch.Generator().manual_seed(seed)
    true = torch.rand(3, 1, 4, 5, generator=generator)
    true[1] *= 0.5 / true[1].sum()
    true[2] = 0
    said = torch.rand(3, 1, 4, 5, generator=generator)
    return said, Batch(torch.tensor([4, 0, 7]), torch.zeros(3, 3, 16, 20), true)


@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_the_unit_of_a_counted_image_are_both_its_maps(scale: float) -> None:
    density, batch = counts()
    rows = parameters("instance")
    losses, columns = Counting(scale=scale).losses(says(scale * density), batch, rows)
    assert rows.log_sigma_instance is not None
    for place, index in enumerate(batch.index.tolist()):
        residuals = (scale * (density[place] - batch.targets[place])).flatten().tolist()
        typical = math.exp(rows.log_sigma_instance.mean().item())
        unit = reference.map_unit(density[place, 0].tolist(), batch.targets[place, 0].tolist())
        sigma = math.exp(rows.log_sigma_instance[index].item()) / typical
        expected = reference.gaussian(residuals, sigma, unit * scale**2 * typical**2)
        assert losses[place].item() == pytest.approx(expected, rel=1e-4)
    plain = Counting(scale=scale).losses(says(scale * density), batch)[1]
    assert all(torch.equal(columns[name], plain[name]) for name in plain)


@pytest.mark.parametrize("sigma", [1.0, 0.2])
def test_equal_sigmas_are_eq_2_and_rows_do_not_know_the_scale(sigma: float) -> None:
    gradients = []
    for scale in (1.0, 100.0):
        density, batch = counts()
        outputs = (scale * density).requires_grad_()
        plain, _ = Counting(scale=scale).losses(says(outputs), batch)
        (by_plain,) = torch.autograd.grad(plain.sum(), outputs)
        rows = DataParameters(samples=SAMPLES, instance_start=sigma)
        losses, _ = Counting(scale=scale).losses(says(outputs), batch, rows)
        losses.sum().backward()
        assert torch.allclose(losses, plain, rtol=1e-6)
        assert outputs.grad is not None
        assert torch.allclose(outputs.grad, by_plain, rtol=1e-6)
        assert rows.log_sigma_instance is not None
        assert rows.log_sigma_instance.grad is not None
        assert rows.log_sigma_instance.grad._indices()[0].tolist() == batch.index.tolist()
        gradients.append(rows.log_sigma_instance.grad.to_dense().tolist())
    assert gradients[0] == pytest.approx(gradients[1], rel=1e-4)
    density, batch = counts()
    pairs = [(said[0].tolist(), true[0].tolist()) for said, true in zip(density, batch.targets, strict=True)]
    distances = (density - batch.targets).square().sum((1, 2, 3)).tolist()
    shares = [distance / reference.map_unit(*pair) for distance, pair in zip(distances, pairs, strict=True)]
    for index, share in zip(batch.index.tolist(), shares, strict=True):
        u = share / sigma**2
        assert gradients[0][index] == pytest.approx((1 - u) / 2 if u <= 1 else (1 / u - 1) / 2, rel=1e-4)


@pytest.mark.parametrize("count", [1, 3, 1023, 1024, 5000])
def test_the_level_is_the_geometric_mean_of_about_a_thousand_rows_at_most(count: int) -> None:
    sigma = torch.rand(count, generator=torch.Generator().manual_seed(0)) + 0.1
    seen = sigma.tolist()[:: max(1, count // 1024)]
    assert sigma_level(sigma.log()).item() == pytest.approx(
        math.prod(each ** (1 / len(seen)) for each in seen), rel=1e-4
    )
    assert len(seen) <= 2047


def test_maps_with_nothing_in_common_leave_sigma_at_1_and_an_empty_batch_is_one() -> None:
    _, batch = counts()
    rows = DataParameters(samples=SAMPLES)
    true, said = torch.zeros(3, 1, 4, 5), torch.zeros(3, 1, 4, 5)
    true[..., :3] = 2
    said[1, ..., 3:] = 5  # of the others nothing is said, or by far too much
    said[2, ..., 4] = 900
    maps = Batch(batch.index, batch.inputs, true)
    Counting().losses(says(said), maps, rows)[0].sum().backward()
    assert rows.log_sigma_instance is not None
    assert rows.log_sigma_instance.grad is not None
    assert rows.log_sigma_instance.grad.to_dense().abs().max() < 1e-6
    losses, _ = Counting().losses(says(torch.zeros(0, 1, 4, 5)), batch.part(0, 0), rows)
    assert losses.shape == (0,)


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("crowd") / "crowd"
    write_crowd(folder, 12, 4, size=64)
    return folder


COUNT = (
    "--task counting --model mcnn-light --epochs 2 --batch-size 4 --lr 1e-3 --density-scale 10 --workers 0 --threads 1"
)


@pytest.fixture
def tamis(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """What `tamis train` says on counting a folder, errors last."""

    def asked(folder: Path, *words: str) -> str:
        monkeypatch.setattr(sys, "argv", ["tamis", "train", str(folder), *COUNT.split(), *words])
        monkeypatch.setattr(cli.app, "config", ())
        with pytest.raises(SystemExit):
            cli.main()
        return "".join(capsys.readouterr())

    return asked


def test_train_learns_a_noise_scale_of_each_image_and_lists_by_it(crowd: Path, tmp_path: Path, tamis) -> None:
    run = tmp_path / "run"
    said = tamis(crowd, "--out", str(run), "--data-parameters", "instance")
    assert "data parameters: instance" in said
    assert "no sigma has reached" not in said
    line = next(each for each in said.splitlines() if each.startswith("epoch   2/2"))
    assert " · sigma " in line
    rows = [json.loads(each) for each in (run / "metrics.jsonl").read_text().splitlines()]
    assert all(0.05 <= row["sigma"]["p05"] <= row["sigma"]["p95"] <= 20 for row in rows)
    with (run / "suspects.csv").open(newline="") as file:
        listed = list(csv.DictReader(file))
    scores = [float(row["score"]) for row in listed]
    assert len(scores) == 12
    assert scores == sorted(scores, reverse=True)
    assert scores[0] == pytest.approx(rows[-1]["sigma"]["max"], rel=1e-4)
    assert (run / "report.html").stat().st_size > 0


def test_sigma_drop_counts(crowd: Path, tmp_path: Path, tamis) -> None:
    run = tmp_path / "run"
    tamis(crowd, "--out", str(run), "--data-parameters", "instance", "--method", "sigma-drop")
    assert json.loads((run / "result.json").read_text())["last"]["mae"] >= 0


@pytest.mark.parametrize("kind", ["class", "joint"])
def test_class_parameters_are_refused_for_counting(kind: str, crowd: Path, tamis) -> None:
    message = f"data_parameters must be none or instance for counting, got '{kind}'; there are no classes"
    assert message in tamis(crowd, "--data-parameters", kind)
    said, batch = counts()
    with pytest.raises(ValueError, match="temperature must be of instances for counting, got class rows; there are no"):
        Counting().losses(says(said), batch, parameters(kind))

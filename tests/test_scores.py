import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

import reference
from tamis.scores import (
    auroc,
    average,
    cross_entropy,
    el2n,
    entropy,
    forgetting,
    grand,
    grand_full,
    margin,
    precision_at,
)


def _logits(rows: int = 40, classes: int = 7, scale: float = 4.0, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(rows, classes, generator=generator) * scale
    return logits, torch.randint(classes, (rows,), generator=generator)


# ----- from logits ----------------------------------------------------------------------------------------------

OF_LABELS = [
    (cross_entropy, reference.cross_entropy),
    (margin, reference.margin),
    (el2n, reference.el2n),
    (lambda logits, labels: entropy(logits), lambda row, label: reference.entropy(row)),
]


@pytest.mark.parametrize(("fast", "slow"), OF_LABELS, ids=["cross_entropy", "margin", "el2n", "entropy"])
class TestFromLogits:
    def test_equals_the_formula(self, fast, slow):
        logits, labels = _logits()
        expected = [slow(row, label) for row, label in zip(logits.tolist(), labels.tolist(), strict=True)]
        torch.testing.assert_close(fast(logits, labels), torch.tensor(expected), rtol=1e-5, atol=1e-5)

    def test_any_float_type_gives_float32(self, fast, slow):
        logits, labels = _logits()
        for kind in (torch.float64, torch.float16, torch.bfloat16):
            got = fast(logits.to(kind), labels.int())
            assert got.dtype == torch.float32
            torch.testing.assert_close(got, fast(logits.to(kind).float(), labels))

    def test_empty_and_one(self, fast, slow):
        logits, labels = _logits(1)
        assert fast(logits, labels).shape == (1,)
        assert fast(logits[:0], labels[:0]).shape == (0,)

    def test_a_nan_stays_in_its_row(self, fast, slow):
        logits, labels = _logits(3)
        clean = fast(logits, labels)
        logits[1, 2] = torch.nan
        got = fast(logits, labels)
        assert got[1].isnan()
        assert torch.equal(got[[0, 2]], clean[[0, 2]])

    def test_a_masked_class_is_legal(self, fast, slow):
        logits, labels = _logits(20)
        masked = torch.cat([logits, torch.full((20, 1), -torch.inf)], dim=1)
        torch.testing.assert_close(fast(masked, labels), fast(logits, labels))

    def test_large_logits_do_not_overflow(self, fast, slow):
        logits, labels = _logits(scale=1e4)
        assert fast(logits, labels).isfinite().all()

    def test_is_differentiable(self, fast, slow):
        logits, labels = _logits()
        logits.requires_grad_()
        fast(logits, labels).sum().backward()
        assert logits.grad is not None
        assert logits.grad.isfinite().all()

    def test_refuses_wrong_logits(self, fast, slow):
        _, labels = _logits(3)
        for wrong in (torch.zeros(3), torch.zeros(3, 1), torch.zeros(3, 4, dtype=torch.int64)):
            with pytest.raises(ValueError, match=r"logits must be floats .* at least 2 classes, got"):
                fast(wrong, labels)


@pytest.mark.parametrize("fast", [cross_entropy, margin, el2n])
def test_refuses_wrong_labels(fast):
    logits, labels = _logits(3)
    for wrong in (labels[:2], labels.float(), labels[:, None], labels.bool()):
        with pytest.raises(ValueError, match=r"labels must be integers \(3,\), got"):
            fast(logits, wrong)
    for outside in (-1, 7, -100):
        with pytest.raises(RuntimeError, match=r"out of bounds"):
            fast(logits, torch.tensor([0, outside, 1]))


def test_known_values():
    flat, labels = torch.zeros(1, 4), torch.tensor([2])
    assert cross_entropy(flat, labels).item() == pytest.approx(math.log(4))
    assert entropy(flat).item() == pytest.approx(math.log(4))
    assert margin(flat, labels).item() == 0  # a tie: neither right nor wrong by any margin
    assert el2n(flat, labels).item() == pytest.approx(math.sqrt(3 / 16 + 9 / 16))
    sure = torch.tensor([[0.0, 1000.0]])
    assert el2n(sure, torch.tensor([0])).item() == pytest.approx(math.sqrt(2))
    assert entropy(sure).item() == 0


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 9), st.floats(0.01, 50))
def test_ranges_and_signs(seed, classes, scale):
    logits, labels = _logits(16, classes, scale, seed)
    assert (cross_entropy(logits, labels) >= 0).all()
    assert (el2n(logits, labels) <= math.sqrt(2) + 1e-5).all()
    assert (entropy(logits) <= math.log(classes) + 1e-5).all()
    assert torch.equal(margin(logits, labels) > 0, logits.argmax(1) == labels)


# ----- GraNd ----------------------------------------------------------------------------------------------------


def _norms_one_by_one(model: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
    norms = []
    for sample, label in zip(inputs, labels, strict=True):
        model.zero_grad()
        nn.functional.cross_entropy(model(sample[None]), label[None]).backward()
        squares = [value.grad.square().sum() for value in model.parameters() if value.grad is not None]
        norms.append(torch.stack(squares).sum().sqrt())
    return torch.stack(norms)


@pytest.mark.parametrize("bias", [True, False])
def test_grand_equals_autograd_and_the_formula(bias):
    torch.manual_seed(0)
    layer = nn.Linear(5, 7, bias=bias)
    features, (_, labels) = torch.randn(12, 5), _logits(12)
    logits = layer(features).detach()
    got = grand(features, logits, labels, bias=bias)
    torch.testing.assert_close(got, _norms_one_by_one(layer, features, labels))
    slow = [
        reference.grand_last_layer(f, z, y, bias)
        for f, z, y in zip(features.tolist(), logits.tolist(), labels.tolist(), strict=True)
    ]
    torch.testing.assert_close(got, torch.tensor(slow))


def test_grand_edges():
    features, (logits, labels) = torch.randn(3, 5), _logits(3)
    assert grand(features[:0], logits[:0], labels[:0]).shape == (0,)
    assert grand(features.half() * 1000, logits, labels).isfinite().all()
    features[0, 0] = torch.nan
    assert grand(features, logits, labels).isnan().tolist() == [True, False, False]
    for wrong in (features[:2], features[0], features[:, :, None]):
        with pytest.raises(ValueError, match=r"features must be \(3, width\), got .*last linear layer"):
            grand(wrong, logits, labels)


def _network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(27, 4)
    ).eval()


def test_grand_full_equals_autograd():
    model, inputs = _network(), torch.randn(9, 2, 5, 5)
    labels = torch.arange(9) % 4
    expected = _norms_one_by_one(model, inputs, labels)
    for chunk in (1, 4, 100):
        got = grand_full(model, inputs, labels, chunk=chunk)
        assert not got.requires_grad
        torch.testing.assert_close(got, expected)


def test_grand_full_counts_only_what_is_trained():
    model, inputs, labels = _network(), torch.randn(6, 2, 5, 5), torch.arange(6) % 4
    for value in list(model.parameters())[:-2]:
        value.requires_grad_(False)
    last = grand(model[:-1](inputs), model(inputs).detach(), labels)
    torch.testing.assert_close(grand_full(model, inputs, labels), last)
    assert grand_full(model, inputs[:0], labels[:0]).shape == (0,)
    with pytest.raises(ValueError, match=r"model must have parameters that require a gradient, got none"):
        grand_full(model.requires_grad_(False), inputs, labels)


def test_grand_full_refuses_training_mode():
    model = _network()
    model[1].train()
    with pytest.raises(ValueError, match=r"model must be in eval mode, got training mode; call model.eval\(\)"):
        grand_full(model, torch.randn(2, 2, 5, 5), torch.tensor([0, 1]))


# ----- forgetting -----------------------------------------------------------------------------------------------


def _history(*rows: str) -> Tensor:
    """One string a sample: 1 right, 0 wrong."""
    return torch.tensor([[letter == "1" for letter in row] for row in rows]).T


def test_forgetting_known_histories():
    correct = _history("11111", "00000", "10101", "01111", "11110", "00001")
    assert forgetting(correct).tolist() == [0, 5, 2, 0, 1, 0]


def test_forgetting_skips_epochs_that_did_not_show_the_sample():
    correct = _history("10001", "10001", "11111", "01111")
    shown = _history("11000", "10001", "00000", "10000")
    got = forgetting(correct, shown)
    assert got[:2].tolist() == [1, 0]  # forgotten at the second presentation; right at both presentations
    assert got[2].isnan()  # never shown
    assert got[3] == 5  # never learned, as far as was seen


def test_never_learned_is_above_the_most_forgotten():
    for epochs in range(1, 8):
        worst = "10" * epochs
        got = forgetting(_history(worst[:epochs], "0" * epochs))
        assert got[1] > got[0]


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 9), st.floats(0, 1))
def test_forgetting_equals_the_loop(seed, epochs, ratio):
    generator = torch.Generator().manual_seed(seed)
    correct, shown = torch.rand(2, epochs, 12, generator=generator) < torch.tensor([0.6, ratio])[:, None, None]
    slow = [reference.forgetting(c, s) for c, s in zip(correct.T.tolist(), shown.T.tolist(), strict=True)]
    torch.testing.assert_close(forgetting(correct, shown), torch.tensor(slow).float(), equal_nan=True)


def test_forgetting_refuses():
    correct = _history("10", "01")
    with pytest.raises(ValueError, match=r"correct must be bool .* at least one epoch, got torch.float32"):
        forgetting(correct.float())
    with pytest.raises(ValueError, match=r"correct must be bool .* got torch.bool \(0, 2\)"):
        forgetting(correct[:0])
    with pytest.raises(ValueError, match=r"shown must be bool \(2, 2\) like correct, got torch.bool \(1, 2\)"):
        forgetting(correct, correct[:1])
    assert forgetting(correct[:, :0]).shape == (0,)


# ----- average --------------------------------------------------------------------------------------------------


def test_average_ignores_what_was_not_scored():
    nan = math.nan
    scores = torch.tensor([[1.0, nan, nan], [3.0, 5.0, nan]])
    torch.testing.assert_close(average(scores), torch.tensor([2.0, 5.0, nan]), equal_nan=True)
    expected = torch.tensor(reference.average(scores.tolist()))
    torch.testing.assert_close(average(scores), expected, equal_nan=True)
    assert average(scores[:, :0]).shape == (0,)
    for wrong in (scores[:0], scores[0], scores.isnan()):
        with pytest.raises(ValueError, match=r"scores must be floats .* at least one run, got"):
            average(wrong)


def test_el2n_takes_the_norm_inside_the_mean():
    labels = torch.tensor([0])
    logits = torch.tensor([[[9.0, 0.0, -9.0]], [[0.0, 9.0, -9.0]], [[0.0, -9.0, 9.0]]])
    mean_of_norms = average(torch.stack([el2n(model, labels) for model in logits])).item()
    norm_of_mean = logits.softmax(2).mean(0).sub(torch.tensor([1.0, 0.0, 0.0])).norm().item()
    assert mean_of_norms == pytest.approx(math.sqrt(2) * 2 / 3, abs=1e-3)
    assert norm_of_mean == pytest.approx(math.sqrt(6) / 3, abs=1e-3)


# ----- quality --------------------------------------------------------------------------------------------------

SCORES = st.lists(st.tuples(st.sampled_from([-2.0, 0.0, -0.0, 0.5, 1.0, 1.5, 7.0]), st.booleans()), max_size=40)


@settings(deadline=None)
@given(SCORES)
def test_auroc_equals_all_pairs_and_sklearn(rows):
    score = torch.tensor([value for value, _ in rows])
    positive = torch.tensor([flag for _, flag in rows], dtype=torch.bool)
    got = auroc(score, positive)
    assert got == pytest.approx(reference.auroc(score.tolist(), positive.tolist()), nan_ok=True)
    if positive.any() and not positive.all():
        assert got == pytest.approx(roc_auc_score(positive.numpy(), score.numpy()))
    else:
        assert math.isnan(got)


def test_auroc_edges():
    positive = torch.tensor([False, True, True, False])
    assert auroc(torch.tensor([0.0, 1.0, 1.0, 0.0]), positive) == 1
    assert auroc(torch.tensor([1.0, 0.0, 0.0, 1.0]), positive) == 0
    assert auroc(torch.zeros(4), positive) == 0.5
    assert auroc(torch.tensor([-math.inf, 1, math.inf, 0]), positive) == 1
    assert auroc(torch.tensor([0.0, 1.0, math.nan, math.nan]), positive) == 1
    assert math.isnan(auroc(torch.tensor([0.0, math.nan, math.nan, 1.0]), positive))


@settings(deadline=None)
@given(SCORES.filter(len), st.data())
def test_precision_at_equals_the_loop(rows, data):
    score = torch.tensor([value for value, _ in rows])
    positive = torch.tensor([flag for _, flag in rows])
    count = data.draw(st.integers(1, len(rows)))
    expected = reference.precision_at(score.tolist(), positive.tolist(), count)
    assert precision_at(score, positive, count) == pytest.approx(expected)


def test_precision_at_breaks_ties_by_index():
    positive = torch.tensor([True, False, False, True])
    assert precision_at(torch.zeros(4), positive, 1) == 1
    assert precision_at(torch.zeros(4), positive, 3) == pytest.approx(1 / 3)
    assert precision_at(torch.tensor([math.nan, 2.0, 1.0, 3.0]), positive, 1) == 1
    large = torch.arange(5000) < 100
    assert precision_at(torch.zeros(5000), large, 100) == 1


def test_quality_refuses():
    score, positive = torch.tensor([1.0, math.nan]), torch.tensor([True, False])
    for count in (0, 2, -1):
        with pytest.raises(ValueError, match=rf"count must be in \[1, 1\], got {count}; only samples with a score"):
            precision_at(score, positive, count)
    for wrong in (positive[:1], positive.float(), positive[:, None]):
        with pytest.raises(ValueError, match=r"score and positive must be \(n,\) and bool \(n,\), got"):
            auroc(score, wrong)

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import reference
from tamis.tasks.calibration import ece, temperature_of


def _calibrated(rows: int = 20_000, classes: int = 5, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Logits, and labels drawn from their softmax: the right temperature is 1."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(rows, classes, generator=generator) * 2
    return logits, torch.multinomial(logits.softmax(1), 1, generator=generator)[:, 0]


# ----- temperature ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("factor", [0.2, 1.0, 3.0, 15.0])
def test_finds_the_temperature_that_was_used(factor):
    logits, labels = _calibrated()
    assert temperature_of(logits * factor, labels) == pytest.approx(factor, rel=0.03)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 6), st.floats(0.1, 20))
def test_is_a_minimum_of_the_likelihood(seed, classes, scale):
    logits, labels = _calibrated(60, classes, seed)
    logits = logits * scale
    found = temperature_of(logits, labels)

    def loss(temperature: float) -> float:
        return reference.likelihood_loss(logits.double().tolist(), labels.tolist(), temperature)

    for other in (found * 0.98, found * 1.02, 1.0, 0.011, 99.0):
        if 0.01 <= other <= 100:
            assert loss(found) <= loss(other) + 1e-9


def test_temperature_edges():
    sure = torch.tensor([[5.0, 0.0], [0.0, 5.0]])
    assert temperature_of(sure, torch.tensor([0, 1])) == 0.01  # all right: the colder the better
    assert temperature_of(sure * 1e4, torch.tensor([0, 1])) == 0.01  # also where the slope is below the floats
    assert temperature_of(sure, torch.tensor([1, 0])) == 100  # all wrong: the hotter the better
    assert temperature_of(sure, torch.tensor([0, 0])) == 100  # chance
    assert temperature_of(torch.ones(3, 4), torch.tensor([0, 1, 2])) == 1  # nothing to scale
    assert temperature_of(sure[:1].bfloat16(), torch.tensor([0])) == 0.01


def test_temperature_does_not_depend_on_a_shift_of_the_logits():
    logits, labels = _calibrated(500)
    shifted = logits.double() + torch.arange(500)[:, None] * 10.0
    assert temperature_of(shifted, labels) == pytest.approx(temperature_of(logits, labels), rel=1e-6)


def test_scaling_an_overconfident_model_calibrates_it():
    logits, labels = _calibrated()
    logits = logits * 4
    temperature = temperature_of(logits, labels)
    assert ece(logits, labels) > 0.15
    assert ece(logits / temperature, labels) < 0.015


# ----- expected calibration error -------------------------------------------------------------------------------


def _of_confidence(confidence: float, right: int, rows: int) -> tuple[Tensor, Tensor]:
    """Two classes, always class 0 with this confidence, of which so many are right."""
    probabilities = torch.tensor([[confidence, 1 - confidence]], dtype=torch.float64).repeat(rows, 1)
    return probabilities, (torch.arange(rows) >= right).long()


@pytest.mark.parametrize(
    ("confidence", "right", "expected"),
    [(0.8, 80, 0.0), (0.9, 60, 0.3), (0.6, 90, 0.3), (1.0, 100, 0.0), (1.0, 0, 1.0)],
)
def test_ece_known_cases(confidence, right, expected):
    assert ece(*_of_confidence(confidence, right, 100)) == pytest.approx(expected, abs=1e-12)


def test_calibrated_predictions_have_a_small_error():
    logits, labels = _calibrated()
    assert ece(logits, labels) < 0.015


def test_errors_of_opposite_sign_cancel_within_a_bin_only():
    one, two = _of_confidence(0.81, 5, 10), _of_confidence(0.82, 10, 10)
    mixed = torch.cat([one[0], two[0]]), torch.cat([one[1], two[1]])
    assert ece(*mixed, bins=1) == pytest.approx(abs(0.75 - 0.815))
    assert ece(*mixed, bins=1000) == pytest.approx((0.31 + 0.18) / 2)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 6), st.sampled_from([1, 2, 5, 10, 15, 20]))
def test_ece_equals_the_loop(seed, classes, bins):
    generator = torch.Generator().manual_seed(seed)
    counts = torch.randint(0, 10, (30, classes), generator=generator).double()
    counts[:, 0] += 20 - counts.sum(1).clamp(max=20)
    probabilities = counts / counts.sum(1, keepdim=True)  # many lie on the edges of bins
    labels = torch.randint(classes, (30,), generator=generator)
    expected = reference.ece(probabilities.tolist(), labels.tolist(), bins)
    assert ece(probabilities, labels, bins) == pytest.approx(expected, abs=1e-12)


def test_logits_and_their_probabilities_agree():
    logits, labels = _calibrated(200)
    assert ece(logits.softmax(1), labels) == pytest.approx(ece(logits, labels), abs=1e-6)
    low = logits.softmax(1).bfloat16()
    assert ece(low, labels) == pytest.approx(reference.ece(low.tolist(), labels.tolist(), 15), abs=1e-9)


# ----- both -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", [temperature_of, ece])
def test_refuses(function):
    logits, labels = _calibrated(4)
    for wrong in (logits[0], logits[:, :1]):
        with pytest.raises(ValueError, match=r"logits must be floats .* at least 2 classes, got"):
            function(wrong, labels)
    with pytest.raises(ValueError, match=r"labels must be integers \(4,\), got torch.int64 \(3,\)"):
        function(logits, labels[:3])
    with pytest.raises(ValueError, match=r"logits must have at least one row, got none"):
        function(logits[:0], labels[:0])
    with pytest.raises(ValueError, match=r"labels must be in \[0, 5\), got -1 to 4"):
        function(logits, torch.tensor([0, -1, 4, 2]))
    for bad in (math.nan, math.inf):
        broken = logits.clone()
        broken[2, 1] = bad
        with pytest.raises(ValueError, match=r"logits must be finite, got .* in row 2; drop such samples"):
            function(broken, labels)


def test_refuses_no_bins():
    with pytest.raises(ValueError, match=r"bins must be at least 1, got 0"):
        ece(*_calibrated(4), bins=0)

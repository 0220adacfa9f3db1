import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import reference
from tamis.thresholds import otsu

FINITE = st.floats(-1e3, 1e3, width=32)
VALUES = st.one_of(
    st.lists(FINITE, max_size=40),
    st.lists(st.sampled_from([-1.0, 0.0, 0.25, 1.0, 8.0]), max_size=40),
)


@settings(deadline=None)
@given(VALUES)
def test_no_cut_has_a_larger_variance(values):
    threshold = otsu(torch.tensor(values))
    if len(set(values)) < 2:
        assert threshold == math.inf
        return
    assert threshold in values
    assert threshold < max(values)  # both classes have members
    reached = reference.between_class_variance(values, threshold)
    assert reached == pytest.approx(reference.otsu_variance(values), rel=1e-9)


@given(st.lists(FINITE, min_size=2, max_size=20), st.randoms(use_true_random=False))
@settings(deadline=None)
def test_neither_order_nor_nan_nor_duplication_matters(values, random):
    threshold = otsu(torch.tensor(values))
    shuffled = [*values, math.nan, math.nan]
    random.shuffle(shuffled)
    assert otsu(torch.tensor(shuffled)) == threshold
    doubled = reference.between_class_variance(values, otsu(torch.tensor(values * 2)))
    assert doubled == pytest.approx(reference.otsu_variance(values), rel=1e-9)


@pytest.mark.parametrize(
    ("values", "threshold"),
    [
        ([], math.inf),
        ([math.nan], math.inf),
        ([3.0], math.inf),
        ([3.0, 3.0, 3.0], math.inf),
        ([0.0, -0.0], math.inf),
        ([1.0, 2.0], 1.0),
        ([0.0, 0.1, 0.2, 5.0, 5.1], 0.2),
        ([-1.0, 0.0, 1.0], -1.0),  # two cuts are equally good: the lower one
        ([1e6, 1e6 + 1, 1e6 + 9], 1e6 + 1),
    ],
)
def test_known_samples(values, threshold):
    assert otsu(torch.tensor(values, dtype=torch.float64)) == threshold


def test_two_groups_are_told_apart():
    generator = torch.Generator().manual_seed(0)
    low, high = torch.randn(6000, generator=generator), 12 + torch.randn(2000, generator=generator)
    threshold = otsu(torch.cat([low, high]))
    assert low.max() <= threshold < high.min()


def test_the_comparison_is_exact_in_the_type_of_the_values():
    values = torch.tensor([0.1, 0.1, 0.7, 0.7])
    for kind in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        assert (values.to(kind) > otsu(values.to(kind))).tolist() == [False, False, True, True]


def test_does_not_write_to_its_input():
    values = torch.tensor([3.0, 1.0, 2.0])
    otsu(values)
    assert values.tolist() == [3, 1, 2]


def test_refuses():
    with pytest.raises(ValueError, match=r"values must be one-dimensional, got shape \(2, 2\)"):
        otsu(torch.zeros(2, 2))
    for infinite in (math.inf, -math.inf):
        with pytest.raises(ValueError, match=r"values must be finite or NaN, got .*inf.*; use NaN"):
            otsu(torch.tensor([0.0, infinite, 1.0]))


@pytest.mark.slow
def test_ten_million_values():
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(10_000_000, generator=generator)
    values[:4_000_000] += 6
    assert 2 < otsu(values) < 4

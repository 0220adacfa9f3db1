import pytest
from hypothesis import given
from hypothesis import strategies as st

from tamis.paces import Constant, Polynomial, as_pace

SHARE = st.floats(0.01, 1)


@given(SHARE, st.floats(0, 1))
def test_a_constant_is_constant(ratio, progress):
    assert Constant(ratio)(progress) == ratio


@given(SHARE, SHARE, st.floats(0.1, 5), st.floats(0, 1), st.floats(0, 1))
def test_a_polynomial_grows_from_start_to_everything(start, full_at, power, one, other):
    pace = Polynomial(start, full_at, power)
    assert pace(0) == start
    assert pace(full_at) == pytest.approx(1)
    assert pace(1) == pytest.approx(1)
    low, high = sorted((one, other))
    assert start <= pace(low) <= pace(high) <= 1 + 1e-15


@pytest.mark.parametrize(
    ("power", "progress", "fraction"),
    [(1, 0.0, 0.2), (1, 0.25, 0.6), (1, 0.5, 1.0), (2, 0.25, 0.4), (2, 0.4, 0.712), (2, 0.7, 1.0)],
)
def test_a_polynomial_by_hand(power, progress, fraction):
    assert Polynomial(start=0.2, full_at=0.5, power=power)(progress) == pytest.approx(fraction)


@pytest.mark.parametrize("value", [0, -0.5, 1.01, float("nan")])
@pytest.mark.parametrize(
    ("make", "name"),
    [
        (Constant, "ratio"),
        (lambda value: Polynomial(start=value), "start"),
        (lambda value: Polynomial(full_at=value), "full_at"),
        (as_pace, "ratio"),
    ],
)
def test_a_value_outside_its_range_is_refused(make, name, value):
    with pytest.raises(ValueError, match=rf"{name} must be in \(0, 1\], got {float(value)!r}|got {value!r}"):
        make(value)


@pytest.mark.parametrize("power", [0, -1.0, float("nan")])
def test_a_power_of_zero_or_less_is_refused(power):
    with pytest.raises(ValueError, match="power must be above 0, got"):
        Polynomial(power=power)


def test_a_number_is_a_constant_and_a_pace_is_itself():
    pace = Polynomial()
    assert as_pace(pace) is pace
    assert as_pace(0.5) == Constant(0.5)
    assert as_pace(1) == Constant(1.0)


def test_repr_shows_every_setting():
    assert repr(Polynomial(0.25, 0.5, 1.0)) == "Polynomial(start=0.25, full_at=0.5, power=1.0)"

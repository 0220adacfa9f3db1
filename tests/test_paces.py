import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tamis.paces import PACES, Constant, Exponential, Geometric, Polynomial, Ramp, Step, as_pace

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


@pytest.mark.parametrize("name", PACES)
@given(start=SHARE, full_at=SHARE, one=st.floats(0, 1), other=st.floats(0, 1))
def test_every_pace_grows_from_start_to_everything(name, start, full_at, one, other):
    pace = PACES[name](start, full_at)
    assert pace(0) == start
    assert pace(full_at) == pace(1) == 1
    low, high = sorted((one, other))
    assert 0 < pace(low) <= pace(high) + 1e-15
    assert pace(high) <= 1


def test_the_names_of_the_paces():
    assert list(PACES) == ["linear", "quadratic", "root", "geometric", "step", "exponential"]
    assert [PACES[name](0.2, 0.5) for name in ("linear", "quadratic", "root")] == [
        Polynomial(0.2, 0.5, power) for power in (1.0, 2.0, 0.5)
    ]


@pytest.mark.parametrize(
    ("pace", "fractions"),
    [
        (PACES["root"](0.2, 1.0), [0.2, 0.2 + 0.8 * math.sqrt(0.25), 0.2 + 0.8 * math.sqrt(0.5), 1]),
        (Geometric(0.01, 1.0), [0.01, 10**-1.5, 0.1, 1]),
        (Step(0.2, 1.0, steps=4), [0.2, 0.4, 0.6, 1]),
        (Step(0.2, 1.0, steps=2), [0.2, 0.2, 0.6, 1]),
        (
            Exponential(0.2, 1.0, rate=2.0),
            [0.2, *(0.2 + 0.8 * (1 - math.exp(-t)) / (1 - math.exp(-2)) for t in (0.5, 1, 2))],
        ),
    ],
    ids=repr,
)
def test_paces_by_hand(pace, fractions):
    assert [pace(progress) for progress in (0, 0.25, 0.5, 1)] == pytest.approx(fractions)


def test_a_jump_comes_when_its_time_has_come():
    assert Step(0.2, 0.6, steps=6)(0.3) == pytest.approx(0.6)
    assert Step(0.2, 0.8, steps=4)(0.6) == pytest.approx(0.8)  # 0.6 / 0.8 * 4 falls just below 3
    assert Step(0.2, 0.8, steps=4)(0.59) == pytest.approx(0.6)


def test_exponential_is_fast_at_first():
    assert (Exponential(0.3, 1.0)(0.5) - 0.3) / 0.7 == pytest.approx(0.8176, abs=1e-4)


@given(st.floats(0, 0.99), st.floats(0, 0.99), st.floats(0, 1), st.floats(0, 1))
def test_ramps_go_from_one_end_to_the_other(one, other, first, second):
    low, high = sorted((one, other))
    early, late = sorted((first, second))
    rising, falling = Ramp(low, high), Ramp(low, high, "falling")
    assert [rising(0), rising(1)] == pytest.approx([low, high])
    assert [falling(0), falling(1)] == pytest.approx([high, low])
    assert -1e-15 + rising(early) <= rising(late) <= high
    assert falling(early) + 1e-15 >= falling(late) >= low - 1e-15
    # The increase has a decreasing rate, the decrease an increasing one: both lie above the straight line.
    assert rising(early) >= low + (high - low) * early - 1e-12
    assert falling(early) >= high - (high - low) * early - 1e-12


@pytest.mark.parametrize(("low", "high"), [(-0.1, 0.5), (0.5, 0.1), (0.1, 1.0), (math.nan, 0.5)])
def test_a_ramp_outside_its_range_is_refused(low, high):
    with pytest.raises(ValueError, match="low and high must be 0 <= low <= high < 1, got"):
        Ramp(low, high)


def test_wrong_settings_of_paces_are_refused():
    with pytest.raises(ValueError, match='kind must be "rising" or "falling", got \'up\''):
        Ramp(0.0, 0.1, "up")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="steps must be at least 1, got 0"):
        Step(steps=0)
    with pytest.raises(ValueError, match="rate must be above 0, got 0"):
        Exponential(rate=0)


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
        (lambda value: Geometric(start=value), "start"),
        (lambda value: Step(full_at=value), "full_at"),
        (lambda value: Exponential(start=value), "start"),
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

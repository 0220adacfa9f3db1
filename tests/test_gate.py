"""The change gate: what passes, what does not, and that its state is exact."""

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from reference_gate import SlowGate
from tamis.culling.gate import (
    CHANGED,
    LEARNING,
    LONG_AGO,
    PASSED,
    REASONS,
    SAME_AS_BACKGROUND,
    SAME_AS_SCORED,
    ChangeGate,
    Gate,
)

SHAPE = (36, 64)
RANDOM = np.random.default_rng(0)
STREET = RANDOM.integers(50, 180, SHAPE)


def street(noise: float = 1.0, light: float = 0.0, gain: float = 1.0) -> np.ndarray:
    return (gain * STREET + light + RANDOM.normal(0, noise, SHAPE)).clip(0, 255).astype(np.uint8)


def with_car(picture: np.ndarray, left: int, top: int = 20, size: tuple[int, int] = (3, 5)) -> np.ndarray:
    seen = picture.copy()
    seen[top : top + size[0], left : left + size[1]] = 250
    return seen


def learned(**settings: float) -> ChangeGate:
    """A gate that has seen the empty street for 100 frames, and has just let one of it pass."""
    gate = ChangeGate(Gate(**settings))  # type: ignore[arg-type]
    for _ in range(100):
        gate(street())
    while gate(street())[1] < PASSED:
        pass
    return gate


def reasons(gate: ChangeGate, pictures: list[np.ndarray]) -> list[int]:
    return [gate(each)[1] for each in pictures]


def test_the_first_frames_pass_and_an_empty_street_does_not() -> None:
    gate = ChangeGate(Gate())
    assert reasons(gate, [street() for _ in range(16)]) == [LEARNING] * 16
    assert set(reasons(gate, [street() for _ in range(60)])) == {SAME_AS_BACKGROUND}


def test_a_car_that_drives_passes_each_time_and_one_that_waits_once() -> None:
    gate = learned(longest=1000)
    assert reasons(gate, [with_car(street(), left) for left in range(5, 50, 6)]) == [CHANGED] * 8
    assert reasons(gate, [with_car(street(), 47) for _ in range(10)]) == [SAME_AS_SCORED] * 9 + [SAME_AS_SCORED]
    assert reasons(gate, [street() for _ in range(5)]) == [SAME_AS_BACKGROUND] * 5


def test_a_slow_car_is_not_missed_because_each_step_is_small() -> None:
    gate = learned(longest=1000)
    passed = [gate(with_car(street(), 5 + step // 10))[1] for step in range(200)]
    assert passed.count(CHANGED) >= 19  # at each of the 20 places, but perhaps where it came from


def test_a_parked_car_becomes_background_and_its_leaving_is_noticed_once() -> None:
    gate = learned(longest=10_000)
    reasons(gate, [with_car(street(), 30) for _ in range(400)])
    assert set(reasons(gate, [with_car(street(), 30) for _ in range(20)])) == {SAME_AS_BACKGROUND}
    left = reasons(gate, [street() for _ in range(20)])
    assert left[0] == CHANGED
    assert CHANGED not in left[1:]


def test_a_second_car_beside_a_waiting_one_passes() -> None:
    gate = learned(longest=1000)
    waiting = with_car(street(), 10)
    assert gate(waiting)[1] == CHANGED
    assert gate(waiting)[1] == SAME_AS_SCORED
    assert gate(with_car(waiting, 40))[1] == CHANGED


def test_at_least_one_of_so_many_frames_passes() -> None:
    gate = learned(longest=25)
    told = reasons(gate, [street() for _ in range(101)])
    assert [place for place, each in enumerate(told) if each == LONG_AGO] == [24, 49, 74, 99]
    assert set(told) == {LONG_AGO, SAME_AS_BACKGROUND}


@pytest.mark.parametrize("light", ["drift", "cloud", "flicker", "night"])
def test_light_is_no_change(light: str) -> None:
    gate = learned(longest=10_000)
    if light == "drift":
        pictures = [street(gain=1 - step / 1000) for step in range(500)]
    elif light == "cloud":
        pictures = [street(light=0 if step < 20 else -25) for step in range(60)]
    elif light == "flicker":
        pictures = [street(light=8 * (step % 2)) for step in range(60)]
    else:
        reasons(gate, [street(noise=4) for _ in range(200)])  # the noise rises, and is learned
        pictures = [street(noise=4) for _ in range(300)]
    told = reasons(gate, pictures)
    assert sum(each >= PASSED for each in told) <= 0.02 * len(told)


def test_a_tree_that_always_moves_is_learned_and_a_car_before_it_is_seen() -> None:
    gate = learned(longest=10_000)

    def tree() -> np.ndarray:
        seen = street().astype(np.int16)
        seen[2:12, 2:12] += RANDOM.integers(-12, 13, (10, 10))
        return seen.clip(0, 255).astype(np.uint8)

    reasons(gate, [tree() for _ in range(300)])
    told = reasons(gate, [tree() for _ in range(200)])
    assert sum(each >= PASSED for each in told) <= 4
    assert gate(with_car(tree(), 4, 4, (6, 6)))[1] == CHANGED


def test_a_busy_street_does_not_blind_it() -> None:
    """Another car at the same place on 60 % of the frames: its level cannot be learned, and most are still noticed."""
    gate = learned(longest=10_000)

    def busy(step: int) -> np.ndarray:
        seen = street()
        if step % 5 < 3:
            seen[20:23, 20:25] = RANDOM.integers(0, 256)
        return seen

    told = reasons(gate, [busy(step) for step in range(1000)])
    cars = [each for step, each in enumerate(told) if step >= 500 and step % 5 < 3]
    assert cars.count(CHANGED) >= 0.6 * len(cars)
    assert gate(with_car(busy(0), 40))[1] == CHANGED


def test_a_camera_that_was_turned_is_learned_anew() -> None:
    gate = learned(longest=10_000)
    other = np.random.default_rng(1).integers(0, 250, SHAPE).astype(np.uint8)
    assert reasons(gate, [other] * 16) == [LEARNING] * 16
    assert reasons(gate, [other] * 5) == [SAME_AS_BACKGROUND] * 5


SMALL = Gate(learning=2, longest=5, width=5, height=4, threshold=6.0, floor=3.0, ceiling=20.0, pace=1.5)
PICTURES = st.lists(
    st.one_of(
        arrays(np.uint8, (4, 5), elements=st.integers(0, 255)),
        arrays(np.uint8, (4, 5), elements=st.integers(100, 112)),
    ),
    min_size=1,
    max_size=25,
)


@given(PICTURES)
def test_it_does_what_the_slow_one_does(pictures: list[np.ndarray]) -> None:
    fast = ChangeGate(SMALL)
    slow = SlowGate(SMALL.threshold, SMALL.floor, SMALL.ceiling, SMALL.pace, SMALL.learning, SMALL.longest)
    for picture in pictures:
        change, reason = fast(picture)
        assert (change, REASONS[reason]) == slow(picture.tolist())


@given(PICTURES, st.integers(0, 24))
def test_it_goes_on_from_its_state_as_if_nothing_had_happened(pictures: list[np.ndarray], cut: int) -> None:
    straight, first, second = ChangeGate(SMALL), ChangeGate(SMALL), ChangeGate(SMALL)
    expected = [straight(each) for each in pictures]
    got = [first(each) for each in pictures[:cut]]
    second.load(first.state())
    assert got + [second(each) for each in pictures[cut:]] == expected
    assert second.state() == straight.state()


def test_extremes_do_not_overflow() -> None:
    gate = ChangeGate(Gate(ceiling=255.0, learning=1))
    black, white = np.zeros(SHAPE, np.uint8), np.full(SHAPE, 255, np.uint8)
    half = black.copy()
    half[:17] = 255
    told = [gate(each) for each in (black, white, half, white - half, half, black, white) * 20]
    assert all(0 <= change <= 4 * 510 for change, _ in told)


def test_a_frame_of_another_size_and_a_foreign_state_are_refused() -> None:
    gate = ChangeGate(Gate())
    with pytest.raises(ValueError, match=r"grey must be \(36, 64\) .*, got \(4, 5\)"):
        gate(np.zeros((4, 5), np.uint8))
    for state in ("", "1:2", "1:2:zzz", "x" * 100, ChangeGate(SMALL).state()):
        with pytest.raises(ValueError, match=r"state of the gate must be as it was written, got .*; cull anew"):
            gate.load(state)


@pytest.mark.parametrize(
    "wrong", [{"threshold": 0.0}, {"floor": 0.0}, {"floor": 40.0}, {"ceiling": 300.0}, {"longest": 0}, {"width": 1},
              {"learning": 0}, {"pace": 0.0}, {"pace": float("nan")}]
)  # fmt: skip
def test_settings_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"must be .*got"):
        Gate(**wrong)  # type: ignore[arg-type]


def test_it_looks_at_five_thousand_frames_a_second() -> None:
    gate, pictures = ChangeGate(Gate()), [street() for _ in range(200)]
    reasons(gate, pictures)
    took = []
    for _ in range(5):
        began = time.thread_time()  # others may be at work on this machine
        reasons(gate, pictures)
        took.append(time.thread_time() - began)
    assert 200 / min(took) > 5000

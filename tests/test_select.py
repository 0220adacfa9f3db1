"""Selection: the hardest, those apart in time, even and random ones."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference_selection import slow_apart, slow_hardest
from tamis.culling.select import apart, at_random, by_score, evenly, hardest

SCORES = st.lists(st.sampled_from([0.0, 0.5, 1.0, 1.5, 2.0, -1.0]), max_size=30)


@given(SCORES, st.integers(0, 35))
def test_hardest_is_the_slow_one(scores: list[float], count: int) -> None:
    assert hardest(np.array(scores), count).tolist() == slow_hardest(scores, count)


@given(st.data(), SCORES, st.integers(0, 35), st.sampled_from([0.5, 1.0, 3.0, 100.0]))
def test_apart_is_the_slow_one(data: st.DataObject, scores: list[float], count: int, gap: float) -> None:
    size = len(scores)
    seconds = data.draw(st.lists(st.sampled_from([0.0, 0.5, 1.0, 2.0, 5.0, 9.0]), min_size=size, max_size=size))
    cameras = data.draw(st.lists(st.integers(0, 1), min_size=size, max_size=size))
    got = apart(np.array(scores), count, cameras, np.array(seconds), gap)
    assert got.tolist() == slow_apart(scores, count, cameras, seconds, gap)
    assert len(set(got.tolist())) == len(got) == min(count, size)


def test_apart_passes_over_near_duplicates_and_fills_up_only_if_it_must() -> None:
    scores, seconds = np.array([5.0, 4.0, 3.0, 2.0, 1.0]), np.array([0.0, 1.0, 2.0, 10.0, 20.0])
    assert apart(scores, 3, [0] * 5, seconds, 5.0).tolist() == [0, 3, 4]
    assert apart(scores, 4, [0] * 5, seconds, 5.0).tolist() == [0, 3, 4, 1]
    assert apart(scores, 3, [0, 1, 0, 0, 0], seconds, 5.0).tolist() == [0, 1, 3]
    assert apart(scores, 2, [0] * 5, seconds, 1.0).tolist() == [0, 1]  # exactly the gap is far enough


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -float("inf")])
def test_scores_that_are_not_finite_are_refused(wrong: float) -> None:
    with pytest.raises(ValueError, match=rf"score must be finite, got {wrong} at place 1; leave the frame out"):
        by_score(np.array([0.0, wrong, 1.0]))


@given(st.integers(0, 500), st.integers(0, 100))
def test_even_frames_are_the_middles_of_equal_stretches(total: int, count: int) -> None:
    got = evenly(total, count).tolist()
    taken = min(total, count)
    assert got == [(2 * place + 1) * total // (2 * taken) for place in range(taken)]
    assert len(set(got)) == taken
    gaps = np.diff(got)
    assert len(gaps) == 0 or gaps.max() - gaps.min() <= 1


@given(st.integers(0, 300), st.integers(0, 100), st.integers(0, 5))
def test_random_frames_are_a_set_that_the_seed_decides(total: int, count: int, seed: int) -> None:
    got = at_random(total, count, seed)
    assert got.tolist() == sorted(set(got.tolist())) == at_random(total, count, seed).tolist()
    assert len(got) == min(total, count)
    assert len(got) == 0 or 0 <= got[0] <= got[-1] < total


def test_random_frames_are_everywhere_equally_often() -> None:
    counts = np.zeros(20)
    for seed in range(2000):
        counts[at_random(20, 5, seed)] += 1
    assert abs(counts - 500).max() < 5 * np.sqrt(2000 * 0.25 * 0.75)
    assert not np.array_equal(at_random(1000, 10, 0), at_random(1000, 10, 1))

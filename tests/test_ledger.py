import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tamis.ledger import Ledger

SCORE = st.one_of(st.floats(-1e6, 1e6, width=32), st.sampled_from([math.nan, math.inf, -math.inf]))
VISITS = st.lists(st.tuples(st.integers(0, 5), SCORE), max_size=20)


def record(ledger: Ledger, visits) -> Tensor:
    index = torch.tensor([index for index, _ in visits], dtype=torch.int64)
    return ledger.record(index, torch.tensor([score for _, score in visits], dtype=torch.float32))


def state(ledger: Ledger):
    return ledger.score.view(torch.int32).tolist(), ledger.seen.tolist(), ledger.rejected


def test_nothing_is_known_at_the_start():
    ledger = Ledger(3)
    assert len(ledger) == 3
    assert ledger.score.isnan().all()
    assert ledger.seen.tolist() == [0, 0, 0]
    assert repr(ledger) == "Ledger(size=3, scored=0, rejected=0)"


def test_a_ledger_without_samples_is_refused():
    with pytest.raises(ValueError, match="size must be at least 1, got 0"):
        Ledger(0)


@given(st.lists(VISITS, max_size=4))
def test_scores_visits_and_refusals_add_up(batches):
    ledger = Ledger(6)
    score, seen, rejected = [math.nan] * 6, [0] * 6, 0
    for visits in batches:
        refused = record(ledger, visits)
        bad = [index for index, value in visits if not math.isfinite(value)]
        assert refused.tolist() == bad
        assert refused.dtype == torch.int64
        rejected += len(bad)
        for sample in range(6):
            mine = [value for index, value in visits if index == sample and math.isfinite(value)]
            seen[sample] += len(mine)
            score[sample] = math.fsum(mine) / len(mine) if mine else score[sample]
    assert ledger.seen.tolist() == seen
    assert ledger.rejected == rejected
    assert ledger.score.tolist() == pytest.approx(score, rel=1e-6, abs=1e-6, nan_ok=True)


@given(VISITS, st.randoms(use_true_random=False))
def test_the_order_in_a_batch_does_not_matter(visits, random):
    one, other = Ledger(6), Ledger(6)
    record(one, visits)
    random.shuffle(visits)
    record(other, visits)
    assert state(one) == state(other)  # bit for bit


def test_sums_that_round_differently_by_order_are_the_same():
    values = [1e30, 1.0, -1e30, 3e-5, 7.0, 1e7, 0.1]  # too far apart for float64, too
    results = set()
    for shift in range(len(values)):
        ledger = Ledger(1)
        record(ledger, [(0, value) for value in values[shift:] + values[:shift]])
        results.add(float(ledger.score[0]))
    assert len(results) == 1


def test_a_score_that_is_not_finite_leaves_its_sample_as_it_was():
    ledger = Ledger(4)
    record(ledger, [(1, 0.5), (2, 2.0)])
    refused = record(ledger, [(0, math.nan), (1, math.inf), (2, 3.0), (3, -math.inf)])
    assert refused.tolist() == [0, 1, 3]
    assert ledger.score.tolist() == pytest.approx([math.nan, 0.5, 3.0, math.nan], nan_ok=True)
    assert ledger.seen.tolist() == [0, 1, 2, 0]
    assert ledger.rejected == 3


def test_a_score_beyond_float32_is_refused_too():
    ledger = Ledger(2)
    assert ledger.record(torch.tensor([0, 1]), torch.tensor([1e39, 1.0], dtype=torch.float64)).tolist() == [0]
    assert ledger.score[0].isnan()


def test_a_batch_of_only_bad_scores_and_an_empty_one():
    ledger = Ledger(2)
    assert record(ledger, [(0, math.nan), (1, math.nan)]).tolist() == [0, 1]
    assert record(ledger, []).tolist() == []
    assert state(ledger)[1:] == ([0, 0], 2)
    assert ledger.score.isnan().all()


@pytest.mark.parametrize("kind", [torch.float64, torch.float16, torch.bfloat16])
def test_any_floating_type_and_scores_with_gradients(kind):
    ledger = Ledger(2)
    ledger.record(torch.tensor([1], dtype=torch.int32), torch.tensor([0.5], dtype=kind, requires_grad=True))
    assert ledger.score[1] == 0.5
    assert not ledger.score.requires_grad


@pytest.mark.parametrize(
    ("index", "score", "error", "message"),
    [
        (torch.tensor([0.0]), torch.ones(1), TypeError, "index must be int64 or int32, got torch.float32; indices do"),
        (torch.tensor([0.0], dtype=torch.bfloat16), torch.ones(1), TypeError, "index must be int64 or int32"),
        (torch.tensor([True]), torch.ones(1), TypeError, "index must be int64 or int32, got torch.bool"),
        (torch.tensor([0]), torch.tensor([1]), TypeError, "score must be of a floating-point type, got torch.int64"),
        (torch.tensor([0, 1]), torch.tensor(0.5), ValueError, r'got shapes \(\) and \(2,\); .*reduction="none"'),
        (torch.tensor([0, 1]), torch.ones(3), ValueError, r"got shapes \(3,\) and \(2,\)"),
        (torch.tensor([[0, 1]]), torch.ones(1, 2), ValueError, "score must hold one number for each index"),
        (torch.tensor(0), torch.tensor(1.0), ValueError, "score must hold one number for each index"),
        (torch.tensor([0, 5]), torch.ones(2), IndexError, r"index must be in \[0, 5\), got 5"),
        (torch.tensor([-1, 0]), torch.ones(2), IndexError, r"index must be in \[0, 5\), got -1"),
    ],
)
def test_bad_input_is_refused_and_changes_nothing(index, score, error, message):
    ledger = Ledger(5)
    record(ledger, [(0, 0.25)])
    before = state(ledger)
    with pytest.raises(error, match=message):
        ledger.record(index, score)
    assert state(ledger) == before


def test_an_index_out_of_range_is_refused_also_where_its_score_is_bad():
    with pytest.raises(IndexError, match="got 9"):
        Ledger(5).record(torch.tensor([9]), torch.tensor([math.nan]))


def test_the_input_is_not_written_to_nor_kept():
    ledger = Ledger(3)
    index, score = torch.tensor([2, 2, 0]), torch.tensor([1.0, math.nan, 3.0])
    ledger.record(index, score)
    assert index.tolist() == [2, 2, 0]
    assert score.tolist() == pytest.approx([1.0, math.nan, 3.0], nan_ok=True)
    score.fill_(9.0)
    assert ledger.score.tolist() == pytest.approx([3.0, math.nan, 1.0], nan_ok=True)


def test_at_most_16_bytes_a_sample():
    ledger = Ledger(1000)
    held = [value for value in vars(ledger).values() if isinstance(value, Tensor)]
    assert sum(tensor.untyped_storage().nbytes() for tensor in held) <= 16 * 1000
    assert all(not isinstance(value, list | dict) for value in vars(ledger).values())


def test_state_round_trip():
    ledger, other = Ledger(4), Ledger(4)
    record(ledger, [(0, 0.5), (2, 1.0), (2, 2.0), (1, math.nan)])
    other.load_state_dict(ledger.state_dict())
    assert state(other) == state(ledger)
    record(ledger, [(3, 1.0)])
    assert other.seen[3] == 0  # copied, not shared


def test_a_state_of_another_size_is_refused():
    with pytest.raises(ValueError, match="ledger must hold 4 samples, got a state of 5"):
        Ledger(4).load_state_dict(Ledger(5).state_dict())

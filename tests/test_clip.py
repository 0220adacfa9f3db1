import math
import warnings
from collections import Counter
from itertools import pairwise, product
from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

import reference_clip
from run_folders import Fake, write_run
from tamis.history import write_decisions
from tamis.ledger import Ledger
from tamis.methods import METHODS, Method
from tamis.moment import Moment
from tamis.paces import PACES, Constant, Polynomial, Ramp
from tamis.recipes.explain import told
from tamis.report import explain_sample
from tamis.rules import Balanced, Clip, Exclude, InfoBatch, RandomSubset, Within, chain, quantile_bins, ranks, reasons
from tamis.sampler import PlannedBatchSampler, PlannedSampler

QUADRATIC = Polynomial(0.3, 0.6, 2.0)
READINGS = ("lowest", "algorithm1", "compounding")
ORDERS = ("easy", "hard", "random")
COMBINATIONS = [pair for pair in product(READINGS, ORDERS) if pair != ("compounding", "hard")]
EVERY = pytest.mark.parametrize(("reading", "order"), COMBINATIONS)
QUIET = pytest.mark.filterwarnings("ignore::UserWarning")


def shown(rule, score: Tensor, epoch: int, epochs: int, seed: int = 0) -> list[int]:
    weight = rule(torch.ones(len(score)), score, Moment(epoch, epochs, seed))
    return (weight > 0).nonzero().flatten().tolist()


def plans(rule, score: Tensor, epochs: int, seed: int = 0) -> list[set[int]]:
    return [set(shown(rule, score, epoch, epochs, seed)) for epoch in range(epochs)]


def random_scores(n: int, seed: int = 0) -> Tensor:
    return torch.rand(n, generator=torch.Generator().manual_seed(seed))


# ----- the paper's Algorithm 1, in its readings -----------------------------------------------------------------

SCORES = st.lists(st.one_of(st.sampled_from([0.0, 0.5, 1.0, math.nan]), st.floats(0, 9, width=32)), max_size=40)


@QUIET
@settings(max_examples=80)
@given(
    SCORES,
    st.sampled_from(sorted(reference_clip.READINGS)),
    st.sampled_from(["linear", "quadratic", "root"]),
    st.floats(0.01, 1),
    st.floats(0.05, 1),
    st.sampled_from([0.0, 0.05, 0.1, 0.5, 0.9]),
    st.integers(1, 14),
)
def test_plans_are_those_of_the_algorithm(values, kind, pace, start, full_at, epsilon, epochs):
    reading, order = kind
    score = torch.tensor(values or [1.0])
    shares = [reference_clip.pace(pace, start, full_at, epoch / epochs) for epoch in range(epochs)]
    ordered = reference_clip.sorted_by(score.tolist(), hardest_first=order == "hard")
    if not ordered:
        return
    sizes = reference_clip.sizes(len(ordered), shares)
    expected = reference_clip.READINGS[kind](ordered, sizes, [epsilon] * epochs)
    rule = Clip(PACES[pace](start, full_at), epsilon, reading, order)
    unscored = score.isnan().nonzero().flatten().tolist()
    for epoch in range(epochs):
        assert shown(rule, score, epoch, epochs) == sorted(expected[epoch] + unscored), epoch


@QUIET
@given(
    st.integers(1, 60), st.sampled_from(["lowest", "algorithm1", "compounding"]), st.sampled_from(["rising", "falling"])
)
def test_a_share_may_change_with_the_progress(n, reading, kind):
    epochs, score = 9, random_scores(n, n)
    ramp = Ramp(0.05, 0.6, kind)
    sizes = reference_clip.sizes(n, [reference_clip.pace("quadratic", 0.3, 0.6, epoch / epochs) for epoch in range(9)])
    ratio = [ramp(epoch / epochs) for epoch in range(epochs)]
    expected = reference_clip.READINGS[reading, "easy"](reference_clip.sorted_by(score.tolist()), sizes, ratio)
    assert plans(Clip(QUADRATIC, ramp, reading), score, epochs) == [set(subset) for subset in expected]


def test_three_hundred_samples_end_at_285():
    score = random_scores(300)
    for reading in ("lowest", "algorithm1"):
        left = [len(subset) for subset in plans(Clip(QUADRATIC, 0.05, reading), score, 20)]
        assert left[0] == 90 - 4
        assert left[12:] == [285] * 8
        assert left == sorted(left)


def test_compounding_keeps_236_of_300_after_eleven_quadratic_steps():
    """The example of the checklist, with the start that its figures need: 0.2, everything in use at the last step."""
    score = random_scores(300)
    subsets = plans(Clip(Polynomial(0.2, 10 / 11, 2.0), 0.05, "compounding"), score, 11)
    assert len(subsets[-1]) == 236
    lowest = reference_clip.sorted_by(score.tolist())[:64]
    assert set(range(300)) - subsets[-1] == set(lowest)


# ----- laws -----------------------------------------------------------------------------------------------------

PACED = st.builds(
    lambda kind, start, full_at: PACES[kind](start, full_at),
    st.sampled_from(sorted(PACES)),
    st.floats(0.05, 1),
    st.floats(0.1, 1),
)
SHARE = st.one_of(
    st.floats(0, 0.9), st.builds(Ramp, st.floats(0, 0.3), st.floats(0.3, 0.8), st.sampled_from(["rising", "falling"]))
)


@QUIET
@settings(max_examples=80)
@given(
    st.integers(1, 50),
    PACED,
    SHARE,
    st.sampled_from(["lowest", "compounding"]),
    st.sampled_from(["easy", "random"]),
    st.booleans(),
)
def test_what_was_removed_stays_removed(n, pace, share, reading, order, ties):
    score = torch.zeros(n) if ties else random_scores(n, n)
    epochs = 8
    rule = Clip(pace, share, reading, order)
    unpruned = plans(Clip(pace, 0.0, "lowest", order), score, epochs)
    kept = plans(rule, score, epochs)
    removed = [paced - left for paced, left in zip(unpruned, kept, strict=True)]
    assert all(left <= paced for paced, left in zip(unpruned, kept, strict=True))
    assert all(one <= other for one, other in pairwise(removed))  # nested: so nothing is ever re-admitted
    once: set[int] = set()
    for gone, left in zip(removed, kept, strict=True):
        once |= gone
        assert not once & left


@QUIET
@given(st.integers(1, 50), PACED, SHARE)
def test_algorithm1_never_drops_an_easier_sample_while_it_shows_a_harder_one(n, pace, share):
    score = random_scores(n, n)
    for subset in plans(Clip(pace, share, "algorithm1"), score, 6):
        hidden = set(range(n)) - subset
        assert max(score[index] for index in subset) <= min((score[index] for index in hidden), default=math.inf)


@EVERY
def test_all_controls_show_equally_many(reading, order):
    score = random_scores(97)
    sizes = [len(subset) for subset in plans(Clip(QUADRATIC, 0.1, reading, order), score, 12)]
    assert sizes == [len(subset) for subset in plans(Clip(QUADRATIC, 0.1, reading), score, 12)]
    assert sizes == [Clip(QUADRATIC, 0.1, reading, order).count(97, Moment(epoch, 12)) for epoch in range(12)]


def test_no_pruning_is_a_curriculum_and_no_pace_is_pruning_alone():
    score = random_scores(40)
    order = reference_clip.sorted_by(score.tolist())
    for epoch in range(10):
        paced = math.floor(QUADRATIC(epoch / 10) * 40 + 1e-9)
        assert set(shown(Clip(QUADRATIC, 0.0), score, epoch, 10)) == set(order[:paced])
        assert set(shown(Clip(Constant(1.0), 0.1), score, epoch, 10)) == set(order[4:])
        assert set(shown(Clip(1.0, 0.1, "algorithm1"), score, epoch, 10)) == set(order[:36])


def test_an_anti_curriculum_begins_with_the_hardest():
    score = random_scores(40)
    order = reference_clip.sorted_by(score.tolist())
    assert set(shown(Clip(QUADRATIC, 0.0, order="hard"), score, 0, 10)) == set(order[-12:])
    # At its end the lowest 5 % are out, as those of the curriculum are.
    assert shown(Clip(QUADRATIC, 0.05, order="hard"), score, 9, 10) == shown(Clip(QUADRATIC, 0.05), score, 9, 10)


@pytest.mark.parametrize("reading", READINGS)
def test_a_random_order_looks_at_no_scores_and_stays(reading):
    rule = Clip(QUADRATIC, 0.1, reading, "random")
    blind, other = plans(rule, torch.full((60,), math.nan), 10, seed=3), plans(rule, random_scores(60), 10, seed=3)
    assert blind == other
    assert plans(rule, random_scores(60), 10, seed=4) != blind
    assert blind[0] != set(range(len(blind[0])))
    paced = plans(Clip(QUADRATIC, 0.0, order="random"), random_scores(60), 10, seed=3)
    assert all(one <= two for one, two in pairwise(paced))


def test_a_new_sample_leaves_the_tickets_of_the_others():
    rule = Clip(0.5, 0.0, order="random")
    few, more = (set(shown(rule, torch.zeros(n), 0, 1, seed=3)) for n in (60, 61))
    assert len(few ^ more) <= 1 + (60 in more)


def test_random_tickets_are_fair():
    times = Counter(
        index for seed in range(300) for index in shown(Clip(0.3, 0.0, order="random"), torch.zeros(20), 0, 1, seed)
    )
    assert sum(times.values()) == 300 * 6
    assert all(abs(times[index] - 90) < 5 * math.sqrt(300 * 0.3 * 0.7) for index in range(20))


# ----- never an empty epoch (fault 24) --------------------------------------------------------------------------


@QUIET
@EVERY
def test_no_setting_empties_an_epoch(reading, order):
    for n, epsilon, start, name, unit in product(
        (1, 2, 3, 40), (0.0, 0.05, 0.999), (0.001, 0.3), PACES, ("epoch", "batch")
    ):
        if reading == "compounding" and unit == "batch":
            continue
        rule = Clip(PACES[name](start, 0.6), epsilon, reading, order, unit)
        for epoch in (0, 4):
            subset = shown(rule, random_scores(n), epoch, 6)
            assert 1 <= len(subset) == rule.count(n, Moment(epoch, 6))
            inside = Within(rule, torch.zeros(n, dtype=torch.int64))  # one class
            assert len(shown(inside, random_scores(n), epoch, 6)) == len(subset)


def test_an_epoch_that_would_be_empty_is_told():
    with pytest.warns(UserWarning, match="the pace is less than one of 5 samples: one is shown"):
        assert len(shown(Clip(0.01, 0.0), random_scores(5), 0, 1)) == 1
    falling = Polynomial(0.1, 1.0, 1.0)
    with pytest.warns(UserWarning, match="all 1 samples that are paced in would be out: one stays"):
        assert (
            len(shown(Clip(lambda progress: 1.0 if progress < 0.5 else falling(0), 0.5), random_scores(10), 1, 2)) == 1
        )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        shown(Clip(), random_scores(5), 0, 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prune": 1.0}, r"prune must be in \[0, 1\), got 1.0; 0 leaves nothing out"),
        ({"prune": -0.1}, r"prune must be in \[0, 1\), got -0.1"),
        ({"prune": math.nan}, r"prune must be in \[0, 1\), got nan"),
        ({"pace": 0.0}, r"ratio must be in \(0, 1\], got 0.0"),
        ({"reading": "text"}, 'reading must be "lowest", "algorithm1" or "compounding", got \'text\''),
        ({"order": "easiest"}, 'order must be "easy", "hard" or "random", got \'easiest\''),
        ({"unit": "step"}, 'unit must be "epoch" or "batch", got \'step\''),
        (
            {"reading": "compounding", "unit": "batch"},
            'unit must be "epoch" for compounding, got "batch"; take reading',
        ),
        ({"reading": "compounding", "order": "hard"}, 'order must be "easy" or "random" for compounding, got "hard"'),
    ],
)
def test_a_wrong_setting_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Clip(**options)


def test_a_pace_or_a_share_that_leaves_its_range_is_refused():
    with pytest.raises(ValueError, match=r"pace must be in \(0, 1\], got 1.5 at progress 0.5"):
        shown(Clip(lambda progress: 1 + progress), random_scores(4), 1, 2)
    with pytest.raises(ValueError, match=r"prune must be in \[0, 1\), got 1.0 at progress 0 "):
        shown(Clip(prune=lambda progress: 1 - progress), random_scores(4), 0, 2)


def test_the_text_of_a_rule_says_the_reading():
    texts = {(reading, order): repr(Clip(0.5, 0.05, reading, order)) for reading, order in COMBINATIONS}
    assert texts["lowest", "easy"] == "Clip(0.5, easiest first; the 5 % with the lowest score out)"
    assert "the 5 % with the highest score out, as Algorithm 1 is printed" in texts["algorithm1", "easy"]
    assert "in every epoch the 5 % of what is left with the lowest score out for good" in texts["compounding", "easy"]
    assert "hardest first" in texts["lowest", "hard"]
    assert "in a random order; the 5 % with the lowest ticket out" in texts["lowest", "random"]
    assert len(set(texts.values())) == len(texts)
    assert repr(Clip(0.5, 0.0, unit="batch")) == "Clip(0.5, easiest first; batch by batch)"
    assert "share Ramp(low=0.0, high=0.1, kind='rising')" in repr(Clip(0.5, Ramp(0.0, 0.1)))


# ----- which part hid what --------------------------------------------------------------------------------------


def test_waiting_and_pruned_are_told_apart():
    rule = chain(Exclude(torch.arange(10) == 9), Clip(0.5, 0.5), InfoBatch(0.5, 1.0))
    weight, hidden_by, texts = reasons(rule, torch.ones(10), torch.arange(10.0), Moment(0, 2))
    assert torch.equal(weight, rule(torch.ones(10), torch.arange(10.0), Moment(0, 2)))
    assert hidden_by[:2].tolist() == [2, 2]
    assert hidden_by[4:].tolist() == [1] * 5 + [0]
    assert [text.split(":")[0].split("(")[0] for text in texts] == ["Exclude", "waits", "pruned", "InfoBatch"]


@QUIET
@EVERY
@settings(max_examples=20)
@given(n=st.integers(1, 30), groups=st.booleans(), seed=st.integers(0, 99))
def test_the_stages_end_with_the_rule(reading, order, n, groups, seed):
    rule = Clip(QUADRATIC, 0.3, reading, order)
    rule = Within(rule, torch.arange(n) % 3) if groups else rule
    score = random_scores(n, seed).masked_fill(torch.arange(n) % 5 == 4, math.nan)
    weight = (torch.arange(n) % 7 != 3).float() * 0.5
    moment = Moment(2, 10, seed)
    after, hidden_by, texts = reasons(rule, weight, score, moment)
    assert torch.equal(after, rule(weight, score, moment))
    assert ((hidden_by >= 0) == ((weight > 0) & (after == 0))).all()
    assert len(texts) == 2


@given(SCORES, st.integers(0, 5))
def test_ranks_are_those_of_a_sort(values, seed):
    assume(values)
    score = torch.tensor(values)
    weight = (torch.rand(len(values), generator=torch.Generator().manual_seed(seed)) < 0.8).float()
    hidden_by = torch.randint(-1, 3, (len(values),), generator=torch.Generator().manual_seed(seed + 1)).to(torch.int8)
    hidden_by[weight == 0] = -1
    rank, of = ranks(weight, score, hidden_by)
    assert (rank.dtype, of.dtype) == (torch.int32, torch.int32)
    for index in range(len(values)):
        expected = reference_clip.ranks((weight > 0).tolist(), score.tolist(), hidden_by.tolist(), index)
        assert (int(rank[index]), int(of[index])) == expected


def test_the_story_of_a_sample_tells_its_rank(tmp_path):
    run = write_run(tmp_path / "run", Fake(n=40, epochs=3, classes=4))
    for path in (run / "ledger").glob("epoch-*.parquet"):
        path.unlink()
    score = torch.arange(40.0).masked_fill(torch.arange(40) == 39, math.nan)
    rule = chain(Exclude(torch.arange(40) == 38, "wrong"), Clip(Polynomial(0.5, 0.6, 1.0), 0.1))
    for epoch in range(3):
        moment = Moment(epoch, 3)
        _, hidden_by, texts = reasons(rule, torch.ones(40), score, moment)
        write_decisions(run / "ledger", epoch, hidden_by, texts, *ranks(torch.ones(40), score, hidden_by))
    text = repr(rule.rules[1])
    names = ["a", "b", "c", "d"]
    pruned = [line.strip() for line in told(explain_sample(run, 1), names)[-2:]]
    assert pruned[0] == f"2  hidden: pruned at epoch 2, rank 2 of 29 by score ({text})"
    assert pruned[1] == f"3  hidden: pruned at epoch 2, rank 2 of 38 by score ({text})"
    waits = told(explain_sample(run, 30), names)[-2:]
    assert waits[0].strip() == f"1  waits: rank 31 of 38, the pace shows 19 ({text})"
    excluded = told(explain_sample(run, 38), names)[-1]
    assert excluded.strip() == "3  hidden: Exclude(reason='wrong'), rank 39 of 39 by score"


# ----- within groups --------------------------------------------------------------------------------------------


@QUIET
@EVERY
@settings(max_examples=15)
@given(
    rows=st.lists(st.tuples(st.integers(-2, 3), st.floats(0, 9, width=32)), min_size=1, max_size=40),
    epoch=st.integers(0, 9),
)
def test_within_is_the_rule_in_each_group(reading, order, rows, epoch):
    groups, score = torch.tensor([row[0] for row in rows]), torch.tensor([row[1] for row in rows])
    rule = Clip(QUADRATIC, 0.2, reading, order)
    got = shown(Within(rule, groups), score, epoch, 10)
    for group in groups.unique().tolist():
        member = (groups == group).nonzero().flatten()
        mine = [index for index in got if groups[index] == group]
        assert mine  # a curriculum never drops a group
        if order != "random":
            assert mine == member[shown(rule, score[member], epoch, 10)].tolist()
        assert len(mine) == rule.count(len(member), Moment(epoch, 10))
    assert Within(rule, groups).count(len(rows), Moment(epoch, 10)) == len(got)
    assert Within(rule, groups).count(len(rows) + 1, Moment(epoch, 10)) is None


def test_within_draws_anew_in_each_group():
    rule = Within(RandomSubset(0.5), torch.arange(40) // 20)
    got = shown(rule, torch.zeros(40), 0, 1)
    assert {index for index in got if index < 20} != {index - 20 for index in got if index >= 20}
    assert Within(InfoBatch(), torch.zeros(4, dtype=torch.int64)).count(4, Moment(0, 4)) is None


def test_groups_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"groups must be int64 \(n,\), got torch.float32 \(3,\); one number a sample"):
        Within(Clip(), torch.zeros(3))
    with pytest.raises(ValueError, match="groups must be of the 4 samples, got 3"):
        Within(Clip(), torch.zeros(3, dtype=torch.int64))(torch.ones(4), torch.ones(4), Moment(0, 1))


@given(st.lists(st.integers(0, 50), min_size=1, max_size=60), st.integers(1, 7))
def test_bins_are_in_order_and_equal_values_share_one(values, bins):
    group = quantile_bins(torch.tensor(values), bins)
    assert group.dtype == torch.int64
    assert 0 <= int(group.min()) <= int(group.max()) < bins
    for one, two in product(range(len(values)), repeat=2):
        if values[one] <= values[two]:
            assert group[one] <= group[two]


def test_bins_of_different_values_are_of_about_equal_size():
    assert quantile_bins(torch.randperm(103).float(), 5).bincount().tolist() == [21, 20, 21, 20, 21]
    with pytest.raises(ValueError, match="bins must be at least 1, got 0"):
        quantile_bins(torch.ones(3), 0)
    for wrong in (torch.tensor([math.nan]), torch.ones(0), torch.ones(2, 2)):
        with pytest.raises(ValueError, match=r"values must be finite numbers \(n,\)"):
            quantile_bins(wrong, 2)


# ----- batch by batch -------------------------------------------------------------------------------------------

BATCHED: list[Any] = [(reading, order) for reading, order in COMBINATIONS if reading != "compounding"]


def ledger_of(score: Tensor) -> Ledger:
    ledger = Ledger(len(score))
    ledger.record(torch.arange(len(score)), score)
    return ledger


@QUIET
@pytest.mark.parametrize(("reading", "order"), [pair for pair in BATCHED if pair[1] != "random"])
@given(n=st.integers(1, 40), steps=st.integers(1, 9), epoch=st.integers(0, 4), share=st.sampled_from([0.0, 0.05, 0.4]))
def test_a_sample_is_released_when_the_pace_comes_to_it(reading, order, n, steps, epoch, share):
    score = random_scores(n, n)
    rule = Clip(QUADRATIC, share, reading, order, "batch")
    ordered = reference_clip.sorted_by(score.tolist(), hardest_first=order == "hard")
    progress = [(epoch + step / steps) / 5 for step in range(steps)]
    sizes = reference_clip.sizes(n, [reference_clip.pace("quadratic", 0.3, 0.6, each) for each in progress])
    if (reading == "algorithm1") == (order == "easy"):
        sizes = [max(1, size - math.floor(share * size + 1e-9)) for size in sizes]
    expected = reference_clip.release(ordered, sizes)
    got = rule.release(torch.ones(n), score, Moment(epoch, 5), steps).tolist()
    assert got == [expected[index] for index in range(n)]


def test_an_epoch_shows_what_it_would_at_its_end():
    score = random_scores(50)
    for kind in BATCHED:
        by_batch, by_epoch = Clip(QUADRATIC, 0.1, *kind, unit="batch"), Clip(QUADRATIC, 0.1, *kind)
        assert plans(by_batch, score, 10)[:9] == plans(by_epoch, score, 10)[1:]


@QUIET
@settings(max_examples=60)
@given(st.integers(1, 60), st.integers(1, 12), st.sampled_from(BATCHED), st.integers(0, 3), st.floats(0.02, 1))
def test_no_sample_comes_before_its_release(n, batch_size, kind, epoch, start):
    rule = Clip(Polynomial(start, 0.9, 1.0), 0.1, *kind, unit="batch")
    ledger = ledger_of(random_scores(n, n))
    sampler = PlannedSampler(ledger, rule, epochs=4, seed=n)
    sampler.set_epoch(epoch)
    whole = sampler.order.tolist()
    batches = [batch.tolist() for batch in sampler.batches(batch_size)]
    got = [index for batch in batches for index in batch]
    assert sorted(got) == sorted(whole)  # each of them once
    release = rule.release(torch.ones(n), ledger.score, sampler.moment, len(batches)).tolist()
    left = list(whole)
    for step, batch in enumerate(batches):
        for index in batch:
            free = [one for one in left if release[one] <= step]
            # The first released one in the fixed order, or else one that is released earliest.
            assert index == (free[0] if free else min(left, key=lambda one: (release[one], whole.index(one))))
            left.remove(index)


def batch_paced(epoch: int = 1, n: int = 57, rule=None, **options) -> PlannedSampler:
    rule = rule or Clip(Polynomial(0.3, 0.9, 1.0), 0.1, unit="batch")
    sampler = PlannedSampler(ledger_of(random_scores(n)), rule, epochs=4, **options)
    sampler.set_epoch(epoch)
    return sampler


def lists(batches) -> list[list[int]]:
    return [batch.tolist() for batch in batches]


def flat(batches) -> list[int]:
    return [int(index) for batch in batches for index in batch]


def test_a_pace_by_batch_changes_the_order_and_only_that():
    plain = batch_paced(rule=Clip(Polynomial(0.3, 0.9, 1.0), 0.1, unit="epoch"), epoch=2)
    paced = batch_paced()
    whole = paced.order.tolist()
    assert sorted(flat(paced.batches(8))) == sorted(whole)
    assert len(plain.order) == len(whole)
    assert paced.order.tolist() != whole


def resumed(state, rule, **options) -> PlannedSampler:
    """Another sampler, whose scores have changed in the meantime."""
    other = PlannedSampler(ledger_of(-random_scores(57, 9)), rule, epochs=4, **options)
    other.load_state_dict(state)
    return other


@pytest.mark.parametrize("done", [1, 2, 4])
def test_an_epoch_goes_on_exactly(done):
    whole = lists(batch_paced().batches(8))
    for fetched_ahead in (False, True):
        source = batch_paced()
        walk = source.batches(8)
        for _ in range(len(whole) if fetched_ahead else done):
            next(walk)
        other = resumed(source.state_after(done, 8), source.rule)
        assert other.steps_done(8) == done
        assert lists(other.batches(8)) == whole[done:]


@pytest.mark.parametrize("batch_size", [3, 5, 8, 20])
def test_another_batch_size_shows_the_rest_once(batch_size):
    source = batch_paced()
    walk = source.batches(8)
    seen = [index for _ in range(2) for index in next(walk).tolist()]
    rest = lists(resumed(source.state_dict(), source.rule).batches(batch_size))
    assert all(len(batch) <= batch_size for batch in rest)
    assert sorted([*seen, *flat(rest)]) == sorted(source.order.tolist())


def test_processes_share_the_batches():
    whole = lists(batch_paced().batches(8))
    parts = [batch_paced(rank=rank, world_size=2) for rank in range(2)]
    for one, two, together in zip(*(part.batches(8) for part in parts), whole, strict=True):
        assert one.tolist() == together[::2]
        assert two.tolist() == together[1::2]


def test_a_pace_by_batch_works_index_by_index_and_in_a_batch_sampler():
    source = batch_paced()
    assert sorted(source) == sorted(batch_paced().order.tolist())
    batches = PlannedBatchSampler(batch_paced(), 8)
    assert len(batches) == len(list(batches)) == len(lists(batch_paced().batches(8)))
    assert list(PlannedBatchSampler(batch_paced(), 8)) == lists(batch_paced().batches(8))


def test_a_pace_by_batch_works_after_and_inside_other_rules():
    clip = Clip(Polynomial(0.3, 0.9, 1.0), 0.1, unit="batch")
    score, moment = random_scores(60), Moment(1, 4)
    first = Exclude(torch.arange(60) < 20)
    inside = clip.release(torch.ones(60)[20:], score[20:], moment, 6)
    assert torch.equal(chain(first, clip).release(torch.ones(60), score, moment, 6)[20:], inside)
    groups = torch.arange(60) // 20
    parts = [clip.release(torch.ones(20), part, moment, 6) for part in score.split(20)]
    assert torch.equal(Within(clip, groups).release(torch.ones(60), score, moment, 6), torch.cat(parts))
    balanced = Balanced(clip, groups, floor=1.0)
    kept = clip(torch.ones(60), score, moment) > 0
    expected = clip.release(torch.ones(60), score, moment, 6).where(kept, 0)
    assert torch.equal(balanced.release(torch.ones(60), score, moment, 6), expected)
    for rule in (chain(first, clip), Within(clip, groups), balanced):
        assert rule.paced_in_epoch
        assert sum(map(len, batch_paced(n=60, rule=rule).batches(8))) == len(batch_paced(n=60, rule=rule).order)
    assert not chain(first, Clip()).paced_in_epoch
    assert not Within(Clip(), groups).paced_in_epoch
    assert not Balanced(Clip(), groups).paced_in_epoch


# ----- methods --------------------------------------------------------------------------------------------------


def test_methods_by_name():
    assert METHODS["clip"]() == Method(Clip(QUADRATIC, 0.05), score="given")
    assert METHODS["curriculum"]().rule == Clip(QUADRATIC, 0.0)
    assert METHODS["anti-curriculum"]().rule == Clip(QUADRATIC, 0.05, order="hard")
    assert METHODS["prune"](prune=0.2).rule == Clip(1.0, 0.2)
    grouped = METHODS["clip"](pace=0.5, unit="batch", groups=torch.zeros(3, dtype=torch.int64), refresh=4)
    assert isinstance(grouped.rule, Within)
    assert grouped.rule.rule == Clip(0.5, unit="batch")
    assert grouped.refresh == 4
    with pytest.raises(ValueError, match="refresh must be at least 0, got -1; 0 scores once"):
        METHODS["clip"](refresh=-1)

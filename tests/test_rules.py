import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import reference
from tamis.methods import METHODS
from tamis.moment import Moment
from tamis.paces import Exponential, Geometric, Polynomial, Ramp, Step
from tamis.rules import (
    Balanced,
    Chain,
    Clip,
    DropEasy,
    DropHard,
    Easiest,
    Exclude,
    Hardest,
    InfoBatch,
    Prune,
    RandomSubset,
    Rule,
    SelfPaced,
    Uniform,
    Within,
    chain,
    reasons,
)
from tamis.rules.lowest import highest, lowest


@dataclass(frozen=True)
class Case:
    """A rule under test: made for n samples, as some rules carry a column of their own."""

    make: Callable[[int], Rule]
    looks_at_scores: bool = True  # else it may hide what was never scored


def labels(n: int) -> Tensor:
    return torch.arange(n) % 3


GROWING = Polynomial(start=0.2, full_at=0.7, power=2.0)
CASES: dict[str, Case] = {
    "Uniform": Case(lambda n: Uniform()),
    "Easiest": Case(lambda n: Easiest(0.3)),
    "Easiest paced": Case(lambda n: Easiest(GROWING)),
    "Hardest": Case(lambda n: Hardest(0.3)),
    "Hardest paced": Case(lambda n: Hardest(GROWING)),
    "Prune easiest": Case(lambda n: Prune(0.3)),
    "Prune hardest": Case(lambda n: Prune(GROWING, "hardest")),
    "DropEasy": Case(lambda n: DropEasy(0.5)),
    "DropEasy late": Case(lambda n: DropEasy(0.5, start=0.5)),
    "DropHard": Case(lambda n: DropHard(0.5)),
    "DropHard otsu": Case(lambda n: DropHard(start=0.25)),
    "InfoBatch": Case(lambda n: InfoBatch()),
    "InfoBatch harsh": Case(lambda n: InfoBatch(ratio=0.9, delta=0.5)),
    "SelfPaced hard": Case(lambda n: SelfPaced()),
    "SelfPaced linear": Case(lambda n: SelfPaced(kind="linear")),
    "SelfPaced log": Case(lambda n: SelfPaced(kind="log")),
    "SelfPaced mixture": Case(lambda n: SelfPaced(kind="mixture", soft=0.3)),
    "SelfPaced everything": Case(lambda n: SelfPaced(1.0, kind="mixture")),
    "RandomSubset": Case(lambda n: RandomSubset(0.4), looks_at_scores=False),
    "RandomSubset fixed": Case(lambda n: RandomSubset(GROWING, fixed=True), looks_at_scores=False),
    "Exclude": Case(lambda n: Exclude(torch.arange(n) % 4 == 1), looks_at_scores=False),
    "Balanced": Case(lambda n: Balanced(Easiest(0.3), labels(n))),
    "Balanced hardest": Case(lambda n: Balanced(Prune(0.6), labels(n), floor=1.0, readmit="hardest")),
    "Balanced random": Case(lambda n: Balanced(RandomSubset(0.2), labels(n), floor=1.0), looks_at_scores=False),
    "Balanced InfoBatch": Case(lambda n: Balanced(InfoBatch(), labels(n), floor=0.9)),
    "Clip": Case(lambda n: Clip()),
    "Clip algorithm1": Case(lambda n: Clip(GROWING, 0.3, "algorithm1")),
    "Clip compounding": Case(lambda n: Clip(GROWING, 0.3, "compounding")),
    "Clip hard": Case(lambda n: Clip(GROWING, 0.3, order="hard")),
    "Clip hard algorithm1": Case(lambda n: Clip(GROWING, 0.3, "algorithm1", "hard")),
    "Clip random": Case(lambda n: Clip(GROWING, 0.3, order="random"), looks_at_scores=False),
    "Clip random algorithm1": Case(lambda n: Clip(GROWING, 0.3, "algorithm1", "random"), looks_at_scores=False),
    "Clip random compounding": Case(lambda n: Clip(GROWING, 0.3, "compounding", "random"), looks_at_scores=False),
    "Clip by batch": Case(lambda n: Clip(Geometric(), Ramp(0.0, 0.5, "falling"), unit="batch")),
    "Clip paced alone": Case(lambda n: Clip(Step(), 0.0)),
    "Clip pruning alone": Case(lambda n: Clip(1.0, Ramp(0.0, 0.9))),
    "Within": Case(lambda n: Within(Clip(Exponential()), labels(n))),
    "Within random": Case(lambda n: Within(RandomSubset(0.4), labels(n)), looks_at_scores=False),
    "Within chain": Case(lambda n: Within(chain(Clip(), InfoBatch()), labels(n))),
    "Balanced Clip": Case(lambda n: Balanced(Clip(unit="batch"), labels(n), floor=0.9)),
    "Prune by a ramp": Case(lambda n: Prune(Ramp(0.0, 0.5))),
    "Chain": Case(lambda n: chain(Easiest(GROWING), Prune(0.1), InfoBatch())),
    "Chain soft": Case(lambda n: chain(SelfPaced(kind="linear"), InfoBatch(), Hardest(0.5))),
    "Chain random": Case(lambda n: chain(RandomSubset(0.5), Balanced(Easiest(0.5), labels(n))), looks_at_scores=False),
}
CASES |= {
    f"method {name}": Case(lambda n, make=make: make().rule, "random" not in name) for name, make in METHODS.items()
}

SCORE = st.one_of(st.sampled_from([math.nan, 0.0, 0.5, 1.0]), st.floats(0, 100, width=32))
WEIGHT = st.sampled_from([0.0, 1.0, 1.0, 1.0, 0.25, 2.0])


@st.composite
def situations(draw):
    """Weights, scores and a moment, with the edges drawn more often than chance would."""
    n = draw(st.integers(1, 30))
    kind = draw(st.sampled_from(["mixed", "mixed", "mixed", "none scored", "equal", "all hidden", "all visible"]))
    score = [math.nan] * n if kind == "none scored" else draw(st.lists(SCORE, min_size=n, max_size=n))
    score = [draw(st.floats(0, 5, width=32))] * n if kind == "equal" else score
    weight = draw(st.lists(WEIGHT, min_size=n, max_size=n))
    weight = {"all hidden": [0.0] * n, "all visible": [1.0] * n}.get(kind, weight)
    epochs = draw(st.integers(1, 12))
    moment = Moment(draw(st.integers(0, epochs - 1)), epochs, draw(st.integers(0, 5)))
    return torch.tensor(weight), torch.tensor(score), moment


def ones(n: int) -> Tensor:
    return torch.ones(n)


def shown(weight: Tensor) -> list[int]:
    return (weight > 0).nonzero().flatten().tolist()


def same(one: Tensor, other: Tensor) -> bool:
    return torch.equal(one.view(torch.int32), other.view(torch.int32))  # NaN too


# ----- the laws -------------------------------------------------------------------------------------------------


def test_no_rule_class_is_left_out():
    import tamis.rules

    def classes(rule):
        inner = rule.rules if isinstance(rule, Chain) else [rule.rule] if isinstance(rule, Balanced | Within) else []
        return {type(rule)}.union(*map(classes, inner))

    tested = set().union(*(classes(case.make(5)) for case in CASES.values()))
    public = {getattr(tamis.rules, name) for name in tamis.rules.__all__}
    assert {item for item in public if isinstance(item, type) and item is not Rule} <= tested


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
@settings(max_examples=25)
@given(situation=situations())
def test_laws(case, situation):
    weight, score, moment = situation
    rule = case.make(len(weight))
    given_weight, given_score = weight.clone(), score.clone()
    answer = rule(weight, score, moment)

    assert same(weight, given_weight)  # writes to neither input
    assert same(score, given_score)
    assert answer.data_ptr() != weight.data_ptr()  # nor hands one out
    torch.manual_seed(moment.seed)
    assert same(rule(weight.clone(), score.clone(), moment), answer)  # same input, same answer
    assert answer.shape == weight.shape
    assert answer.dtype == torch.float32
    assert answer.isfinite().all()
    assert (answer >= 0).all()
    assert not answer[weight == 0].any()  # a hidden sample stays hidden
    unscored = (weight > 0) & score.isnan()
    if case.looks_at_scores:
        assert torch.equal(answer[unscored], weight[unscored])  # and an unscored one is shown as before


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
@settings(max_examples=25)
@given(n=st.integers(1, 40), ties=st.booleans(), epochs=st.integers(1, 12), data=st.data())
def test_count_is_what_the_rule_leaves(case, n, ties, epochs, data):
    moment = Moment(data.draw(st.integers(0, epochs - 1)), epochs, seed=n)
    value = st.sampled_from([0.0, 0.5, 1.0]) if ties else st.floats(0, 100, width=32)
    score = torch.tensor(data.draw(st.lists(value, min_size=n, max_size=n)))
    rule = case.make(n)
    count = rule.count(n, moment)
    if count is not None:
        assert count == len(shown(rule(ones(n), score, moment)))


@pytest.mark.parametrize(
    "rule",
    [
        Uniform(),
        Easiest(GROWING),
        Hardest(0.5),
        Prune(0.2),
        SelfPaced(),
        RandomSubset(0.5),
        chain(Easiest(0.5), Prune(0.1)),
        Clip(reading="compounding"),
        Within(Clip(), labels(100)),
    ],
)
def test_these_counts_are_known_in_advance(rule):
    assert all(rule.count(100, Moment(epoch, 10)) is not None for epoch in range(10))


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_repr_can_be_read(case):
    assert "object at" not in repr(case.make(4))
    assert "tensor" not in repr(case.make(4))


# ----- selection ------------------------------------------------------------------------------------------------


@given(st.lists(st.one_of(SCORE, st.sampled_from([-0.0, -3.0])), min_size=1, max_size=40), st.data())
def test_the_lowest_and_the_highest_are_those_of_a_sort(values, data):
    score = torch.tensor(values)
    among = (
        torch.tensor(data.draw(st.lists(st.booleans(), min_size=len(values), max_size=len(values)))) & ~score.isnan()
    )
    masked = [value if chosen else math.nan for value, chosen in zip(score.tolist(), among.tolist(), strict=True)]
    count = data.draw(st.integers(0, int(among.sum())))
    for select, hardest in ((lowest, False), (highest, True)):
        before = score.clone()
        got = select(score, among, count)
        assert got.nonzero().flatten().tolist() == sorted(reference.by_score(masked, hardest=hardest)[:count])
        assert same(score, before)


@given(situations(), st.floats(0.01, 0.99))
def test_subsets_by_difficulty_are_those_of_a_sort(situation, ratio):
    weight, score, moment = situation
    visible = [s if w > 0 else math.nan for w, s in zip(weight.tolist(), score.tolist(), strict=True)]
    easy, hard = reference.by_score(visible), reference.by_score(visible, hardest=True)
    kept = max(1, math.floor(ratio * len(easy) + 1e-9)) if easy else 0
    gone = min(max(len(easy) - 1, 0), math.floor(ratio * len(easy) + 1e-9))
    expected = {
        Easiest(ratio): easy[kept:],
        Hardest(ratio): hard[kept:],
        Prune(ratio): easy[:gone],
        Prune(ratio, "hardest"): hard[:gone],
    }
    for rule, hidden in expected.items():
        wanted = weight.clone()
        wanted[hidden] = 0
        assert torch.equal(rule(weight, score, moment), wanted), rule


def test_ties_go_to_the_earlier_sample():
    level = torch.zeros(10)
    moment = Moment(0, 1)
    assert shown(Easiest(0.3)(ones(10), level, moment)) == [0, 1, 2]
    assert shown(Hardest(0.3)(ones(10), level, moment)) == [0, 1, 2]
    assert shown(Prune(0.3)(ones(10), level, moment)) == [3, 4, 5, 6, 7, 8, 9]
    assert shown(Prune(0.3, "hardest")(ones(10), level, moment)) == [3, 4, 5, 6, 7, 8, 9]
    assert shown(SelfPaced(0.3)(ones(10), level, moment)) == [0, 1, 2]


def test_decimal_ratios_mean_what_they_say():
    moment = Moment(0, 1)
    for tenth in range(1, 10):  # 0.7 * 10 is 6.999... in binary
        assert Easiest(tenth / 10).count(10, moment) == tenth
        assert Prune(tenth / 10).count(1000, moment) == 1000 - tenth * 100


def test_a_curriculum_only_grows():
    score = torch.rand(101, generator=torch.Generator().manual_seed(0))
    sets = [set(shown(Easiest(GROWING)(ones(101), score, Moment(epoch, 20)))) for epoch in range(20)]
    assert all(earlier <= later for earlier, later in pairwise(sets))
    assert len(sets[0]) == 20
    assert len(sets[-1]) == 101


def test_a_subset_never_becomes_empty():
    for rule in (Easiest(0.001), Hardest(0.001), Prune(0.999), RandomSubset(0.001), SelfPaced(0.001)):
        assert len(shown(rule(ones(5), torch.arange(5.0), Moment(0, 1)))) == 1, rule
        assert len(shown(rule(ones(1), torch.ones(1), Moment(0, 1)))) == 1, rule


# ----- random subset --------------------------------------------------------------------------------------------


def test_a_random_subset_is_fair_and_new_in_every_epoch():
    times = torch.zeros(50)
    for epoch in range(400):
        times += RandomSubset(0.3)(ones(50), torch.full((50,), math.nan), Moment(epoch, 400, seed=1))
    assert times.sum() == 400 * 15
    assert (times - 120).abs().max() < 5 * math.sqrt(400 * 0.3 * 0.7)


def test_a_fixed_random_subset_stays_and_is_nested():
    rule = RandomSubset(Polynomial(0.2, 1.0, 1.0), fixed=True)
    sets = [set(shown(rule(ones(60), torch.zeros(60), Moment(epoch, 10, seed=3)))) for epoch in range(10)]
    assert all(earlier < later for earlier, later in pairwise(sets))
    assert sets[0] != set(range(12))
    other = set(shown(rule(ones(60), torch.zeros(60), Moment(0, 10, seed=4))))
    assert other != sets[0]


def test_a_random_subset_does_not_look_at_scores():
    moment = Moment(2, 5, seed=9)
    score = torch.rand(30, generator=torch.Generator().manual_seed(0))
    blind = RandomSubset(0.5)(ones(30), torch.full((30,), math.nan), moment)
    assert torch.equal(RandomSubset(0.5)(ones(30), score, moment), blind)


# ----- thresholds -----------------------------------------------------------------------------------------------


def test_drops_act_from_their_start_on_and_strictly():
    score = torch.tensor([0.0, 0.5, 1.0, math.nan])
    for epoch in range(4):
        acting = epoch >= 2
        moment = Moment(epoch, 4)
        assert shown(DropEasy(0.5, start=0.5)(ones(4), score, moment)) == ([1, 2, 3] if acting else [0, 1, 2, 3])
        assert shown(DropHard(0.5, start=0.5)(ones(4), score, moment)) == ([0, 1, 3] if acting else [0, 1, 2, 3])


@given(st.lists(st.floats(-5, 5, width=32), min_size=1, max_size=25))
def test_drop_hard_cuts_where_otsu_says(values):
    score = torch.tensor([*values, math.nan])
    kept = shown(DropHard()(ones(len(score)), score, Moment(0, 1)))
    assert len(values) in kept  # the one without a score
    highest_kept = max(score[index].item() for index in kept if index < len(values))
    assert all((value <= highest_kept) == (index in kept) for index, value in enumerate(score[:-1].tolist()))
    reached = reference.between_class_variance(values, highest_kept)
    assert reached == pytest.approx(reference.otsu_variance(values), rel=1e-6, abs=1e-12)


def test_exclude_hides_the_list():
    rule = Exclude(torch.tensor([True, False, True]))
    assert rule(torch.tensor([1.0, 2.0, 0.0]), torch.zeros(3), Moment(0, 1)).tolist() == [0.0, 2.0, 0.0]
    assert rule.count(3, Moment(0, 1)) == 1
    assert rule.count(2, Moment(0, 1)) is None


# ----- InfoBatch ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ratio", [0.3, 0.5, 0.8])
def test_infobatch_has_a_mean_weight_of_one(ratio):
    n, epochs = 400, 1000
    score = torch.rand(n, generator=torch.Generator().manual_seed(0)).square()
    easy = score < score.mean()
    weight = torch.stack([InfoBatch(ratio, 1.0)(ones(n), score, Moment(epoch, epochs)) for epoch in range(epochs)])
    assert (weight[:, ~easy] == 1).all()
    assert weight[:, easy].unique().tolist() == pytest.approx([0, 1 / (1 - ratio)])
    spread = math.sqrt(ratio / (1 - ratio))  # of one weight: it is 1 / (1 - r) with probability 1 - r, else 0
    mean = weight[:, easy].mean(0)
    assert float((mean - 1).abs().max()) < 5 * spread / math.sqrt(epochs)  # every sample
    assert float(mean.mean()) == pytest.approx(1, abs=4 * spread / math.sqrt(epochs * int(easy.sum())))
    gone = (weight[:, easy] == 0).float()
    assert float(gone.mean()) == pytest.approx(ratio, abs=0.005)
    pairs = torch.corrcoef(gone.T) - torch.eye(int(easy.sum()))
    assert float(pairs.abs().max()) < 6 / math.sqrt(epochs)  # samples are hidden independently
    again = torch.corrcoef(torch.stack([gone[:-1].flatten(), gone[1:].flatten()]))[0, 1]
    assert abs(float(again)) < 5 / math.sqrt(gone.numel())  # and epochs too


def test_infobatch_multiplies_the_given_weight():
    score, weight = torch.tensor([0.0, 0.1, 0.2, 9.0]), torch.tensor([0.5, 2.0, 0.0, 3.0])
    answers = torch.stack([InfoBatch(0.5, 1.0)(weight, score, Moment(epoch, 40)) for epoch in range(40)])
    assert [sorted(set(column.tolist())) for column in answers.T] == [[0.0, 1.0], [0.0, 4.0], [0.0], [3.0]]


def test_infobatch_takes_the_mean_of_what_is_visible_and_scored():
    # Mean of the visible scored ones: 2. With the hidden 100 it would be 34.7, and 3 would be easy too.
    score = torch.tensor([1.0, 3.0, 100.0, math.nan])
    weight = torch.tensor([1.0, 1.0, 0.0, 1.0])
    answers = torch.stack([InfoBatch(0.5, 1.0)(weight, score, Moment(epoch, 40)) for epoch in range(40)])
    assert [len(set(column.tolist())) for column in answers.T] == [2, 1, 1, 1]


def test_infobatch_hides_nothing_at_the_mean():
    score = torch.full((1000,), 0.1)
    assert torch.equal(InfoBatch()(ones(1000), score, Moment(0, 10)), ones(1000))


@pytest.mark.parametrize(("delta", "epochs"), [(0.875, 8), (0.7, 10), (0.3, 10), (0.6, 15), (0.0, 5), (1.0, 5)])
def test_infobatch_anneals_while_epoch_is_at_least_delta_of_epochs(delta, epochs):
    score = torch.arange(200.0)
    pruning = [
        len(shown(InfoBatch(0.5, delta)(ones(200), score, Moment(epoch, epochs)))) < 200 for epoch in range(epochs)
    ]
    assert pruning == [epoch < round(delta * epochs) for epoch in range(epochs)]
    known = [InfoBatch(0.5, delta).count(200, Moment(epoch, epochs)) for epoch in range(epochs)]
    assert known == [None if acts else 200 for acts in pruning]


# ----- self-paced -----------------------------------------------------------------------------------------------


@given(
    st.sampled_from(["hard", "linear", "log", "mixture"]),
    st.lists(st.floats(0, 50, width=32), min_size=2, max_size=25, unique=True),
    st.floats(0.05, 0.95),
    st.floats(0.1, 0.9),
    st.floats(0.1, 0.9),
)
def test_self_paced_weights_are_the_formulas(kind, losses, pace, soft, zeta_age):
    score = torch.tensor(losses)
    rule = SelfPaced(pace, kind=kind, soft=soft, zeta_age=zeta_age)
    easy = reference.by_score(score.tolist())
    age = score[easy[max(1, math.floor(pace * len(losses) + 1e-9))]].item()  # of the first sample outside
    weight = torch.arange(1.0, len(losses) + 1)
    got = rule(weight, score, Moment(0, 1))
    expected = [
        reference.self_paced(kind, loss, age, soft, zeta_age) * given
        for loss, given in zip(score.tolist(), weight.tolist(), strict=True)
    ]
    assert got.tolist() == pytest.approx(expected, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("kind", ["hard", "linear", "log", "mixture"])
@pytest.mark.parametrize("losses", [[0.0, 1.0, 2.0, 4.0], [3.0, 3.0], [5.0]])
def test_self_paced_is_ordinary_training_once_everything_is_in(kind, losses):
    weight = torch.full((len(losses),), 0.5)
    assert SelfPaced(kind=kind)(weight, torch.tensor(losses), Moment(9, 10)).equal(weight)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Easiest(0), "ratio must be in"),
        (lambda: Hardest(1.5), "ratio must be in"),
        (lambda: RandomSubset(-0.1), "ratio must be in"),
        (lambda: DropEasy(0.1, start=2), "start must be in"),
        (lambda: DropHard(start=-1), "start must be in"),
        (lambda: DropHard("median"), 'above must be a number or "otsu"'),  # type: ignore[arg-type]
    ],
)
def test_settings_are_checked_when_a_rule_is_made(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("kind", ["hard", "linear", "log", "mixture"])
def test_self_paced_with_losses_of_zero_shows_them(kind):
    assert SelfPaced(1.0, kind=kind)(ones(3), torch.zeros(3), Moment(0, 1)).tolist() == [1, 1, 1]


def test_self_paced_refuses_negative_scores_but_not_hidden_ones():
    score = torch.tensor([-1.0, 1.0])
    with pytest.raises(ValueError, match="score must be at least 0 for SelfPaced, got a negative one; use losses"):
        SelfPaced()(ones(2), score, Moment(0, 1))
    assert SelfPaced()(torch.tensor([0.0, 1.0]), score, Moment(0, 1)).tolist() == [0, 1]


# ----- Balanced -------------------------------------------------------------------------------------------------


@given(
    st.lists(st.tuples(st.integers(0, 3), st.floats(0, 9, width=32), st.booleans()), min_size=1, max_size=40),
    st.sampled_from([0.0, 0.3, 0.5, 1.0]),
    st.sampled_from(["easiest", "hardest"]),
    st.sampled_from([Easiest(0.3), Prune(0.5), RandomSubset(0.2), InfoBatch(0.7)]),
    st.booleans(),
)
def test_every_class_keeps_its_floor(rows, floor, readmit, inner, scored):
    label = torch.tensor([row[0] for row in rows])
    score = torch.tensor([row[1] for row in rows])
    if not scored:
        score = score.masked_fill(score > 3, math.nan)
    weight = torch.tensor([1.0 if row[2] else 0.0 for row in rows])
    moment = Moment(0, 2, seed=len(rows))
    before, plain = shown(weight), shown(inner(weight, score, moment))
    after = shown(Balanced(inner, label, floor, readmit)(weight, score, moment))
    assert set(plain) <= set(after) <= set(before)
    share = len(plain) / max(1, len(before))
    for each in range(4):
        member = [index for index in before if label[index] == each]
        kept = [index for index in plain if label[index] == each]
        least = math.ceil(floor * share * len(member) - 1e-9)
        back = [index for index in after if label[index] == each and index not in kept]
        assert len(kept) + len(back) == max(len(kept), least)
        left = [index for index in member if index not in kept]
        known = [score[index].item() for index in left if not score[index].isnan()]
        order = sorted(known, reverse=readmit == "hardest")
        returned = [score[index].item() for index in back if not score[index].isnan()]
        unscored = len(left) - len(known)
        assert len(back) - len(returned) == min(unscored, len(back))  # what is not known comes back first
        assert sorted(returned, reverse=readmit == "hardest") == order[: len(returned)]


def test_floors_hold_before_anything_is_scored():
    rule = Balanced(RandomSubset(0.2), torch.arange(10) % 2, floor=1.0)
    for seed in range(20):
        kept = rule(ones(10), torch.full((10,), math.nan), Moment(0, 1, seed))
        assert min(kept[0::2].sum(), kept[1::2].sum()) >= 1


def test_floors_are_exact_also_where_float32_is_not():
    """Shares of 39999 / 40001: class 0 must keep 19999.00002 samples, so all of its 20000."""
    label = (torch.arange(40_001) >= 20_000).long()
    score = torch.zeros(40_001).index_fill(0, torch.tensor([5, 30_000]), 1.0)
    kept = Balanced(Prune(2 / 40_001, "hardest"), label, floor=1.0)(ones(40_001), score, Moment(0, 1))
    assert (kept == 0).nonzero().flatten().tolist() == [30_000]


def test_balanced_gives_back_the_earlier_weight():
    label = torch.tensor([0, 0, 1, 1])
    weight = torch.tensor([1.0, 1.0, 0.5, 2.0])
    rule = Balanced(Easiest(0.5), label, floor=1.0)
    assert rule(weight, torch.tensor([0.0, 0.1, 2.0, 1.0]), Moment(0, 1)).tolist() == [1.0, 1.0, 0.0, 2.0]


# ----- chain and reasons ----------------------------------------------------------------------------------------


def test_a_chain_passes_on_what_is_left():
    rule = chain(Easiest(0.5), Prune(0.2))
    assert shown(rule(ones(10), torch.arange(10.0), Moment(0, 1))) == [1, 2, 3, 4]
    assert rule.count(10, Moment(0, 1)) == 4
    assert repr(rule) == "Easiest(pace=0.5) -> Prune(ratio=0.2, end='easiest')"
    assert chain(InfoBatch(), Easiest(0.5)).count(10, Moment(0, 10)) is None


def test_a_chain_of_nothing_is_refused():
    with pytest.raises(ValueError, match=r"chain must get at least one rule, got none; Uniform\(\) shows everything"):
        chain()


@given(situations())
def test_reasons_name_the_part_that_hid_a_sample(situation):
    weight, score, moment = situation
    parts = (Easiest(0.7), InfoBatch(), RandomSubset(0.5))
    answer, hidden_by, texts = reasons(chain(*parts), weight, score, moment)
    assert torch.equal(answer, chain(*parts)(weight, score, moment))
    assert texts == [repr(part) for part in parts]
    assert hidden_by.dtype == torch.int8
    now, expected = weight, torch.full((len(weight),), -1)
    for place, part in enumerate(parts):
        after = part(now, score, moment)
        expected[(now > 0) & (after == 0)] = place
        now = after
    assert hidden_by.tolist() == expected.tolist()


def test_reasons_of_a_single_rule():
    _, hidden_by, texts = reasons(Prune(0.5), ones(4), torch.arange(4.0), Moment(0, 1))
    assert hidden_by.tolist() == [0, 0, -1, -1]
    assert texts == ["Prune(ratio=0.5, end='easiest')"]


# ----- what a user can get wrong --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Prune(0.0), r"ratio must be in \(0, 1\), got 0.0"),
        (lambda: Prune(1), r"ratio must be in \(0, 1\), got 1"),
        (lambda: Prune(math.nan), r"ratio must be in \(0, 1\), got nan"),
        (lambda: Prune(0.5, "lowest"), 'end must be "easiest" or "hardest", got \'lowest\''),  # type: ignore[arg-type]
        (lambda: InfoBatch(1.0), r"ratio must be in \(0, 1\), got 1.0"),
        (lambda: InfoBatch(0.5, 1.5), r"delta must be in \[0, 1\], got 1.5"),
        (lambda: SelfPaced(kind="soft"), 'kind must be "hard", "linear", "log" or "mixture", got \'soft\''),  # type: ignore[arg-type]
        (lambda: SelfPaced(soft=1.0), r"soft must be in \(0, 1\), got 1.0"),
        (lambda: SelfPaced(zeta_age=0.0), r"zeta_age must be in \(0, 1\), got 0.0"),
        (lambda: Balanced(Uniform(), labels(3), floor=2.0), r"floor must be in \[0, 1\], got 2.0"),
        (lambda: Balanced(Uniform(), labels(3), readmit="first"), 'readmit must be "easiest" or "hardest", got'),  # type: ignore[arg-type]
        (lambda: Easiest(0.0)(ones(3), ones(3), Moment(0, 1)), r"ratio must be in \(0, 1\], got 0.0"),
        (lambda: RandomSubset(1.5)(ones(3), ones(3), Moment(0, 1)), r"ratio must be in \(0, 1\], got 1.5"),
    ],
)
def test_a_wrong_setting_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()

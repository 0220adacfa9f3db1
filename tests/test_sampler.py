import warnings
from itertools import pairwise, zip_longest
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from tamis.checkpoint import load_checkpoint, save_checkpoint
from tamis.ledger import Ledger
from tamis.moment import Moment
from tamis.paces import Polynomial
from tamis.rules import Clip, DropEasy, Easiest, InfoBatch, Prune, RandomSubset, Rule, Uniform, chain
from tamis.sampler import PlannedBatchSampler, PlannedSampler, shuffled


def scored(n: int) -> Ledger:
    ledger = Ledger(n)
    ledger.record(torch.arange(n), torch.rand(n, generator=torch.Generator().manual_seed(0)))
    return ledger


def sampler(rule: Rule | None = None, n: int = 53, *, epochs: int = 6, **options) -> PlannedSampler:
    return PlannedSampler(scored(n), rule or Uniform(), epochs=epochs, **options)


def epoch_of(source: PlannedSampler, epoch: int) -> list[int]:
    source.set_epoch(epoch)
    return list(source)


CHAIN = chain(Easiest(0.7), InfoBatch())
RULES = [Uniform(), Easiest(Polynomial(0.2)), Prune(0.3), InfoBatch(), RandomSubset(0.5), CHAIN]
WITH_RULES = pytest.mark.parametrize("rule", RULES, ids=repr)


# ----- the order ------------------------------------------------------------------------------------------------


@WITH_RULES
def test_an_epoch_is_what_the_rule_shows_in_the_order_of_the_whole(rule):
    source, whole = sampler(rule, seed=3), sampler(seed=3)
    for epoch in range(6):
        got, everything = epoch_of(source, epoch), epoch_of(whole, epoch)
        assert len(got) == len(source) == len(set(got))  # never one index twice
        weight = rule(torch.ones(53), source.ledger.score, Moment(epoch, 6, 3))
        assert torch.equal(source.weight, weight)
        assert got == [index for index in everything if weight[index] > 0]  # paired with every other rule
        assert all(isinstance(index, int) for index in got)


def test_the_order_depends_on_seed_and_epoch_alone():
    first = epoch_of(sampler(seed=1), 2)
    assert sorted(first) == list(range(53))
    torch.manual_seed(9)
    assert epoch_of(sampler(seed=1), 2) == first
    assert epoch_of(sampler(seed=1, epochs=3), 2) == first
    assert len({tuple(first), tuple(epoch_of(sampler(seed=1), 3)), tuple(epoch_of(sampler(seed=2), 2))}) == 3


def test_the_global_generator_is_left_alone():
    before = torch.get_rng_state()
    epoch_of(sampler(InfoBatch()), 1)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_order_is_uniform():
    """Each sample in each place about equally often."""
    count = torch.zeros(6, 6)
    for seed in range(1200):
        order = shuffled(torch.ones(6), Moment(0, 1, seed))
        count[order.long(), torch.arange(6)] += 1
    chi2 = float(((count - 200) ** 2 / 200).sum())
    assert chi2 < 25 + 5 * (2 * 25) ** 0.5


def test_pieces_of_the_order_are_joined(monkeypatch):
    weight = (torch.arange(100) % 3 > 0).float()
    whole = shuffled(weight, Moment(0, 1))
    monkeypatch.setattr("tamis.sampler._PIECE", 7)
    assert torch.equal(shuffled(weight, Moment(0, 1)), whole)


def test_scores_are_read_anew_at_every_epoch():
    ledger = scored(20)
    source = PlannedSampler(ledger, Easiest(0.5), epochs=3)
    ledger.record(torch.arange(20), torch.arange(20.0))
    source.set_epoch(1)
    assert sorted(source) == list(range(10))
    ledger.record(torch.arange(20), -torch.arange(20.0))
    source.set_epoch(2)
    assert sorted(source) == list(range(10, 20))


def test_a_plan_is_kept_while_its_epoch_runs():
    ledger = scored(20)
    source = PlannedSampler(ledger, Easiest(0.5), epochs=3)
    walk = iter(source)
    seen = [next(walk) for _ in range(4)]
    ledger.record(torch.arange(20), torch.rand(20))
    source.set_epoch(0)  # as some frameworks do once more
    assert len(source) == 10
    rest = list(walk)
    assert len(set(seen + rest)) == 10


# ----- several processes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("world", [1, 2, 3])
@WITH_RULES
def test_processes_share_one_global_order(world, rule):
    alone = sampler(rule)
    parts = [sampler(rule, rank=rank, world_size=world) for rank in range(world)]
    for epoch in range(4):
        whole = epoch_of(alone, epoch)
        shares = [epoch_of(part, epoch) for part in parts]
        length = len(whole) // world
        assert [len(share) for share in shares] == [length] * world == [len(part) for part in parts]
        assert [share[place] for place in range(length) for share in shares] == whole[: length * world]


@pytest.mark.parametrize("world", [1, 2, 3])
def test_batches_of_processes_make_up_the_batches_of_one(world):
    """Also where the batches, or the epoch, cannot be divided by the number of processes."""
    for n, batch_size in ((60, 12), (61, 12), (53, 7)):
        alone = sampler(n=n)
        parts = [sampler(n=n, rank=rank, world_size=world) for rank in range(world)]
        steps = zip(*(part.batches(batch_size) for part in parts), strict=True)
        for step, whole in zip(steps, alone.batches(batch_size), strict=True):
            assert together(step) == whole.tolist()


def together(shares) -> list[int]:
    """What the processes have of a batch, in the order of the batch."""
    return [int(index) for row in zip_longest(*shares) for index in row if index is not None]


@pytest.mark.parametrize(("rank", "world"), [(2, 2), (-1, 2), (0, 0)])
def test_a_rank_outside_the_world_is_refused(rank, world):
    with pytest.raises(ValueError, match=rf"rank must be in \[0, {world}\), got {rank}"):
        sampler(rank=rank, world_size=world)


# ----- batches --------------------------------------------------------------------------------------------------


@given(st.integers(1, 60), st.integers(1, 70), st.integers(1, 3))
def test_batches_are_even_and_make_up_the_epoch(n, batch_size, world):
    if n < world or batch_size < 2 * world:
        return
    parts = [sampler(n=n, rank=rank, world_size=world) for rank in range(world)]
    steps = list(zip(*(part.batches(batch_size) for part in parts), strict=True))
    sizes = [sum(map(len, step)) for step in steps]
    assert max(sizes) <= batch_size
    assert max(sizes) - min(sizes) <= 1
    assert len(sizes) == parts[0].steps(batch_size) == -(-n // batch_size)
    assert all(batch.dtype == torch.int64 and len(batch) for step in steps for batch in step)
    assert [index for step in steps for index in together(step)] == list(sampler(n=n))


def test_a_batch_smaller_than_the_processes_is_refused():
    with pytest.raises(ValueError, match="a batch must have a sample for each of the 3 processes, got 2; raise batch"):
        list(sampler(n=10, rank=0, world_size=3).batches(2))


@pytest.mark.parametrize("world", [2, 3])
def test_index_by_index_no_process_gets_more_than_another(world):
    parts = [list(sampler(n=53, rank=rank, world_size=world)) for rank in range(world)]
    assert {len(part) for part in parts} == {53 // world}
    assert together(parts) == list(sampler(n=53))[: 53 // world * world]


@pytest.mark.parametrize("batch_size", [0, -3])
def test_a_batch_size_below_one_is_refused(batch_size):
    with pytest.raises(ValueError, match=f"batch_size must be at least 1, got {batch_size}"):
        PlannedBatchSampler(sampler(), batch_size)
    with pytest.raises(ValueError, match=f"batch_size must be at least 1, got {batch_size}"):
        list(sampler().batches(batch_size))


class Squares(Dataset):
    def __len__(self) -> int:
        return 53

    def __getitem__(self, index: int) -> tuple[int, int]:
        return index, index**2


@pytest.mark.parametrize("workers", [0, 2])
def test_batch_sampler_in_a_data_loader(workers):
    source = sampler(Easiest(Polynomial(0.3, 0.5, 1.0)))
    loader = DataLoader(Squares(), batch_sampler=PlannedBatchSampler(source, 8), num_workers=workers)
    plain = sampler(Easiest(Polynomial(0.3, 0.5, 1.0)))
    lengths = []
    for epoch in range(3):
        loader.batch_sampler.set_epoch(epoch)  # type: ignore[union-attr]
        batches = [index for index, _ in loader]
        assert len(batches) == len(loader)
        assert torch.cat(batches).tolist() == epoch_of(plain, epoch)
        assert max(map(len, batches)) - min(map(len, batches)) <= 1
        lengths.append(len(loader))
    assert lengths == [2, 4, 5]  # 15, 28 and 40 samples


@pytest.mark.parametrize("drop_last", [False, True])
def test_sampler_in_a_data_loader(drop_last):
    source = sampler(Prune(0.5))
    loader = DataLoader(Squares(), batch_size=8, sampler=source, drop_last=drop_last)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for epoch in range(3):
            source.set_epoch(epoch)
            got = torch.cat([index for index, _ in loader]).tolist()
            assert got == epoch_of(sampler(Prune(0.5)), epoch)[: 24 if drop_last else 27]


# ----- the epochs -----------------------------------------------------------------------------------------------


WALKS = {
    "indices": list,
    "batches": lambda source: torch.cat(list(source.batches(8))).tolist(),
    "batch sampler": lambda source: [index for batch in PlannedBatchSampler(source, 8) for index in batch],
}


@pytest.mark.parametrize("walk", WALKS.values(), ids=WALKS)
def test_it_advances_by_itself_and_says_so_once(walk):
    source, told = sampler(epochs=4), sampler(epochs=4)
    first = walk(source)
    with pytest.warns(UserWarning, match="set_epoch was not called between two epochs; advancing by itself"):
        second = walk(source)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        third = walk(source)
    assert [first, second, third] == [epoch_of(told, epoch) for epoch in range(3)]


def test_an_iterator_that_was_not_exhausted_leaves_no_empty_epoch():
    source = sampler(n=10)
    walk = iter(source)
    for _ in range(10):  # as `for _ in range(len(loader)): next(iterator)` does
        next(walk)
    with pytest.warns(UserWarning, match="set_epoch"):
        assert list(source) == epoch_of(sampler(n=10), 1)


def test_it_stays_in_the_last_epoch():
    source = sampler(epochs=2)
    with pytest.warns(UserWarning, match="set_epoch"):
        epochs = [list(source) for _ in range(4)]
    assert epochs[1] == epochs[2] == epochs[3] != epochs[0]


def test_with_set_epoch_nothing_is_said():
    source = sampler()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for epoch in (0, 1, 3, 1):
            assert epoch_of(source, epoch) == epoch_of(sampler(), epoch)


def test_an_epoch_outside_the_training_is_refused():
    with pytest.raises(ValueError, match=r"epoch must be in \[0, 6\), got 6"):
        sampler().set_epoch(6)


def test_an_empty_epoch_is_refused_before_it_starts():
    with pytest.raises(ValueError, match=r"the plan of epoch 0 must show at least 1 samples, got 0 from DropEasy"):
        sampler(DropEasy(below=2.0))
    with pytest.raises(ValueError, match=r"must show at least 3 samples, got 2 from .*; weaken the rule"):
        sampler(n=2, rank=0, world_size=3)
    source = sampler(DropEasy(below=2.0, start=0.5))
    source.set_epoch(2)
    with pytest.raises(ValueError, match="the plan of epoch 3 must show"):
        source.set_epoch(3)


# ----- total steps ----------------------------------------------------------------------------------------------

KNOWN = [Uniform(), Easiest(Polynomial(0.2)), chain(Easiest(Polynomial(0.4)), Prune(0.1)), RandomSubset(0.3)]


@pytest.mark.parametrize(("world", "batch_size"), [(1, 1), (1, 7), (1, 100), (3, 7), (3, 100)])
@pytest.mark.parametrize("rule", KNOWN, ids=repr)
def test_total_steps_are_the_steps_that_come(rule, batch_size, world):
    source = sampler(rule, epochs=9, rank=world - 1, world_size=world)
    steps = 0
    for epoch in range(9):
        source.set_epoch(epoch)
        steps += len(list(source.batches(batch_size)))
    assert source.total_steps(batch_size) == steps


def test_total_steps_fit_one_cycle():
    source = sampler(Easiest(Polynomial(0.3)), epochs=4)
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1.0, total_steps=source.total_steps(8))
    for epoch in range(4):
        source.set_epoch(epoch)
        for _ in source.batches(8):
            optimizer.step()
            schedule.step()
    assert schedule.last_epoch == source.total_steps(8)


@pytest.mark.parametrize("rule", [InfoBatch(), DropEasy(0.1), chain(Easiest(0.5), InfoBatch())], ids=repr)
def test_total_steps_that_depend_on_scores_are_refused(rule):
    with pytest.raises(ValueError, match=r"the length of epoch 0 must not depend on scores, got .*drive the learning"):
        sampler(rule).total_steps(8)


# ----- going on in the middle of an epoch -----------------------------------------------------------------------


def resumed(source: PlannedSampler, **options) -> PlannedSampler:
    """Another sampler, with other scores, that takes over the state as a checkpoint would hold it."""
    other = PlannedSampler(Ledger(len(source.ledger)), source.rule, epochs=source.epochs, seed=source.seed, **options)
    state = source.state_dict()
    other.load_state_dict({**state, "weight": state["weight"].clone()})
    return other


@WITH_RULES
@pytest.mark.parametrize("position", [0, 1, 5])
def test_indices_go_on_where_they_stopped(rule, position):
    source = sampler(rule, seed=4)
    source.set_epoch(2)
    walk = iter(source)
    seen = [next(walk) for _ in range(position)]
    other = resumed(source)
    assert other.moment.epoch == 2
    assert len(other) == len(source)
    assert seen + list(other) == epoch_of(sampler(rule, seed=4), 2)


@WITH_RULES
def test_batches_go_on_where_they_stopped(rule):
    whole = [batch.tolist() for batch in sampler(rule).batches(4)]
    for done in range(len(whole) + 1):
        source = sampler(rule)
        walk = source.batches(4)
        seen = [next(walk).tolist() for _ in range(done)]
        other = resumed(source)
        other.set_epoch(0) if 0 < done < len(whole) else None
        if done < len(whole):
            assert seen + [batch.tolist() for batch in other.batches(4)] == whole


def test_a_state_through_a_checkpoint(tmp_path):
    source = sampler(InfoBatch())
    walk = iter(source)
    seen = [next(walk) for _ in range(7)]
    save_checkpoint(tmp_path / "c", {}, source.state_dict())
    other = sampler(InfoBatch())
    other.load_state_dict(load_checkpoint(tmp_path / "c")[1])
    assert seen + list(other) == list(sampler(InfoBatch()))


@pytest.mark.parametrize(("old", "new"), [(2, 1), (1, 2), (3, 1), (1, 3), (2, 3), (3, 2)])
@pytest.mark.parametrize("batch_size", [6, 7, 20])
def test_another_number_of_processes_goes_on_exactly(old, new, batch_size):
    """Every batch of the epoch is as one process would have it, whoever shows it."""
    whole = [batch.tolist() for batch in sampler(n=61).batches(batch_size)]
    for done in range(1, len(whole)):
        parts = [sampler(n=61, rank=rank, world_size=old) for rank in range(old)]
        walks = [part.batches(batch_size) for part in parts]
        seen = [together([next(walk) for walk in walks]) for _ in range(done)]
        others = [resumed(parts[0], rank=rank, world_size=new) for rank in range(new)]
        assert others[0].steps_done(batch_size) == done
        rest = [together(step) for step in zip(*(other.batches(batch_size) for other in others), strict=True)]
        assert seen + rest == whole


@pytest.mark.parametrize("done", [0, 1, 4, 8])
def test_the_state_after_some_steps_does_not_know_what_was_fetched_ahead(done):
    source = sampler()
    batches = list(source.batches(6))  # all of them are drawn
    other = sampler()
    other.load_state_dict(source.state_after(done, 6))
    assert other.steps_done(6) == done
    assert list(map(Tensor.tolist, other.batches(6))) == list(map(Tensor.tolist, batches[done:]))


@pytest.mark.parametrize("batch_size", [3, 4, 7, 60])
def test_another_batch_size_goes_on_exactly(batch_size):
    source = sampler()
    walk = source.batches(5)
    seen = torch.cat([next(walk) for _ in range(3)]).tolist()
    rest = list(resumed(source).batches(batch_size))
    assert all(len(batch) <= batch_size for batch in rest)
    assert seen + torch.cat(rest).tolist() == list(sampler())


def test_a_finished_epoch_stays_finished():
    source = sampler()
    list(source)
    other = resumed(source)
    other.set_epoch(1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(list(other)) == 53
    with pytest.warns(UserWarning, match="set_epoch"):
        assert list(resumed(source)) == epoch_of(sampler(), 1)


def test_states_that_do_not_fit_are_refused():
    source = sampler()
    iterator = iter(source)
    next(iterator)
    with pytest.raises(ValueError, match="weight must hold 10 samples, got 53"):
        sampler(n=10).load_state_dict(source.state_dict())


def test_weights_multiply_the_losses_of_what_is_shown():
    source = sampler(InfoBatch(0.5))
    weight: Tensor = source.weight[torch.cat(list(source.batches(8)))]
    assert set(weight.tolist()) == {1.0, 2.0}
    assert float(weight.sum()) == pytest.approx(53, abs=12)


def test_edges_of_batches_cover_without_gaps():
    edges = [len(batch) for batch in sampler(n=10).batches(4)]
    assert sum(edges) == 10
    assert all(abs(one - other) <= 1 for one, other in pairwise(edges))


# ----- groups: batches of one kind of sample --------------------------------------------------------------------


def grouped(n: int = 53, kinds: int = 4, rule: Rule | None = None, **options) -> PlannedSampler:
    groups = torch.randint(kinds, (n,), generator=torch.Generator().manual_seed(kinds)) * 1000 - 7
    return sampler(rule, n, groups=groups, **options)


def grouped_after(steps: int) -> dict[str, Any]:
    return grouped().state_after(steps, 6)


def lists(batches) -> list[list[int]]:
    return [batch.tolist() for batch in batches]


@given(st.integers(1, 80), st.integers(1, 9), st.integers(1, 20), st.integers(0, 5), st.sampled_from(RULES))
def test_batches_are_of_one_group_and_even(n, kinds, batch_size, epoch, rule):
    source = grouped(n, kinds, rule, seed=n)
    source.set_epoch(epoch)
    assert source.groups is not None
    order = source.order.tolist()
    group = dict(enumerate(source.groups.tolist()))
    batches = lists(source.batches(batch_size))
    assert len(batches) == source.steps(batch_size) == source.steps_done(batch_size)
    for each in set(group.values()):
        mine = [index for index in order if group[index] == each]
        parts = [batch for batch in batches if group[batch[0]] == each]
        assert [index for part in parts for index in part] == mine  # all of them, in the order of the epoch
        sizes = [len(part) for part in parts]
        assert len(sizes) == -(-len(mine) // batch_size)
        assert not sizes or max(sizes) - min(sizes) <= 1
    ends = [order.index(batch[-1]) for batch in batches]
    assert ends == sorted(ends)  # a batch comes when its last sample would have


@pytest.mark.parametrize("batch_size", [1, 7, 100])
@WITH_RULES
def test_one_group_changes_nothing(rule, batch_size):
    plain, same = sampler(rule), sampler(rule, groups=torch.full((53,), 5))
    for epoch in range(3):
        plain.set_epoch(epoch)
        same.set_epoch(epoch)
        assert lists(plain.batches(batch_size)) == lists(same.batches(batch_size))


def test_groups_need_not_be_few():
    groups = torch.arange(70_000).flip(0) * 10**12
    source = PlannedSampler(scored(70_000), Uniform(), epochs=1, groups=groups)
    assert lists(source.batches(32))[:5] == [[index] for index in source.order[:5].tolist()]


@pytest.mark.parametrize("world", [2, 3])
def test_groups_are_cut_alike_whatever_the_processes(world):
    whole = lists(grouped(n=90).batches(12))
    parts = [grouped(n=90, rank=rank, world_size=world) for rank in range(world)]
    assert [together(step) for step in zip(*(part.batches(12) for part in parts), strict=True)] == whole


@pytest.mark.parametrize("fetched_ahead", [False, True])
def test_groups_go_on_where_they_stopped(fetched_ahead):
    whole = lists(grouped().batches(6))
    for done in range(1, len(whole)):
        source = grouped()
        walk = source.batches(6)
        for _ in range(len(whole) if fetched_ahead else done):
            next(walk)
        other = grouped(rule=Prune(0.5))  # its own plan would be another
        other.load_state_dict(source.state_after(done, 6))
        other.set_epoch(0)
        assert other.steps_done(6) == done
        assert lists(other.batches(6)) == whole[done:]
    finished = grouped()
    finished.load_state_dict(grouped_after(len(whole)))
    assert finished.steps_done(6) == len(whole)


@pytest.mark.parametrize("batch_size", [1, 4, 5, 6, 50])
def test_groups_go_on_with_another_batch_size(batch_size):
    source = grouped()
    walk = source.batches(6)
    seen = [index for _ in range(3) for index in next(walk).tolist()]
    other = grouped()
    other.load_state_dict(source.state_dict())
    rest = lists(other.batches(batch_size))
    assert sorted(seen + [index for batch in rest for index in batch]) == list(range(53))
    assert source.groups is not None
    assert all(len(batch) <= batch_size and len(set(source.groups[batch].tolist())) == 1 for batch in rest)


def test_a_state_of_groups_through_a_checkpoint(tmp_path):
    whole = lists(grouped().batches(6))
    save_checkpoint(tmp_path / "c", {}, grouped_after(2))
    other = grouped()
    other.load_state_dict(load_checkpoint(tmp_path / "c")[1])
    assert lists(other.batches(6)) == whole[2:]


def test_groups_in_a_batch_sampler_epoch_after_epoch():
    source, plain = PlannedBatchSampler(grouped(), 6), grouped()
    for epoch in range(3):
        source.set_epoch(epoch)
        plain.set_epoch(epoch)
        assert len(source) == len(list(source)) == plain.steps(6)
        plain.set_epoch(epoch)
        source.set_epoch(epoch)
        assert list(source) == lists(plain.batches(6))


def test_asking_for_the_steps_of_several_batch_sizes_changes_nothing():
    source = grouped()
    assert source.steps(3) > source.steps(20)
    assert lists(source.batches(6)) == lists(grouped().batches(6))


def test_groups_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match=r"groups must be int64 \(53,\), got torch.int64 \(3,\); one number a sample"):
        sampler(groups=torch.zeros(3, dtype=torch.int64))
    with pytest.raises(ValueError, match="groups must come with whole batches, got single indices; use PlannedBatch"):
        list(grouped())
    with pytest.raises(ValueError, match=r"groups must come with a pace by epoch, got Clip.*; take unit epoch"):
        grouped(rule=Clip(unit="batch"))
    with pytest.raises(ValueError, match="groups must be None for total_steps"):
        grouped().total_steps(6)
    groups = torch.tensor([0, 0, 0, 0, 1])
    with pytest.raises(ValueError, match="a batch must have a sample for each of the 2 processes, got 1 in the small"):
        list(sampler(n=5, groups=groups, rank=0, world_size=2).batches(4))

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import reference
from tamis.moment import Moment, seed_of, uniforms


def test_splitmix_of_the_reference_is_the_published_one():
    assert reference.splitmix64(0, 2) == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4]


# ----- Moment ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("epochs", [1, 3, 90])
def test_progress_goes_from_zero_to_below_one(epochs):
    progress = [Moment(epoch, epochs).progress for epoch in range(epochs)]
    assert progress == [epoch / epochs for epoch in range(epochs)]
    assert progress[0] == 0
    assert progress[-1] < 1


@pytest.mark.parametrize(
    ("epoch", "epochs", "message"),
    [
        (0, 0, r"epochs must be at least 1, got 0"),
        (3, 3, r"epoch must be in \[0, 3\), got 3"),
        (-1, 3, r"epoch must be in \[0, 3\), got -1"),
    ],
)
def test_a_moment_outside_the_training_is_refused(epoch, epochs, message):
    with pytest.raises(ValueError, match=message):
        Moment(epoch, epochs)


def test_a_generator_depends_on_seed_epoch_and_stream_alone():
    def draw(moment, stream):
        return tuple(torch.rand(4, generator=moment.generator(stream)).tolist())

    torch.manual_seed(1)
    first = draw(Moment(3, 10, 7), "order")
    torch.manual_seed(2)
    assert draw(Moment(3, 10, 7), "order") == first
    assert draw(Moment(3, 99, 7), "order") == first  # the length of the training is no part of it
    others = {draw(Moment(3, 10, 7), "augment"), draw(Moment(4, 10, 7), "order"), draw(Moment(3, 10, 8), "order")}
    assert len(others | {first}) == 4


def test_the_global_generator_is_left_alone():
    before = torch.get_rng_state()
    Moment(0, 1).generator("x").initial_seed()
    uniforms(0, 0, torch.arange(3), "x", 2)
    assert torch.equal(torch.get_rng_state(), before)


# ----- seed_of --------------------------------------------------------------------------------------------------


@given(st.integers(-(2**63), 2**64), st.lists(st.one_of(st.integers(-(2**63), 2**64), st.text()), max_size=4))
def test_a_seed_is_pure_and_in_range(seed, parts):
    number = seed_of(seed, *parts)
    assert 0 <= number < 2**63
    assert number == seed_of(seed, *parts)


def test_near_seeds_are_far_apart():
    parts = [(s, e, name) for s in range(10) for e in range(10) for name in ("a", "b", "ab")]
    assert len({seed_of(*part) for part in parts}) == len(parts)
    assert seed_of(0, 1, 2) != seed_of(0, 2, 1)
    assert seed_of(0, "a", "b") != seed_of(0, "b", "a")
    bits = [bin(seed_of(0, epoch) ^ seed_of(0, epoch + 1)).count("1") for epoch in range(500)]
    assert sum(bits) / 500 == pytest.approx(31.5, abs=0.6)  # half of 63 bits differ


def test_seeds_are_the_same_in_every_version():
    assert [seed_of(0), seed_of(7, 3, "order")] == [0xE220A8397B1DCDAF >> 1, 9082738290356718049]


# ----- uniforms -------------------------------------------------------------------------------------------------


@settings(max_examples=50)
@given(
    st.integers(0, 2**40),
    st.integers(0, 1000),
    st.lists(st.integers(0, 2**40), max_size=5),
    st.integers(1, 5),
)
def test_uniforms_are_splitmix_at_a_place(seed, epoch, index, count):
    got = uniforms(seed, epoch, torch.tensor(index, dtype=torch.int64), "flip", count)
    assert got.shape == (len(index), count)
    assert got.dtype == torch.float32
    start = seed_of(seed, epoch, "flip") << 1
    for row, sample in enumerate(index):
        jump = (start + sample * count * 0x9E3779B97F4A7C15) % 2**64
        expected = [(number >> 40) / 2**24 for number in reference.splitmix64(jump, count)]
        assert got[row].tolist() == expected


def test_a_sample_has_the_same_numbers_in_any_batch():
    index = torch.randperm(1000, generator=torch.Generator().manual_seed(0))
    whole = uniforms(5, 2, torch.arange(1000), "crop", 3)
    assert torch.equal(uniforms(5, 2, index, "crop", 3), whole[index])
    assert torch.equal(uniforms(5, 2, index[17:18], "crop", 3), whole[index[17:18]])


def test_uniforms_are_uniform_and_independent():
    n = 100_000
    index = torch.arange(n)
    columns = [*uniforms(0, 0, index, "a", 3).T, *uniforms(0, 1, index, "a", 1).T]
    columns += [*uniforms(1, 0, index, "a", 1).T, *uniforms(0, 0, index, "b", 1).T]
    for column in columns:
        assert column.min() >= 0
        assert column.max() < 1
        cells = (column * 64).long().bincount(minlength=64).double()
        chi2 = float(((cells - n / 64) ** 2 / (n / 64)).sum())
        assert abs(chi2 - 63) < 5 * math.sqrt(2 * 63)
        lag = torch.corrcoef(torch.stack([column[:-1], column[1:]]))[0, 1]
        assert abs(float(lag)) < 5 / math.sqrt(n)
    mixed = torch.corrcoef(torch.stack(columns)) - torch.eye(len(columns))
    assert float(mixed.abs().max()) < 5 / math.sqrt(n)

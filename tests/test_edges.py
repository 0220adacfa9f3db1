"""Wrong indices and empty subsets: refused by name, or at least one batch, and said aloud."""

import os
import warnings
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from attacks.victims import ask_all
from tamis.data.synthetic import write_crowd
from tamis.ledger import Ledger
from tamis.methods import METHODS, clip
from tamis.moment import Moment
from tamis.paces import Pace, Polynomial
from tamis.recipes.config import TrainConfig
from tamis.recipes.train import train
from tamis.rules import (
    Balanced,
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
    chain,
    quantile_bins,
)
from tamis.sampler import PlannedSampler
from tamis.temperature import DataParameters, LazySGD
from test_attacks import pictures

SIZE = 5
LOSSES = torch.tensor([0.1, 0.2])
WRONG = {
    "too large": torch.tensor([0, SIZE]),
    "far too large": torch.tensor([0, 2**62]),
    "negative": torch.tensor([-1, 0]),
    "float": torch.tensor([0.0, 1.0]),
    "bf16": torch.tensor([0, 1]).bfloat16(),
    "bool": torch.tensor([True, False]),
    "uint8": torch.tensor([0, 1], dtype=torch.uint8),
    "one short": torch.tensor([0]),
    "a table": torch.tensor([[0, 1]]),
    "a number": torch.tensor(1),
    "missing": None,
    "a list": [0, 1],
}


# ----- indices ----------------------------------------------------------------------------------------------------


@pytest.mark.fault(22, "a wrong index is refused before anything is written to the ledger")
@pytest.mark.parametrize("kind", WRONG)
def test_the_ledger_refuses_wrong_indices(kind: str, seen) -> None:
    ledger = Ledger(SIZE)
    ledger.record(torch.arange(SIZE), torch.arange(SIZE).float())
    before = ledger.score.clone()
    with pytest.raises((IndexError, TypeError, ValueError, AttributeError)) as caught:
        ledger.record(WRONG[kind], LOSSES)  # pyright: ignore[reportArgumentType]
    if "large" in kind or kind == "negative":
        assert f"index must be in [0, {SIZE}), got " in str(caught.value)
    assert torch.equal(ledger.score, before)
    assert ledger.seen.tolist() == [1] * SIZE
    seen("every wrong index refused, the ledger as before")


@pytest.mark.fault(22, "an index that occurs twice in a batch gives one score, whatever the order in the batch")
@given(
    st.lists(st.tuples(st.integers(0, SIZE - 1), st.floats(-10, 10, width=32)), min_size=1, max_size=12), st.randoms()
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_duplicates_do_not_depend_on_their_order(seen, pairs: list[tuple[int, float]], chance) -> None:
    shuffled = list(pairs)
    chance.shuffle(shuffled)
    one, other = Ledger(SIZE), Ledger(SIZE)
    for ledger, rows in ((one, pairs), (other, shuffled)):
        ledger.record(torch.tensor([index for index, _ in rows]), torch.tensor([score for _, score in rows]))
    assert torch.equal(one.score.nan_to_num(99), other.score.nan_to_num(99))
    assert torch.equal(one.seen, other.seen)
    assert int(one.seen.sum()) == len(pairs)
    seen("every drawn batch gives the same ledger in another order")


@pytest.mark.fault(22, "a wrong index is refused by data parameters and their optimiser, and no row changes")
@pytest.mark.parametrize("kind", sorted(WRONG))
def test_data_parameters_refuse_wrong_indices(kind: str, seen) -> None:
    rows = DataParameters(samples=SIZE)
    optimizer = LazySGD(rows.parameters(), lr=1.0)
    logits, label = torch.ones(2, 3, requires_grad=True), torch.zeros(2, dtype=torch.int64)

    def learn() -> None:
        rows(logits, label, WRONG[kind])[:, 0].sum().backward()
        optimizer.step()

    with pytest.raises((RuntimeError, IndexError, TypeError, ValueError, AttributeError)):
        learn()
    assert rows.log_sigma_instance is not None
    assert not rows.log_sigma_instance.any()
    seen("every wrong index refused, the rows as before")


@pytest.mark.fault(22, "an optimiser of rows refuses a gradient for rows that are not there, and one that is dense")
def test_lazy_sgd_refuses_wrong_rows(seen) -> None:
    table = torch.nn.Parameter(torch.zeros(SIZE))
    optimizer = LazySGD([table], lr=1.0)

    def learn(index: list[int]) -> None:
        table.grad = torch.sparse_coo_tensor(torch.tensor([index]), torch.ones(len(index)), (SIZE,))
        optimizer.step()

    for index in ([SIZE], [-1], [0, SIZE]):
        with pytest.raises((RuntimeError, IndexError)):
            learn(index)
    table.grad = torch.zeros(SIZE)
    with pytest.raises(TypeError, match="LazySGD needs sparse gradients"):
        optimizer.step()
    assert not table.any()
    seen("4 of 4 gradients refused, the rows as before", count=4)


@pytest.mark.fault(22, "each index of a plan comes once, in [0, n), also after a resume anywhere in the epoch")
@given(
    size=st.integers(1, 20),
    batch=st.integers(1, 25),
    ratio=st.floats(0.05, 1.0),
    seed=st.integers(-(2**63), 2**63 - 1),
    stop=st.integers(0, 25),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_plan_has_each_index_once(seen, size: int, batch: int, ratio: float, seed: int, stop: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ledger = Ledger(size)
        sampler = PlannedSampler(ledger, RandomSubset(ratio), epochs=3, seed=seed)
        batches = []
        for index in sampler.batches(batch):
            batches.append(index)
            if len(batches) > stop:
                break
        again = PlannedSampler(ledger, RandomSubset(ratio), epochs=3, seed=seed)
        again.load_state_dict(sampler.state_dict())
        rest = again.batches(batch) if again.position < len(again.order) else ()
        shown = torch.cat([*batches, *rest])
    assert len(shown) == len(shown.unique()) == len(sampler.order) >= 1
    assert 0 <= int(shown.min()) <= int(shown.max()) < size
    seen("every drawn plan shows each of its indices once")


# ----- empty subsets ----------------------------------------------------------------------------------------------


def constant(value: float) -> Pace:
    def pace(progress: float) -> float:
        return value

    return pace


def rules(size: int) -> dict[str, Rule]:
    """Rules that leave little or nothing, each with the settings that leave the least."""
    labels = torch.arange(size) % 2
    first = torch.arange(size) == 0
    found: dict[str, Rule] = {
        "uniform": Uniform(),
        "easiest": Easiest(0.01),
        "hardest": Hardest(Polynomial(0.01)),
        "random": RandomSubset(0.01),
        "fixed": RandomSubset(0.01, fixed=True),
        "prune": Prune(0.99),
        "prune all": Prune(Polynomial(1.0), "hardest"),
        "prune twice": chain(Prune(0.9), Prune(0.9, "hardest")),
        "infobatch": InfoBatch(0.99),
        "otsu": DropHard("otsu"),
        "drop easy": DropEasy(1.5),
        "drop everything": DropEasy(float("inf")),
        "drop everything hard": DropHard(-1e9),
        "balanced": Balanced(Prune(0.99), labels),
        "random easiest": chain(RandomSubset(0.01), Easiest(0.01)),
    }
    for kind in ("hard", "linear", "log", "mixture"):
        found[f"self-paced {kind}"] = SelfPaced(0.01, kind=kind)
    if size > 1:
        found["all but one out"] = Exclude(~first)
        found["none of one class"] = Balanced(Exclude(labels == 0), labels)
    return found


SCORES: dict[str, Callable[[int], Tensor]] = {
    "unscored": lambda size: torch.full((size,), torch.nan),
    "equal": torch.ones,
    "rising": lambda size: torch.arange(size).float(),
    "zero": torch.zeros,
    "one unscored": lambda size: torch.cat([torch.ones(size - 1), torch.tensor([torch.nan])]),
    "tiny": lambda size: torch.full((size,), 1e-45),
    "huge": lambda size: torch.full((size,), 3e38),
}


@pytest.mark.fault(24, "whatever a rule leaves: at least one batch of samples, or one line that names epoch and rule")
def test_every_small_plan_shows_something_or_says_why(seen) -> None:
    shown = refused = loud = 0
    for size, (kind, make) in product((1, 2, 3, 5), SCORES.items()):
        for name, rule in rules(size).items():
            ledger = Ledger(size)
            ledger.score = make(size)
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                everything = name.startswith("drop everything") and not ledger.score.isnan().any()
                if everything or (name == "drop easy" and bool((ledger.score < 1.5).all())):
                    with pytest.raises(ValueError, match="epoch 0 must show at least 1 samples, got 0 from"):
                        PlannedSampler(ledger, rule, epochs=2)
                    refused += 1
                    continue
                sampler = PlannedSampler(ledger, rule, epochs=2)
            loud += bool(caught)
            for batch in (1, 2, 7):
                sampler.set_epoch(0)
                index = torch.cat(list(sampler.batches(batch)))
                assert len(index) == len(index.unique()) >= 1, (size, kind, name)
                assert sampler.weight[index].isfinite().all(), (size, kind, name)
                assert (sampler.weight[index] > 0).all(), (size, kind, name)
                shown += 1
    assert min(shown, refused, loud) > 0
    seen(f"{shown} plans show something ({loud} rules warned), {refused} refused by name", count=shown + refused)


@pytest.mark.fault(24, "a pace outside its range is refused with the progress; less than one sample is one, aloud")
def test_a_pace_of_nothing(seen) -> None:
    weight, score, moment = torch.ones(4), torch.arange(4).float(), Moment(0, 10)
    for value in (0.0, -1.0, 1.5, float("nan"), float("inf")):
        for rule in (Easiest(constant(value)), Hardest(constant(value)), RandomSubset(constant(value))):
            with pytest.raises(ValueError, match=r"pace must be in \(0, 1\], got .* at progress 0 from"):
                rule(weight, score, moment)
        if value:
            with pytest.raises(ValueError, match=r"ratio must be in \[0, 1\], got .* at progress 0 from"):
                Prune(constant(value))(weight, score, moment)
    with pytest.warns(UserWarning, match=r"0.1 of 4 samples is less than one: one is shown"):
        assert Easiest(0.1)(weight, score, moment).tolist() == [1, 0, 0, 0]
    with pytest.warns(UserWarning, match=r"1 of 4 samples is all of them: one stays"):
        assert Prune(Polynomial(1.0))(weight, score, moment).tolist() == [0, 0, 0, 1]
    with pytest.warns(UserWarning, match=r"no score lies below the age 1: the paced samples weigh 1"):
        assert SelfPaced(0.5, kind="linear")(weight, torch.ones(4), moment).tolist() == [1, 1, 0, 0]
    seen("19 paces refused, 3 warnings", count=22)


@pytest.mark.fault(24, "lists and labels of another number of samples, or that leave nothing, are refused")
def test_lists_that_do_not_fit(seen) -> None:
    weight, score, moment = torch.ones(3), torch.arange(3).float(), Moment(0, 2)
    with pytest.raises(ValueError, match=r"hidden must leave a sample to train on, got all 3 \(listed in x\)"):
        Exclude(torch.ones(3, dtype=torch.bool), "listed in x")
    with pytest.raises(ValueError, match=r"hidden must be bool \(n,\), got torch.int64 \(2,\)"):
        Exclude(torch.tensor([0, 1]))
    with pytest.raises(ValueError, match=r"hidden must be of the 3 samples, got 2"):
        Exclude(torch.tensor([True, False]))(weight, score, moment)
    with pytest.raises(ValueError, match=r"labels must be of the 3 samples, got 2"):
        Balanced(Uniform(), torch.tensor([0, 1]))(weight, score, moment)
    for labels in (torch.tensor([-1, 0]), torch.tensor([0.0, 1.0])):
        with pytest.raises(ValueError, match=r"labels must be int64 \(n,\), none below 0"):
            Balanced(Uniform(), labels)
    seen("6 of 6 refused", count=6)


@pytest.mark.fault(24, "no pace, share and reading of CLIP empties an epoch, whatever the size; less than one is told")
@pytest.mark.parametrize("reading", ["lowest", "algorithm1", "compounding"])
def test_every_clip_of_few_samples_trains(reading: Any, seen) -> None:
    plans = loud = 0
    for size, share, start in product((1, 2, 3, 7, 20), (0.0, 0.05, 0.5, 0.99), (0.01, 0.3, 1.0)):
        for groups in (None, torch.arange(size) % 2, quantile_bins(torch.arange(size).float(), 50)):
            method = clip(Polynomial(start), share, reading, groups=groups)
            ledger = Ledger(size)
            ledger.record(torch.arange(size), torch.rand(size, generator=torch.Generator().manual_seed(size)))
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                sampler = PlannedSampler(ledger, method.rule, epochs=3)
                for epoch in range(3):
                    sampler.set_epoch(epoch)
                    batches = list(sampler.batches(1000))
                    assert len(batches) == 1
                    assert 1 <= len(batches[0]) == len(batches[0].unique()) <= size
                    plans += 1
            assert bool(caught) or start * size >= 1
            loud += bool(caught)
    assert loud > 0
    seen(
        f"{reading}: {plans} plans show something, {loud} of {plans // 3} trainings said that one is kept", count=plans
    )


@pytest.mark.slow
@pytest.mark.fault(
    24, "CLIP with one class, more bins than images, a batch above the subset, few images: trains or says"
)
def test_tiny_curricula(tmp_path: Path, seen) -> None:
    pictures(tmp_path / "four", "ab", 2)
    pictures(tmp_path / "class", "a", 8)
    write_crowd(tmp_path / "crowd", 3, 1, size=64)
    write_crowd(tmp_path / "one", 1, 1, size=64)
    classes = ["train", *TINY, "--method", "clip"]
    count = ["train", "--task", "counting", "--model", "mcnn-light", "--method", "clip", "--epochs", "2"]
    count += ["--workers", "0", "--no-report", "--batch-size", "1000"]
    trains = [
        [*classes, "--data", "four", "--prune", "0.99", "--pace-start", "0.01", "--out", "a"],
        [*classes, "--data", "four", "--balance", "9", "--pace-unit", "batch", "--out", "b"],
        [*count, "--data", "crowd", "--balance", "50", "--out", "c"],
        [*count, "--data", "crowd", "--prune", "0.99", "--pace-start", "0.01", "--refresh", "1", "--out", "d"],
        [*count, "--data", "crowd", "--patch", "32", "--pace-unit", "batch", "--out", "e"],
        [*count, "--data", "one", "--balance", "3", "--out", "f"],
    ]
    refused = [
        ([*classes, "--data", "class", "--out", "g"], "classes must be at least 2, got 1"),
        ([*count, "--data", "one/train", "--out", "h"], "hold_out must leave at least one image"),
        ([*classes, "--data", "four", "--prune", "1"], "prune must be in [0, 1), got 1.0"),
        ([*classes, "--data", "four", "--pace-start", "0"], "pace_start must be in (0, 1], got 0.0"),
    ]
    answers = ask_all([*trains, *(words for words, _ in refused)], tmp_path)
    for words, answer in zip(trains, answers, strict=False):
        assert answer.code == 0, (words, answer)
        assert "epoch   2/2" in answer.out
    for word in ("a", "d"):
        assert "one is shown" in answers["abcdef".index(word)].err
    for (words, message), answer in zip(refused, answers[len(trains) :], strict=True):
        assert answer.code == 2, (words, answer)
        assert message in answer.err
        assert answer.err.count("\n") == 1
    seen(f"{len(trains)} trained, {len(refused)} refused in one line", count=len(answers))


@pytest.mark.fault(24, "a pace by batch with images of several sizes is refused before a scorer is trained")
def test_a_pace_by_batch_needs_images_of_one_size(tmp_path: Path, seen) -> None:
    for number, size in enumerate((64, 80, 64, 80)):
        path = tmp_path / "images" / "images" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.effect_noise((size, 64), 50).convert("RGB").save(path)
    lines = ["image,x,y", *(f"{number}.png,{number + 1}.0,5.0" for number in range(4))]
    (tmp_path / "images" / "points.csv").write_text("\n".join(lines))
    config = TrainConfig(
        tmp_path / "images", out=tmp_path / "run", task="counting", model="mcnn-light", method="clip",
        pace_unit="batch", epochs=1, hold_out=0.5, workers=0,
    )  # fmt: skip
    with pytest.raises(
        ValueError, match="pace_unit must be epoch for images of several sizes, got 'batch'; take epoch"
    ):
        train(config)
    assert not (tmp_path / "run").exists()
    seen("refused, and no run folder made")


TINY = ["--epochs", "2", "--workers", "0", "--no-report", "--no-calibrate", "--batch-size", "1000", "--hold-out", "0.3"]


@pytest.mark.slow
@pytest.mark.fault(24, "every method trains on three images, in batches of a thousand")
def test_tiny_trainings(tmp_path: Path, seen) -> None:
    pictures(tmp_path / "four", "ab", 2)
    words = [["train", "--data", "four", *TINY, "--method", name, "--out", f"run-{name}"] for name in METHODS]
    words = [each + ["--data-parameters", "instance"] * ("sigma" in each[-1]) for each in words]
    for asked, answer in zip(words, ask_all(words, tmp_path), strict=True):
        assert answer.code == 0, (asked, answer)
        assert "epoch   2/2" in answer.out
    seen(f"{len(words)} methods trained", count=len(words))


@pytest.mark.fault(24, "one image, one class, everything excluded: refused in one line before the training")
def test_tiny_data(tmp_path: Path, seen) -> None:
    pictures(tmp_path / "two", "ab", 1)
    pictures(tmp_path / "four", "ab", 2)
    pictures(tmp_path / "class", "a", 20)
    pictures(tmp_path / "one", "a", 1)
    (tmp_path / "all.txt").write_text("".join(f"{name}/{place}.png\n" for name in "ab" for place in range(2)))
    words = [["train", "--data", name, *TINY] for name in ("two", "class", "one")]
    words += [["train", "--data", "four", *TINY, "--exclude", "all.txt", "--out", "excluded"]]
    messages = (
        "hold_out must leave at least one image",
        "classes must be at least 2, got 1",
        "hold_out must leave at least one image",
        "hidden must leave a sample to train on, got all",
    )
    for asked, answer, message in zip(words, ask_all(words, tmp_path), messages, strict=True):
        assert answer.code == 2, (asked, answer)
        assert message in answer.err, (asked, answer)
        assert answer.err.count("\n") == 1, (asked, answer)
    seen(f"{len(messages)} of {len(messages)} refused in one line", count=len(words))


# ----- things that are waited for for ever ------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_among_the_images_is_refused(tmp_path: Path) -> None:
    from tamis.data import open_images

    pictures(tmp_path / "data")
    os.mkfifo(tmp_path / "data" / "a" / "pipe.png")
    with pytest.raises(
        ValueError, match=r"data must be files and folders, got a pipe or device 'a/pipe.png'; remove it"
    ):
        open_images(tmp_path / "data")

"""Several processes (gloo): the same plan, order, ledger and data parameters on all, and the result of one process."""

import itertools
import multiprocessing as mp
import os
import traceback
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import torch._dynamo  # DistributedDataParallel imports it, which takes seconds: once, before the forks
import torch.distributed as dist
from rich.console import Console
from torch import Tensor, nn

from tamis.fit import Fitted, Settings, Stopped, fit
from tamis.fit.processes import Processes
from tamis.methods import METHODS, Temperature
from tamis.recipes.config import TrainConfig
from tamis.recipes.scorer import initial_scores
from tamis.recipes.train import load, train_on
from tamis.run import Run
from tamis.tasks.classification import Classification
from tamis.tasks.counting import Counting
from test_fit import Gaps, images
from trainings import crowds, some_scores, write_images

pytestmark = [
    pytest.mark.alone,
    pytest.mark.skipif(not hasattr(os, "fork") or not dist.is_gloo_available(), reason="needs os.fork and gloo"),
    pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning"),
]

SETTINGS = Settings(
    epochs=3, batch_size=16, optimizer=partial(torch.optim.SGD, lr=0.05, momentum=0.9), checkpoint_seconds=0
)


def model() -> nn.Module:
    """Without dropout and batch normalisation, which depend on who shows what."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 3))


def in_processes(size: int, work: Callable[[int], Any], folder: Path) -> list[Any]:
    """What `work(rank)` returns in each of so many processes of a group."""
    context = mp.get_context("fork")
    answers = context.Queue()
    store = folder / f"store-{os.urandom(4).hex()}"

    def child(rank: int) -> None:
        try:
            dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=size)
            answers.put((rank, work(rank), None))
            dist.destroy_process_group()
        except BaseException:
            answers.put((rank, None, traceback.format_exc()))

    children = [context.Process(target=child, args=(rank,)) for rank in range(size)]
    for each in children:
        each.start()
    found: dict[int, Any] = {}
    try:
        for _ in children:
            rank, found[rank], error = answers.get(timeout=250)
            assert error is None, error
        for each in children:
            each.join(30)
        assert [each.exitcode for each in children] == [0] * size
    finally:
        for each in children:
            each.kill()
    return [found[rank] for rank in range(size)]


def run_at(folder: Path, rank: int) -> Run:
    if rank:
        dist.barrier()
        return Run(folder, {"config": {"a": 1}}, reader=True)
    run = Run(folder, {"config": {"a": 1}})
    if dist.is_initialized():
        dist.barrier()
    return run


def trained(rank: int, folder: Path | None = None, source: Any = None, **options: Any) -> dict[str, Any]:
    """Everything that must be the same, as plain numpy: a tensor would need shared memory between processes."""
    settings = options.pop("settings", SETTINGS)
    stop = options.pop("stop", None)
    run = None if folder is None else run_at(folder, rank)
    try:
        data = source or images(61)
        more = {"settings": settings, "validation": images(30), "run": run, "stop": stop}
        fitted: Fitted = fit(model(), Classification(), data, **more, **options)
    except Stopped as stopped:
        return {"stopped": stopped.args[0]}
    finally:
        if run is not None:
            run.close()
    rows = fitted.temperature.state_dict() if fitted.temperature is not None else {}
    return {
        "model": {name: value.numpy() for name, value in fitted.model.state_dict().items()},
        "rows": {name: value.numpy() for name, value in rows.items()},
        "score": fitted.ledger.score.numpy(),
        "seen": fitted.ledger.seen.numpy(),
        "figures": [{k: v for k, v in row.items() if k != "seconds"} for row in fitted.rows],
    }


def equal(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, np.ndarray):
        return np.array_equal(one, other, equal_nan=one.dtype.kind == "f")
    return one == other


def close(one: dict[str, Any], other: dict[str, Any]) -> None:
    for group in ("model", "rows"):
        for name, value in one[group].items():
            torch.testing.assert_close(
                torch.from_numpy(other[group][name]), torch.from_numpy(value), rtol=1e-4, atol=1e-5
            )
    torch.testing.assert_close(torch.from_numpy(other["score"]), torch.from_numpy(one["score"]), rtol=1e-3, atol=1e-4)
    assert (one["seen"] == other["seen"]).all()


@pytest.mark.fault(10, "two and three processes: the same on all, and what one process gives with the same batches")
@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("name", ["uniform", "infobatch", "sigma-drop"])
def test_processes_give_what_one_gives(tmp_path: Path, size: int, name: str, seen) -> None:
    options: dict[str, Any] = {"method": METHODS[name](), "temperature": Temperature(kind="joint")}
    alone = trained(0, tmp_path / "alone", **options)
    together = in_processes(size, lambda rank: trained(rank, tmp_path / "together", **options), tmp_path)
    for other in together[1:]:
        assert equal(together[0], other)
    close(alone, together[0])
    for path in sorted((tmp_path / "alone" / "ledger").glob("*.parquet")):
        mine, theirs = pq.read_table(path), pq.read_table(tmp_path / "together" / "ledger" / path.name)
        assert mine.column("index").equals(theirs.column("index")), path.name
    seen(f"{size} processes, {name}: equal on all, order equal to one process, weights to 1e-4")


def test_a_model_with_statistics_of_its_own_is_the_same_everywhere(tmp_path: Path) -> None:
    """Batch normalisation: each process has the statistics of its part; rank 0's are judged and kept."""

    def work(rank: int) -> list[float]:
        torch.manual_seed(0)
        with_norm = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 3))
        source = images(61)
        fitted = fit(with_norm, Classification(), source, settings=SETTINGS, validation=images(30))
        return [row["validation"]["accuracy"] for row in fitted.rows]

    one, other = in_processes(2, work, tmp_path)
    assert one == other
    assert one[-1] > 0.6


def test_pieces_of_a_batch_are_averaged_once(tmp_path: Path) -> None:
    settings = replace(SETTINGS, accumulate=3)
    options: dict[str, Any] = {"settings": settings, "temperature": Temperature()}
    close(trained(0, **options), in_processes(2, lambda rank: trained(rank, **options), tmp_path)[0])


def test_samples_that_cannot_be_read_do_not_stop_the_others(tmp_path: Path) -> None:
    """A process that is left with nothing of a batch makes all of them pass it over."""
    settings = replace(SETTINGS, batch_size=4)

    def work(rank: int) -> dict[str, Any]:
        return trained(rank, source=Gaps(set(range(20, 50))), settings=settings, temperature=Temperature())

    one, other = in_processes(2, work, tmp_path)
    assert equal(one, other)
    assert not one["seen"][20:50].any()
    assert one["seen"][:20].any()


@pytest.mark.fault(10, "a run goes on with 2, then 1, then 2 processes: same global order, same pruned set")
@pytest.mark.parametrize("sizes", [(1, 2, 1), (2, 1, 2), (2, 3, 1)])
def test_a_run_goes_on_with_another_number_of_processes(tmp_path: Path, sizes: tuple[int, ...], seen) -> None:
    options: dict[str, Any] = {"method": METHODS["infobatch"](), "temperature": Temperature()}
    alone = trained(0, tmp_path / "alone", **options)
    last: dict[str, Any] = {}
    for part, size in enumerate(sizes):

        def work(rank: int, part: int = part) -> dict[str, Any]:
            count = itertools.count()
            stop = (lambda: 15 * (next(count) >= 4)) if part < 2 and rank == 0 else None
            return trained(rank, tmp_path / "changing", stop=stop, **options)

        answers = in_processes(size, work, tmp_path) if size > 1 else [work(0)]
        if part < 2:
            assert answers == [{"stopped": 15}] * size  # one was told, all stop
        last = answers[0]
    close(alone, last)
    for path in sorted((tmp_path / "alone" / "ledger").glob("*.parquet")):
        theirs = pq.read_table(tmp_path / "changing" / "ledger" / path.name)
        assert pq.read_table(path).column("index").equals(theirs.column("index")), path.name
    seen(f"{' -> '.join(map(str, sizes))} processes: order and hidden samples equal, weights to 1e-4")


def counted(rank: int, folder: Path, refresh: int) -> dict[str, Any]:
    """As `trained`, of a counter that learns images of several sizes by CLIP."""
    run = run_at(folder, rank)
    try:
        torch.manual_seed(0)
        plain = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(4), nn.Conv2d(4, 1, 1))
        source, settings = crowds(45), replace(SETTINGS, epochs=4, batch_size=6)
        settings = replace(settings, optimizer=partial(torch.optim.Adam, lr=1e-3))
        more: dict[str, Any] = {"validation": crowds(9), "run": run, "scores": some_scores(45)}
        fitted = fit(plain, Counting(), source, settings=settings, method=METHODS["clip"](refresh=refresh), **more)
    finally:
        run.close()
    return {
        "model": {name: value.numpy() for name, value in fitted.model.state_dict().items()},
        "rows": {},
        "score": fitted.ledger.score.numpy(),
        "seen": fitted.ledger.seen.numpy(),
        "scored": fitted.result["costs"]["samples_scored"],
    }


@pytest.mark.fault(
    10, "two processes count by CLIP: the order and the ledger of one process, with given and new scores"
)
@pytest.mark.parametrize("refresh", [0, 2])
def test_processes_count_as_one_does(tmp_path: Path, refresh: int, seen) -> None:
    alone = counted(0, tmp_path / "alone", refresh)
    one, other = in_processes(2, lambda rank: counted(rank, tmp_path / "together", refresh), tmp_path)
    assert equal(one, other)
    assert one["scored"] == alone["scored"] == 45 * (refresh > 0)
    if not refresh:
        assert equal(one["score"], alone["score"])
        assert equal(one["seen"], alone["seen"])
    for name, value in alone["model"].items():
        np.testing.assert_allclose(one["model"][name], value, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(one["score"], alone["score"], rtol=1e-3)
    paths = sorted((tmp_path / "alone" / "ledger").glob("*.parquet"))
    assert any(path.name.startswith("decisions") for path in paths)
    for path in paths:
        mine, theirs = pq.read_table(path), pq.read_table(tmp_path / "together" / "ledger" / path.name)
        assert mine["index"].equals(theirs["index"]), path.name
        if path.name.startswith("decisions"):
            assert mine.equals(theirs)
    seen("order, decisions and given scores bitwise equal, weights and new scores to 1e-3")


def found_scores(rank: int, folder: Path, scorer: Path | None) -> dict[str, Any]:
    """The scores that a curriculum begins with, where all processes look for them."""
    config = TrainConfig(
        folder / "images", out=folder / ("run" if dist.is_initialized() else "alone"), method="clip", epochs=2,
        batch_size=16, lr=0.01, scorer=scorer, report=False, calibrate=False, workers=0,
    )  # fmt: skip
    ledger = config.folder / "ledger"
    if rank == 0:
        ledger.mkdir(parents=True)
    if dist.is_initialized():
        dist.barrier()
    scores, cost = initial_scores(config, load(config), ledger, Console(quiet=True), train_on)
    return {"scores": scores.numpy(), "cost": {name: cost[name] for name in ("samples_seen", "samples_scored")}}


@pytest.mark.parametrize("given", [False, True], ids=["a scorer of its own", "a table"])
def test_processes_begin_with_the_same_scores(tmp_path: Path, given: bool) -> None:
    (tmp_path / "images").mkdir()
    write_images(tmp_path / "images")
    keys = [f"{path.parent.name}/{path.name}" for path in sorted((tmp_path / "images").glob("*/*.png"))]
    table = tmp_path / "scores.csv"
    table.write_text("key,score\n" + "".join(f"{key},{place}\n" for place, key in enumerate(keys)))
    work = partial(found_scores, folder=tmp_path, scorer=table if given else None)
    alone, (one, other) = work(0), in_processes(2, work, tmp_path)
    assert equal(one, other)
    assert one["cost"] == alone["cost"]
    np.testing.assert_allclose(one["scores"], alone["scores"], rtol=0 if given else 0.2)


def test_words_and_plain_data_are_exchanged(tmp_path: Path) -> None:
    def work(rank: int) -> Any:
        processes = Processes()
        index = torch.arange(rank, 7, 3)  # every third of seven
        values = torch.stack([index.float(), -index.float()], 1)
        everything: tuple[Tensor, Tensor] = processes.gather(index, values, 3)
        shared = processes.share({"a": [1, 0.1, None, "ü"]} if rank == 0 else "not looked at")
        return processes.agree(rank * 10), processes.total(rank), shared, [each.tolist() for each in everything]

    for answer in in_processes(3, work, tmp_path):
        order = list(range(7))
        assert answer == (20, 3, {"a": [1, 0.1, None, "ü"]}, [order, [[float(i), -float(i)] for i in order]])


def test_alone_nothing_is_exchanged() -> None:
    processes = Processes()
    assert (processes.rank, processes.size, processes.agree(3), processes.share("x")) == (0, 1, 3, "x")
    index, values = torch.arange(2), torch.ones(2, 1)
    assert processes.gather(index, values, 2)[0] is index

"""Samples that cannot be read are left out and named, up to a limit; a dead worker is one clear error."""

import faulthandler
import json
import multiprocessing
import os
import signal
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from PIL import Image

from tamis.data import DeadWorker, FileImages, Images, PadCrop, Quarantine, ResizedCrop, UnreadableImage, open_splits
from tamis.data.decode import Files
from tamis.data.workers import prepared

COUNT = 12
BAD = (3, 4, 5, 9)  # a whole batch of three, and one of another


def lines(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def folder(root: Path, count: int = COUNT, bad: tuple[int, ...] = BAD, sides: tuple[int, int] = (6, 5)) -> Path:
    (root / "a").mkdir(parents=True)
    for number in range(count):
        path = root / "a" / f"{number:02d}.png"
        Image.linear_gradient("L").rotate(number).resize(sides).save(path)
        if number in bad:
            path.write_bytes(path.read_bytes()[:-20])
    return root


def source(root: Path, limit: int = COUNT, workers: int = 0, small: bool = False) -> FileImages:
    names = sorted(path.relative_to(root).as_posix() for path in root.glob("a/*"))
    augmentation = PadCrop(True, 1) if small else ResizedCrop(7)
    labels = torch.zeros(len(names), dtype=torch.int64)
    quarantine = Quarantine(limit)
    return FileImages(
        Files(root, names), labels, ("a",), names, augmentation=augmentation, workers=workers, quarantine=quarantine
    )


def batches(images: Images, size: int = 3, train: bool = True):
    return list(images.batches(torch.arange(len(images)).split(size), epoch=1, seed=2, train=train))


# the list


def test_the_first_is_an_error_by_default():
    quarantine = Quarantine()
    with pytest.raises(UnreadableImage, match=r"image must be readable, got an empty file in 'a.png'; .*tamis check"):
        quarantine.record({"a.png": "an empty file"})
    assert quarantine.reasons == {"a.png": "an empty file"}


def test_a_negative_limit_is_refused():
    with pytest.raises(ValueError, match="limit must be at least 0, got -1"):
        Quarantine(-1)


def test_each_sample_counts_once():
    quarantine = Quarantine(2)
    for _ in range(3):
        quarantine.record({"a": "x"})
        quarantine.record({"b": "y"})
    quarantine.record({})
    assert len(quarantine) == 2
    with pytest.raises(UnreadableImage) as caught:
        quarantine.record({"c": "z", "d": "z"})
    assert str(caught.value) == (
        "images must be readable but for 2 of the train split, got 4 that are not: x in 'a', y in 'b', z in 'c', ...; "
        "repair these files or take them out of the data (`tamis check DATA` lists all such files), or allow more with "
        "--max-bad"
    )
    with pytest.raises(UnreadableImage):  # also if it is asked again
        quarantine.record({"a": "x"})


def test_the_file_has_each_once(tmp_path):
    path = tmp_path / "quarantine.jsonl"
    train, validation = Quarantine(9), Quarantine(9, "validation")
    train.record({'é\n"': "before"})
    for quarantine in (train, validation, train):
        quarantine.keep_in(path)
    validation.record({"v": "x"})
    train.record({'é\n"': "again", "b": "new"})
    want = [('é\n"', "train", "before"), ("v", "validation", "x"), ("b", "train", "new")]
    assert [tuple(line.values()) for line in lines(path)] == want
    later = Quarantine(0)
    later.keep_in(path)
    assert later.reasons == {'é\n"': "before", "b": "new"}
    with pytest.raises(UnreadableImage, match=r"got new in 'b'"):  # known, but found by this process all the same
        later.record({"b": "whatever"})
    assert len(lines(path)) == 3


def test_what_is_over_the_limit_is_in_the_file(tmp_path):
    quarantine = Quarantine(0)
    quarantine.keep_in(tmp_path / "q")
    with pytest.raises(UnreadableImage):
        quarantine.record({"a": "x"})
    assert lines(tmp_path / "q") == [{"key": "a", "split": "train", "reason": "x"}]


@pytest.mark.fault(5, "a quarantine.jsonl that a crash has cut off anywhere loses its last line only")
def test_a_torn_last_line_is_written_anew(tmp_path, seen):
    path = tmp_path / "quarantine.jsonl"
    first = Quarantine(9)
    first.keep_in(path)
    first.record({"a": "x"})
    first.record({"b": "y"})
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        again = Quarantine(9)
        again.keep_in(path)
        assert len(again) == whole[:length].count(b"\n")
        again.record({"a": "x", "b": "y"})
        assert path.read_bytes() == whole
    seen(f"{len(whole)} of {len(whole)} lengths give the whole file again", count=len(whole))


@pytest.mark.parametrize("line", ["{}", "[1]", "x", '{"key": 1}', "null"])
def test_another_file_is_refused(tmp_path, line):
    path = tmp_path / "q.jsonl"
    path.write_text('{"key": "a", "split": "train", "reason": "x"}\n' + line + "\n")
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"line must be a JSON object with key, split and reason, .* in q.jsonl:2"):
        Quarantine().keep_in(path)
    assert path.read_bytes() == before


# sources


@pytest.mark.fault(15, "what cannot be read is left out of its batch, the others are bit for bit as before")
@pytest.mark.parametrize("small", [False, True])
@pytest.mark.parametrize("workers", [0, 2])
def test_batches_without_what_cannot_be_read(tmp_path, seen, workers, small):
    whole = source(folder(tmp_path / "whole", bad=()), small=small)
    images = source(folder(tmp_path / "data"), workers=workers, small=small)
    for train in (True, False):
        found = batches(images, train=train)
        assert [batch.index.tolist() for batch in found] == [[0, 1, 2], [], [6, 7, 8], [10, 11]]
        for batch, other in zip(found, batches(whole, train=train), strict=True):
            assert batch.inputs.dtype == torch.float32
            assert batch.inputs.shape == (len(batch), *other.inputs.shape[1:])
            assert len(batch.targets) == len(batch)
            kept = torch.isin(other.index, batch.index)
            assert torch.equal(batch.inputs, other.inputs[kept])
    assert list(images.quarantine.reasons) == [images.keys[number] for number in BAD]
    seen("4 of 4 left out and named, the other 8 equal", count=len(BAD))


@pytest.mark.parametrize("workers", [0, 2])
def test_more_than_allowed_stop_the_epoch(tmp_path, workers):
    images = source(folder(tmp_path), limit=3, workers=workers)
    walk = images.batches(torch.arange(COUNT).split(3), epoch=0, seed=0, train=True)
    assert [len(next(walk)) for _ in range(3)] == [3, 0, 3]
    with pytest.raises(UnreadableImage, match=r"but for 3 of the train split, got 4 .*'a/03.png'.*--max-bad"):
        next(walk)
    assert not multiprocessing.active_children()


def test_subsets_share_the_list(tmp_path):
    images = source(folder(tmp_path))
    part = images.select(torch.tensor([2, 9])).with_workers(0).with_scale((0, 0, 0), (1, 1, 1))
    batches(part)
    assert list(images.quarantine.reasons) == ["a/09.png"]


def test_in_memory_without_what_cannot_be_read(tmp_path):
    images = source(folder(tmp_path, bad=(0, 3)), limit=2)
    small = images.in_memory()
    assert small is not None
    assert small.quarantine is images.quarantine
    assert small.select(torch.tensor([1])).quarantine is images.quarantine
    assert list(images.quarantine.reasons) == ["a/00.png", "a/03.png"]
    assert list(small.keys) == [key for number, key in enumerate(images.keys) if number not in (0, 3)]
    assert len(small) == len(small.images) == len(small.labels) == COUNT - 2
    for position, key in enumerate(small.keys):
        assert small.thumbnail(position).tobytes() == images.thumbnail(images.keys.index(key)).tobytes()
    with pytest.raises(UnreadableImage, match=r"'a/00.png'"):
        source(tmp_path, limit=0).in_memory()


@pytest.mark.parametrize("small", [False, True])
def test_nothing_can_be_read(tmp_path, small):
    images = source(folder(tmp_path, count=2, bad=(0, 1)), small=small)
    with pytest.raises(UnreadableImage, match=r"images must be readable, got none of 2 that is, such as 'a/00.png'"):
        images.in_memory()
    if small:
        with pytest.raises(UnreadableImage, match="got none of 2"):
            batches(images)
    else:
        assert batches(images)[0].inputs.shape == (0, 3, 7, 7)


def test_a_removed_sample_is_named_by_its_own_words(tmp_path):
    def read(position: int) -> Path:
        raise UnreadableImage("image was removed")

    images = replace(source(folder(tmp_path)), read=read)
    batches(images.select(torch.tensor([1])))
    assert images.quarantine.reasons == {"a/01.png": "image was removed"}


@pytest.mark.parametrize("sides", [(6, 5), (80, 70)])
def test_each_split_has_its_share(tmp_path, sides):
    folder(tmp_path / "train", 20, (1, 2), sides)
    folder(tmp_path / "val", 10, (4,), sides)
    train, validation = open_splits(tmp_path, size=8, max_bad=0.1)
    assert validation is not None
    for images in (train, validation):
        batches(images, size=4)
    assert (train.quarantine.limit, train.quarantine.split) == (2, "train")
    assert (validation.quarantine.limit, validation.quarantine.split) == (1, "validation")
    assert list(train.quarantine.reasons) == ["train/a/01.png", "train/a/02.png"]
    assert list(validation.quarantine.reasons) == ["val/a/04.png"]
    with pytest.raises(UnreadableImage, match=r"but for 1 of the train split, got 2"):
        batches(open_splits(tmp_path, size=8, max_bad=0.09)[0])


@pytest.mark.parametrize("share", [-0.1, 1.0, float("nan")])
def test_wrong_shares_are_refused(tmp_path, share):
    with pytest.raises(ValueError, match=r"max_bad must be in \[0, 1\)"):
        open_splits(folder(tmp_path), max_bad=share)


# workers


def kill_one(number: int) -> int:
    """Kill the worker that has the next batch to deliver."""
    victim = min(multiprocessing.active_children(), key=lambda process: process.pid or 0)
    assert victim.pid
    os.kill(victim.pid, number)
    return victim.pid


@pytest.mark.fault(33, "a killed worker is one error that names its process and the samples in flight")
def test_a_killed_worker_is_named(tmp_path, seen):
    images = source(folder(tmp_path, count=40, bad=()), workers=2)
    walk = images.batches(torch.arange(40).split(2), epoch=0, seed=0, train=True)
    assert next(walk).index.tolist() == [0, 1]
    pid = kill_one(signal.SIGKILL)
    time.sleep(0.3)  # whatever this process does meanwhile, it is not interrupted
    with pytest.raises(DeadWorker) as caught:
        list(walk)
    text = str(caught.value)
    assert f"got process {pid} killed by SIGKILL at 'a/" in text
    assert "memory may have run out: take fewer --workers" in text
    assert "\n" not in text
    assert caught.value.pid == pid
    assert caught.value.keys
    assert set(caught.value.keys) <= set(images.keys)
    assert f"{len(caught.value.keys)} samples in flight ({caught.value.keys[0]!r}" in text
    assert not multiprocessing.active_children()
    assert len(batches(images, size=2)) == 20  # and the source can be used again
    seen("process and samples named, no worker left behind")


def crash(index, mark, how):
    """What a worker does until it dies at sample 5."""
    faulthandler.disable()
    for place in index.tolist():
        mark(place)
        if place == 5:
            how()
    return index


@pytest.mark.fault(33, "a worker that crashes is one error that names the sample it crashed at")
@pytest.mark.parametrize(
    ("how", "text"),
    [
        (
            partial(signal.raise_signal, signal.SIGSEGV),
            "killed by SIGSEGV at 'k5', .*; the decoder has crashed",
        ),
        (partial(signal.raise_signal, signal.SIGBUS), "killed by SIGBUS at 'k5', .*; shared memory has run out: make "),
        (partial(os._exit, 3), "ended with code 3 at 'k5', .*; take --workers 0 to see more"),
        (sys.exit, "ended with code 0 at 'k5'"),
    ],
)
def test_a_crashed_worker_is_named_with_its_sample(seen, how, text):
    plan = torch.arange(24).split(2)
    answers = prepared(partial(crash, how=how), plan, [f"k{number}" for number in range(24)], 2)
    with pytest.raises(DeadWorker, match=rf"got process \d+ {text}") as caught:
        list(answers)
    assert {"k4", "k5"} <= set(caught.value.keys)
    seen("the sample is named")


class Hungry:
    """Reads files, but one of them takes all the memory."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def __call__(self, position: int) -> Path:
        if position == 7:
            raise MemoryError("no room")
        return self.root / "a" / f"{position:02d}.png"


@pytest.mark.fault(33, "a worker without memory is one error that names its process and the sample")
def test_a_worker_without_memory_is_named(tmp_path, seen):
    images = replace(source(folder(tmp_path, bad=()), workers=2), read=Hungry(tmp_path))
    want = r"got process \d+ MemoryError: no room at 'a/07.png', with \d+ samples in flight \('a/06.png', "
    with pytest.raises(DeadWorker, match=want) as caught:
        batches(images)
    assert "Traceback" in caught.value.__notes__[0]
    with pytest.raises(MemoryError):
        batches(images.with_workers(0))
    seen("process and sample named")


def test_workers_end_with_the_loop(tmp_path):
    images = source(folder(tmp_path, bad=()), workers=2)
    walk = images.batches(torch.arange(COUNT).split(2), epoch=0, seed=0, train=True)
    next(walk)
    assert len(multiprocessing.active_children()) == 2
    del walk
    assert not multiprocessing.active_children()


def test_signals_to_the_whole_job_do_not_end_workers(tmp_path):
    images = source(folder(tmp_path, bad=()), workers=2)
    walk = images.batches(torch.arange(COUNT).split(2), epoch=0, seed=0, train=True)
    next(walk)
    kill_one(signal.SIGINT)
    kill_one(signal.SIGTERM)
    assert len(list(walk)) == COUNT // 2 - 1


@pytest.mark.parametrize("workers", [1, 3])
def test_answers_come_in_order_and_the_plan_is_read_two_ahead(workers):
    taken = []

    def plan():
        for number in range(20):
            taken.append(number)
            yield torch.tensor([number])

    ahead = []
    for turn, answer in enumerate(prepared(double, plan(), [str(n) for n in range(20)], workers)):
        assert answer.tolist() == [2 * turn]
        ahead.append(len(taken) - turn - 1)
    assert max(ahead) == 2 * workers


def double(index, mark):
    mark(int(index[0]))
    return index * 2

import json
import math
import os
import signal
import time
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from tamis.checkpoint import DamagedCheckpoint, flatten, load_checkpoint, save_checkpoint, unflatten
from tamis.files import replace_file

FILES = ["manifest.json", "model.safetensors", "state.json", "state.safetensors"]


def same(one, other) -> bool:
    """Equal to the bit: types, NaN and the sign of zero too."""
    if isinstance(one, Tensor):
        if not isinstance(other, Tensor) or one.dtype != other.dtype or one.shape != other.shape:
            return False
        return one.contiguous().numpy().tobytes() == other.contiguous().numpy().tobytes()
    if isinstance(one, dict):
        return isinstance(other, dict) and list(one) == list(other) and all(same(one[k], other[k]) for k in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and repr(one) == repr(other)


# ----- round trips ----------------------------------------------------------------------------------------------

TENSORS = st.builds(
    lambda values, kind: torch.tensor(values).to(kind),
    st.lists(st.floats(width=32), max_size=4),
    st.sampled_from([torch.float32, torch.float64, torch.float16, torch.int64, torch.uint8, torch.bool]),
)
LEAVES = st.one_of(
    TENSORS,
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=5),
)
KEYS = st.one_of(
    st.text(max_size=3), st.integers(-3, 3), st.sampled_from(["0", "1", "a/b", "a", "b", "tensor:", "pairs:"])
)
STATES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=3)),
    max_leaves=12,
)


@given(st.dictionaries(st.text(max_size=3), STATES, max_size=3))
def test_any_nested_state_comes_back(state):
    tensors: dict[str, Tensor] = {}
    plain = json.loads(json.dumps(flatten(state, tensors)))
    assert same(unflatten(plain, tensors), state)


def test_names_that_would_be_one_stay_two():
    state = {"s": {1: torch.ones(1), "1": torch.zeros(1)}, "a": {"b": torch.ones(2)}, "a/b": torch.zeros(2)}
    tensors: dict[str, Tensor] = {}
    assert same(unflatten(flatten(state, tensors), tensors), state)


def test_tuples_come_back_as_lists():
    assert unflatten(flatten({"betas": (0.9, 0.99)}, {}), {}) == {"betas": [0.9, 0.99]}


@pytest.mark.parametrize("value", [{1, 2}, object(), b"x", 1j, Path("x")])
def test_what_would_need_pickle_is_refused(value, tmp_path):
    with pytest.raises(TypeError, match=r"state /a/0 must be tensors, numbers, texts, lists or dicts, got \w+"):
        save_checkpoint(tmp_path / "c", {}, {"a": [value]})
    assert not (tmp_path / "c").exists()


OPTIMIZERS = {
    "SGD": lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9),
    "AdamW": lambda parameters: torch.optim.AdamW(parameters, amsgrad=True),
    "Adagrad": torch.optim.Adagrad,
}


@pytest.mark.parametrize("kind", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_an_optimizer_goes_on_bit_for_bit(kind, tmp_path):
    def made():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(12, 2))
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimizer = kind(model.parameters())
        return model, optimizer, torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10)

    def train(model, optimizer, schedule, steps):
        for step in steps:
            inputs = torch.randn(4, 2, 4, 4, generator=torch.Generator().manual_seed(step))
            optimizer.zero_grad()
            model(inputs).square().mean().backward()
            optimizer.step()
            schedule.step()

    first, second = made(), made()
    train(*first, range(3))
    state = {"optimizer": first[1].state_dict(), "schedule": first[2].state_dict(), "epoch": 3, "best": math.nan}
    save_checkpoint(tmp_path / "c", first[0].state_dict(), state)
    weights, again = load_checkpoint(tmp_path / "c")
    assert same(dict(sorted(weights.items())), dict(sorted(first[0].state_dict().items())))
    second[0].load_state_dict(weights)
    second[1].load_state_dict(again["optimizer"])
    second[2].load_state_dict(again["schedule"])
    train(*first, range(3, 6))
    train(*second, range(3, 6))
    assert same(first[0].state_dict(), second[0].state_dict())
    assert again["epoch"] == 3
    assert math.isnan(again["best"])


def test_tensors_that_share_memory_are_kept_apart(tmp_path):
    whole = torch.arange(6.0)
    model = {"a": whole[:3], "b": whole[1:4], "t": whole.view(2, 3).T}
    save_checkpoint(tmp_path / "c", model, {"x": whole, "y": whole})
    weights, state = load_checkpoint(tmp_path / "c")
    assert weights["b"].tolist() == [1, 2, 3]
    assert weights["t"].tolist() == [[0, 3], [1, 4], [2, 5]]
    assert same(state, {"x": whole, "y": whole})


def test_the_files_are_safetensors_and_json(tmp_path):
    save_checkpoint(tmp_path / "c", {"w": torch.ones(2)}, {"a": 1})
    assert sorted(path.name for path in (tmp_path / "c").iterdir()) == FILES
    assert json.loads((tmp_path / "c" / "state.json").read_text("utf-8")) == {"a": 1}


# ----- damage ---------------------------------------------------------------------------------------------------


def saved(folder: Path, number: int) -> Path:
    path = folder / f"epoch-{number:05d}"
    state = {"number": number, "momentum": {0: {"buffer": torch.full((50,), float(number))}}}
    save_checkpoint(path, {"weight": torch.full((200,), float(number))}, state)
    return path


@pytest.mark.parametrize("name", FILES)
def test_a_flipped_byte_is_found_wherever_it_is(name, tmp_path):
    folder = saved(tmp_path, 1)
    content = (folder / name).read_bytes()
    for place in sorted({0, 1, len(content) - 1, *range(0, len(content), max(1, len(content) // 60))}):
        for bit in (0x01, 0x80):
            changed = bytearray(content)
            changed[place] ^= bit
            (folder / name).write_bytes(changed)
            if name == "manifest.json" and json_equal(changed, content):
                continue  # a space became another one
            with pytest.raises(DamagedCheckpoint, match=rf"{name}.*; use an older checkpoint"):
                load_checkpoint(folder)
    (folder / name).write_bytes(content)
    assert load_checkpoint(folder)[1]["number"] == 1


def json_equal(one: bytes | bytearray, other: bytes) -> bool:
    try:
        return json.loads(one) == json.loads(other)
    except ValueError:
        return False


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "of another checkpoint"])
def test_a_file_that_is_not_the_one_written_is_named(name, damage, tmp_path):
    folder, other = saved(tmp_path, 1), saved(tmp_path, 2)
    path = folder / name
    if damage == "missing":
        path.unlink()
    elif damage == "of another checkpoint":
        path.write_bytes((other / name).read_bytes())
    else:
        path.write_bytes(path.read_bytes()[: 0 if damage == "empty" else -1 if name != "manifest.json" else -3])
    with pytest.raises(DamagedCheckpoint, match=rf"{name}"):
        load_checkpoint(folder)


def test_a_manifest_that_lists_too_little_is_damaged(tmp_path):
    folder = saved(tmp_path, 1)
    for text in ("{}", "[]", '{"state.json": "0"}'):
        (folder / "manifest.json").write_text(text, "utf-8")
        with pytest.raises(DamagedCheckpoint, match=r"manifest.json must list model.safetensors, state.json"):
            load_checkpoint(folder)


def test_no_folder_is_a_damaged_checkpoint(tmp_path):
    with pytest.raises(DamagedCheckpoint, match="nothing"):
        load_checkpoint(tmp_path / "nothing")


# ----- crashes --------------------------------------------------------------------------------------------------


def test_an_error_while_writing_leaves_the_old_one(tmp_path, monkeypatch):
    saved(tmp_path, 1)
    monkeypatch.setattr("tamis.checkpoint.replace_json", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        saved(tmp_path, 1)
    assert load_checkpoint(tmp_path / "epoch-00001")[1]["number"] == 1


def test_a_leftover_of_a_crash_is_written_over(tmp_path):
    leftover = tmp_path / f".tmp-{os.getpid()}-epoch-00001"
    leftover.mkdir()
    (leftover / "state.json").write_text("half", "utf-8")
    (leftover / "foreign").write_text("x", "utf-8")
    folder = saved(tmp_path, 1)
    assert sorted(path.name for path in folder.iterdir()) == FILES
    assert [path.name for path in tmp_path.iterdir()] == ["epoch-00001"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_killed_writer_leaves_a_whole_file_or_none(tmp_path):
    """Twenty writers, each killed at a random point; the checkpoint is there as a whole or not at all."""
    for kill in range(20):
        child = os.fork()
        if child == 0:
            number = 0
            while True:
                saved(tmp_path / str(kill), number)
                replace_file(tmp_path / str(kill) / "LATEST", str(number))
                number += 1
        time.sleep(0.01 + 0.0023 * kill)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        folder = tmp_path / str(kill)
        latest = int((folder / "LATEST").read_text("utf-8")) if (folder / "LATEST").exists() else -1
        names = sorted(path.name for path in folder.glob("epoch-*")) if folder.exists() else []
        assert len(names) in (latest + 1, latest + 2)  # nothing lost; at most one beyond the pointer
        for number, name in enumerate(names):
            weights, state = load_checkpoint(folder / name)
            assert state["number"] == number
            assert weights["weight"].unique().tolist() == [number]

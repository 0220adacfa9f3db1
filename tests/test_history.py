import os

import pyarrow.parquet as pq
import pytest
import torch

from tamis.history import History, write_decisions, write_samples, write_scores
from tamis.rules import InfoBatch, Prune, chain, reasons


def columns(index: list[int]) -> dict[str, torch.Tensor]:
    number = torch.tensor(index)
    return {"index": number, "loss": number.float() / 2, "correct": number % 2 == 0}


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_is_appended_comes_back_in_order(tmp_path):
    history = History(tmp_path / "ledger")
    for epoch in range(2):
        history.begin(epoch)
        history.append(columns([3, 1, 2]))
        history.append(columns([7]))
        history.flush()
    assert names(tmp_path / "ledger") == ["epoch-00000-000.parquet", "epoch-00001-000.parquet"]
    table = pq.read_table(tmp_path / "ledger" / "epoch-00001-000.parquet")
    assert table.to_pydict() == {
        "index": [3, 1, 2, 7],
        "loss": [1.5, 0.5, 1.0, 3.5],
        "correct": [False, False, True, False],
    }
    assert [str(kind) for kind in table.schema.types] == ["int64", "float", "bool"]
    assert pq.read_table(tmp_path / "ledger").num_rows == 8  # the parts are one table


def test_large_epochs_are_written_in_parts(tmp_path, monkeypatch):
    monkeypatch.setattr("tamis.history._ROWS", 5)
    history = History(tmp_path)
    history.begin(4)
    for start in range(0, 12, 3):
        history.append(columns(list(range(start, start + 3))))
    history.flush()
    assert names(tmp_path) == [f"epoch-00004-00{part}.parquet" for part in range(3)]
    assert [pq.read_table(tmp_path / name).num_rows for name in names(tmp_path)] == [5, 5, 2]
    assert pq.read_table(tmp_path)["index"].to_pylist() == list(range(12))


@pytest.mark.parametrize("stop", range(12))
def test_an_epoch_goes_on_in_the_middle_with_the_same_parts(stop, tmp_path, monkeypatch):
    monkeypatch.setattr("tamis.history._ROWS", 5)
    for folder, steps in ((tmp_path / "whole", (12,)), (tmp_path / "cut", (stop, 12))):
        history, done, state = History(folder), 0, None
        history.begin(0)
        for end in steps:
            if state is not None:
                history = History(folder)
                history.load_state_dict(state)
            for number in range(done, end):
                history.append(columns([2 * number, 2 * number + 1]))
            done, state = end, history.state_dict()
            if end != steps[-1]:  # goes on and dies: what comes after the saved place is removed
                history.append(columns(list(range(50, 58))))
                history.flush()
        history.flush()
    assert names(tmp_path / "cut") == names(tmp_path / "whole")
    for name in names(tmp_path / "whole"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_nothing_appended_is_nothing_written(tmp_path):
    history = History(tmp_path)
    history.begin(0)
    history.flush()
    assert names(tmp_path) == []


def test_gradients_and_later_changes_do_not_matter(tmp_path):
    history = History(tmp_path)
    history.begin(0)
    loss = torch.tensor([1.0], requires_grad=True)
    history.append({"index": torch.tensor([0]), "loss": loss * 2})
    history.flush()
    assert pq.read_table(tmp_path)["loss"].to_pylist() == [2.0]


def test_begin_removes_what_an_interrupted_run_left_of_the_epoch_and_later(tmp_path, monkeypatch):
    monkeypatch.setattr("tamis.history._ROWS", 2)
    history = History(tmp_path)
    for epoch in range(4):
        history.begin(epoch)
        history.append(columns([1, 2]))
        history.append(columns([3, 4]))
    write_scores(tmp_path, torch.zeros(1), torch.zeros(1, dtype=torch.int32))
    again = History(tmp_path)
    again.begin(2)
    again.append(columns([9]))
    again.flush()
    kept = [f"epoch-0000{epoch}-00{part}.parquet" for epoch in range(2) for part in range(2)]
    assert names(tmp_path) == [*kept, "epoch-00002-000.parquet", "scores.parquet"]
    assert pq.read_table(tmp_path / "epoch-00002-000.parquet")["index"].to_pylist() == [9]


def test_begin_forgets_rows_that_were_not_written(tmp_path):
    history = History(tmp_path)
    history.begin(0)
    history.append(columns([1]))
    history.begin(0)
    history.append(columns([2]))
    history.flush()
    assert pq.read_table(tmp_path)["index"].to_pylist() == [2]


def test_stale_temporary_files_do_no_harm(tmp_path):
    (tmp_path / f".tmp-{os.getpid()}-epoch-00000-000.parquet").write_bytes(b"half")
    (tmp_path / ".tmp-1-epoch-00000-001.parquet").write_bytes(b"half")
    history = History(tmp_path)
    history.begin(0)
    history.append(columns([5]))
    history.flush()
    parts = sorted(tmp_path.glob("epoch-*.parquet"))
    assert [pq.read_table(part)["index"].to_pylist() for part in parts] == [[5]]
    assert pq.read_table(tmp_path)["index"].to_pylist() == [5]  # readers of folders pass over hidden files


def test_a_failed_write_leaves_the_old_part(tmp_path, monkeypatch):
    history = History(tmp_path)
    history.begin(0)
    history.append(columns([1]))
    history.flush()
    history._part = 0
    history.append(columns([2]))
    monkeypatch.setattr("tamis.history.sync_file", lambda path: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        history.flush()
    assert pq.read_table(tmp_path)["index"].to_pylist() == [1]


@pytest.mark.parametrize("clean", [None, torch.tensor([0, 1, 1])])
def test_samples(clean, tmp_path):
    keys = ["a/1.png", 'x"><img>\n.png', "ünïcode/中.png"]
    write_samples(tmp_path / "ledger", keys, torch.tensor([0, 1, 2]), clean)
    table = pq.read_table(tmp_path / "ledger" / "samples.parquet")
    assert table.to_pydict() == {
        "index": [0, 1, 2],
        "key": keys,
        "label": [0, 1, 2],
        "clean_label": [None] * 3 if clean is None else [0, 1, 1],
    }
    assert [str(kind) for kind in table.schema.types] == ["int64", "string", "int32", "int32"]


def test_decisions_name_the_rule(tmp_path):
    from tamis.moment import Moment

    rule = chain(Prune(0.25), InfoBatch(0.5, 1.0))
    score = torch.arange(40.0)
    weight, hidden_by, texts = reasons(rule, torch.ones(40), score, Moment(3, 10))
    write_decisions(tmp_path, 3, hidden_by, texts)
    table = pq.read_table(tmp_path / "decisions-00003.parquet").to_pydict()
    assert table["index"] == (weight == 0).nonzero().flatten().tolist()
    assert set(table["epoch"]) == {3}
    assert set(table["weight"]) == {0.0}
    assert table["reason"][:10] == ["Prune(ratio=0.25, end='easiest')"] * 10
    assert set(table["reason"][10:]) == {"InfoBatch(ratio=0.5, delta=1.0)"}


def test_an_epoch_that_is_begun_again_forgets_its_decisions(tmp_path):
    for epoch in range(3):
        write_decisions(tmp_path, epoch, torch.tensor([0, -1], dtype=torch.int8), ["Prune"])
    History(tmp_path).begin(1)
    assert names(tmp_path) == ["decisions-00000.parquet"]


def test_scores_keep_what_is_not_known(tmp_path):
    write_scores(tmp_path, torch.tensor([0.5, float("nan")]), torch.tensor([2, 0], dtype=torch.int32))
    table = pq.read_table(tmp_path / "scores.parquet")
    assert table["index"].to_pylist() == [0, 1]
    assert str(table["score"].to_pylist()) == "[0.5, nan]"
    assert table["seen"].to_pylist() == [2, 0]
    assert [str(kind) for kind in table.schema.types] == ["int64", "float", "int32"]

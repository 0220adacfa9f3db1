"""What the report reads from a run folder: suspects, the story of a sample, and the sentence on top."""

import json
import math
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from run_folders import Fake, write_run
from tamis.report import explain_sample, suspects
from tamis.report.reading import read_history, read_samples
from tamis.report.records import read_record
from tamis.report.suspicion import auroc, ranking, share_of_wrong
from tamis.report.verdict import verdict

SMALL = Fake(n=300, epochs=6, hidden=0.2, parts=2)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("runs") / "sigma", SMALL)


def test_history_is_what_the_parts_say(run):
    samples = read_samples(run)
    history = read_history(run, samples)
    rows = [row for path in sorted((run / "ledger").glob("epoch-*")) for row in pq.read_table(path).to_pylist()]
    for index in (0, 17, 299):
        own = [row for row in rows if row["index"] == index]
        assert history.shown[index] == len(own)
        assert history.mean_loss[index] == pytest.approx(np.mean([row["loss"] for row in own]))
        assert history.right[index] == sum(row["correct"] for row in own)
        assert history.predicted[index] == own[-1]["predicted"]
        assert history.sigma[index] == pytest.approx(math.exp(own[-1]["log_sigma"]))


def test_suspects_are_ranked_by_sigma(run):
    found = suspects(run, 50)
    assert len(found) == 50
    assert [s.score for s in found] == sorted((s.score for s in found), reverse=True)
    assert sum(s.label != s.clean_label for s in found) >= 48
    assert found[0].key == read_samples(run).keys[found[0].index].as_py()


def test_suspects_are_ranked_by_mean_loss_without_sigma(tmp_path):
    run = write_run(tmp_path / "plain", replace(SMALL, kind="plain", clean_known=False))
    history = read_history(run, read_samples(run))
    found = suspects(run, 1)[0]
    assert found.score == pytest.approx(np.nanmax(history.mean_loss))
    assert found.clean_label is None


def test_more_suspects_than_samples_gives_all(run):
    assert len(suspects(run, 10_000)) == 300


def test_ties_go_by_index_and_nan_comes_last():
    score = np.array([1.0, np.nan, 2.0, 1.0, 2.0])
    assert ranking(score, score).tolist() == [2, 4, 0, 3, 1]


def test_ties_go_by_mean_loss_before_the_index():
    score = np.array([20.0, 3.0, 20.0, np.nan, 20.0, 20.0])
    mean_loss = np.array([1.0, 9.0, 5.0, np.nan, np.nan, 5.0])
    assert ranking(score, mean_loss).tolist() == [2, 5, 0, 4, 1, 3]


def test_count_must_be_positive(run):
    with pytest.raises(ValueError, match="count must be at least 1, got 0"):
        suspects(run, 0)


def test_a_folder_without_a_ledger_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"run must have ledger/samples\.parquet"):
        suspects(tmp_path, 3)


def test_an_index_outside_the_samples_is_refused(run, tmp_path):
    history = read_history(run, read_samples(run))
    part = pq.read_table(next((run / "ledger").glob("epoch-00000-*")))
    wrong = part.set_column(0, "index", pa.array(np.arange(len(part)) + 299))
    with pytest.raises(ValueError, match=r"index must be in \[0, 300\)"):
        history.add(wrong)


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1, max_size=40))
def test_auroc_counts_pairs(pairs):
    score = np.array([float(value) for value, _ in pairs])
    wrong = np.array([flag for _, flag in pairs])
    wins = [(a > b) + 0.5 * (a == b) for a in score[wrong] for b in score[~wrong]]
    expected = np.mean(wins) if wins else math.nan
    assert auroc(score, wrong) == pytest.approx(expected, nan_ok=True)


def test_share_of_wrong_leaves_out_what_was_never_scored():
    score, wrong = np.array([3.0, np.nan, 2.0, 1.0]), np.array([True, True, False, True])
    assert share_of_wrong(ranking(score, score), score, wrong, 2) == 0.5
    assert math.isnan(share_of_wrong(np.array([0]), np.array([np.nan]), np.array([True]), 1))


def test_a_story_tells_every_epoch(run):
    key = suspects(run, 1)[0].key
    story = explain_sample(run, key)
    assert (story.rank, story.measure, story.count) == (1, "sigma", 300)
    assert [epoch.epoch for epoch in story.epochs] == list(range(6))
    hidden = [epoch for index in range(5) for epoch in explain_sample(run, index).epochs if epoch.hidden]
    assert hidden
    assert hidden[0].weight == 0
    assert hidden[0].loss is None
    shown = next(epoch for epoch in story.epochs if not epoch.hidden)
    assert None not in (shown.loss, shown.margin, shown.sigma, shown.correct, shown.predicted, shown.weight)


def test_a_story_is_found_by_index_and_by_digits(run):
    assert explain_sample(run, 7) == explain_sample(run, "7")
    assert explain_sample(run, 7).key == explain_sample(run, explain_sample(run, 7).key).key


def test_ranks_are_a_permutation(tmp_path):
    run = write_run(tmp_path / "run", Fake(n=20, epochs=2))
    assert sorted(explain_sample(run, index).rank or 0 for index in range(20)) == list(range(1, 21))


def test_decisions_may_come_epoch_by_epoch(run, tmp_path):
    other = write_run(tmp_path / "run", SMALL)
    path = other / "ledger" / "decisions.parquet"
    table = pq.read_table(path)
    path.unlink()
    for epoch in range(6):
        chosen = table.filter(pa.array(table["epoch"].to_numpy() == epoch))
        pq.write_table(chosen, path.with_name(f"decisions-{epoch:05d}.parquet"))
    assert explain_sample(other, 3) == explain_sample(run, 3)
    one, two = read_record(run, "one").hidden, read_record(other, "two").hidden
    assert (one.epochs == two.epochs).all()
    assert one.reasons == two.reasons


def test_an_unknown_key_names_the_nearest(run):
    key = read_samples(run).keys[5].as_py()
    with pytest.raises(ValueError, match="the nearest key is") as caught:
        explain_sample(run, key.replace("img", "imgg"))
    assert key in str(caught.value)
    with pytest.raises(ValueError, match=r"index must be in \[0, 300\), got 300"):
        explain_sample(run, "300")
    with pytest.raises(ValueError, match="keys look like 'train/"):
        explain_sample(run, "\u4e00")


def test_a_torn_line_of_metrics_is_said(tmp_path):
    run = write_run(tmp_path / "run", SMALL)
    path = run / "metrics.jsonl"
    path.write_text(path.read_text()[:-40])
    record = read_record(run, "run")
    assert len(record.metrics) == 5
    assert record.notes == ["line 6 of metrics.jsonl is damaged and was left out"]


def test_an_epoch_done_again_counts_once(tmp_path):
    run = write_run(tmp_path / "run", SMALL)
    path = run / "metrics.jsonl"
    again = json.loads(path.read_text().splitlines()[-1]) | {"lr": 7.0}
    path.write_text(path.read_text() + json.dumps(again) + "\n")
    assert read_record(run, "run").column("lr")[-1] == 7


def test_a_run_before_its_first_epoch_is_refused(tmp_path):
    run = write_run(tmp_path / "run", SMALL)
    (run / "metrics.jsonl").unlink()
    with pytest.raises(ValueError, match="run must have a finished epoch"):
        read_record(run, "run")


def _sentence(tmp_path, *fakes, names=None):
    folders = [write_run(tmp_path / f"{number}", fake) for number, fake in enumerate(fakes)]
    names = names or [fake.kind for fake in fakes]
    records = [read_record(folder, name) for folder, name in zip(folders, names, strict=True)]
    focus = next((record for record in records if record.history.has_sigma), records[0])
    return verdict(records, focus).replace("\u00a0", " ")


def test_the_verdict_compares_runs(tmp_path):
    fakes = [replace(SMALL, kind=kind, n=1000) for kind in ("plain", "sigma", "oracle")]
    text = _sentence(tmp_path, *fakes, names=["plain training", "data parameters", "the oracle"])
    assert text.startswith("Data parameters ended at 9")
    assert "where plain training ended at 5" in text
    assert "and the oracle at 9" in text
    assert "Of the 100 most suspicious labels by sigma, " in text
    assert text.endswith("are wrong (known, because the noise was injected).")


def test_the_verdict_does_not_rank_what_chance_explains(tmp_path):
    text = _sentence(tmp_path, replace(SMALL, validation=40), replace(SMALL, kind="oracle", validation=40))
    assert "on 40 validation images the difference from oracle may be chance" in text


def test_the_verdict_of_one_run_tells_what_was_lost(tmp_path):
    text = _sentence(tmp_path, replace(SMALL, kind="plain", epochs=12))
    assert "points were lost after it" in text


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"validation": 0}, "without validation data its accuracy on new images is not known"),
        ({"finished": False}, "Not finished: after 6 of 6 epochs"),
        ({"clean_known": False}, "which of them are wrong is for a person to say"),
        ({"noise": 0.0}, "None of its labels is known to be wrong"),
        ({"nan_epochs": (5,)}, "After 6 epochs the validation accuracy is not a number."),
    ],
)
def test_the_verdict_says_what_is_not_known(tmp_path, change, words):
    text = _sentence(tmp_path, replace(SMALL, **change))
    assert words in text
    assert "nan" not in text


def test_the_verdict_of_equal_epochs_tells_of_no_loss(tmp_path):
    run = write_run(tmp_path / "run", replace(SMALL, kind="plain", finished=False))
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    rows = [row | {"validation": {"accuracy": 1.0, "loss": 0.1}} for row in rows]
    (run / "metrics.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    record = read_record(run, "run")
    assert "the best epoch was 1 with 100.0" in verdict([record], record)
    assert "were lost" not in verdict([record], record)

"""What the ledger of a run says about every sample, read column by column."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

PART_NAME = re.compile(r"epoch-(\d+)-(\d+)\.parquet")


@dataclass(frozen=True)
class Samples:
    """The samples of a run, in the order of their index.

    Attributes:
        keys: n strings.
        label: int64 (n,), the label trained on; the number of points in counting, of boxes in detection.
        clean: int64 (n,), the clean label, or None where none is known.
        gone: bool (n,), removed from the data while the run was trained.
    """

    keys: pa.Array
    label: np.ndarray
    clean: np.ndarray | None
    gone: np.ndarray

    def __len__(self) -> int:
        return len(self.label)

    @property
    def wrong(self) -> np.ndarray | None:
        """Bool (n,): the label trained on is not the clean one; None where no clean label is known."""
        return None if self.clean is None else self.clean != self.label


class Snapshot(NamedTuple):
    """What is known after an epoch: the arrays are (n,), live, and NaN or -1 for samples not shown yet."""

    epoch: int
    sigma: np.ndarray
    mean_loss: np.ndarray
    correct: np.ndarray
    has_sigma: bool


@dataclass
class History:
    """Per-sample sums and last values over the epochs of a ledger; all arrays are (n,).

    What a task does not tell keeps the value of a sample that was never shown.

    Attributes:
        shown: epochs in which the sample was shown.
        loss_sum: sum of the losses (finite ones).
        right: epochs in which the model predicted the given label.
        correct: 1 or 0 for the last time shown, -1 before the first.
        predicted: last predicted class, -1 before the first.
        log_sigma: last known instance log sigma, NaN where there is none.
        score_sum: sum of the scores (finite ones), where the task tells them apart from the losses.
        count, predicted_count: of the view that was shown last, NaN before the first.
    """

    n: int
    shown: np.ndarray = field(init=False)
    loss_sum: np.ndarray = field(init=False)
    losses: np.ndarray = field(init=False)
    right: np.ndarray = field(init=False)
    correct: np.ndarray = field(init=False)
    predicted: np.ndarray = field(init=False)
    log_sigma: np.ndarray = field(init=False)
    score_sum: np.ndarray = field(init=False)
    scores: np.ndarray = field(init=False)
    count: np.ndarray = field(init=False)
    predicted_count: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.shown, self.losses, self.right, self.scores = (np.zeros(self.n, np.int64) for _ in range(4))
        self.loss_sum, self.score_sum = np.zeros(self.n), np.zeros(self.n)
        self.correct, self.predicted = np.full(self.n, -1, np.int64), np.full(self.n, -1, np.int64)
        self.log_sigma, self.count, self.predicted_count = (np.full(self.n, np.nan) for _ in range(3))

    def add(self, part: pa.Table) -> None:
        """Take in a part of an epoch (each sample at most once in a part)."""
        index = part["index"].to_numpy()
        if len(index) and (index.min() < 0 or index.max() >= self.n):
            raise ValueError(f"index must be in [0, {self.n}), got {index.min()} to {index.max()} in the ledger")
        self.shown[index] += 1
        _add(part, "loss", index, self.loss_sum, self.losses)
        _add(part, "score", index, self.score_sum, self.scores)
        if "correct" in part.column_names:
            correct = part["correct"].to_numpy()
            self.right[index] += correct
            self.correct[index] = correct
            self.predicted[index] = part["predicted"].to_numpy()
        if "count" in part.column_names:
            self.count[index] = _floats(part["count"])
            self.predicted_count[index] = _floats(part["predicted_count"])
        if "log_sigma" in part.column_names:
            log_sigma = _floats(part["log_sigma"])
            known = np.isfinite(log_sigma)
            self.log_sigma[index[known]] = log_sigma[known]

    @property
    def mean_loss(self) -> np.ndarray:
        """Mean over the epochs in which the sample was shown; NaN where it never was."""
        return _mean(self.loss_sum, self.losses)

    @property
    def mean_score(self) -> np.ndarray:
        """Mean over the epochs in which the sample was shown; NaN where it never was, or the task tells none."""
        return _mean(self.score_sum, self.scores)

    @property
    def sigma(self) -> np.ndarray:
        """exp(log sigma) of the instance; NaN where there is none."""
        return np.exp(self.log_sigma)

    @property
    def has_sigma(self) -> bool:
        """Whether any sample has a sigma of its own."""
        return bool(np.isfinite(self.log_sigma).any())

    @property
    def suspicion(self) -> np.ndarray:
        """The figure that samples are ranked by: sigma, else the mean score, else the mean loss; higher is worse."""
        return {"sigma": self.sigma, "mean score": self.mean_score, "mean loss": self.mean_loss}[self.measure]

    @property
    def measure(self) -> str:
        """What `suspicion` is: "sigma", "mean score" or "mean loss"."""
        if self.has_sigma:
            return "sigma"
        return "mean score" if self.scores.any() else "mean loss"


def _add(part: pa.Table, name: str, index: np.ndarray, total: np.ndarray, number: np.ndarray) -> None:
    """Add the finite values of a column, if there is one, to a sum and to the number of its terms."""
    if name in part.column_names:
        values = _floats(part[name])
        finite = np.isfinite(values)
        number[index] += finite
        total[index] += np.where(finite, values, 0)


def _mean(total: np.ndarray, number: np.ndarray) -> np.ndarray:
    return np.divide(total, number, out=np.full(len(total), np.nan), where=number > 0)


def _floats(column: pa.ChunkedArray) -> np.ndarray:
    return column.cast(pa.float64()).to_numpy()


def ledger_of(run: Path) -> Path:
    """The run's ledger folder.

    Raises:
        FileNotFoundError: there is no ledger with samples.
    """
    ledger = Path(run) / "ledger"
    if not (ledger / "samples.parquet").is_file():
        raise FileNotFoundError(
            f"run must have ledger/samples.parquet, got none in {str(run)!r}; give the folder that `tamis train` wrote"
        )
    return ledger


def read_samples(run: Path) -> Samples:
    """Read keys, labels and, where they are known, the clean labels.

    Raises:
        FileNotFoundError: there is no ledger with samples.
        ValueError: the rows are not the samples 0 to n - 1 in order.
    """
    path = ledger_of(run) / "samples.parquet"
    table = pq.read_table(path)
    if not np.array_equal(table["index"].to_numpy(), np.arange(len(table))):
        raise ValueError(f"index must run from 0 to {len(table) - 1} in order, got another order in {str(path)!r}")
    clean = None
    if "clean_label" in table.column_names and table["clean_label"].null_count < len(table):
        clean = pc.fill_null(table["clean_label"], -1).to_numpy().astype(np.int64)
        clean = np.where(clean < 0, table["label"].to_numpy(), clean)
    keys = table["key"].combine_chunks()
    keys = keys.chunk(0) if isinstance(keys, pa.ChunkedArray) else keys
    gone = table["gone"].to_numpy() if "gone" in table.column_names else np.zeros(len(table), bool)
    return Samples(keys, table["label"].to_numpy().astype(np.int64), clean, gone)


def parts_by_epoch(run: Path) -> dict[int, Sequence[Path]]:
    """The ledger's parts of each epoch, epochs and parts in order."""
    parts = defaultdict(list)
    for path in sorted(ledger_of(run).glob("epoch-*.parquet")):
        if match := PART_NAME.fullmatch(path.name):
            parts[int(match[1])].append(path)
    return dict(sorted(parts.items()))


def snapshots(run: Path, history: History) -> Iterator[Snapshot]:
    """Fill `history` epoch by epoch, and tell after each epoch what is known so far."""
    wanted = {"index", "loss", "score", "correct", "predicted", "log_sigma", "count", "predicted_count"}
    for epoch, paths in parts_by_epoch(run).items():
        for path in paths:
            with pq.ParquetFile(path) as part:
                history.add(part.read([name for name in part.schema_arrow.names if name in wanted]))
        yield Snapshot(epoch, history.sigma, history.mean_loss, history.correct, history.has_sigma)


def read_history(run: Path, samples: Samples) -> History:
    """The whole history of a run: memory is O(n), whatever the number of epochs."""
    history = History(len(samples))
    for _ in snapshots(run, history):
        pass
    return history


@dataclass(frozen=True)
class Hidden:
    """Who was hidden, how often and why.

    Attributes:
        epochs: int64 (n,), epochs in which the sample was hidden.
        reasons: sample-epochs by reason, most frequent first.
    """

    epochs: np.ndarray
    reasons: dict[str, int]


def decision_paths(run: Path) -> list[Path]:
    """The files of decisions, one for the run or one for each epoch that hid something."""
    return sorted(ledger_of(run).glob("decisions*.parquet"))


def read_hidden(run: Path, n: int) -> Hidden:
    """Read the decisions; a run without any hid nothing."""
    epochs, reasons = np.zeros(n, np.int64), Counter()
    for path in decision_paths(run):
        table = pq.read_table(path, columns=["index", "reason"], read_dictionary=["reason"])
        epochs += np.bincount(table["index"].to_numpy(), minlength=n)
        for entry in table["reason"].value_counts().to_pylist():
            reasons[entry["values"] or "no reason given"] += entry["counts"]
    return Hidden(epochs, dict(sorted(reasons.items(), key=lambda item: (-item[1], item[0]))))

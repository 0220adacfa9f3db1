"""What a run says of each validation image, and whether two runs differ by more than chance."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors import SafetensorError, safe_open

_FIGURES = ("count", "predicted", "game1", "game2", "game3", "ssim", "psnr")
_FLIPS = 10_000
_EXACT = 12  # up to so many images every combination of signs is tried
_AT_ONCE = 1 << 22  # signs in memory


@dataclass(frozen=True)
class Predictions:
    """The validation images of a run that could be read; all arrays are (m,).

    Attributes:
        index: int64, positions in the validation data.
        keys: their names.
        count, predicted, game1, game2, game3, ssim, psnr: float, NaN = not defined.
        maps: the file of the maps, if there is one.
    """

    index: np.ndarray
    keys: tuple[str, ...]
    count: np.ndarray
    predicted: np.ndarray
    game1: np.ndarray
    game2: np.ndarray
    game3: np.ndarray
    ssim: np.ndarray
    psnr: np.ndarray
    maps: Path | None

    def __len__(self) -> int:
        return len(self.index)

    @property
    def error(self) -> np.ndarray:
        """Absolute errors of the counts; NaN where there is none."""
        return np.abs(self.predicted - self.count)

    def maps_of(self, rows: list[int]) -> dict[int, tuple[np.ndarray, np.ndarray]]:
        """True and predicted density, float32 (h, w), of some rows; those without maps are left out."""
        found = {}
        if self.maps is None:
            return found
        with safe_open(self.maps, framework="numpy") as file:
            names = set(file.keys())
            for row in rows:
                pair = [f"{kind}/{self.index[row]}" for kind in ("true", "predicted")]
                if names.issuperset(pair):
                    true, predicted = (file.get_tensor(name) for name in pair)
                    if true.ndim == 2 and true.size and true.shape == predicted.shape:
                        found[row] = (true, predicted)
        return found


def read_predictions(run: Path) -> Predictions | None:
    """Read `predictions/` of a run; None where there is none, as in a run that has not ended.

    Raises:
        ValueError: the file is not what a run writes.
    """
    path = run / "predictions" / "validation.parquet"
    if not path.is_file():
        return None
    maps = path.with_name("maps.safetensors")
    try:
        table = pq.read_table(path)
        return Predictions(
            table["index"].to_numpy(),
            tuple(map(str, table["key"].to_pylist())),
            *(table[name].cast(pa.float64()).to_numpy() for name in _FIGURES),
            maps=maps if _is_readable(maps) else None,
        )
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, KeyError) as error:
        text = str(error).splitlines()[0]
        raise ValueError(f"predictions must be a table of counts, got {str(path)!r}: {text}") from error


def _is_readable(path: Path) -> bool:
    try:
        with safe_open(path, framework="numpy"):
            return True
    except (OSError, SafetensorError):
        return False


class _Judged(Protocol):
    """Images by key, each with an error; NaN = not known."""

    @property
    def keys(self) -> tuple[str, ...]: ...

    @property
    def error(self) -> np.ndarray: ...


def shared(one: _Judged, other: _Judged) -> tuple[np.ndarray, np.ndarray]:
    """The rows of the images that both have an error of, by key, in the order of the first."""
    place = {key: row for row, key in enumerate(other.keys)}
    pairs = [(row, place[key]) for row, key in enumerate(one.keys) if key in place]
    rows, others = np.array(pairs, np.int64).reshape(-1, 2).T
    known = np.isfinite(one.error[rows]) & np.isfinite(other.error[others])
    return rows[known], others[known]


def sign_flips(difference: np.ndarray) -> float:
    """Chance of a mean as far from 0, if each paired difference could as well have had the other sign.

    Fisher's randomisation test, two-sided; exact up to 12 differences, else by 10,000 draws that are always the same.

    Args:
        difference: float (m,), finite.

    Returns:
        In (0, 1]; 1 without any difference.
    """
    m = len(difference)
    if not m or not difference.any():
        return 1.0
    measured = abs(difference.sum()) * (1 - 1e-9)
    if m <= _EXACT:
        signs = 1 - 2 * (np.arange(1 << m)[:, None] >> np.arange(m) & 1)
        return float((np.abs(signs @ difference) >= measured).mean())
    random, reached, left = np.random.default_rng(0), 0, _FLIPS
    while left:
        rows = min(left, max(1, _AT_ONCE // m))
        signs = 1.0 - 2.0 * random.integers(0, 2, (rows, m), dtype=np.int8)
        reached += int((np.abs(signs @ difference) >= measured).sum())
        left -= rows
    return (1 + reached) / (1 + _FLIPS)

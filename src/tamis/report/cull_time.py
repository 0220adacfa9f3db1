"""When each frame of a culled folder was: one time axis over all its sources."""

from typing import NamedTuple

import numpy as np

from tamis.report.cull_reading import Culled

_GAP = 2.5  # usual steps without a frame that count as a gap


class Clock(NamedTuple):
    """The time axis.

    Attributes:
        at: float64 (n,), ascending: time of each frame from the start of the first source, in `unit`.
        unit: "seconds", "minutes", "hours", or "frames" where any time is unknown.
        starts: where a source begins, the first left out.
        gaps: (from, to) of every stretch inside a source from which no frame came.
    """

    at: np.ndarray
    unit: str
    starts: list[float]
    gaps: list[tuple[float, float]]


def clock(culled: Culled) -> Clock:
    """Put the sources one after the other."""
    count = len(culled)
    if not count:
        return Clock(np.zeros(0), "frames", [], [])
    heads = np.flatnonzero(np.diff(culled.source.codes, prepend=-2) != 0).tolist()
    if not np.isfinite(culled.seconds).all():
        return Clock(np.arange(count, dtype=float), "frames", [float(head) for head in heads[1:]], [])
    at, begin, starts, gaps = np.empty(count), 0.0, [], []
    for head, tail in zip(heads, [*heads[1:], count], strict=True):
        own = culled.seconds[head:tail] - culled.seconds[head:tail].min()
        steps = np.diff(own)
        step = float(np.median(steps[steps > 0])) if (steps > 0).any() else 1.0
        at[head:tail] = begin + own
        wide = np.flatnonzero(steps > _GAP * step)
        gaps += [(begin + own[i] + step / 2, begin + own[i + 1] - step / 2) for i in wide.tolist()]
        starts.append(begin)
        begin += float(own.max()) + step
    size, unit = next(
        pair for pair in ((3600, "hours"), (60, "minutes"), (1, "seconds")) if begin > 2 * pair[0] or pair[0] == 1
    )
    return Clock(at / size, unit, [each / size for each in starts[1:]], [(a / size, b / size) for a, b in gaps])


def time_of(seconds: float) -> str:
    """75.25 -> "1:15.3"; 3675 -> "1:01:15"; nothing where unknown."""
    if not np.isfinite(seconds):
        return ""
    tenths = round(seconds * 10)
    sign, tenths = ("-" if tenths < 0 else ""), abs(tenths)
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    end = f"{rest // 10:02d}" + (f".{rest % 10}" if rest % 10 else "")
    return f"{sign}{hours}:{minutes:02d}:{end}" if hours else f"{sign}{minutes}:{end}"

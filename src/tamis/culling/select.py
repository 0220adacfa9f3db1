"""Which frames are kept: the highest scores, evenly spread ones, random ones; positions in, positions out."""

from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from tamis.moment import uniforms

Positions = npt.NDArray[np.int64]
Scores = npt.NDArray[np.float64]
Moments = npt.NDArray[np.float64]


def by_score(score: Scores) -> Positions:
    """Places of the scores, the highest first; equal ones keep their order (reading 3: the earlier frame first).

    Args:
        score: float64 (n,), finite.

    Raises:
        ValueError: a score that is not finite.
    """
    if not np.isfinite(score).all():
        place = int(np.flatnonzero(~np.isfinite(score))[0])
        raise ValueError(f"score must be finite, got {score[place]} at place {place}; leave the frame out")
    return np.argsort(-score, kind="stable")


def hardest(score: Scores, count: int) -> Positions:
    """Places of the `count` highest scores, the highest first; fewer if there are fewer."""
    return by_score(score)[:count]


def apart(score: Scores, count: int, camera: Sequence[int], seconds: Moments, gap: float) -> Positions:
    """The `count` highest scores, no two frames of a camera closer than `gap` seconds, as far as that is possible.

    Greedy: from the highest score down, a frame too close to one that was taken is passed over. If that leaves too few,
    the highest of those that were passed over fill up.

    Args:
        score: float64 (n,).
        count: how many to take.
        camera: (n,), frames of different cameras are never close.
        seconds: float64 (n,), the time of each frame.
        gap: seconds, above 0.

    Returns:
        Places, those that were taken for their score first, then those that filled up, each the highest first.
    """
    taken: list[int] = []
    over: list[int] = []
    times: dict[int, list[float]] = defaultdict(list)
    for place in by_score(score).tolist():
        if len(taken) == count:
            break
        held, moment = times[camera[place]], float(seconds[place])
        after = bisect_left(held, moment)
        near = held[max(0, after - 1) : after + 1]
        if any(abs(moment - other) < gap for other in near):
            over.append(place)
        else:
            insort(held, moment)
            taken.append(place)
    return np.array(taken + over[: count - len(taken)], dtype=np.int64)


def evenly(total: int, count: int) -> Positions:
    """The middles of `count` equal stretches of `total` frames: every k-th frame, for any k; all if there are fewer."""
    count = min(count, total)
    return (np.arange(count, dtype=np.int64) * 2 + 1) * total // (2 * max(count, 1))


def at_random(total: int, count: int, seed: int) -> Positions:
    """`count` of `total` positions, each set as likely as any other; ascending."""
    tickets = uniforms(seed, 0, torch.arange(total), "cull: random frames", 2).double()
    # Two columns of 24 bits: among millions of frames one of them would tie.
    order = np.argsort((tickets[:, 0] + tickets[:, 1] / (1 << 24)).numpy(), kind="stable")
    return np.sort(order[:count]).astype(np.int64)

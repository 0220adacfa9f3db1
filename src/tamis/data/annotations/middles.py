"""From boxes to points."""

from dataclasses import replace
from typing import Literal

import numpy as np

from tamis.data.annotations.columns import Annotations
from tamis.data.annotations.findings import Judged

At = Literal["centre", "head"]
_HEADS = 15.0  # a person is seven and a half heads high, so the middle of the head is a fifteenth below the top


def box_points(annotations: Annotations, judged: Judged, at: At = "centre") -> Annotations:
    """A point for each box that is left and has a class: its keypoint if it has one, else by `at`.

    Boxes are clipped to their image first, so that an object counts wherever a part of it can be seen. A box that is
    there twice gives two points.

    Args:
        annotations: boxes, float64 (m, 4).
        judged: what is left of them.
        at: "centre" of the box, or "head": the middle, a fifteenth of the height below the top.
    """
    rows = np.flatnonzero((judged.keep | judged.twice) & (annotations.label >= 0))
    x1, y1, x2, y2 = judged.values[rows].T
    points = np.stack([(x1 + x2) / 2, (y1 + y2) / 2 if at == "centre" else y1 + (y2 - y1) / _HEADS], axis=1)
    if annotations.keypoints is not None:
        keypoints = annotations.keypoints[rows]
        points = np.where(np.isfinite(keypoints).all(axis=1, keepdims=True), keypoints, points)
    problems = annotations.problems + judged.problems
    return replace(annotations.take(rows), values=points, problems=problems, keypoints=None, extra={})

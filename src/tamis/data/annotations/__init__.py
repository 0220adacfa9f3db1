"""Boxes and points: readers of the usual layouts, and the rules that they are held to."""

from tamis.data.annotations.columns import Annotations, Problem, Rule, Unfit, shown, upright_size
from tamis.data.annotations.findings import (
    RULES,
    Inspected,
    annotation_findings,
    inspect_annotations,
    inspect_layouts,
    judge,
    write_fixed,
)
from tamis.data.annotations.layouts import Kind, Layout, counting_layouts
from tamis.data.annotations.middles import At, box_points

__all__ = [
    "RULES", "Annotations", "At", "Inspected", "Kind", "Layout", "Problem", "Rule", "Unfit", "annotation_findings",
    "box_points", "counting_layouts", "inspect_annotations", "inspect_layouts", "judge", "shown", "upright_size",
    "write_fixed",
]  # fmt: skip

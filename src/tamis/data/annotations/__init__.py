"""Boxes and points: readers of the usual layouts, and the rules that they are held to."""

from tamis.data.annotations.columns import Annotations, Problem, Rule, Unfit, upright_size
from tamis.data.annotations.findings import (
    RULES,
    Inspected,
    Kind,
    annotation_findings,
    inspect_annotations,
    write_fixed,
)

__all__ = [
    "RULES", "Annotations", "Inspected", "Kind", "Problem", "Rule", "Unfit",
    "annotation_findings", "inspect_annotations", "upright_size", "write_fixed",
]  # fmt: skip

"""Looks at every image of a data set without training: unreadable, duplicate, leaked, one-sided, changed."""

from tamis.data.inspection.changes import changes
from tamis.data.inspection.findings import Finding, Row, inspect
from tamis.data.inspection.samples import Samples, empty_folders, read_samples

__all__ = ["Finding", "Row", "Samples", "changes", "empty_folders", "inspect", "read_samples"]

"""The one training loop, for any task that gives one loss per sample."""

from tamis.fit.loop import fit
from tamis.fit.observe import NotFinite
from tamis.fit.protocols import Boxed, Fitted, Grouped, Progress, Source, Stopped, Task
from tamis.fit.scoring import sample_scores, whole_plan
from tamis.fit.settings import Cosine, Flat, Linear, Settings, Steps, Triangle

__all__ = [
    "Boxed",
    "Cosine",
    "Fitted",
    "Flat",
    "Grouped",
    "Linear",
    "NotFinite",
    "Progress",
    "Settings",
    "Source",
    "Steps",
    "Stopped",
    "Task",
    "Triangle",
    "fit",
    "sample_scores",
    "whole_plan",
]

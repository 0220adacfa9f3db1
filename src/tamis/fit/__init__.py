"""The one training loop, for any task that gives one loss per sample."""

from tamis.fit.loop import Fitted, Progress, Source, Task, fit
from tamis.fit.observe import NotFinite
from tamis.fit.settings import Cosine, Flat, Linear, Settings, Steps, Triangle

__all__ = [
    "Cosine",
    "Fitted",
    "Flat",
    "Linear",
    "NotFinite",
    "Progress",
    "Settings",
    "Source",
    "Steps",
    "Task",
    "Triangle",
    "fit",
]

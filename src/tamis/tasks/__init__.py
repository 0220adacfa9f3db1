"""What a loss per sample is, and how a model is judged."""

from tamis.tasks.calibration import ece, temperature_of
from tamis.tasks.classification import Classification

__all__ = ["Classification", "ece", "temperature_of"]

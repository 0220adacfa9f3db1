"""What a loss per sample is, and how a model is judged."""

from tamis.tasks.calibration import ece, temperature_of
from tamis.tasks.classification import Classification
from tamis.tasks.count_metrics import game, mae, psnr, rmse, ssim
from tamis.tasks.counting import Counted, Counting
from tamis.tasks.detection import Detected, Detection

__all__ = [
    "Classification",
    "Counted",
    "Counting",
    "Detected",
    "Detection",
    "ece",
    "game",
    "mae",
    "psnr",
    "rmse",
    "ssim",
    "temperature_of",
]

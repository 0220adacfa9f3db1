"""What a loss per sample is, and how a model is judged."""

from tamis.tasks.calibration import ece, temperature_of
from tamis.tasks.classification import Classification
from tamis.tasks.count_metrics import game, mae, psnr, rmse, ssim
from tamis.tasks.counting import Counted, Counting
from tamis.tasks.detection import Detected, Detection
from tamis.tasks.multi_label import MultiLabel, average_precision
from tamis.tasks.noise_scale import noise_scaled, sigma_level

__all__ = [
    "Classification",
    "Counted",
    "Counting",
    "Detected",
    "Detection",
    "MultiLabel",
    "average_precision",
    "ece",
    "game",
    "mae",
    "noise_scaled",
    "psnr",
    "rmse",
    "sigma_level",
    "ssim",
    "temperature_of",
]

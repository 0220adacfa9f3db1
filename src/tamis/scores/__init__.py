"""How hard a sample is: pure functions on tensors, higher = harder unless the function says otherwise."""

from tamis.scores.average import average
from tamis.scores.confidence import ConfidenceLoss, confidence_loss, normalized_mean
from tamis.scores.forgetting import forgetting
from tamis.scores.grand import grand, grand_full
from tamis.scores.kitti import KittiPrecision, KittiRules, KittiTruth, kitti_precision
from tamis.scores.losses import cross_entropy, el2n, entropy, margin
from tamis.scores.precision import (
    MeanPrecision,
    class_precision,
    image_hits,
    image_precision,
    mean_average_precision,
)
from tamis.scores.quality import auroc, precision_at

__all__ = [
    "ConfidenceLoss",
    "KittiPrecision",
    "KittiRules",
    "KittiTruth",
    "MeanPrecision",
    "auroc",
    "average",
    "class_precision",
    "confidence_loss",
    "cross_entropy",
    "el2n",
    "entropy",
    "forgetting",
    "grand",
    "grand_full",
    "image_hits",
    "image_precision",
    "kitti_precision",
    "margin",
    "mean_average_precision",
    "normalized_mean",
    "precision_at",
]

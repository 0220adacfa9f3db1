"""How hard a sample is: pure functions on tensors, higher = harder unless the function says otherwise."""

from tamis.scores.average import average
from tamis.scores.forgetting import forgetting
from tamis.scores.grand import grand, grand_full
from tamis.scores.losses import cross_entropy, el2n, entropy, margin
from tamis.scores.quality import auroc, precision_at

__all__ = [
    "auroc",
    "average",
    "cross_entropy",
    "el2n",
    "entropy",
    "forgetting",
    "grand",
    "grand_full",
    "margin",
    "precision_at",
]

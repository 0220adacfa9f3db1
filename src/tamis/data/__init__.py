"""Labelled images: opened in any common layout, held in memory or decoded from files, with or without label noise."""

from tamis.data.augment import PadCrop, ResizedCrop
from tamis.data.decode import UnreadableImage
from tamis.data.images import FileImages, MemoryImages
from tamis.data.noise import Noise, asymmetric, from_cifar10n, permute, random_labels, symmetric
from tamis.data.open import Images, held_out, hold_out, open_images, open_splits
from tamis.data.quarantine import Quarantine
from tamis.data.workers import DeadWorker

__all__ = [
    "DeadWorker",
    "FileImages",
    "Images",
    "MemoryImages",
    "Noise",
    "PadCrop",
    "Quarantine",
    "ResizedCrop",
    "UnreadableImage",
    "asymmetric",
    "from_cifar10n",
    "held_out",
    "hold_out",
    "open_images",
    "open_splits",
    "permute",
    "random_labels",
    "symmetric",
]

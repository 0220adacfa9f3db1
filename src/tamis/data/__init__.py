"""Images with labels, points or boxes: opened in any common layout, in memory or decoded from files."""

from tamis.data.augment import PadCrop, ResizedCrop
from tamis.data.box_noise import BoxNoise, noisy_boxes, with_box_noise
from tamis.data.box_views import BoxViews
from tamis.data.boxed import BoxedImages
from tamis.data.boxes import BoxSet, open_boxes
from tamis.data.count_views import CountViews
from tamis.data.counted import CountedImages
from tamis.data.decode import UnreadableImage
from tamis.data.density import Density
from tamis.data.density_cache import DensityCache
from tamis.data.images import FileImages, MemoryImages
from tamis.data.noise import Noise, asymmetric, from_cifar10n, permute, random_labels, symmetric
from tamis.data.open import Images, held_out, hold_out, open_images, open_splits
from tamis.data.points import PointSet, open_points
from tamis.data.quarantine import Quarantine
from tamis.data.workers import DeadWorker

__all__ = [
    "BoxNoise",
    "BoxSet",
    "BoxViews",
    "BoxedImages",
    "CountViews",
    "CountedImages",
    "DeadWorker",
    "Density",
    "DensityCache",
    "FileImages",
    "Images",
    "MemoryImages",
    "Noise",
    "PadCrop",
    "PointSet",
    "Quarantine",
    "ResizedCrop",
    "UnreadableImage",
    "asymmetric",
    "from_cifar10n",
    "held_out",
    "hold_out",
    "noisy_boxes",
    "open_boxes",
    "open_images",
    "open_points",
    "open_splits",
    "permute",
    "random_labels",
    "symmetric",
    "with_box_noise",
]

"""Density maps kept on disk, each under the digest of what it was made of."""

import hashlib
import os
import tempfile
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from tamis.data.density import Density, density_map
from tamis.files import sync_folder

_VERSION = "density map 1"  # to be raised when the same settings give other maps


class DensityCache:
    """`density_map` with a memory: a folder of .npy files, which any number of processes and threads may share.

    A file that is damaged is made again. Nothing is ever removed from the folder: delete it when it is not needed.
    """

    def __init__(self, folder: str | Path, mapped: bool = False) -> None:
        """Use a folder, which is made with the first map.

        Args:
            folder: where the maps are; nothing else should be there, least of all the images.
            mapped: read through a memory map, page by page, which pays for parts of large maps.
        """
        self.folder = Path(folder)
        self.mapped = mapped

    def __call__(self, points: ArrayLike, width: int, height: int, settings: Density, stride: int = 1) -> Tensor:
        """The map of an image, read or made; arguments and errors are those of `density_map`."""
        path = self.path(points, width, height, settings, stride)
        shape = (-(-height // stride), -(-width // stride))
        known = self._read(path, shape)
        if known is not None:
            return known
        density = density_map(points, width, height, settings, stride)
        self.folder.mkdir(parents=True, exist_ok=True)
        _write(path, density.numpy())
        return density

    def path(self, points: ArrayLike, width: int, height: int, settings: Density, stride: int = 1) -> Path:
        """Where the map is, or would be."""
        about = f"{_VERSION} {width} x {height} / {stride} {settings!r} "
        dots = np.ascontiguousarray(points, np.float64)
        return self.folder / f"{hashlib.blake2b(about.encode() + dots.tobytes(), digest_size=16).hexdigest()}.npy"

    def _read(self, path: Path, shape: tuple[int, int]) -> Tensor | None:
        try:
            # Copy on write: nobody who changes a map changes the file.
            density = np.load(path, mmap_mode="c" if self.mapped else None, allow_pickle=False)
        except (OSError, ValueError, EOFError):  # not there, or cut off
            return None
        if density.shape != shape or density.dtype != np.float32:
            return None
        return torch.from_numpy(density)


def _write(path: Path, density: np.ndarray) -> None:
    """As `tamis.files.replace_file`, under a name that no other thread uses."""
    handle, temporary = tempfile.mkstemp(prefix=".tmp-", suffix=".npy", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            np.save(file, density, allow_pickle=False)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    sync_folder(path.parent)

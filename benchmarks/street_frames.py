"""Frames of generated cameras with boxes and their occlusion, as files: some days to train on, later ones to judge."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from tamis.data.street import StreetCamera
from tamis.detections import Detections
from tamis.moment import seed_of

CACHE = Path(tempfile.gettempdir()) / "tamis-benchmark-boxes"
FIRST_CAMERA = 200  # neither those of the weights that ship nor of other benchmarks
DAY = 86_400
TRAINED, LATER = (0, 5), (5, 7)  # days
EMPTY = 0.15  # of the frames without a box that are kept


def drawn(seed: int, count: int, days: tuple[int, int]) -> Iterator[tuple[np.ndarray, Detections, np.ndarray]]:
    """Frames of a camera at random seconds of some days, few of them empty: picture, boxes, occlusion."""
    camera, random = StreetCamera(seed), np.random.default_rng(seed_of(seed, "boxes", *days))
    while count:
        picture, truth, occlusion = camera.frame(int(random.integers(DAY * days[0], DAY * days[1])))
        if len(truth) or random.random() < EMPTY:
            count -= 1
            yield picture, truth, occlusion


def written(cameras: int, frames: int, judged: int) -> Path:
    """The frames of so many cameras as files in the layout of KITTI, which tells of occlusion."""
    folder = CACHE / f"{cameras}-{frames}-{judged}"
    if folder.is_dir():
        return folder
    unfinished = CACHE / f"{folder.name}.unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    for part in ("training/image_2", "training/label_2", "ImageSets"):
        (unfinished / part).mkdir(parents=True)
    for split, count, days in (("train", frames, TRAINED), ("val", judged, LATER)):
        names = []
        for camera in range(FIRST_CAMERA, FIRST_CAMERA + cameras):
            for number, (picture, truth, occlusion) in enumerate(drawn(camera, count, days)):
                names.append(f"{split}-{camera}-{number:04d}")
                Image.fromarray(picture).save(unfinished / f"training/image_2/{names[-1]}.jpg", quality=95)
                lines = [
                    f"{StreetCamera.class_names[label]} 0 {level} 0 {' '.join(map(str, box))} 0 0 0 0 0 0 0\n"
                    for box, label, level in zip(truth.boxes.tolist(), truth.labels, occlusion, strict=True)
                ]
                (unfinished / f"training/label_2/{names[-1]}.txt").write_text("".join(lines))
        (unfinished / f"ImageSets/{split}.txt").write_text("\n".join(names))
    return unfinished.rename(folder)

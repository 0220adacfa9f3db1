"""Generated street cameras with their truth: day and night, rush hours and empty streets, cars and people."""

import math
import os
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from tamis.data.street_camera import CLASS_NAMES, StreetCamera
from tamis.detections import Detections
from tamis.files import replace_json, sync_file, sync_folder

__all__ = ["CLASS_NAMES", "StreetCamera", "write_street"]
_KEY_FRAMES = 50  # from one picture of the video that needs no other to the next


def write_street(
    path: str | Path,
    camera: StreetCamera,
    frames: Iterable[int],
    fps: float = 1.0,
    truth: str | Path | None = None,
) -> None:
    """Write frames of a camera as a video (H.264, a key frame every 50), and what is on them as COCO JSON.

    Args:
        path: of the video, .mp4; a file that is there is replaced.
        camera: with an even width and height.
        frames: the seconds to show, in order; `range(0, 86_400, 17)` is a day in 5,083 frames.
        fps: frames of the video to a second.
        truth: of the JSON file; images are named VIDEO@PTS, annotations have an "occlusion" of 0 to 3.

    Raises:
        ImportError: PyAV is missing.
        ValueError: an odd side, or a rate that is not positive.
    """
    try:
        import av
    except ImportError as error:
        raise ImportError("writing video needs PyAV; pip install 'tamis[video]'") from error
    if camera.width % 2 or camera.height % 2:
        raise ValueError(f"sides of a video must be even, got {camera.width!r} x {camera.height!r}")
    if not 0 < fps < math.inf:
        raise ValueError(f"fps must be positive, got {fps!r}")
    path, rate = Path(path), Fraction(fps).limit_denominator(1001)
    temporary = path.with_name(f".tmp-{os.getpid()}-{path.name}")
    record: dict[str, list[Any]] = {"images": [], "annotations": []}
    try:
        with av.open(str(temporary), "w", format="mp4") as container:
            fast = "libx264" in av.codecs_available
            stream = container.add_stream("libx264" if fast else "mpeg4", rate=rate)
            stream.width, stream.height, stream.pix_fmt = camera.width, camera.height, "yuv420p"
            stream.gop_size, stream.max_b_frames, stream.time_base = _KEY_FRAMES, 0, 1 / rate
            stream.options = {"preset": "veryfast", "crf": "18"} if fast else {"qscale": "3"}
            container.start_encoding()
            for number, second in enumerate(frames):
                picture, found, occlusion = camera.frame(second)
                image = av.VideoFrame.from_ndarray(picture, format="rgb24")
                image.pts, image.time_base = number, 1 / rate
                container.mux(stream.encode(image))
                _note(record, f"{path.name}@{number / rate / stream.time_base}", second, camera, found, occlusion)
            container.mux(stream.encode())
        sync_file(temporary)
        temporary.replace(path)
        sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)
    if truth is not None:
        categories = [{"id": number, "name": name} for number, name in enumerate(camera.class_names, 1)]
        replace_json(Path(truth), {**record, "categories": categories})


def _note(
    record: dict[str, list[Any]], name: str, second: int, camera: StreetCamera, found: Detections, occlusion: np.ndarray
) -> None:
    """Add a frame to a COCO record."""
    image = len(record["images"]) + 1
    size = {"width": camera.width, "height": camera.height}
    record["images"].append({"id": image, "file_name": name, **size, "second": second})
    for (x1, y1, x2, y2), label, level in zip(
        found.boxes.tolist(), found.labels.tolist(), occlusion.tolist(), strict=True
    ):
        place = {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1), "iscrowd": 0, "occlusion": level}
        number = len(record["annotations"]) + 1
        record["annotations"].append({"id": number, "image_id": image, "category_id": label + 1, **place})

"""What a cull leaves: images with labels for any trainer, the manifest of all frames, the boxes, costs, the result."""

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image
from torch import Tensor

from tamis.culling.judge import Judged
from tamis.culling.protocols import Frames
from tamis.culling.records import Records, columns_of_detections
from tamis.culling.resolution import opt_resolution
from tamis.culling.scan import stacked
from tamis.culling.select import Scores
from tamis.data.export import Exported, safe_names, write_data_set, write_manifest
from tamis.files import replace_file, replace_json
from tamis.history import write_table
from tamis.recipes.cull_choice import Choice, stages_of
from tamis.recipes.cull_config import CullConfig
from tamis.recipes.cull_detectors import Detectors, loss_of

_QUALITY = 95  # of JPEG, 4:4:4: what is lost must not be what a trainer learns


def write_images(
    folder: Path, frames: Frames, refs: Sequence[Any], keys: Sequence[str], tick: Callable[[], None]
) -> dict[str, str]:
    """Write frames as JPEG into images/, one after the other; the name of each by its key."""
    names = dict(zip(keys, safe_names(keys), strict=True))
    images = folder / "images"
    images.mkdir(exist_ok=True)
    for frame in frames.take(refs):
        file = io.BytesIO()
        Image.fromarray(frame.rgb()).save(file, "JPEG", quality=_QUALITY, subsampling=0)
        path, content = images / names[frame.key], file.getvalue()
        if not (path.is_file() and path.read_bytes() == content):
            replace_file(path, content)
        tick()
    return names


def write_set(
    folder: Path,
    names: Mapping[str, str],
    records: Records,
    scores: Scores,
    choice: Choice,
    judged: Mapping[int, Judged],
    class_names: Sequence[str],
    config: CullConfig,
) -> int:
    """Write the teacher's labels of the kept frames in every format; how many boxes there are."""
    exported = []
    for place in choice.kept:
        seen, key = judged[place], records.key[place]
        score = scores[place] if config.scored else 1 - choice.precision[place] if place in choice.precision else None
        labels = seen.teacher.above(config.label_confidence)
        path = folder / "images" / names[key]
        exported.append(Exported(names[key], path, seen.width, seen.height, labels, score, key))
    description = f"boxes of {config.teacher} with a confidence of {config.label_confidence:g} or more, culled by tamis"
    return write_data_set(folder, exported, class_names, config.formats, description=description).boxes


def write_tables(
    folder: Path,
    records: Records,
    scores: Scores,
    choice: Choice,
    judged: Mapping[int, Judged],
    config: CullConfig,
) -> dict[str, int]:
    """Write the manifest of all frames and the boxes of those that got the teacher; how many came to each stage."""
    stages, reasons = stages_of(records, scores, choice, judged, config)
    precision = np.full(len(records), np.nan)
    precision[list(choice.precision)] = list(choice.precision.values())
    detections = np.array(records.detections, np.int32)
    write_manifest(
        folder,
        {
            "position": np.arange(len(records)),
            "key": records.key,
            "source": [records.names[place] for place in records.source],
            "pts": np.array(records.pts, np.int64),
            "seconds": np.array(records.seconds),
            "change": np.array(records.change, np.float32),
            "stage": stages,
            "score": scores,
            "detections": pa.array(detections, mask=detections < 0),
            "precision": precision,
            "reason": reasons,
        },
    )
    boxes = [
        (place, who, found)
        for place, seen in sorted(judged.items())
        for who, found in (("student", seen.student), ("teacher", seen.teacher))
        if found is not None
    ]
    write_table(folder / "detections.parquet", pa.table(columns_of_detections(boxes)))
    return {stage: stages.count(stage) for stage in ("gated", "scanned", "stage 1", "stage 2", "kept")}


def write_resolution(
    folder: Path,
    frames: Frames,
    refs: Sequence[Any],
    truth: Sequence[Judged],
    detectors: Detectors,
    config: CullConfig,
) -> dict[str, Any] | None:
    """Look for the smallest size of the kept frames that does, and write resolution.json; None without a student."""
    student = detectors.student
    if student is None or not refs:
        return None

    def images() -> Iterator[Tensor]:
        # One by one: frames of several cameras may differ in size, and 256 of them take no time.
        return (stacked([frame.rgb()]) for frame in frames.take(refs))

    found = opt_resolution(
        images,
        student,
        loss_of(config),
        threshold=config.resize_threshold,
        all_sizes=True,
        flops=lambda height, width: detectors.flops("student", height, width),
        truth=[each.teacher.above(config.label_confidence) for each in truth],
    ).as_dict()
    replace_json(folder / "resolution.json", found)
    return found

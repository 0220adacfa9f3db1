"""Culled folders as `tamis cull` would leave them, made of a generated camera: day and night, cars and people."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, ImageDraw

WIDTH, HEIGHT = 320, 180


@dataclass(frozen=True)
class Camera:
    """What the camera saw, and how it was culled.

    Attributes:
        n: frames. sources: files that they come from, in order. gap: frames missing in the middle of the first.
        keep, survivors: frames that each stage keeps. gate: whether a gate passed over the still frames.
        judged: with what only a recipe can know: mAP, other strategies, before and after, drift.
    """

    n: int = 2000
    sources: Sequence[str] = ("cam.mp4", "cam-2.mp4")
    gap: int = 60
    keep: int = 64
    survivors: int = 256
    gate: bool = True
    teacher: bool = True
    judged: bool = True
    timed: bool = True
    class_names: Sequence[str] = ("car", "person", "bicycle")
    keys: Sequence[str] = ()
    seed: int = 0


def frame_of(position: int) -> np.ndarray:
    """The frame at a position: a street, darker at night, with a car or two; uint8 (h, w, 3)."""
    random = np.random.default_rng(position)
    light = 0.35 + 0.65 * abs(np.sin(position / 600))
    image = Image.new("RGB", (WIDTH, HEIGHT), tuple(int(light * value) for value in (150, 168, 180)))
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 90, WIDTH, HEIGHT), fill=tuple(int(light * value) for value in (92, 94, 96)))
    for box in _true_boxes(position):
        draw.rectangle(box.tolist(), fill=tuple(int(light * value) for value in random.integers(40, 230, 3)))
    noise = random.normal(0, 6, (HEIGHT, WIDTH, 3))
    return np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8)


def _true_boxes(position: int) -> np.ndarray:
    random = np.random.default_rng([position, 1])
    count = random.integers(1, 6)
    x, y = random.uniform(0, 250, count), random.uniform(80, 140, count)
    return np.stack([x, y, x + random.uniform(16, 60, count), y + random.uniform(12, 36, count)], axis=1)


def write_culled(folder: Path, camera: Camera) -> Path:
    """Write every file of a culled folder that the page reads, and return the folder."""
    (folder / "images").mkdir(parents=True)
    random = np.random.default_rng(camera.seed)
    manifest = _manifest(camera, random)
    pq.write_table(manifest, folder / "manifest.parquet")
    kept = [at for at, stage in enumerate(manifest["stage"].to_pylist()) if stage == "kept"]
    _write_images(folder, manifest, kept)
    pq.write_table(_detections(camera, manifest, random), folder / "detections.parquet")
    if camera.judged:
        (folder / "before_after").mkdir()
        for number, at in enumerate(shown_in(camera)):
            Image.fromarray(frame_of(at)).save(folder / "before_after" / f"{number}.jpg")
    for name, content in (
        ("run.json", _about(camera)),
        ("result.json", _result(camera, manifest)),
        ("resolution.json", _resolution()),
    ):
        (folder / name).write_text(json.dumps(content), encoding="utf-8")
    return folder


def _manifest(camera: Camera, random: np.random.Generator) -> pa.Table:
    n = camera.n
    position = np.arange(n)
    which = np.minimum(position * len(camera.sources) // n, len(camera.sources) - 1)
    heads = np.searchsorted(which, which)
    seconds = (position - heads).astype(float)
    half = n // len(camera.sources) // 2
    seconds[(which == 0) & (seconds > half)] += camera.gap
    busy = np.clip(np.sin(position / n * 9) + random.normal(0, 0.3, n), 0, None)
    gated = (busy < 0.08) if camera.gate else np.zeros(n, bool)
    score = np.where(gated, np.nan, 4 * busy + random.gamma(1.2, 1.1, n) * (busy > 0.2))
    taught, kept = np.zeros(n, bool), np.zeros(n, bool)
    taught[np.lexsort((position, -np.nan_to_num(score, nan=-1)))[: camera.survivors]] = True
    precision = np.where(taught, np.clip(random.beta(3, 1.6, n), 0, 1), np.nan)
    hardness = precision if camera.teacher else -score
    kept[np.lexsort((position, np.nan_to_num(hardness, nan=9)))[: camera.keep]] = True
    if not camera.teacher:
        precision = np.full(n, np.nan)
    stage = np.where(kept, "kept", np.where(taught, "stage 2", np.where(gated, "gated", "stage 1")))
    reasons = {
        "kept": "hard: the student is unsure, and disagrees with the teacher",
        "stage 2": "the student agrees with the teacher more than on those kept, whose precision is up to 0.53",
        "gated": "nothing new",
        "stage 1": "confidence loss not among the highest, which end at 5.6",
    }
    names = [camera.sources[at] for at in which]
    keys = [f"{name}@{int(time * 512)}" for name, time in zip(names, seconds, strict=True)]
    keys[: len(camera.keys)] = camera.keys
    return pa.table(
        {
            "position": position,
            "key": keys,
            "source": names,
            "pts": (seconds * 512).astype(np.int64),
            "seconds": pa.array(seconds, from_pandas=True) if camera.timed else pa.nulls(n, pa.float64()),
            "change": pa.array(busy.astype(np.float32) / 20),
            "stage": stage,
            "score": pa.array(score, from_pandas=True),
            "detections": pa.array(np.where(gated, np.nan, random.integers(0, 40, n)), from_pandas=True).cast(
                pa.int32()
            ),
            "precision": pa.array(precision, from_pandas=True),
            "reason": [reasons[each] for each in stage],
        }
    )


def _write_images(folder: Path, manifest: pa.Table, kept: list[int]) -> None:
    images = []
    for number, at in enumerate(kept):
        name = f"{number:06d}.jpg"
        Image.fromarray(frame_of(at)).save(folder / "images" / name, quality=90)
        key = manifest["key"][at].as_py()
        images.append({"id": number, "file_name": name, "width": WIDTH, "height": HEIGHT, "key": key})
    (folder / "coco.json").write_text(json.dumps({"images": images, "annotations": [], "categories": []}))


def _detections(camera: Camera, manifest: pa.Table, random: np.random.Generator) -> pa.Table:
    rows: list[tuple[Any, ...]] = []
    for at, precision in enumerate(manifest["precision"].to_pylist()):
        if precision is None:
            continue
        true = _true_boxes(at)
        for box in true:
            rows.append((at, "teacher", *box, random.uniform(0.5, 1), min(int(random.integers(0, 6)) // 3, 1)))
            if random.random() < precision:
                moved = box + random.normal(0, 3, 4)
                rows.append((at, "student", *moved, random.uniform(0.2, 1), 0))
        rows.append((at, "student", 10, 90, 40, 120, 0.05, 1))
    names = ("position", "who", "x1", "y1", "x2", "y2", "score", "label")
    columns = dict(zip(names, zip(*rows, strict=True) if rows else [[] for _ in names], strict=True))
    kinds = (pa.int64(), pa.string(), *[pa.float32()] * 5, pa.int64())
    return pa.table({name: pa.array(columns[name], kind) for name, kind in zip(names, kinds, strict=True)})


def _about(camera: Camera) -> dict[str, Any]:
    return {
        "tamis": "0.1.0",
        "created": "2030-05-06T07:08:09+00:00",
        "command": "tamis cull cam.mp4 cam-2.mp4 --student street-student --teacher street-teacher --keep 64",
        "config": {"keep": camera.keep, "label_confidence": 0.5, "seed": camera.seed, "gate": camera.gate, "fps": 1.0},
        "environment": {"python": "3.12.1", "torch": "2.12.0", "device": "cpu", "processor": "x86_64", "threads": 2},
        "class_names": list(camera.class_names),
        "detectors": {"student": "street-student", "teacher": "street-teacher"},
        "sources": [{"name": name} for name in camera.sources],
    }


def _result(camera: Camera, manifest: pa.Table) -> dict[str, Any]:
    n = camera.n
    scored = n - manifest["score"].null_count

    def costs(images: Sequence[int], measured: bool) -> list[dict[str, Any]]:
        each = {"decode": (0.001, None), "gate": (0.0002, None), "student prediction": (0.004, 2.1e8)}
        each |= {"teacher prediction": (0.03, 1.9e9), "student training": (0.012, 6.3e8)}
        return [
            {
                "stage": stage,
                "images": count,
                "seconds": count * seconds,
                "flops": None if flops is None else count * flops,
                "measured": measured or stage == "decode",
            }
            for (stage, (seconds, flops)), count in zip(each.items(), images, strict=True)
        ]

    own, full = costs([n, n, scored, camera.survivors, 20 * camera.keep], True), costs([n, 0, 0, n, 20 * n], False)
    sums = [[sum(entry[name] or 0 for entry in side) for side in (own, full)] for name in ("seconds", "flops")]
    result = {
        "costs": own,
        "full": full,
        "notes": ["went on after frame 1,200 of a run that was ended"],
        "counts": {"bad_boxes": {"student": 2, "teacher": 0}},
        "factor": {
            name: most / max(least, 1e-9) for name, (least, most) in zip(("seconds", "flops"), sums, strict=True)
        },
        "lost": [
            {"source": camera.sources[0], "where": "after 0:08:20", "reason": "damaged packets", "frames": camera.gap},
            {"source": camera.sources[-1], "where": None, "reason": "the file ends early", "frames": 0},
        ],
    }
    return result | _judged(camera, manifest) if camera.judged else result


def shown_in(camera: Camera) -> list[int]:
    """Positions of the frames before and after."""
    return [10, camera.n // 3, camera.n // 2]


def _judged(camera: Camera, manifest: pa.Table) -> dict[str, Any]:
    shown = shown_in(camera)
    boxes = [_true_boxes(at).tolist() for at in shown]
    frames = [
        {
            "key": manifest["key"][at].as_py(),
            "seconds": float(at),
            "image": f"before_after/{number}.jpg",
            "truth": [[*box, 0.9, 0] for box in found],
            "boxes": [
                [[*box, 0.4, 0] for box in found[:1]] + [[5, 100, 60, 150, 0.6, 0]],
                [[*box, 0.8, 0] for box in found] + [[5, 100, 60, 150, 0.1, 0]],
                [[*box, 0.7, 0] for box in found],
            ],
        }
        for number, (at, found) in enumerate(zip(shown, boxes, strict=True))
    ]
    names, sizes = ("as it came", "trained", "trained, smaller"), ((320, 180), (320, 180), (256, 144))
    models = [
        {"name": name, "map50": 0.61 + 0.1 * at, "flops": 1.3e9 * size[0] / 320, "width": size[0], "height": size[1]}
        for at, (name, size) in enumerate(zip(names, sizes, strict=True))
    ]
    sessions = [
        {"name": f"week {week}", "frames": 2000, "kept": 64 - 20 * week, "map50_before": 0.7, "map50_after": 0.8}
        | {"before": [0.2, 1.0, 2.0 + week, 3.5 + week, 6.0 + week], "after": [0.1, 0.7, 1.4, 2.6, 4.1]}
        for week in range(3)
    ]
    sessions[-1]["after"] = sessions[-1]["map50_after"] = None
    named = ("every k-th frame", "random", "confidence only", "precision only", "confidence + precision", "full")
    strategies = [
        {
            "name": name,
            "images": camera.keep,
            "map50": [0.6 + at / 20, 0.61 + at / 20, 0.63 + at / 20],
            "seconds": 20 + at,
        }
        | {"flops": 1e12 * (at + 1), "measured": name != "full"}
        for at, name in enumerate(named)
    ]
    return {
        "judged": {
            "trained": 0.893,
            "full": 0.885,
            "untrained": 0.586,
            "images": 400,
            "truth": "teacher",
            "where": "x",
        },
        "strategies": strategies,
        "before_after": {"models": models, "frames": frames},
        "drift": {"percentiles": [5, 25, 50, 75, 95], "sessions": sessions},
    }


def _resolution() -> dict[str, Any]:
    scales = [round(0.9**n, 4) for n in range(6)]
    return {
        "scales": scales,
        "widths": [round(WIDTH * scale) for scale in scales],
        "heights": [round(HEIGHT * scale) for scale in scales],
        "errors": [0.0, 0.01, 0.03, 0.08, 0.14, 0.31],
        "flops": [1.3e9 * scale**2 for scale in scales],
        "seconds": [0.004 * scale**2 + 0.001 for scale in scales],
        "map50": [0.89, 0.888, 0.885, 0.88, 0.86, 0.81],
        "threshold": 0.2,
        "chosen": 4,
    }


def hostile(names: Sequence[str]) -> Camera:
    """A camera all of whose names are hostile."""
    return replace(Camera(n=300, keep=16, survivors=40), sources=names[:2], class_names=names, keys=names)

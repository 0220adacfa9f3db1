"""Average precision of single images: images a second of `image_precision` on one core, and of pycocotools beside it.

The goal is 20,000 images a second at 10 x 10 boxes of one class. Processor seconds of one thread on a CPU, so that what
else the machine does matters little; wall time on a GPU.

    python benchmarks/precision.py
    python benchmarks/precision.py --device cuda
"""

import argparse
import contextlib
import io
import resource
import time
from typing import Any

import torch

from record import append
from tamis.detections import Detections
from tamis.scores import image_precision


def pairs(images: int, boxes: int, classes: int, device: str) -> tuple[list[Detections], list[Detections]]:
    """A student that sees the teacher's boxes shifted by 4 pixels or so."""
    generator = torch.Generator().manual_seed(0)
    corner, side = torch.rand(2, images, boxes, 2, generator=generator)
    true = torch.cat([corner * 100, corner * 100 + 10 + side * 40], 2)
    shifted = true + torch.randn(true.shape, generator=generator) * 4
    scores = torch.rand(images, boxes, generator=generator)
    labels = torch.randint(0, classes, (images, boxes), generator=generator)
    student = [Detections(*row).to(device) for row in zip(shifted, scores, labels, strict=True)]
    return student, [Detections(*row).to(device) for row in zip(true, torch.ones_like(scores), labels, strict=True)]


def with_pycocotools(student: list[Detections], teacher: list[Detections], classes: int) -> float:
    """Seconds that pycocotools takes, one image after the other, the making of its objects not counted."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    seconds = 0.0
    for pair in zip(student, teacher, strict=True):
        found, true = ([_row(one, place) for place in range(len(one))] for one in pair)
        with contextlib.redirect_stdout(io.StringIO()):
            coco: Any = COCO()
            coco.dataset = {
                "images": [{"id": 0}],
                "annotations": true,
                "categories": [{"id": label} for label in range(classes)],
            }
            coco.createIndex()
            judged = COCOeval(coco, coco.loadRes(found), "bbox")
            judged.params.iouThrs, judged.params.areaRng = judged.params.iouThrs[:1], judged.params.areaRng[:1]
            judged.params.areaRngLbl = ["all"]
            started = time.process_time()
            judged.evaluate()
            judged.accumulate()
            seconds += time.process_time() - started
    return seconds


def _row(one: Detections, place: int) -> dict[str, Any]:
    x1, y1, x2, y2 = one.boxes[place].tolist()
    box = [x1, y1, x2 - x1, y2 - y1]
    about = {"id": place + 1, "image_id": 0, "category_id": int(one.labels[place]), "iscrowd": 0}
    return about | {"bbox": box, "area": box[2] * box[3], "score": float(one.scores[place])}


def measure(images: int, boxes: int, classes: int, device: str, repeats: int = 5) -> None:
    student, teacher = pairs(images, boxes, classes, device)
    seconds, mean = [], 0.0
    clock = time.process_time if device == "cpu" else time.perf_counter
    for _ in range(repeats):
        started = clock()
        mean = image_precision(student, teacher, classes).mean().item()
        seconds.append(clock() - started)
    few = [one.to("cpu") for one in student[:500]], [one.to("cpu") for one in teacher[:500]]
    row = {
        "images": images,
        "boxes": boxes,
        "classes": classes,
        "images_a_second": round(images / min(seconds)),
        "median_images_a_second": round(images / sorted(seconds)[repeats // 2]),
        "pycocotools_images_a_second": round(len(few[0]) / with_pycocotools(*few, classes)),
        "mean_precision": round(mean, 4),
        "peak_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 3),
    }
    append("precision", row, device)
    print(row, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--boxes", type=int, nargs="+", default=[10, 30])
    parser.add_argument("--classes", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args()
    torch.set_num_threads(1)
    for boxes in given.boxes:
        for classes in given.classes:
            measure(given.images, boxes, classes, given.device)


if __name__ == "__main__":
    main()

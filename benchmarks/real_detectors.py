"""Dataset Culling with real detectors on real films: what it costs and keeps, and what the kept frames teach.

`cull`: two ONNX detectors, from the film to the labelled frames, with the gate and without. Boxes by humans, where
there are any, judge both detectors. Wall seconds, and beside them the processor's, which depend less on other work.

`train`: the street student, which has never seen a real film, is trained on frames of the first part with the teacher's
boxes, and judged on the rest by those of humans. Equal epochs, not equal steps.

    python benchmarks/real_detectors.py cull vtest.avi --name pets09 --truth gt.txt --classes person \\
        --student fastestdet.onnx --teacher yolox_nano.onnx --keep 64
    python benchmarks/real_detectors.py train vtest.avi --name pets09 --truth gt.txt --classes person \\
        --teacher yolox_nano.onnx --keep 64 128 256 --seeds 0 1 2

Rows that are in the results already are not run again. Only names of films and of files are written, no pictures.
"""

import argparse
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch

from culling import CACHE, Jury, Labelled, chosen, trained
from record import append, done
from tamis.data.annotations.mot import read_tracks
from tamis.data.frames import open_frames
from tamis.detections import Detections
from tamis.models import open_detector
from tamis.recipes.cull import cull
from tamis.recipes.cull_config import CullConfig
from tamis.scores import mean_average_precision

EVERYTHING = 1 << 30  # frames to keep
ARMS = ("every", "random", "confidence+precision")


@dataclass(frozen=True)
class Film:
    """A film, what is looked for in it, and who looks.

    Attributes:
        path: of the film.
        name: in the results.
        truth: boxes of one class by humans, in the format of MOT Challenge; None = there are none.
        classes: to look for.
        class_map: pairs such as truck=car.
        student: as of `tamis cull`.
        teacher: likewise.
    """

    path: Path
    name: str
    truth: Path | None
    classes: Sequence[str]
    class_map: Sequence[str]
    student: str
    teacher: str

    def culling(self, out: Path, **settings: Any) -> CullConfig:
        shared: dict[str, Any] = {"report": False, "threads": 1, "formats": ["coco"]} | settings
        return CullConfig(
            [self.path], student=self.student, teacher=self.teacher, out=out, classes=list(self.classes),
            class_map=list(self.class_map), **shared,
        )  # fmt: skip

    @cached_property
    def whole(self) -> Path:
        """Every frame with boxes of both detectors, as a culled folder."""
        out = CACHE / f"{self.name}-{Path(self.student).stem}-{Path(self.teacher).stem}"
        cull(self.culling(out, strategy="precision", keep=EVERYTHING, gate=False))
        return out

    @cached_property
    def precision(self) -> dict[str, float]:
        """Average precision of the student against the teacher on each frame, by its key."""
        table = pq.read_table(self.whole / "manifest.parquet", columns=["key", "precision"])
        return dict(zip(*(table[name].to_pylist() for name in ("key", "precision")), strict=True))

    def found(self, who: str) -> list[Detections]:
        """What the student or the teacher finds on every frame."""
        table = pq.read_table(self.whole / "detections.parquet")
        position, own = table["position"].to_numpy(), table["who"].to_numpy() == who
        sides, score, label = (
            torch.tensor(np.stack([table[name].to_numpy() for name in names], 1))
            for names in (("x1", "y1", "x2", "y2"), ("score",), ("label",))
        )
        frames = [torch.from_numpy(np.flatnonzero(own & (position == place))) for place in range(len(self.precision))]
        return [Detections(sides[rows], score[rows, 0], label[rows, 0].long()) for rows in frames]

    @cached_property
    def true(self) -> list[Detections] | None:
        """Boxes by humans on every frame; the format counts frames from 1."""
        if self.truth is None:
            return None
        boxes: list[list[tuple[float, ...]]] = [[] for _ in self.precision]
        for row in read_tracks(self.truth).rows:
            boxes[row.frame - 1].append(row.box)
        return [
            Detections(
                torch.tensor(each).reshape(-1, 4), torch.ones(len(each)), torch.zeros(len(each), dtype=torch.int64)
            )
            for each in boxes
        ]

    def ap50(self, who: str) -> float | None:
        """Of a detector by the boxes of humans."""
        if self.true is None:
            return None
        return round(mean_average_precision(self.found(who), self.true, len(self.classes))["map50"], 5)


def culled(film: Film, keep: int, gate: bool) -> None:
    """The whole command, and how wrong the student is on what was kept and on what was not."""
    names = {"student": Path(film.student).stem, "teacher": Path(film.teacher).stem}
    identity = {"kind": "cull", "film": film.name, **names, "keep": keep, "gate": gate}
    if done("real-detectors", **identity):
        return
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "culled"
        began, processor = time.perf_counter(), time.process_time()
        result = cull(film.culling(out, keep=keep, gate=gate))
        spent = {"seconds": time.perf_counter() - began, "processor_seconds": time.process_time() - processor}
        rows = pq.read_table(out / "manifest.parquet", columns=["key", "stage"]).to_pylist()
    kept = [film.precision[row["key"]] for row in rows if row["stage"] == "kept"]
    dropped = [film.precision[row["key"]] for row in rows if row["stage"] != "kept"]
    row = identity | {
        **{name: round(each, 2) for name, each in spent.items()},
        "counts": result["counts"],
        "costs": result["costs"],
        "classes": list(film.classes),
        "ap50": {who: film.ap50(who) for who in ("student", "teacher")},
        "precision": {"kept": round(float(np.mean(kept)), 5), "dropped": round(float(np.mean(dropped)), 5)},
    }
    append("real-detectors", row)
    print(row, flush=True)


def jury_of(film: Film, first: int, size: tuple[int, int]) -> Jury:
    """The frames after the first ones, smaller, with the boxes of the teacher and of humans."""
    frames = list(open_frames([film.path]).scan())[first:]
    pictures = torch.stack([torch.from_numpy(frame.rgb(size)).permute(2, 0, 1) for frame in frames])
    x, y = size[0] / frames[0].width, size[1] / frames[0].height
    said = [each.above(0.5).scaled(x, y) for each in film.found("teacher")[first:]]
    return Jury(pictures, said, [each.scaled(x, y) for each in (film.true or [])[first:]])


def training(film: Film, first: int, counts: list[int], seeds: list[int], epochs: int, size: tuple[int, int]) -> None:
    """Train on what each arm keeps of the first frames; `full` with the first seed alone."""
    about = {"kind": "training", "film": film.name, "teacher": Path(film.teacher).stem, "first": first}
    about |= {"epochs": epochs, "size": list(size)}
    jury, labelled = jury_of(film, first, size), Labelled(film.whole, first, size)
    wanted = [("untrained", 0, 0), *((arm, count, seed) for seed in seeds for count in counts for arm in ARMS)]
    for arm, count, seed in [*wanted, ("full", first, seeds[0])]:
        identity = about | {"arm": arm, "n": count, "seed": seed}
        if done("real-detectors", **identity):
            continue
        detector, processor = open_detector(film.student, class_names=film.classes, amp="bf16"), time.process_time()
        row = dict(identity)
        if arm != "untrained":
            places = chosen(labelled, arm, count, seed)
            detector, seconds, seen = trained(labelled, places, epochs, seed, "bf16", new_head=True)
            row |= {"training_seconds": round(seconds, 2), "images_seen": seen}
            row["processor_seconds"] = round(time.process_time() - processor, 2)
        row |= jury(detector)
        append("real-detectors", row)
        print(row, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("cull", "train"))
    parser.add_argument("film", type=Path)
    parser.add_argument("--name", required=True)
    parser.add_argument("--truth", type=Path)
    parser.add_argument("--classes", nargs="+", required=True)
    parser.add_argument("--class-map", nargs="*", default=[])
    parser.add_argument("--student", default="street-student")
    parser.add_argument("--teacher", required=True)
    parser.add_argument("--keep", type=int, nargs="+", default=[64])
    parser.add_argument("--first", type=int, default=500)
    parser.add_argument("--size", type=int, nargs=2, default=(384, 288))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--epochs", type=int, default=10)
    given = parser.parse_args()
    torch.set_num_threads(1)
    shared = given.classes, given.class_map, given.student, given.teacher
    film = Film(given.film, given.name, given.truth, *shared)
    CACHE.mkdir(exist_ok=True)
    if given.what == "cull":
        for gate in (True, False):
            culled(film, given.keep[0], gate)
    else:
        training(film, given.first, given.keep, given.seeds, given.epochs, tuple(given.size))


if __name__ == "__main__":
    main()

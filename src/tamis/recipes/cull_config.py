"""The configuration of `tamis cull`: plain data, without torch."""

import json
import re
from dataclasses import KW_ONLY, asdict, dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any, Literal

from tamis.recipes.checks import check_ranges, check_types

# They do not change what is journaled; with others of these, what follows from it is written anew.
# Of the sources, names, sizes and dates are compared in the place of the words that name them.
CULL_FREE = frozenset({"sources", "out", "threads", "report", "formats", "train_epochs"})

# Where the teacher says from which confidence on a student's boxes count: one of these, on so many frames.
LEVELS, PROBED = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5), 64

Format = Literal["coco", "yolo", "voc", "kitti", "fiftyone", "cvat", "label-studio"]
Strategy = Literal["confidence+precision", "confidence", "precision", "every", "random", "full"]
_UNITS = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
_COUNTS = ("every", "stage1_factor", "batch_size", "teacher_batch_size", "max_gap", "train_epochs")
_RANGES: tuple[tuple[str, Any, tuple[str, ...]], ...] = (
    ("at least 1", lambda value: value >= 1, _COUNTS),
    ("at most 2147483647", lambda value: value <= (1 << 31) - 1, (*_COUNTS, "keep", "threads")),
    ("finite", isfinite, ("keep", "fps", "min_side", "diverse", "q", "b", "log_base", "resize_threshold")),
    ("above 0", lambda value: value > 0, ("keep", "fps", "log_base")),
    ("at least 0", lambda value: value >= 0, ("min_side", "diverse", "threads", "q", "resize_threshold")),
    ("in [0, 1]", lambda value: 0 <= value <= 1, ("label_confidence",)),
    ("in (0, 1]", lambda value: 0 < value <= 1, ("scan_scale", "iou")),
    ("in (0, 255]", lambda value: 0 < value <= 255, ("gate_threshold",)),
)


@dataclass(frozen=True)
class CullConfig:
    """Settings of `tamis cull`.

    Attributes:
        sources: videos, folders of images or of videos, globs, text lists of them, or COCO files; of one camera.
        student: the small detector: street-student, NAME=weights-file, file.onnx, ultralytics:file.pt, the run folder
            of a training, or your own module:callable.
        teacher: the big detector, likewise; it sees only what is left for it, and its boxes become the labels.
        keep: how many frames are kept, or below 1 which share of all.
        out: the folder of the culled set; by default culled/ and the first source's name. The same command again goes
            on there.
        fps: frames a second to use of videos; by default all.
        every: of these, every so many-th.
        strategy: what is kept: the frames that the student is least sure of, and of these where teacher and student
            disagree most (confidence+precision); the first alone (confidence), the second alone, with the teacher on
            every frame (precision); every k-th frame, random ones, or all of them (full).
        stage1_factor: the teacher sees so many times as many frames as are kept.
        gate: skip frames that hold nothing new against the camera's background.
        gate_threshold: grey levels beyond what is usual that count as new, summed over four cells of a 64 x 36 picture.
        max_gap: at least one of so many frames passes the gate.
        scan_scale: size at which the student looks at all frames, as a share of the full width, in (0, 1].
        diverse: keep no two frames of a video closer than so many seconds, as far as there are enough; 0 = do not
            look at time. Images count as one second each.
        teacher_budget: most images that the teacher sees, or the most time it takes: 2000, 90s, 30min, 2h.
        classes: names of the classes to keep, the others are left out; by default those of the detectors, which must
            then agree.
        class_map: classes to rename, in both detectors: truck=car bus=car, or one .yaml or .json file of such a map.
        score: the confidence loss as printed (paper: natural logarithm, Q = 3) or as in the code that was published
            with it (published: log10, Q = 4).
        q: weight of unsure detections, in the place of the preset's.
        b: what every detection adds, in the place of the preset's.
        log_base: base of the logarithm, in the place of the preset's.
        per_class: bring the loss of each class to mean 0 and variance 1 over all frames, then average the classes.
        min_confidence: detections of less do not count in the scores; auto asks the teacher about 64 frames first, from
            which confidence on (0.05 to 0.5) the student's boxes are there at all.
        min_side: boxes with a shorter side, in pixels of the full frame, do not count in the confidence loss.
        iou: least overlap of boxes of student and teacher that are the same object.
        label_confidence: least confidence of the teacher's boxes that become labels, and truth for the student.
        formats: the culled set is written as.
        resize: look for the smallest size of the frames at which the student is about as sure (optResolution).
        resize_threshold: greatest change of the confidence loss that is accepted there, as a share.
        train_epochs: reckon with a training of so many epochs in the costs, from a measured step; by default without.
        batch_size: frames that the student looks at together.
        teacher_batch_size: frames that the teacher looks at together.
        device: auto, cpu, cuda, cuda:1, mps.
        amp: autocast to a shorter number format.
        threads: threads of torch on the CPU; 0 = its own choice.
        report: write the report.
        seed: decides which frames random takes.

    Raises:
        ValueError: a number outside its range, or settings that do not go together.
    """

    sources: list[Path]
    _: KW_ONLY
    student: str
    teacher: str
    keep: float = 256
    out: Path | None = None
    fps: float | None = None
    every: int = 1
    strategy: Strategy = "confidence+precision"
    stage1_factor: int = 4
    gate: bool = True
    gate_threshold: float = 8.0
    max_gap: int = 64
    scan_scale: float = 1.0
    diverse: float = 0.0
    teacher_budget: str | None = None
    classes: list[str] = field(default_factory=list)
    class_map: list[str] = field(default_factory=list)
    score: Literal["paper", "published"] = "paper"
    q: float | None = None
    b: float | None = None
    log_base: float | None = None
    per_class: bool = False
    min_confidence: float | Literal["auto"] = 0.05
    min_side: float = 0.0
    iou: float = 0.5
    label_confidence: float = 0.5
    formats: list[Format] = field(
        default_factory=lambda: ["coco", "yolo", "voc", "kitti", "fiftyone", "cvat", "label-studio"]
    )
    resize: bool = False
    resize_threshold: float = 0.02
    train_epochs: int | None = None
    batch_size: int = 32
    teacher_batch_size: int = 8
    device: str = "auto"
    amp: Literal["none", "bf16", "fp16"] = "none"
    threads: int = 0
    report: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        check_types(self)
        check_ranges(self)
        for condition, holds, names in _RANGES:
            for name in names:
                value = getattr(self, name)
                if value is not None and not holds(value):
                    raise ValueError(f"{name} must be {condition}, got {value!r}; correct it")
        if not self.sources:
            raise ValueError("sources must name a video, a folder or a list of images, got none; name at least one")
        if self.keep >= 1 and self.keep != int(self.keep):
            raise ValueError(f"keep must be a whole number, or a share below 1, got {self.keep!r}; correct it")
        if self.log_base is not None and self.log_base <= 1:
            raise ValueError(f"log_base must be above 1, got {self.log_base!r}; 10 and e = 2.71828 are usual")
        self._hold_together()

    def _hold_together(self) -> None:
        images, _ = self.budget
        probed = PROBED * self.probed
        if images is not None and images < max(1, self.keep) + probed:
            more = f" and {probed} for min_confidence auto" if probed else ""
            raise ValueError(
                f"teacher_budget must be at least keep ({self.keep:g}), which it labels{more}, got {images}; keep fewer"
            )
        if self.teacher_budget is not None and self.strategy == "full":
            raise ValueError("teacher_budget must come with a strategy that leaves something out, got 'full'; drop it")
        if self.diverse and self.strategy in ("every", "random", "full"):
            raise ValueError(f"diverse must come with a strategy by scores, got {self.strategy!r}; leave it out")
        if self.min_confidence == "auto" and self.per_class:
            raise ValueError("min_confidence must be a number with per_class, got 'auto'; drop one")
        if self.resize and self.per_class:
            raise ValueError("resize must come without per_class, got both: such scores do not compare; drop one")
        if len(self.class_map) > 1 or (self.class_map and Path(self.class_map[0]).suffix not in _MAPS):
            for pair in self.class_map:
                if len(pair.split("=")) != 2 or not all(pair.split("=")):
                    raise ValueError(f"class_map must be pairs such as truck=car, or one file, got {pair!r}")

    @property
    def scored(self) -> bool:
        """Whether the student looks at every frame."""
        return self.strategy in ("confidence+precision", "confidence")

    @property
    def probed(self) -> bool:
        """Whether the teacher says first from which confidence on the student is believed."""
        return self.min_confidence == "auto" and self.scored

    @property
    def least_confidence(self) -> float:
        """`min_confidence`, and the lowest level where that is not known yet."""
        return LEVELS[0] if self.min_confidence == "auto" else self.min_confidence

    @property
    def compared(self) -> bool:
        """Whether the student is compared with the teacher."""
        return self.strategy in ("confidence+precision", "precision")

    @property
    def gated(self) -> bool:
        """Whether the gate is at work: it is not where frames are taken without a look at them."""
        return self.gate and self.strategy not in ("every", "random", "full")

    @property
    def budget(self) -> tuple[int | None, float | None]:
        """The teacher's budget: in images, or in seconds.

        Raises:
            ValueError: it is neither.
        """
        if self.teacher_budget is None:
            return None, None
        found = re.fullmatch(r"(\d+(?:\.\d+)?) ?(s|m|min|h)?", self.teacher_budget.strip())
        if found is None or not float(found[1]) or (found[2] is None and "." in found[1]):
            raise ValueError(
                f"teacher_budget must be a number of images, or a time such as 90s, 30min or 2h, got "
                f"{self.teacher_budget!r}; correct it"
            )
        return (int(found[1]), None) if found[2] is None else (None, float(found[1]) * _UNITS[found[2]])

    @property
    def folder(self) -> Path:
        """The folder of the culled set."""
        name = self.sources[0].resolve().name.split(".")[0].replace("*", "").strip("-_ ") or "frames"
        return self.out or Path("culled") / name

    def count(self, frames: int) -> int:
        """How many of so many frames are kept: at least one, if there is one."""
        wanted = int(self.keep) if self.keep >= 1 else max(1, round(self.keep * frames))
        return min(frames, wanted)

    def plain(self) -> dict[str, Any]:
        """The settings as JSON: what run.json keeps and what going on compares."""
        plain = json.loads(json.dumps(asdict(self), default=str))
        return plain | {"keep": int(self.keep) if self.keep >= 1 else self.keep}


_MAPS = (".yaml", ".yml", ".json")

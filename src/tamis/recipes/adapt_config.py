"""The configuration of `tamis adapt`: plain data, without torch."""

from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Any, Literal

from tamis.recipes.checks import check_ranges, check_types
from tamis.recipes.cull_config import CullConfig, Strategy


@dataclass(frozen=True)
class AdaptConfig:
    """Settings of `tamis adapt`.

    Attributes:
        sources: as of `tamis cull`: the footage of one camera.
        student: the small detector, which is trained: street-student, NAME=weights-file, or the run folder of a
            training; in a folder that has a session already, the student of the latest one goes on, whatever is given.
        teacher: the big detector, as of `tamis cull`.
        out: the folder of the camera; by default cameras/ and the first source's name. New footage with the same folder
            is a new session; the same command again goes on where it was stopped.
        judge: a data set with boxes by humans to judge by (docs/detection_data.md); by default the last part of the
            footage, with the teacher's boxes as truth, as in the paper.
        judge_share: how large that last part is, in (0, 1); no frame of it is trained on.
        judge_frames: most frames of it that the teacher labels.
        keep: as of `tamis cull`.
        fps: as of `tamis cull`.
        every: as of `tamis cull`.
        strategy: as of `tamis cull`.
        stage1_factor: as of `tamis cull`.
        gate: as of `tamis cull`.
        scan_scale: as of `tamis cull`.
        diverse: as of `tamis cull`.
        teacher_budget: as of `tamis cull`.
        classes: as of `tamis cull`.
        class_map: as of `tamis cull`.
        label_confidence: as of `tamis cull`.
        min_confidence: as of `tamis cull`; auto is looked for in the first session, and holds for all.
        compare: train on as many frames of these strategies too, each from the same start, and show them beside
            (Table 2 of the paper); full trains on every frame.
        replay: train on what earlier sessions kept as well.
        epochs: of the student's training.
        train_batch: images of a step of it.
        lr: its learning rate; by default that of `tamis train --task detection`.
        optimizer: a name in torch.optim.
        zoom: as of `tamis train`.
        resize: look for the smallest size at which the student is about as sure (optResolution).
        resize_threshold: greatest change of the confidence loss that is accepted there, as a share.
        onnx: write the trained student as an ONNX file for that size.
        batch_size: frames that the student looks at together.
        device: auto, cpu, cuda, cuda:1, mps.
        amp: autocast to a shorter number format.
        threads: threads of torch on the CPU; 0 = its own choice.
        seed: decides everything random.

    Raises:
        ValueError: a number outside its range, or settings that do not go together.
    """

    sources: list[Path]
    _: KW_ONLY
    student: str
    teacher: str
    out: Path | None = None
    judge: Path | None = None
    judge_share: float = 0.1
    judge_frames: int = 300
    keep: float = 256
    fps: float | None = None
    every: int = 1
    strategy: Strategy = "confidence+precision"
    stage1_factor: int = 4
    gate: bool = True
    scan_scale: float = 1.0
    diverse: float = 0.0
    teacher_budget: str | None = None
    classes: list[str] = field(default_factory=list)
    class_map: list[str] = field(default_factory=list)
    label_confidence: float = 0.5
    min_confidence: float | Literal["auto"] = 0.05
    compare: list[Strategy] = field(default_factory=list)
    replay: bool = True
    epochs: int = 20
    train_batch: int = 8
    lr: float | None = None
    optimizer: str | None = None
    zoom: float = 0.0
    resize: bool = True
    resize_threshold: float = 0.02
    onnx: bool = True
    batch_size: int = 32
    device: str = "auto"
    amp: Literal["none", "bf16", "fp16"] = "none"
    threads: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        check_types(self)
        check_ranges(self)
        if not 0 < self.judge_share < 1:
            raise ValueError(f"judge_share must be in (0, 1), got {self.judge_share!r}; a tenth is usual")
        for name in ("judge_frames", "train_batch"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)!r}")
        if self.strategy in self.compare:
            raise ValueError(f"compare must name other strategies than the one in use, got {self.strategy!r}")
        self.culling(Path(), self.student, self.strategy)  # holds what they share to its ranges

    @property
    def folder(self) -> Path:
        """The folder of the camera."""
        return self.out or Path("cameras") / (self.sources[0].resolve().name.split(".")[0] or "camera")

    def culling(self, out: Path, student: str, strategy: Strategy) -> CullConfig:
        """The cull of a session."""
        names = (
            "sources", "teacher", "keep", "fps", "every", "stage1_factor", "gate", "scan_scale", "diverse",
            "teacher_budget", "classes", "class_map", "label_confidence", "min_confidence", "batch_size", "device",
            "amp", "threads", "seed",
        )  # fmt: skip
        given: dict[str, Any] = {name: getattr(self, name) for name in names}
        return CullConfig(student=student, out=out, strategy=strategy, report=False, **given)

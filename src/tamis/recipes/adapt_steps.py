"""The steps of a session of `tamis adapt`: cull, label what is judged by, find the size, train, judge."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from torch import nn

from tamis.culling.costs import Cost
from tamis.culling.resolution import Resolution, opt_resolution
from tamis.data.boxes import open_boxes
from tamis.data.export import write_data_set
from tamis.data.frames import FrameRef, Frames
from tamis.data.frames.leading import Leading
from tamis.detections import Detections, Detector
from tamis.fit.settings import device_of
from tamis.models import ModuleDetector
from tamis.models.new_head import classes_of_weights
from tamis.recipes.adapt_config import AdaptConfig
from tamis.recipes.adapt_judge import Jury, Size, human_jury, teacher_jury
from tamis.recipes.adapt_sessions import Session
from tamis.recipes.config import TrainConfig
from tamis.recipes.cull import cull
from tamis.recipes.cull_config import CullConfig, Strategy
from tamis.recipes.cull_detectors import loss_of, open_detectors
from tamis.recipes.export import exported
from tamis.recipes.start import start_of
from tamis.recipes.train import load_for, train_on
from tamis.scores import ConfidenceLoss

_FORWARD_AND_BACKWARD = 3  # times the operations of the forward pass: the usual count


@dataclass(frozen=True)
class Trained:
    """A student that was trained on what a strategy kept.

    Attributes:
        module: after its last epoch.
        costs: of the training, and before it of choosing and labelling.
        found: what it finds on the images it is judged by.
        map50: there.
        result: of the cull.
    """

    module: nn.Module
    costs: list[Cost]
    found: list[Detections]
    map50: float
    result: dict[str, Any]


class Steps:
    """A session at work: what its steps share."""

    def __init__(self, config: AdaptConfig, console: Console, frames: Frames, session: Session) -> None:
        """Open the detectors."""
        self.config, self.console, self.session = config, console, session
        self.device = device_of(config.device)
        self.start = start_of(config.student, config.folder)
        if session.earlier:
            self.start = start_of(f"{self.start.model}={session.earlier[-1].weights}", config.folder)
        self.end = FrameRef(1 << 30, 0) if config.judge else frames.place(1 - config.judge_share)
        share = 1.0 if config.judge else 1 - config.judge_share
        self.frames, self.leading = frames, Leading(frames, self.end, share)
        self.detectors = open_detectors(self.culling(session.folder, config.strategy))

    def culling(self, folder: Path, strategy: Strategy) -> CullConfig:
        """The configuration of a cull in a folder; a level that was looked for is the first session's."""
        config = self.config.culling(folder, self.start.spec, strategy)
        first = self.session.earlier[0].result if self.session.earlier else {}
        return _settled(config, first)

    def loss(self, culled: dict[str, Any]) -> ConfidenceLoss:
        """The confidence loss that a cull came to."""
        return loss_of(_settled(self.culling(self.session.folder, self.config.strategy), culled))

    def cull(self, folder: Path, strategy: Strategy) -> dict[str, Any]:
        """Cull what is trained on; the result of it."""
        self.console.print(f"culling ({strategy})")
        config, (teacher, student) = self.culling(folder, strategy), (self.detectors.teacher, self.detectors.student)
        return cull(config, self.console, frames=self.leading, student=student, teacher=teacher)

    def jury(self) -> Jury:
        """What is judged by."""
        self.console.print("labelling what is judged by")
        if self.config.judge is not None:
            return human_jury(self.config.judge, self.detectors.class_names)
        where, count = self.session.folder / "judge", self.config.judge_frames
        teacher, confidence = self.detectors.teacher, self.config.label_confidence
        return teacher_jury(where, self.frames, self.end, teacher, count, confidence)

    @property
    def student(self) -> Detector:
        """The student as it came."""
        if self.detectors.student is None:
            raise ValueError("strategy must look at the student to adapt it; take another")
        return self.detectors.student

    def before(self, jury: Jury) -> tuple[list[Detections], float]:
        """What the student finds as it came, and its mAP50."""
        found = jury.seen_by(self.student)
        self.console.print(f"before: mAP50 {100 * jury.map50(found):.1f} %")
        return found, jury.map50(found)

    def resolution(self, culled: dict[str, Any]) -> Resolution | None:
        """The smallest size at which the student is about as sure of what was kept (stage 3 of the paper)."""
        if not self.config.resize:
            return None
        kept = Jury(open_boxes(self.session.folder)[0], "teacher", "")
        found = opt_resolution(
            kept.images,
            self.student,
            self.loss(culled),
            threshold=self.config.resize_threshold,
            all_sizes=True,
            flops=lambda height, width: self.detectors.flops("student", height, width),
        )
        self.console.print(f"size: {found.size.width} x {found.size.height} ({found.size.scale:.2f} of the full one)")
        return found

    def _training(self, folder: Path, size: Size | None) -> TrainConfig:
        """The training of a student on a culled folder, and on what earlier sessions kept."""
        config, start = self.config, self.start
        own = classes_of_weights(start.model, start.weights)
        settings: dict[str, Any] = {"lr": config.lr, "optimizer": config.optimizer}
        return TrainConfig(
            data=self._with_earlier(folder), task="detection", out=folder / "train", model=start.model,
            weights=start.weights, new_head=own is not None and own != self.detectors.class_names,
            validation=self.config.judge or self.session.folder / "judge", evaluate_every=config.epochs,
            size=None if size is None else f"{size[0]}x{size[1]}", zoom=config.zoom, epochs=config.epochs,
            batch_size=config.train_batch, device=config.device, amp=config.amp, threads=config.threads,
            channels_last=config.amp == "bf16", seed=config.seed, report=False, workers=0,
            **{name: value for name, value in settings.items() if value is not None},
        )  # fmt: skip

    def _with_earlier(self, folder: Path) -> Path:
        """A data set of what this and the earlier sessions kept, where there are any."""
        if not (self.config.replay and self.session.earlier):
            return folder
        images = []
        for each in (*(session.folder for session in self.session.earlier), folder):
            found = exported(open_boxes(each)[0], None)
            images += [replace(image, name=f"{each.name}-{image.name}") for image in found]
        write_data_set(folder / "data", images, self.detectors.class_names, ["coco"])
        return folder / "data"

    def trained(self, folder: Path, strategy: str, culled: dict[str, Any], jury: Jury, size: Size | None) -> Trained:
        """Train the student on a culled folder, and judge it after its last epoch: the best would be the jury's."""
        config = self._training(folder, size)
        self.console.print(f"training on {culled['counts']['kept']:,} frames ({strategy}), epochs: {config.epochs}")
        fitted = train_on(load_for(config), config, self.console, lines=False)
        module = fitted.model.eval()
        found = jury.seen_by(self.as_detector(module), size)
        spent = [Cost(**each) for each in culled["costs"] if each["stage"] != "student training"]
        seen = int(fitted.result["costs"]["samples_seen"])
        each = self.flops(jury, size)
        operations = None if each is None else _FORWARD_AND_BACKWARD * each * seen
        spent.append(Cost("student training", seen, fitted.result["costs"]["seconds_training"], operations))
        trained = Trained(module, spent, found, jury.map50(found), culled)
        self.console.print(f"after: mAP50 {100 * trained.map50:.1f} % ({strategy})")
        return trained

    def compared(self, strategy: Strategy, jury: Jury, size: Size | None) -> Trained:
        """The same with another strategy."""
        folder = self.session.folder / "compare" / strategy.replace("+", "-")
        folder.parent.mkdir(exist_ok=True)
        return self.trained(folder, strategy, self.cull(folder, strategy), jury, size)

    def as_detector(self, module: nn.Module) -> Detector:
        """A student that was trained."""
        return ModuleDetector(module, self.detectors.class_names, self.device, self.config.amp)

    def flops(self, jury: Jury, size: Size | None) -> int | None:
        """Operations of the student for an image of this size, or of the jury's; None = unknown."""
        width, height = size or (int(side) for side in jury.found.sizes[0])
        return self.detectors.flops("student", height, width)


def _settled(config: CullConfig, result: dict[str, Any]) -> CullConfig:
    """With the level of confidence that a result tells, where it was to be looked for."""
    found = result.get("level")
    if config.min_confidence != "auto" or found is None:
        return config
    return replace(config, min_confidence=found["level"])

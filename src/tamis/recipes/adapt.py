"""Adapt: cull new footage, find the size, train the student on it, judge, and say what it cost."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from rich.console import Console
from torch import nn

from tamis.culling.costs import Cost, as_json
from tamis.culling.resolution import Resolution, opt_resolution
from tamis.data.boxes import open_boxes
from tamis.data.export import write_data_set
from tamis.data.frames import FrameRef, Frames, open_frames
from tamis.data.frames.leading import Leading
from tamis.detections import Detections, Detector
from tamis.files import replace_json
from tamis.fit.settings import device_of
from tamis.lock import FolderLock
from tamis.models import ModuleDetector, export_onnx, save_detector
from tamis.models.detector_weights import read_class_names
from tamis.recipes.adapt_config import AdaptConfig
from tamis.recipes.adapt_judge import Jury, Size, before_after, human_jury, teacher_jury
from tamis.recipes.adapt_sessions import Session, session_of
from tamis.recipes.config import TrainConfig
from tamis.recipes.cull import cull
from tamis.recipes.cull_config import Strategy
from tamis.recipes.cull_detectors import loss_of, open_detectors
from tamis.recipes.export import exported
from tamis.recipes.start import start_of
from tamis.recipes.train import load_for, train_on
from tamis.report.cull_page import write_cull_page
from tamis.report.cull_pictures import frame_pictures

_PERCENTILES = (5, 25, 50, 75, 95)
_SAMPLE = 500  # frames that the drift of the confidence loss is measured on
_FORWARD_AND_BACKWARD = 3  # times the operations of the forward pass: the usual count


def adapt(config: AdaptConfig, console: Console | None = None) -> dict[str, Any]:
    """`tamis adapt`: everything from a configuration; the same one again goes on where it stopped.

    Returns:
        What result.json of the session says.

    Raises:
        ValueError: sources, detectors or settings that do not fit.
        Stopped: a signal came; everything is saved.
    """
    console = console or Console(quiet=True)
    if config.threads:
        torch.set_num_threads(config.threads)
    frames = open_frames(config.sources, fps=config.fps, every=config.every)
    config.folder.mkdir(parents=True, exist_ok=True)
    lock = FolderLock(config.folder)
    try:
        session = session_of(config.folder, frames.identity())
        if session.result:
            console.print(f"{session.folder} is already at its end")
            return session.result
        return Adaptation(config, console, frames, session).run()
    finally:
        lock.release()


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


class Adaptation:
    """A session at work: what its steps share."""

    def __init__(self, config: AdaptConfig, console: Console, frames: Frames, session: Session) -> None:
        """Open the detectors."""
        self.config, self.console, self.session = config, console, session
        self.device = device_of(config.device)
        earlier = session.earlier[-1].weights if session.earlier else None
        self.start = start_of(config.student if earlier is None else f"{start_of(config.student).model}={earlier}")
        self.end = FrameRef(1 << 30, 0) if config.judge else frames.place(1 - config.judge_share)
        share = 1.0 if config.judge else 1 - config.judge_share
        self.frames, self.leading = frames, Leading(frames, self.end, share)
        self.detectors = open_detectors(self._culling(session.folder, config.strategy))

    def run(self) -> dict[str, Any]:
        """All steps, from wherever an earlier process has left off."""
        config, folder = self.config, self.session.folder
        if self.session.earlier:
            self.console.print(f"{folder.name}: goes on with the student of {self.session.earlier[-1].folder.name}")
        culled = self._cull(folder, config.strategy)
        jury = self._jury()
        untrained = self._before(jury)
        resolution = self._resolution()
        size = None if resolution is None else (resolution.size.width, resolution.size.height)
        trained = self._trained(folder, config.strategy, culled, jury, size)
        others: dict[Strategy, Trained] = {name: self._compared(name, jury, size) for name in config.compare}
        return self._finish(jury, untrained, resolution, trained, others)

    def _culling(self, folder: Path, strategy: Strategy) -> Any:
        return self.config.culling(folder, self.start.spec, strategy)

    def _cull(self, folder: Path, strategy: Strategy) -> dict[str, Any]:
        self.console.print(f"culling ({strategy})")
        config, (teacher, student) = self._culling(folder, strategy), (self.detectors.teacher, self.detectors.student)
        return cull(config, self.console, frames=self.leading, student=student, teacher=teacher)  # pyright: ignore[reportArgumentType] - a part of frames

    def _jury(self) -> Jury:
        self.console.print("labelling what is judged by")
        if self.config.judge is not None:
            return human_jury(self.config.judge, self.detectors.class_names)
        where, count = self.session.folder / "judge", self.config.judge_frames
        teacher, confidence = self.detectors.teacher, self.config.label_confidence
        return teacher_jury(where, self.frames, self.end, teacher, count, confidence)

    @property
    def _student(self) -> Detector:
        if self.detectors.student is None:
            raise ValueError("strategy must look at the student to adapt it; take another")
        return self.detectors.student

    def _before(self, jury: Jury) -> tuple[list[Detections], float]:
        found = jury.seen_by(self._student)
        self.console.print(f"before: mAP50 {100 * jury.map50(found):.1f} %")
        return found, jury.map50(found)

    def _resolution(self) -> Resolution | None:
        """The smallest size at which the student is about as sure of what was kept (stage 3 of the paper)."""
        if not self.config.resize:
            return None
        kept = Jury(open_boxes(self.session.folder)[0], "teacher", "")
        loss = loss_of(self._culling(self.session.folder, self.config.strategy))
        cost = lambda height, width: self.detectors.flops("student", height, width)  # noqa: E731
        threshold = self.config.resize_threshold
        found = opt_resolution(kept.images, self._student, loss, threshold=threshold, all_sizes=True, flops=cost)
        self.console.print(f"size: {found.size.width} x {found.size.height} ({found.size.scale:.2f} of the full one)")
        return found

    def _training(self, folder: Path, size: Size | None) -> TrainConfig:
        """The training of a student on a culled folder, and on what earlier sessions kept."""
        config, start = self.config, self.start
        own = read_class_names(start.weights) if start.weights else None
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
            found = exported({"train": open_boxes(each)[0]})
            images += [replace(image, name=f"{each.name}-{image.name}") for image in found]
        write_data_set(folder / "data", images, self.detectors.class_names, ["coco"])
        return folder / "data"

    def _trained(self, folder: Path, strategy: str, culled: dict[str, Any], jury: Jury, size: Size | None) -> Trained:
        config = self._training(folder, size)
        self.console.print(f"training on {culled['counts']['kept']:,} frames ({strategy}), epochs: {config.epochs}")
        fitted = train_on(load_for(config), config, self.console, lines=False)
        module = fitted.model.eval()
        found = jury.seen_by(self._as_detector(module), size)
        spent = [Cost(**each) for each in culled["costs"] if each["stage"] != "student training"]
        seen = int(fitted.result["costs"]["samples_seen"])
        each = self._flops(jury, size)
        operations = None if each is None else _FORWARD_AND_BACKWARD * each * seen
        spent.append(Cost("student training", seen, fitted.result["costs"]["seconds_training"], operations))
        trained = Trained(module, spent, found, jury.map50(found), culled)
        self.console.print(f"after: mAP50 {100 * trained.map50:.1f} % ({strategy})")
        return trained

    def _compared(self, strategy: Strategy, jury: Jury, size: Size | None) -> Trained:
        folder = self.session.folder / "compare" / strategy.replace("+", "-")
        folder.parent.mkdir(exist_ok=True)
        return self._trained(folder, strategy, self._cull(folder, strategy), jury, size)

    def _as_detector(self, module: nn.Module) -> Detector:
        return ModuleDetector(module, self.detectors.class_names, self.device, self.config.amp)

    def _flops(self, jury: Jury, size: Size | None) -> int | None:
        width, height = size or (int(side) for side in jury.found.sizes[0])
        return self.detectors.flops("student", height, width)

    def _finish(
        self,
        jury: Jury,
        untrained: tuple[list[Detections], float],
        resolution: Resolution | None,
        trained: Trained,
        others: Mapping[Strategy, Trained],
    ) -> dict[str, Any]:
        folder, config = self.session.folder, self.config
        save_detector(trained.module, self.detectors.class_names, self.session.weights)
        width, height = (int(side) for side in jury.found.sizes[0])
        if resolution is not None:
            self._write_resolution(resolution, trained.module, jury)
            width, height = resolution.size.width, resolution.size.height
        if config.onnx:
            path = folder / "student.onnx"
            off = export_onnx(trained.module, self.detectors.class_names, path, height, width)
            self.console.print(f"exported: {path} for {width} x {height}, off by {off:.2g} at most")
        models = [
            self._model("before", untrained[1], jury, None),
            self._model("after", trained.map50, jury, (width, height)),
        ]
        result = trained.result | self._costs(trained) | {
            "judged": {
                "trained": trained.map50, "full": others["full"].map50 if "full" in others else None,
                "untrained": untrained[1], "images": len(jury.found), "truth": jury.truth, "where": jury.where,
            },
            "strategies": self._strategies(trained, others),
            "before_after": before_after(jury, folder, models, [untrained[0], trained.found]),
            "drift": self._drift(trained, untrained[1]),
        }  # fmt: skip
        replace_json(folder / "result.json", result)
        page = write_cull_page(folder, frame_pictures(folder, self.frames))
        self.console.print(f"report: {page}")
        return result

    def _strategies(self, trained: Trained, others: Mapping[Strategy, Trained]) -> list[dict[str, Any]]:
        """Table 2, where there is anything to compare with."""
        named = {self.config.strategy: trained, **others} if others else {}
        return [_told(name, each) for name, each in named.items()]

    def _model(self, name: str, map50: float, jury: Jury, size: Size | None) -> dict[str, Any]:
        width, height = size or (int(side) for side in jury.found.sizes[0])
        return {"name": name, "map50": map50, "flops": self._flops(jury, size), "width": width, "height": height}

    def _write_resolution(self, resolution: Resolution, module: nn.Module, jury: Jury) -> None:
        """With the mAP of the trained student at every size (Fig. 4)."""
        detector, told = self._as_detector(module), resolution.as_dict()
        sizes = [(each.width, each.height) for each in resolution.sizes]
        told["map50"] = [jury.map50(jury.seen_by(detector, size)) for size in sizes]
        replace_json(self.session.folder / "resolution.json", told)

    def _costs(self, trained: Trained) -> dict[str, Any]:
        """Table 1, with the training that was measured; that on all frames is reckoned from it."""
        frames = trained.result["counts"]["frames"]
        training = trained.costs[-1]
        whole = frames * self.config.epochs
        each = None if training.flops is None or not training.images else training.flops / training.images
        seconds = training.seconds / max(1, training.images)
        all_of_it = Cost(
            "student training", whole, seconds * whole, None if each is None else round(each * whole), measured=False
        )
        full = [Cost(**one) for one in trained.result["full"] if one["stage"] != "student training"]
        return as_json(trained.costs, [*full, all_of_it])

    def _drift(self, trained: Trained, before: float) -> dict[str, Any]:
        """Percentiles of the confidence loss on this footage, before and after, beside those of earlier sessions."""
        table = pq.read_table(self.session.folder / "manifest.parquet", columns=["position", "pts", "score", "source"])
        score = table["score"].to_numpy()
        known = np.flatnonzero(np.isfinite(score))
        places = (
            known[np.unique(np.linspace(0, len(known) - 1, min(_SAMPLE, len(known))).round().astype(int))]
            if len(known)
            else known
        )
        names = list(dict.fromkeys(table["source"].to_pylist()))
        numbers = {name: number for number, name in enumerate(names)}
        refs = [FrameRef(numbers[table["source"][int(at)].as_py()], table["pts"][int(at)].as_py()) for at in places]
        detector, loss = (
            self._as_detector(trained.module),
            loss_of(self._culling(self.session.folder, self.config.strategy)),
        )
        found = [detector(torch.from_numpy(frame.rgb()).permute(2, 0, 1)[None])[0] for frame in self.frames.take(refs)]
        after = loss(found).numpy()
        told = {
            "name": self.session.folder.name,
            "frames": trained.result["counts"]["frames"],
            "kept": trained.result["counts"]["kept"],
            "before": _percentiles(score[places]),
            "after": _percentiles(after),
            "map50_before": before,
            "map50_after": trained.map50,
        }
        earlier = [each.result["drift"]["sessions"][-1] for each in self.session.earlier]
        return {"percentiles": list(_PERCENTILES), "sessions": [*earlier, told]}


def _percentiles(values: np.ndarray) -> list[float | None]:
    return [float(each) for each in np.percentile(values, _PERCENTILES)] if len(values) else [None] * len(_PERCENTILES)


def _told(name: str, trained: Trained) -> dict[str, Any]:
    flops = [each.flops for each in trained.costs if each.stage not in ("decode", "gate")]
    return {
        "name": name,
        "images": trained.result["counts"]["kept"],
        "map50": trained.map50,
        "seconds": sum(each.seconds for each in trained.costs),
        "flops": None if None in flops else sum(each for each in flops if each is not None),
        "measured": True,
    }


def adapt_command(config: AdaptConfig) -> None:
    """Adapt, and print what came of it."""
    from tamis.recipes.watching import plain_console

    console = plain_console()
    result = adapt(config, console)
    judged = result["judged"]
    console.print(
        f"mAP50 {100 * judged['untrained']:.1f} % -> {100 * judged['trained']:.1f} % on {judged['where']}; "
        f"{result['factor']['seconds']:.0f} times less time than labelling and training on everything (reckoned)"
    )

"""`tamis resize`: the smallest size of the images at which a detector is about as sure (optResolution)."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from tamis.culling.resolution import Images, Resolution, Size, opt_resolution
from tamis.data.boxes import open_boxes
from tamis.data.frames import FrameRef, open_frames
from tamis.detections import Detector
from tamis.files import replace_file, replace_json
from tamis.fit.settings import device_of
from tamis.models import ModuleDetector, export_onnx, flops
from tamis.recipes.adapt_judge import Jury
from tamis.recipes.boxed import with_classes
from tamis.recipes.detector_of import detector_of
from tamis.recipes.resize_config import ResizeConfig
from tamis.recipes.watching import plain_console
from tamis.report.cull_charts import resolution_svg
from tamis.scores import ConfidenceLoss


def resize_command(config: ResizeConfig) -> None:
    """Look for the size, print what was seen at each, and write it down."""
    console = plain_console()
    if config.threads:
        torch.set_num_threads(config.threads)
    detector = detector_of(config.student, device=str(device_of(config.device)), amp=config.amp)
    found = resize(config, detector)
    for place, size in enumerate(found.sizes):
        console.print(_line(size, chosen=place == found.chosen))
    config.out.mkdir(parents=True, exist_ok=True)
    told = found.as_dict()
    replace_json(config.out / "resolution.json", told)
    replace_file(config.out / "resolution.svg", resolution_svg(told))
    if config.onnx is not None:
        _export(detector, config.onnx, found, console)
    console.print(f"chosen: {found.size.width} x {found.size.height}; see {config.out / 'resolution.svg'}")


def resize(config: ResizeConfig, detector: Detector) -> Resolution:
    """Look at some of the images at every size.

    Raises:
        ValueError: neither boxes nor images are found, or boxes of classes that the detector does not know.
    """
    try:
        train, validation = open_boxes(config.data)
    except (ValueError, OSError) as error:
        if config.data.is_dir() and (config.data / "coco.json").is_file():
            raise  # it is meant to have boxes
        images, truth = _without_boxes(config.data, config.images, error)
    else:
        found = with_classes(validation or train, tuple(detector.class_names), config.data)
        jury = Jury(found.select(_some(len(found), config.images)), "human", "")
        images, truth = jury.images, jury.true
    return opt_resolution(
        images,
        detector,
        ConfidenceLoss(),
        threshold=config.threshold,
        factor=config.factor,
        max_n=config.steps,
        relative=not config.absolute,
        min_side=config.min_side,
        all_sizes=True,
        flops=lambda height, width: flops(detector, height, width),
        truth=truth,
    )


def _without_boxes(path: Path, count: int, error: Exception) -> tuple[Images, None]:
    """Frames of a video or of a folder of images.

    Raises:
        ValueError: there are none; says what opening it as images with boxes has said.
    """
    try:
        frames = open_frames([path])
    except ValueError:
        raise error from None
    refs: list[FrameRef] = [frame.ref for frame in frames.scan()]
    chosen = [refs[place] for place in _some(len(refs), count)]

    def images() -> Iterator[Tensor]:
        return (torch.from_numpy(frame.rgb()).permute(2, 0, 1)[None] for frame in frames.take(chosen))

    return images, None


def _some(total: int, count: int) -> list[int]:
    """Positions of at most `count` of so many, evenly spread."""
    return np.unique(np.linspace(0, total - 1, min(total, count)).round().astype(int)).tolist() if total else []


def _line(size: Size, *, chosen: bool) -> str:
    parts = [f"{size.width:5d} x {size.height:<5d} scale {size.scale:.2f}  error {size.error:.4f}"]
    parts += [f"mAP50 {100 * size.map50:.1f} %"] if size.map50 is not None else []
    parts += [f"{size.flops / 1e9:.2f} GFLOPs"] if size.flops is not None else []
    return "  ".join([*parts, f"{1 / size.seconds:,.0f} images/s"]) + ("  <- chosen" if chosen else "")


def _export(detector: Detector, path: Path, found: Resolution, console: Console) -> None:
    if not isinstance(detector, ModuleDetector):
        raise ValueError(f"onnx must come with a student that is a module of torch, got {type(detector).__name__}")
    off = export_onnx(detector.module, detector.class_names, path, found.size.height, found.size.width)
    console.print(f"exported: {path}, off by {off:.2g} at most")

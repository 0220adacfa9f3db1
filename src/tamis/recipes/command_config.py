"""Configurations of the commands beside `tamis train`: plain data, without torch."""

from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Literal

from tamis.recipes.checks import check_ranges, check_types

Score = Literal[
    "loss", "margin", "entropy", "el2n", "grand", "forgetting", "aum", "pixel", "head", "error", "confidence"
]  # fmt: skip

DEFAULT_SCORES: dict[str, list[Score]] = {
    "classification": ["loss", "margin", "entropy", "el2n"],
    "counting": ["loss", "pixel", "head", "error"],
    "detection": ["loss", "confidence"],
}


@dataclass(frozen=True)
class ScoreConfig:
    """Settings of `tamis score`.

    Attributes:
        runs: run folders whose models score; the scores of several are averaged.
        data: score these images instead of the training images of the first run.
        task: what is scored where there is no run: classification, counting or detection.
        model: where there is no run, the name of a model as of `tamis train`, and --weights of it.
        weights: file with the weights of that model (.safetensors or .pt).
        annotations: points or boxes of the images, where they are not found beside them.
        size: for detection, WIDTHxHEIGHT in pixels that the images are resized to, where there is no run.
        density_sigma: standard deviation in pixels of a head in the density map, where there is no run.
        density_scale: what that model gives is the density times this.
        scores: loss, margin, entropy, el2n and grand are of the model; forgetting and aum are of the run's history,
            for its own training images only. For counting loss, that per pixel of the map (pixel) or per head, and
            the error of the count. For detection loss, and how unsure the model is of what it finds, which needs no
            boxes (confidence, the confidence loss of Dataset Culling). By default all that cost nothing.
        which: the checkpoint that scores, last or best.
        out: the table, .parquet or .csv; by default scores.csv in the first run folder, or here.
        device: auto, cpu, cuda, cuda:1, mps.
        batch_size: images of a step.

    Raises:
        ValueError: no run, a batch size below 1, or a table of another kind.
    """

    runs: list[Path] = field(default_factory=list)
    _: KW_ONLY
    data: Path | None = None
    task: Literal["classification", "counting", "detection"] = "classification"
    model: str | None = None
    weights: Path | None = None
    annotations: Path | None = None
    size: str | None = None
    density_sigma: float = 4.0
    density_scale: float = 1.0
    scores: list[Score] = field(default_factory=list)
    which: Literal["last", "best"] = "last"
    out: Path | None = None
    device: str = "auto"
    batch_size: int = 256

    def __post_init__(self) -> None:
        check_types(self)
        check_ranges(self)
        if not self.runs and self.model is None:
            raise ValueError("runs must name at least one run folder, got none; or give --model, --weights and --data")
        if self.model is not None and (self.runs or self.weights is None or self.data is None):
            raise ValueError("model must come with weights and data and without runs, got others; `--help` tells more")
        if self.out is not None and self.out.suffix not in (".csv", ".parquet"):
            raise ValueError(f"out must end in .parquet or .csv, got {str(self.out)!r}")


@dataclass(frozen=True)
class CheckConfig:
    """Settings of `tamis check`.

    Attributes:
        data: images with labels, in any layout that can be trained on.
        validation: the data set that a training is judged by, if it does not come with the data.
        against: a run folder: name every file whose content differs from what this run has seen.
        fix: folder to write exclude.txt (for `tamis train --exclude`) and findings.csv to; nothing is ever written
            over, nor into the data.
        annotations: boxes or points of the images, where the data does not show them by itself as ShanghaiTech, Mall,
            CARPK, UCF-QNRF, MOT and points.csv do: COCO .json, YOLO, VOC, LabelMe, CVAT, Label Studio, dot masks, or
            a .csv of image,x,y; classes are not looked for, and --fix writes corrected annotations to OUT/annotations.
        near: look for near duplicates too: the same picture in another size or compression.
        show: so many lines of each finding; 0 = all.
        json: print one JSON document and nothing else.
        workers: processes that read and decode.

    Raises:
        ValueError: a number outside its range.
    """

    data: Path
    _: KW_ONLY
    validation: Path | None = None
    against: Path | None = None
    fix: Path | None = None
    annotations: Path | None = None
    near: bool = True
    show: int = 10
    json: bool = False
    workers: int = 2

    def __post_init__(self) -> None:
        check_types(self)
        check_ranges(self)
        if self.show < 0:
            raise ValueError(f"show must be at least 0, got {self.show!r}; 0 shows all")


@dataclass(frozen=True)
class PredictConfig:
    """Settings of `tamis predict`.

    Attributes:
        run: the run folder whose model predicts.
        images: image files, or folders of them.
        out: folder for predictions.csv and, for a counter, a picture of each density map, for a detector one of the
            boxes on each image; nothing is ever written beside the images.
        overlay: draw these pictures.
        min_confidence: for a detector, boxes of less confidence are left out, in [0, 1].
        which: the checkpoint that predicts, best or last.
        tile: largest side in pixels of what is counted at once; 0 = whole images, or as the run was judged.
        device: auto, cpu, cuda, cuda:1, mps.

    Raises:
        ValueError: no image, or a number outside its range.
    """

    run: Path
    images: list[Path]
    _: KW_ONLY
    out: Path = Path("tamis-predictions")
    overlay: bool = True
    min_confidence: float = 0.3
    which: Literal["last", "best"] = "best"
    tile: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        check_types(self)
        check_ranges(self)
        if not self.images:
            raise ValueError("images must name at least one image, got none")

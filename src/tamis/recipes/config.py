"""Configurations: plain data, without torch, so that `tamis --help` answers at once."""

import hashlib
import json
import re
from dataclasses import KW_ONLY, MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from tamis.recipes.checks import check_ranges, check_types
from tamis.recipes.together import BY_TASK, check_together

# They have no influence on the result of a training: they may change when it goes on.
FREE = frozenset(
    {"out", "threads", "workers", "report", "checkpoint_seconds", "on_full", "strict", "max_bad", "density_cache"}
    | {"accept_dataset_change", "fingerprint", "processes"}
)
SIZE = r"([1-9]\d{0,4})x([1-9]\d{0,4})"  # WIDTHxHEIGHT


def _by_task() -> Any:
    """The start of a setting whose default depends on the task: it is filled in by `TrainConfig.__post_init__`."""
    return None


@dataclass(frozen=True)
class TrainConfig:
    """Settings of `tamis train`.

    Attributes:
        data: images with labels: a folder with a subfolder for each class (with or without train/ and val/), an
            archive of one, CIFAR, MNIST idx, Parquet, a WebVision folder, or a CSV with the columns path,label. For
            counting, images with points: ShanghaiTech, Mall, CARPK, UCF-QNRF, or images/ beside a points.csv of
            image,x,y (docs/counting.md lists all layouts). For detection, images with boxes: COCO, YOLO, VOC, KITTI, or
            what `tamis cull` wrote (docs/detection_data.md).
        task: classification of images; counting: how many heads (cells, cars, fruits) there are, and where; or
            detection: boxes with classes.
        out: run folder; by default runs/ and a name made from data, method, seed and other settings that are not the
            default. The same command again goes on there.
        validation: a data set to judge by; by default the one that comes with the data, else a part that is held out.
        hold_out: share of the training images that is held out where there is no validation set, in (0, 1).
        model: "auto" (small for images up to 64 pixels, else resnet18), small, small-wide (each also with
            -fast), wrn-28-10 (any depth and width), any torchvision classifier, timm:NAME, or your own
            module:callable (the working directory is searched too). For counting csrnet, csrnet-lite, mcnn,
            mcnn-light or your own. For detection centernet-tiny, centernet-small, fasterrcnn-resnet18 and others
            (docs/detectors.md).
        weights: file with weights to start from (.safetensors or .pt); nothing is ever downloaded.
        new_head: take the weights without the last layer, for other classes than they were trained on.
        front_end: for counting, file with ImageNet weights of torchvision's VGG-16 for the front end of CSRNet.
        method: what is shown: all (uniform), a random subset, InfoBatch, the easy first (self-paced), all until
            the labels that look wrong are dropped, by sigma or by loss; or a curriculum by scores that are known before
            the training: clip (a pace, then pruning), curriculum (the pace alone), prune (pruning alone), and their
            controls: anti-curriculum (the hard first) and random-order (as many, whatever their scores).
        ratio: share of the samples that random shows, or that InfoBatch hides of the easy ones, in (0, 1).
        start: progress at which sigma-drop and loss-drop begin to drop, in (0, 1); by default a third.
        pace: how a curriculum grows from its start to everything.
        pace_start: share of the samples that a curriculum begins with, in (0, 1]; by default 0.3, for counting with
            stretch 0.1.
        pace_full: progress from which on a curriculum uses everything, in (0, 1].
        pace_unit: let the pace go on at every epoch, or at every batch.
        prune: share of what the pace shows that is left out (epsilon of the CLIP paper), in [0, 1).
        prune_to: let that share change to this one over the training, quickly at first; by default it is fixed.
        reading: which samples are pruned: those of the lowest loss (lowest), the hardest of what the pace shows, as the
            paper's algorithm is printed (algorithm1), or the lowest of what is left, at every epoch (compounding).
        balance: pace and prune within each class, or for counting within so many bins of equally many images by
            count; 0 = all together, for classification any other number means by class.
        scorer: where the scores come from: a run folder, whose model scores, or a table of scores by key (.csv or
            .parquet, such as `tamis score` writes); by default a scorer is trained first, and its cost counted.
        scorer_column: the column of such a table, by default its first of score and loss.
        scorer_epochs: epochs of the scorer that is trained first; by default a tenth of the training's.
        refresh: score anew by the model itself every so many epochs; 0 = never, as in the paper.
        score_per: what the score of a counted image is: its loss, or that per pixel of its map, or per head.
        exclude: file with a key in each line (or a CSV with a column key, such as an edited suspects.csv) of
            training samples to leave out.
        data_parameters: learn a temperature for each class, each instance, both (joint) or none; for counting a noise
            scale for each image (instance), for detection an instance is a box.
        sigma_regression: for detection, let the temperature of a box also be the noise scale of its place and size.
        preset: settings of the data parameters: the default ones, or as printed (paper) or as in the code that was
            published with it, for small images, for ImageNet, or as printed for the boxes of KITTI.
        instance_rate: learning rate of log sigma for a sample's own loss; it falls to 0 over the epochs, and with
            classification by instance it counts as far as the model is right. By default 10 there.
        instance_decay: weight decay of log sigma of the samples; by default the preset's.
        class_lr: learning rate of log sigma of the classes, for the mean loss of a batch; by default the preset's.
        epochs: passes over what the method shows; by default 30, for counting 100, for detection 20.
        stretch: train for as many more epochs as it takes until the method has shown as many samples as all of them in
            `epochs` epochs: the same bill as full training, for a lower error instead of a lower bill.
        batch_size: samples of a step; by default 128, for counting and detection 8.
        accumulate: split each batch into this many pieces to save memory.
        optimizer: a name in torch.optim, such as SGD, AdamW, RMSprop; by default SGD, for counting Adam, for
            detection AdamW.
        lr: learning rate; by default 0.1, for counting 1e-4, for detection 5e-4.
        momentum: momentum of SGD and RMSprop.
        nesterov: let SGD take the momentum in Nesterov's form.
        weight_decay: weight decay of the model; by default 5e-4, for counting 0, for detection 1e-4.
        schedule: course of the learning rate over the training: triangle, cosine, linear, steps or flat; by default
            triangle, for counting flat.
        steps: progresses in (0, 1) at which the schedule steps lowers the rate.
        step_factor: what a step multiplies the rate by, in (0, 1).
        flip: mirror training images at random.
        crop: shift small training images by up to so many pixels.
        image_size: side in pixels that large images are cropped to.
        size: for detection, WIDTHxHEIGHT in pixels that every image is resized to; by default they stay as they are.
        zoom: for detection, enlarge and cut training images at random, by up to this share of their sides, in [0, 1).
        annotations: points or boxes of the images, where they are not found beside them.
        at: where a box is counted: at its centre, or at the head, in the middle of its upper part.
        density: width of a head's Gaussian in the density map: the same for all (fixed), or by the distance to the
            nearest heads (adaptive).
        density_sigma: standard deviation of a fixed one, in pixels of the image.
        density_scale: what the model learns is the density times this; predictions are divided by it.
        density_cache: folder to keep density maps of whole images in, for large images with many heads.
        patch: side in pixels of the part that is cut out of a training image at random; 0 = whole images.
        brightness: change the brightness of training images by a factor in 1 +- this, in [0, 1).
        contrast: likewise the contrast.
        tile: largest side in pixels of what is judged at once of an image to count; 0 = whole images.
        amp: autocast to a shorter number format.
        channels_last: use the channels-last memory format.
        compile: use torch.compile.
        device: auto, cpu, cuda, cuda:1, mps.
        threads: threads of torch on the CPU; 0 = its own choice.
        workers: processes that decode images.
        noise: make labels wrong, to try a method out: symmetric, permute, asymmetric, random, or a CIFAR-N file
            (.npz). For detection boxes: flip (their class), shift, missing, invented, or mixed (a quarter each).
        noise_ratio: share of the labels that the noise redraws, or of the boxes that it makes wrong, in [0, 1].
        noise_name: which labels of a CIFAR-N file.
        oracle: train only on the samples whose labels the noise left right: what a perfect method would do.
        evaluate_every: epochs between two looks at the validation images; the last epoch is always looked at.
        calibrate: fit a temperature on the validation images after training, and report the calibration error.
        history: keep the loss, margin and sigma of each sample in every epoch; needed for the list of suspects
            and the report.
        report: write the report.
        checkpoint_seconds: seconds between checkpoints, 0 = after every step; by default so often that they take 2 %
            of the time.
        on_full: what to do when there is no room on the disk for a checkpoint: stop, or continue without it.
        strict: refuse a damaged newest checkpoint instead of going back to the one before it.
        max_bad: share of the images that may be unreadable and are left out, in [0, 1); one more stops the run.
        accept_dataset_change: go on although images were added, removed or edited since the run began.
        fingerprint: how images are compared when a run goes on: by date and size, and where these differ by content
            (auto; above 4 GiB of files by date and size alone), always by content, or never (stat).
        processes: run so many on this machine, each with its own GPU if there are any; they share each batch.
        seed: decides everything random.

    Raises:
        ValueError: a number outside its range, or settings that do not go together.
    """

    data: Path
    _: KW_ONLY
    task: Literal["classification", "counting", "detection"] = "classification"
    out: Path | None = None
    validation: Path | None = None
    hold_out: float = 0.1
    model: str = field(default_factory=_by_task)
    weights: Path | None = None
    new_head: bool = False
    front_end: Path | None = None
    method: Literal[
        "uniform", "random", "infobatch", "self-paced", "sigma-drop", "loss-drop",
        "clip", "curriculum", "prune", "anti-curriculum", "random-order",
    ] = "uniform"  # fmt: skip
    ratio: float = 0.5
    start: float | None = None
    pace: Literal["linear", "quadratic", "root", "geometric", "step", "exponential"] = "quadratic"
    pace_start: float | None = None
    pace_full: float = 0.6
    pace_unit: Literal["epoch", "batch"] = "epoch"
    prune: float = 0.05
    prune_to: float | None = None
    reading: Literal["lowest", "algorithm1", "compounding"] = "lowest"
    balance: int = 0
    scorer: Path | None = None
    scorer_column: str | None = None
    scorer_epochs: int | None = None
    refresh: int = 0
    score_per: Literal["image", "pixel", "head"] = "image"
    exclude: Path | None = None
    data_parameters: Literal["none", "class", "instance", "joint"] = "none"
    sigma_regression: bool = False
    preset: Literal["default", "paper", "published", "paper-imagenet", "published-imagenet", "paper-kitti"] = "default"
    instance_rate: float | None = None
    instance_decay: float | None = None
    class_lr: float | None = None
    epochs: int = field(default_factory=_by_task)
    stretch: bool = False
    batch_size: int = field(default_factory=_by_task)
    accumulate: int = 1
    optimizer: str = field(default_factory=_by_task)
    lr: float = field(default_factory=_by_task)
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = field(default_factory=_by_task)
    schedule: Literal["triangle", "cosine", "linear", "steps", "flat"] = field(default_factory=_by_task)
    steps: list[float] = field(default_factory=lambda: [0.3, 0.6, 0.9])
    step_factor: float = 0.1
    flip: bool = True
    crop: int = 0
    image_size: int = 224
    size: str | None = None
    zoom: float = 0.0
    annotations: Path | None = None
    at: Literal["centre", "head"] = "centre"
    density: Literal["fixed", "adaptive"] = "fixed"
    density_sigma: float = 4.0
    density_scale: float = 1.0
    density_cache: Path | None = None
    patch: int = 0
    brightness: float = 0.0
    contrast: float = 0.0
    tile: int = 0
    amp: Literal["none", "bf16", "fp16"] = "none"
    channels_last: bool = False
    compile: bool = False
    device: str = "auto"
    threads: int = 0
    workers: int = 2
    noise: str = "none"
    noise_ratio: float = 0.4
    noise_name: str = "worse_label"
    oracle: bool = False
    evaluate_every: int = 1
    calibrate: bool = True
    history: bool = True
    report: bool = True
    checkpoint_seconds: float | None = None
    on_full: Literal["stop", "continue"] = "stop"
    strict: bool = False
    max_bad: float = 0.01
    accept_dataset_change: bool = False
    fingerprint: Literal["auto", "content", "stat"] = "auto"
    processes: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        for name, value in BY_TASK.get(self.task, {}).items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)
        check_types(self)
        check_ranges(self)
        check_together(self, self.defaults(self.task))
        if self.size is not None and not re.fullmatch(SIZE, self.size):
            raise ValueError(f"size must be WIDTHxHEIGHT in pixels, such as 320x180, got {self.size!r}")
        if not all(0 < place < 1 for place in self.steps):
            raise ValueError(f"steps must be in (0, 1), got {self.steps!r}; epoch 80 of 84 is 0.9524")

    @classmethod
    def defaults(cls, task: str) -> dict[str, Any]:
        """What every setting but the data is for a task, if nobody says anything else."""
        by_field = {
            each.name: each.default if each.default_factory is MISSING else each.default_factory()
            for each in fields(cls)
            if each.name != "data"
        }
        return by_field | dict(BY_TASK[task])

    def plain(self) -> dict[str, Any]:
        """The settings as JSON: what run.json keeps and what resuming compares."""
        return {name: str(value) if isinstance(value, Path) else value for name, value in asdict(self).items()}

    @classmethod
    def from_plain(cls, settings: dict[str, Any]) -> "TrainConfig":
        """The inverse of `plain`.

        Raises:
            ValueError: a setting is unknown, of another type, out of its range, or data is missing.
        """
        known = {each.name for each in fields(cls)}
        unknown = sorted(settings.keys() - known)
        if unknown:
            raise ValueError(f"config must have settings of this version of tamis, got {unknown[0]!r}; use the other")
        paths = {each.name for each in fields(cls) if "Path" in str(each.type)}
        given = {key: settings[key] for key in paths if isinstance(settings.get(key), str)}
        typed: dict[str, Any] = settings | {key: Path(value) for key, value in given.items()}
        if "data" not in typed:
            raise ValueError("config must name its data, got none; train in another --out")
        return cls(**typed)

    @classmethod
    def read(cls, run: Path) -> "TrainConfig":
        """The configuration that a run was trained with.

        Raises:
            FileNotFoundError: the folder is no run.
            ValueError: its run.json is damaged, or holds what no training wrote.
        """
        path = run / "run.json"
        if not path.is_file():
            raise FileNotFoundError(f"run must be a run folder with run.json, got {str(run)!r}")
        try:
            about = json.loads(path.read_text("utf-8"))
            if not isinstance(about, dict) or not isinstance(about.get("config"), dict):
                raise ValueError("no config")
        except (ValueError, RecursionError) as error:
            reason = "deep nesting" if isinstance(error, RecursionError) else str(error)
            raise ValueError(
                f"run.json must be as tamis train wrote it, got {reason} in {str(path)!r}; take it from a backup"
            ) from error
        try:
            return cls.from_plain(about["config"])
        except ValueError as error:
            raise ValueError(f"{error} (in {str(path)!r})") from error

    @property
    def folder(self) -> Path:
        """The run folder."""
        if self.out is not None:
            return self.out
        parts = [self.data.resolve().name.split(".")[0] or "data", self.method]
        named = self.task != "classification" and ":" not in self.model
        parts += [self.model] * named
        parts += [self.data_parameters] * (self.data_parameters != "none") + ["oracle"] * self.oracle
        return Path("runs") / "-".join([*parts, f"seed{self.seed}", *self._others()])

    def _others(self) -> list[str]:
        """A short name for the settings that the name of the folder does not tell, where they are not the default."""
        told = FREE | {"data", "task", "method", "data_parameters", "oracle", "seed"}
        told |= {"model"} if self.task != "classification" and ":" not in self.model else set()
        plain, default = self.plain(), self.defaults(self.task)
        others = {name: value for name, value in plain.items() if name not in told and value != default[name]}
        text = json.dumps(others, sort_keys=True)
        return [hashlib.blake2b(text.encode(), digest_size=3).hexdigest()] if others else []
